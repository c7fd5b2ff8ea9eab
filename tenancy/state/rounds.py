"""Goes through all tenants, slowly: the safety net under the markers of :mod:`tenancy.state.open_work`.

Any number of processes share one round: each takes the next tenants by a compare-and-swap of the round's progress. A
process that dies leaves what it had taken to the next round.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from schemas.base.contract import read_tolerant
from schemas.objects import object_keys
from schemas.objects.object_keys import RoundKind
from schemas.objects.rounds import RoundProgress
from tenancy.errors import ObjectNotFound, PreconditionFailed
from tenancy.platform.clock import Clock
from tenancy.state.registry import StateRegistry
from tenancy.tenant_id import TenantId

ROUND = timedelta(hours=1)
"""From the beginning of a round to that of the next; longer where there are more tenants than are taken by then."""
TAKEN = 100
"""Tenants that are taken at once, so the most that one tick of a service reads."""
TICK_SECONDS = 15.0
"""Between two ticks of a process: a round asks the store for some tens of requests a second at most."""


@dataclass(frozen=True)
class Rounds:
    """The rounds for one kind of work."""

    states: StateRegistry
    kind: RoundKind
    clock: Clock
    taken: int = TAKEN

    async def take(self) -> list[TenantId]:
        """The tenants that are next, which nobody else takes in this round; none until it is time for another round.

        One request between the rounds, three else.
        """
        key, now = object_keys.round_progress(self.kind), self.clock()
        progress, etag = RoundProgress(began_at=now), None
        with suppress(ObjectNotFound):
            stored = await self.states.objects.get(key)
            progress, etag = read_tolerant(RoundProgress, stored.body), stored.etag
            if progress.after is None:
                if now < progress.began_at + ROUND:
                    return []
                progress = RoundProgress(began_at=now)
        tenants: list[TenantId] = []
        async for tenant in self.states.tenants(after=progress.after or ""):
            tenants.append(tenant)
            if len(tenants) == self.taken:
                break
        after = tenants[-1] if len(tenants) == self.taken else None
        body = progress.evolve(after=after).model_dump_json().encode()
        try:
            await self.states.objects.put(key, body, if_absent=etag is None, if_match=etag)
        except PreconditionFailed:
            return []  # another process has taken them
        return tenants
