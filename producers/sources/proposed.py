"""Proposes what a source says: the one way from candidates to events on the bus."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from producers.progress import Progress, each, silent
from producers.sources.proposing import Proposer
from producers.sources.source import Candidate, Source, placed
from schemas.bus.events import (
    ConsentGranted,
    ConsentRevoked,
    EventData,
    ExampleProposed,
    ExampleWithdrawn,
)
from tenancy.errors import Refused


@dataclass
class Proposed:
    """What a source's input came to. A refusal names its place, and quotes nothing."""

    consents: list[ConsentGranted | ConsentRevoked] = field(default_factory=list)
    withdrawals: list[ExampleWithdrawn] = field(default_factory=list)
    proposals: list[ExampleProposed] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    passed_over: int = 0

    @classmethod
    async def of(cls, proposer: Proposer, source: Source, progress: Progress = silent) -> Proposed:
        """Everything that the source says, redacted and encrypted; nothing is published."""
        made = cls()
        candidates: list[Candidate] = []
        for said in await asyncio.to_thread(lambda: list(source.said())):
            match said:
                case Candidate():
                    candidates.append(said)
                case ExampleWithdrawn():
                    made.withdrawals.append(said)
                case Refused():
                    made.refused.append(said)
                case None:
                    made.passed_over += 1
                case _:
                    made.consents.append(said)

        async def redacted(candidate: Candidate) -> ExampleProposed | Refused:
            try:
                return await asyncio.to_thread(proposer.proposal, source.kind, candidate)
            except Refused as refusal:
                return placed(candidate.place, refusal)

        for outcome in await each(candidates, redacted, what="redacting", progress=progress):
            if isinstance(outcome, Refused):
                made.refused.append(outcome)
            else:
                made.proposals.append(outcome)
        return made

    @property
    def events(self) -> list[EventData]:
        """In the order in which they are published."""
        return [*self.consents, *self.withdrawals, *self.proposals]

    @property
    def granted(self) -> int:
        return sum(isinstance(data, ConsentGranted) for data in self.consents)

    @property
    def redacted(self) -> int:
        return sum(span.count for data in self.proposals for span in data.redaction.counts)

    def whole(self) -> Proposed:
        """Itself. Raises the first refusal, where there is one."""
        if self.refused:
            raise self.refused[0]
        return self

    async def publish(self, proposer: Proposer, progress: Progress = silent) -> None:
        """Decisions on consent first. After a :class:`~tenancy.errors.Transient` error the same again does the rest."""
        await each(self.consents, proposer.publish, what="publishing consents", progress=progress)
        await each([*self.withdrawals, *self.proposals], proposer.publish, what="proposing", progress=progress)


async def propose(proposer: Proposer, source: Source, progress: Progress = silent) -> Proposed:
    """Publish everything that the source says but what is refused. All is redacted before the first is published.

    Raises what the source raises, and :class:`~tenancy.errors.Transient`: the same again does the rest.
    """
    made = await Proposed.of(proposer, source, progress)
    await made.publish(proposer, progress)
    return made


async def propose_whole(proposer: Proposer, source: Source, progress: Progress = silent) -> Proposed:
    """As :func:`propose`, or nothing: raises the first refusal."""
    made = (await Proposed.of(proposer, source, progress)).whole()
    await made.publish(proposer, progress)
    return made
