"""Detects crash loops of the engine: refuses a request that was in flight at two engine deaths.

Only a fingerprint of a request is kept: HMAC-SHA256 over tenant, route and body, under a key that lives as long as
this process. A death makes every request in flight a suspect, innocent ones too, so suspects are admitted one at a
time. A suspect in flight at a second death was therefore the only one, and is refused for a while. A suspect that is
answered is cleared.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from inference.engine.request_fields import WITHOUT_EFFECT
from inference.errors import RequestRefused, bad_request, ends_engine, is_suspect

DEATHS = 2
SUSPECT_SECONDS = 600.0
REFUSED_SECONDS = 3600.0
"""Longer, since it is served again afterwards and may end the engine twice more."""
TURN_SECONDS = 10.0
"""So long a suspect waits for its turn before its caller is told to try again."""
REMEMBERED = 10_000


@dataclass(eq=False)
class Trial:
    """One request, from its admission until it has ended. ``life`` is the engine's, counted by its deaths."""

    fingerprint: bytes
    life: int
    has_turn: bool


@dataclass
class _Record:
    deaths: int
    until: float


class Suspects:
    """All on one event loop. ``now`` is seconds of any monotonic clock; ``on_refused`` counts."""

    def __init__(
        self,
        now: Callable[[], float] = time.monotonic,
        *,
        on_refused: Callable[[], None] = lambda: None,
        turn_seconds: float = TURN_SECONDS,
        remembered: int = REMEMBERED,
    ) -> None:
        self._now = now
        self._on_refused = on_refused
        self._turn_seconds = turn_seconds
        self._remembered = remembered
        self._key = secrets.token_bytes(32)
        self._life = 0
        self._turn = asyncio.Lock()
        self._in_flight: set[Trial] = set()
        # Given up by its caller, and when: until the engine has answered a call that was made later, it may be what
        # the engine is about to die of. Callers give up on an engine that hangs, too.
        self._given_up: dict[bytes, float] = {}
        self._records: dict[bytes, _Record] = {}  # the latest death last

    def fingerprint(self, tenant: str, kind: str, body: Mapping[str, Any]) -> bytes:
        """The same for every spelling of one request. Fields without effect do not count, nor the order of fields."""
        told = {name: value for name, value in body.items() if value is not None and name not in WITHOUT_EFFECT}
        try:
            canonical = json.dumps(told, sort_keys=True, separators=(",", ":"))
        except (ValueError, RecursionError):
            raise bad_request("the request body is nested too deeply") from None
        parts = (tenant.encode(), kind.encode(), canonical.encode())
        message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._key, message, hashlib.sha256)

    async def admitted(self, fingerprint: bytes) -> Trial:
        """The trial that the caller must give to :meth:`ended`. A suspect waits for its turn.

        Raises :class:`RequestRefused`: 422 for one that was in flight at two deaths, 503 where its turn does not come.
        """
        self._require_no_cause(fingerprint)
        has_turn = self._deaths(fingerprint) > 0
        if has_turn:
            try:
                async with asyncio.timeout(self._turn_seconds):
                    await self._turn.acquire()
            except TimeoutError:
                raise is_suspect() from None
            try:
                self._require_no_cause(fingerprint)  # another one of the same may have had the turn before
            except RequestRefused:
                self._turn.release()
                raise
        trial = Trial(fingerprint, self._life, has_turn)
        self._in_flight.add(trial)
        return trial

    def _require_no_cause(self, fingerprint: bytes) -> None:
        if self._deaths(fingerprint) >= DEATHS:
            self._on_refused()
            raise ends_engine()

    def ended(self, trial: Trial, *, answered: bool | None) -> None:
        """``answered``: whole; not, or not to its end; None: it did not reach the engine."""
        self._in_flight.discard(trial)
        if trial.has_turn:
            self._turn.release()
        if trial.life != self._life:
            return  # it was counted when that life ended
        if answered:
            self._records.pop(trial.fingerprint, None)
        elif answered is False:
            self._given_up.pop(trial.fingerprint, None)
            self._given_up[trial.fingerprint] = self._now()
            _keep_latest(self._given_up, self._remembered)

    def engine_answered(self, asked_at: float) -> None:
        """The engine has answered a call that was made at ``asked_at``: it has survived what was given up before."""
        self._forget_what_is_over()
        self._given_up = {each: ended for each, ended in self._given_up.items() if ended > asked_at}

    def engine_died(self) -> None:
        """Everything that was in flight, or that it had not survived yet, is suspect."""
        now = self._now()
        was_there = {trial.fingerprint for trial in self._in_flight if trial.life == self._life} | self._given_up.keys()
        self._life += 1
        self._given_up = {}
        self._forget_what_is_over()
        for fingerprint in was_there:
            known = self._records.pop(fingerprint, None)
            deaths = 1 if known is None else known.deaths + 1
            seconds = SUSPECT_SECONDS if deaths < DEATHS else REFUSED_SECONDS
            self._records[fingerprint] = _Record(deaths, now + seconds)
        _keep_latest(self._records, self._remembered)

    def _forget_what_is_over(self) -> None:
        now = self._now()
        self._records = {each: record for each, record in self._records.items() if now < record.until}

    def _deaths(self, fingerprint: bytes) -> int:
        record = self._records.get(fingerprint)
        return record.deaths if record is not None and self._now() < record.until else 0


def _keep_latest(held: dict[bytes, Any], limit: int) -> None:
    while len(held) > limit:
        del held[next(iter(held))]
