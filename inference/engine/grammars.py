"""Tries each grammar out before vLLM sees it, in a process of its own that can be killed.

vLLM reads a schema on the event loop, and compiles it in two threads of the engine that nothing ends. A grammar that
takes too long or too much memory would hold them for everybody; here it ends the trial, and costs its own tenant a
refusal. A tenant has one trial at a time, and trials are in the order in which they were asked
for, so nobody waits for more than one grammar of each other tenant. What has compiled once is not tried again.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import os
import secrets
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from inference.engine.constrained_fields import Constraint, unfit
from inference.errors import grammars_paused
from tenancy.platform.concurrency import OneOfEach, finished
from tenancy.platform.logs import SCOPE
from tenancy.platform.recent_set import RecentSet

logger = logging.getLogger(f"{SCOPE}.inference")

TRIAL_SECONDS = 20.0
"""By the clock. The kernel ends a trial after two seconds of a core; this is for a machine that gives it none."""
START_SECONDS = 120.0
PAUSE_SECONDS = 30.0
ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join(sys.path),
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
}
COMPILED = 4096
"""Of grammars that have compiled so many are known, by their HMAC."""


class TrialEnded(Exception):
    """The process ended, or did not answer."""


class TrialProcess:
    """The process of :mod:`inference.engine.grammar_trial`. Every method is called by one task at a time."""

    def __init__(self, *command: str) -> None:
        self._command = command
        self._process: Process | None = None

    async def start(self) -> None:
        """Start it, if it does not run, and wait until it is ready. Raises :class:`TrialEnded`."""
        if self._process is not None and self._process.returncode is None:
            return
        # Nothing of this process's environment, which holds keys: callers' grammars are read there.
        # A session of its own: what a terminal sends to the replica's group does not end it first.
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, start_new_session=True, env=ENVIRONMENT
        )
        await self._line(START_SECONDS)

    async def compiles(self, constraint: Constraint) -> bool:
        """Try the grammar: false for text that is none. Raises :class:`TrialEnded` if it exceeds its bounds, or if the
        process ended; the next call starts a new process.
        """
        await self.start()
        try:
            stdin = self._running().stdin
            if stdin is None:
                raise TrialEnded
            stdin.write(json.dumps({"kind": constraint.kind, "text": constraint.text}).encode() + b"\n")
            await stdin.drain()
        except OSError:
            await self.close()
            raise TrialEnded from None
        answer = await self._line(TRIAL_SECONDS)
        if answer["ended"]:
            raise TrialEnded
        return answer["compiles"]

    async def close(self) -> None:
        """Kill it and the copy that it has made of itself, whatever they do."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    def _running(self) -> Process:
        if self._process is None:
            raise TrialEnded
        return self._process

    async def _line(self, seconds: float) -> dict[str, bool]:
        stdout = self._running().stdout
        if stdout is None:
            raise TrialEnded
        try:
            async with asyncio.timeout(seconds):
                line = await stdout.readline()
            answer: dict[str, bool] = json.loads(line)
        except (TimeoutError, ValueError):
            await self.close()
            raise TrialEnded from None
        return answer


class Grammars:
    """The trial of one replica. ``new_trial`` makes a process that is not started yet."""

    def __init__(self, new_trial: Callable[[], TrialProcess], now: Callable[[], float] = time.monotonic) -> None:
        self._trial = new_trial()
        self._now = now
        self._ended: dict[str, float] = {}  # whose grammar ended a trial, and when; in this order
        self._one = asyncio.Lock()  # first come, first served
        self._owners = OneOfEach()
        self._compiled = RecentSet[bytes](COMPILED)
        self._key = secrets.token_bytes(32)
        self._starting: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, base_model: Path) -> Grammars:
        """Whose grammars are compiled for the tokens of this model."""
        return cls(lambda: TrialProcess(sys.executable, "-m", "inference.engine.grammar_trial", str(base_model)))

    def start(self) -> None:
        """Begin to start the process: it takes seconds, which the first request need not wait for."""
        self._starting = asyncio.create_task(self._started())

    async def _started(self) -> None:
        with suppress(TrialEnded):
            async with self._one:
                await self._trial.start()

    async def close(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        await self._trial.close()

    async def require(self, owner: str, constraints: Iterable[Constraint]) -> None:
        """Raises :class:`EngineRefused` (400) for a grammar that does not compile within its bounds, and
        :class:`RequestRefused` (429) for a new one soon after another of the owner has ended its trial, for which
        everybody had to wait.
        """
        for constraint in constraints:
            known = self._known_as(constraint)
            if known in self._compiled:
                self._compiled.add(known)
                continue
            async with self._owners.of(owner):
                if known not in self._compiled:  # another request of the owner may have tried it meanwhile
                    await self._tried(owner, constraint)
                    self._compiled.add(known)

    async def _tried(self, owner: str, constraint: Constraint) -> None:
        if self._now() - self._ended.get(owner, -PAUSE_SECONDS) < PAUSE_SECONDS:
            raise grammars_paused(PAUSE_SECONDS)
        async with self._one:
            # Also for a caller who goes away: else leaving would be at no cost, and everybody would wait.
            compiles = await finished(self._compiles(owner, constraint))
        if not compiles:
            raise unfit(constraint)

    async def _compiles(self, owner: str, constraint: Constraint) -> bool:
        try:
            return await self._trial.compiles(constraint)
        except TrialEnded:
            logger.warning("grammar ended its trial", extra={"reason": constraint.kind})
            self._pause(owner)
            self.start()
            return False

    def _pause(self, owner: str) -> None:
        self._ended.pop(owner, None)
        self._ended[owner] = self._now()
        while self._now() - self._ended[oldest := next(iter(self._ended))] >= PAUSE_SECONDS:
            del self._ended[oldest]

    def _known_as(self, constraint: Constraint) -> bytes:
        """Under a key of this process: a schema may hold words that its hash would give away."""
        return hmac.digest(self._key, f"{constraint.kind}\0{constraint.text}".encode(), hashlib.sha256)
