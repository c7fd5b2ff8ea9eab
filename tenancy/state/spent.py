"""Spends ids that count once or no more, for every process of the installation: sessions that somebody signed out of,
one-time links, and answers that were rated.

An id is random, says nothing of a tenant, and is over by itself at ``ends``; so the object that marks it is needed
until then. Its name begins with that time: those that are over are listed first, and whoever spends the next id removes
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from schemas.objects import object_keys
from tenancy.errors import PreconditionFailed
from tenancy.platform.clock import Clock
from tenancy.storage.objects import ObjectStore, ObjectVersion

KEPT_LONGER = timedelta(hours=1)
"""So far behind ours another process's clock may be, which still takes an id that is over by ours."""
MOST_REMOVED = 50
"""At once, so that whoever signs out does not wait for all that has gathered."""


@dataclass(frozen=True)
class Spent:
    objects: ObjectStore
    clock: Clock

    async def spend(self, spent_id: str, ends: int) -> bool:
        """Whether nobody had spent it before. ``ends``: seconds since 1970, the same for one id each time."""
        await self._remove_those_that_are_over()  # first: if that fails, nothing is spent
        try:
            await self.objects.put(object_keys.spent(ends, spent_id), b"", if_absent=True)
        except PreconditionFailed:
            return False
        return True

    async def has(self, spent_id: str, ends: int) -> bool:
        """Whether somebody has spent it. One request."""
        return await self.objects.exists(object_keys.spent(ends, spent_id))

    async def _remove_those_that_are_over(self) -> None:
        now = (self.clock() - KEPT_LONGER).timestamp()
        over: list[ObjectVersion] = []
        async for version in self.objects.versions(object_keys.SPENT_PREFIX):
            if len(over) == MOST_REMOVED or object_keys.ends_of_spent(version.key) > now:
                break
            over.append(version)
        if over:
            await self.objects.delete_versions(over)
