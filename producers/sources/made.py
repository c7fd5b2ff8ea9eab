"""Collects what a source makes of many resources or messages: the events, and what was refused."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from producers.progress import Progress, each, silent
from producers.sources.proposing import Proposer
from producers.sources.source import Candidate
from schemas.bus.events import (
    ConsentGranted,
    ConsentRevoked,
    EventData,
    ExampleProposed,
    ExampleWithdrawn,
    SourceKind,
)
from tenancy.errors import Refused


@dataclass
class Made:
    """Events in the order in which they are to be published. A refusal names its place, and quotes nothing."""

    consents: list[ConsentGranted | ConsentRevoked] = field(default_factory=list)
    withdrawals: list[ExampleWithdrawn] = field(default_factory=list)
    proposals: list[ExampleProposed] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    passed_over: int = 0

    @property
    def events(self) -> list[EventData]:
        return [*self.consents, *self.withdrawals, *self.proposals]

    @property
    def granted(self) -> int:
        return sum(isinstance(data, ConsentGranted) for data in self.consents)

    @property
    def redacted(self) -> int:
        return sum(span.count for data in self.proposals for span in data.redaction.counts)

    async def redact(
        self,
        proposer: Proposer,
        kind: SourceKind,
        candidates: Sequence[tuple[str, Candidate]],
        progress: Progress = silent,
    ) -> None:
        """Add the proposals of these candidates, each with its place; nothing is published."""

        async def redacted(one: tuple[str, Candidate]) -> ExampleProposed | Refused:
            where, candidate = one
            try:
                return await asyncio.to_thread(proposer.proposal, kind, candidate)
            except Refused as refusal:
                return placed(where, refusal)

        for outcome in await each(candidates, redacted, what="redacting", progress=progress):
            if isinstance(outcome, Refused):
                self.refused.append(outcome)
            else:
                self.proposals.append(outcome)

    async def publish(self, proposer: Proposer, progress: Progress = silent) -> None:
        """Decisions on consent first. After a :class:`~tenancy.errors.Transient` error the same again does the rest."""
        await each(self.consents, proposer.publish, what="publishing consents", progress=progress)
        await each([*self.withdrawals, *self.proposals], proposer.publish, what="proposing", progress=progress)


def placed(where: str, refusal: Refused) -> Refused:
    return Refused(refusal.code, f"{where}: {refusal}")
