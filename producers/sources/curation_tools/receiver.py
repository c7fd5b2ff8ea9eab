"""Publishes what changed in a curation tool. A webhook only says where to look: the record is read again by its id.

Webhooks get lost, so every record that changed since the last look is looked at on a schedule too. Which version and
which verdict this process has published it remembers, and says nothing twice; after a restart it looks at what changed
since the time in its position file, and what it says again is the same event.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from opentelemetry import metrics

from producers.sources.curation_tools.records import Current, Tool, current_version
from producers.sources.proposed import Proposed
from producers.sources.proposing import Proposer
from schemas.bus.events import ExampleProposed, ExampleReviewed
from tenancy.errors import Refused, Transient
from tenancy.platform.clock import Clock, utc_now
from tenancy.platform.logs import SCOPE, error_location

logger = logging.getLogger(f"{SCOPE}.curation-tools")

MOST_WAITING = 10_000
"""Ids that wait. Those beyond are found by the next reconciliation, which is then due at once."""
OVERLAP = timedelta(minutes=10)
"""Records are looked for from so long before the last look: the tool's clock, and what it commits late."""
MOST_REMEMBERED = 100_000


@dataclass
class Receiver:
    """One tenant's project. Everything runs on one event loop, one record at a time."""

    tool: Tool
    proposer: Proposer
    position_file: Path
    reconcile_seconds: float
    counter: metrics.Counter
    clock: Clock = utc_now
    is_ready: bool = False
    _waiting: dict[str, None] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _is_due: bool = True
    _said: dict[tuple[str, ...], None] = field(default_factory=dict)

    def note(self, record_ids: Iterable[str]) -> None:
        """Look at these soon; where none is named, at whatever changed."""
        ids = list(record_ids)
        if not ids or len(self._waiting) + len(ids) > MOST_WAITING:
            self._is_due = True
        else:
            self._waiting.update(dict.fromkeys(ids))
        self._wake.set()

    async def run(self) -> None:
        """Look at what is noted, and at everything that changed once in ``reconcile_seconds``. Ends when cancelled."""
        loop = asyncio.get_running_loop()
        next_look = loop.time()
        while True:
            if self._is_due or loop.time() >= next_look:
                self._is_due = False
                next_look = loop.time() + self.reconcile_seconds
                await self._tried(self.reconcile())
            while self._waiting:
                record_id = next(iter(self._waiting))
                del self._waiting[record_id]
                await self._tried(self.look_at(record_id))
            self._wake.clear()
            try:
                async with asyncio.timeout_at(next_look):
                    if not (self._waiting or self._is_due):
                        await self._wake.wait()
            except TimeoutError:
                continue

    async def _tried(self, look: Awaitable[None]) -> None:
        try:
            await look
            self.is_ready = True
        except Transient:
            # What was not published is found again: the position stays where it is.
            self.is_ready = False
            self.counter.add(1, {"outcome": "later"})
        except Refused as refusal:
            self.counter.add(1, {"outcome": "refused"})
            logger.error("record refused", extra={"reason": refusal.code})
        except Exception as error:
            self.counter.add(1, {"outcome": "failed"})
            logger.error("record failed", extra={"error": error_location(error)})

    async def reconcile(self) -> None:
        """Look at every record that changed since the last look; one that is refused holds up no other."""
        began, since = self.clock(), read_position(self.position_file)
        for record_id in await self.tool.changed(None if since is None else since - OVERLAP):
            try:
                await self.look_at(record_id)
            except Refused as refusal:
                self.counter.add(1, {"outcome": "refused"})
                logger.error("record refused", extra={"reason": refusal.code})
        write_position(self.position_file, began)

    async def look_at(self, record_id: str) -> None:
        """Publish the record's current version, and what its reviewers say of it, as far as that is new."""
        record = await self.tool.record(record_id)
        if record is None:
            return
        current = current_version(record, self.tool.name, self.proposer.key, self.proposer.tenant)
        if current is None or not self._news(record_id, current):
            return
        made = (await Proposed.of(self.proposer, current)).whole()
        [data] = made.proposals
        version = (record_id, str(data.version))
        if version not in self._said:
            await made.publish(self.proposer)
            self._remember(version, "proposed")
        for review in self._reviews(data, current):
            said = (record_id, str(data.version), review.reviewer_id)
            if said not in self._said:
                await self.proposer.publish(review)
                self._remember(said, "reviewed")

    def _news(self, record_id: str, current: Current) -> bool:
        """Whether anything of it is unsaid: the redaction gate takes a while, and is not asked for nothing."""
        version = (record_id, str(current.candidate.version))
        reviewers = [(*version, review.reviewer_id) for review in current.reviews]
        return any(said not in self._said for said in (version, *reviewers))

    def _reviews(self, data: ExampleProposed, current: Current) -> list[ExampleReviewed]:
        return [
            ExampleReviewed(
                example_id=data.example_id,
                version=data.version,
                reviewer_id=review.reviewer_id,
                verdict=review.verdict,
                reason_code=review.reason_code,
                commitment=data.content.commitment,
            )
            for review in current.reviews
        ]

    def _remember(self, said: tuple[str, ...], outcome: str) -> None:
        self.counter.add(1, {"outcome": outcome})
        self._said[said] = None
        while len(self._said) > MOST_REMEMBERED:
            del self._said[next(iter(self._said))]


def read_position(path: Path) -> datetime | None:
    """Since when to look; None to look at everything. A file that cannot be read costs one look at everything."""
    try:
        return datetime.fromisoformat(path.read_text().strip()).astimezone()
    except (OSError, ValueError):
        return None


def write_position(path: Path, at: datetime) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(at.isoformat())
    partial.replace(path)
