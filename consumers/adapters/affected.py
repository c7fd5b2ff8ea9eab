"""Finds adapters that were trained on a withdrawn example, or on one under a withdrawn consent."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from schemas.objects import object_keys
from schemas.objects.state import AdapterState, TenantState
from schemas.objects.training import TrainingSet
from schemas.objects.withdrawals import WithdrawalRecord
from tenancy.errors import ObjectNotFound, SealBroken
from tenancy.platform.concurrency import gathered
from tenancy.service.telemetry import SCOPE, error_location
from tenancy.state.archive import Archive
from tenancy.storage.tenant_store import TenantStore

logger = logging.getLogger(f"{SCOPE}.adapters")


@dataclass(frozen=True)
class Impact:
    """What a withdrawal affects, and what is only not known to be free of the example: see its record.

    ``is_conclusive``: False while something failed that may pass; nothing can be said of the withdrawal's end by then.
    """

    affected: dict[str, AdapterState]
    unread: tuple[str, ...]
    undetermined: tuple[str, ...]
    is_conclusive: bool


@dataclass
class ImpactFinder:
    """What one tenant's adapters were made with, as far as these open withdrawals ask.

    Training sets never change, so each is read once; they grow and are many, so no more of them is kept than is asked.
    """

    store: TenantStore
    opened: Sequence[WithdrawalRecord]
    _sets: dict[str, tuple[frozenset[str], frozenset[str]]] = field(default_factory=dict)

    async def find(self, state: TenantState, withdrawal: WithdrawalRecord, *, is_overdue: bool) -> Impact:
        """Every adapter with the example in its set, trained on or held out, wherever the adapter is kept.

        Once noted in the record they are not searched for again: none that contains it can be published any more.
        Only what could not be read is tried again: a set until the retirement is decided, and what is undetermined
        until the withdrawal closes.

        A set that does not open, or is not there, counts as one with the example; so does, when ``is_overdue``, one
        that cannot be read for a reason that may pass. Before, its adapter is undetermined.
        """
        known, unknown, is_conclusive = await self._known(state, await self._asked(state, withdrawal))
        affected, unread, undetermined = {}, [], unknown
        for digest, adapter in known.items():
            is_noted = digest in withdrawal.affected
            if is_noted and (withdrawal.is_decided or digest not in withdrawal.unread):
                contains: bool | None = None if digest in withdrawal.unread else True
            else:
                try:
                    contains = await self._contains(adapter, withdrawal)
                except Exception as error:
                    logger.error(
                        "training set not read", extra={"adapter_digest": digest, "error": error_location(error)}
                    )
                    if not (is_overdue or is_noted or isinstance(error, SealBroken | ObjectNotFound)):
                        undetermined.append(digest)
                        is_conclusive = False
                        continue
                    contains = None
            if contains is None:
                unread.append(digest)
            if contains is not False:
                affected[digest] = adapter
        return Impact(affected, tuple(unread), tuple(sorted(undetermined)), is_conclusive)

    async def _asked(self, state: TenantState, withdrawal: WithdrawalRecord) -> list[str]:
        """The adapters to look at."""
        if withdrawal.step == "closing":
            return sorted(withdrawal.affected)
        if withdrawal.is_decided or withdrawal.affected:
            return sorted({*withdrawal.affected, *withdrawal.undetermined})
        return sorted({*state.adapters, *[digest async for digest in Archive(self.store).digests()]})

    async def _known(
        self, state: TenantState, digests: Iterable[str]
    ) -> tuple[dict[str, AdapterState], list[str], bool]:
        """These adapters, those whose record cannot be read, and whether none of these may be read by another look."""
        archive = Archive(self.store)
        is_conclusive = True

        async def read(digest: str) -> tuple[str, AdapterState | None]:
            nonlocal is_conclusive
            try:
                return digest, await archive.known_adapter(state, digest)
            except Exception as error:
                is_conclusive &= isinstance(error, SealBroken)
                logger.error(
                    "adapter's record not read", extra={"adapter_digest": digest, "error": error_location(error)}
                )
                return digest, None

        found = await gathered(read(digest) for digest in digests)
        known = {digest: adapter for digest, adapter in found if adapter is not None}
        return known, [digest for digest, adapter in found if adapter is None], is_conclusive

    async def _contains(self, adapter: AdapterState, withdrawal: WithdrawalRecord) -> bool:
        examples, consents = await self._set(adapter.training_set_id)
        return withdrawal.example_id in examples or withdrawal.consent_id in consents

    async def _set(self, set_id: str) -> tuple[frozenset[str], frozenset[str]]:
        if set_id not in self._sets:
            held, _ = await self.store.get_record(object_keys.training_set(set_id), TrainingSet)
            examples = {record.example_id for record in self.opened}
            consents = {record.consent_id for record in self.opened}
            self._sets[set_id] = (
                frozenset(entry.example_id for entry in held.entries if entry.example_id in examples),
                frozenset(e.consent_id for e in held.entries if e.consent_id and e.consent_id in consents),
            )
        return self._sets[set_id]
