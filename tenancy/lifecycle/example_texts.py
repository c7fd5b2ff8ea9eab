"""Erases the texts of examples that no decision needs or, under a legal hold, sets them aside until its release.

Texts that may be trained on lie under ``contents/``. A text that is withdrawn, rejected or replaced by a later version
leaves there in any case, hold or not, so that nothing can train on it, export it or send it anywhere. Under an open
hold it is first copied, sealed, to a place that only this module reads, and is erased there after the release.

Each erasure is decided by a swap of the tenant's state, which an open hold forbids; during the erasure the example's
id is in the state. So a hold precedes the decision, or records that texts are already being erased.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from schemas.objects import object_keys
from schemas.objects.curation import ExampleRecord
from schemas.objects.state import TenantState
from tenancy.errors import DeletionRefused, ObjectNotFound, PreconditionFailed
from tenancy.state.legal_holds import (
    Held,
    open_holds,
    text_erasures_decided,
    text_erasures_done,
    texts_kept,
    texts_released,
)
from tenancy.state.open_work import announce
from tenancy.state.registry import StateRegistry
from tenancy.storage.objects import ObjectVersion
from tenancy.storage.tenant_store import TenantStore

ERASED_AT_ONCE = 16
KEPT = ("withdrawals", "kept-texts")


@dataclass(frozen=True)
class Texts:
    """The texts of one tenant's examples."""

    states: StateRegistry
    store: TenantStore

    async def drop(self, record: ExampleRecord) -> None:
        """Erase or put aside what ``record``, which is written already, does not need. Again it finds nothing to do.

        What the store does not delete is owed, by the state, and tried again by :meth:`finish_erasures`.
        """
        names = await self.dead(record)
        if not names:
            return
        await announce(self.store.objects, "withdrawals", self.store.tenant)
        try:
            await self.states.swap(self.store.tenant, text_erasures_decided([record.example_id]))
        except Held:
            # Copied before the state says that there is something aside: who sees that finds this.
            for name in names:
                await self._put_aside(name)
            state = (await self.states.swap(self.store.tenant, texts_kept(record.example_id))).state
            if record.example_id not in state.text_erasures:
                for name in names:
                    with suppress(DeletionRefused):
                        await self.store.erase(name)
                return
        await self._erase([record.example_id])

    async def finish_erasures(self, state: TenantState) -> None:
        """End the erasures that ``state`` names, as a process may have died over them, and those that a hold kept.

        Raises :class:`DeletionRefused` for what the store does not delete, once all else is erased.
        """
        kept = await self._erase(state.text_erasures)
        if state.texts_kept and not open_holds(state):
            kept += await self._release(state)
        if kept:
            raise DeletionRefused(kept)

    async def _release(self, state: TenantState) -> list[tuple[str, str]]:
        """Erase what holds kept, of which none is open any more. What the store keeps is owed from then on."""
        kept: list[tuple[str, str]] = []
        ids = [relative.split("/")[2] async for relative in self.store.list(*KEPT)]
        ids = [one for one in dict.fromkeys(ids) if one not in state.text_erasures]  # those were tried already
        with suppress(Held):
            for start in range(0, len(ids), ERASED_AT_ONCE):
                some = ids[start : start + ERASED_AT_ONCE]
                await self.states.swap(self.store.tenant, text_erasures_decided(some))
                kept += await self._erase(some)
            await self.states.swap(self.store.tenant, texts_released(state.texts_kept))
        return kept

    async def _erase(self, ids: Iterable[str]) -> list[tuple[str, str]]:
        """What was decided: each example's texts that its record does not need, and what was put aside of it.

        Listed first, and removed only if it is decided still: then what was listed is covered by that decision. Who is
        so slow that another ended the erasure, and a hold came, removes nothing that was put aside under it.

        Returns what the store does not delete, as :class:`DeletionRefused` has it: such an example stays decided.
        """
        done: list[str] = []
        kept: list[tuple[str, str]] = []
        for example_id in ids:
            doomed = await self._doomed(example_id)
            try:
                if example_id in (await self.states.read(self.store.tenant)).state.text_erasures:
                    await self.store.objects.delete_versions(doomed)
            except DeletionRefused as refused:
                kept += refused.kept
            else:
                done.append(example_id)
        if done:
            await self.states.swap(self.store.tenant, text_erasures_done(done))
        return kept

    async def _doomed(self, example_id: str) -> list[ObjectVersion]:
        objects, tenant = self.store.objects, self.store.tenant
        found = [held async for held in objects.versions(object_keys.tenant_area(tenant, *KEPT, example_id))]
        record, _ = await self.store.find_record(object_keys.example(example_id), ExampleRecord)
        if record is not None:
            texts = object_keys.tenant_area(tenant, "contents", example_id)
            found += [held async for held in objects.versions(texts) if _is_dead(held.key, record)]
        return found

    async def dead(self, record: ExampleRecord) -> list[str]:
        """The texts that are still there and that ``record`` does not need."""
        if record.status == "approved" and record.version == 1:
            return []  # saves a listing with each redelivery
        names = [relative async for relative in self.store.list("contents", record.example_id)]
        return [name for name in names if _is_dead(name, record)]

    async def _put_aside(self, name: str) -> None:
        example_id, version = name.split("/")[1:]
        with suppress(ObjectNotFound, PreconditionFailed):  # another delivery of the event was here
            text, _ = await self.store.get(name)
            await self.store.put(object_keys.kept_text(example_id, int(version)), text, if_absent=True)


def _is_dead(name: str, record: ExampleRecord) -> bool:
    """Whether the decision does not need this version. A later one may be uploaded already, ahead of its approval."""
    version = int(name.rpartition("/")[2])
    if record.status == "approved":
        return version < record.version
    return record.status == "withdrawn" or version <= record.version
