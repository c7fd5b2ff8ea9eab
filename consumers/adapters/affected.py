"""Finds adapters that were trained on a withdrawn example, or on one under a withdrawn consent."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.objects import object_keys
from schemas.objects.state import AdapterState, TenantState
from schemas.objects.training import TrainingSet
from schemas.objects.withdrawals import WithdrawalRecord
from tenancy.errors import ObjectNotFound, SealBroken
from tenancy.platform.concurrency import gathered
from tenancy.platform.logs import SCOPE, error_location
from tenancy.state.archive import Archive
from tenancy.storage.tenant_store import TenantStore

logger = logging.getLogger(f"{SCOPE}.adapters")


@dataclass
class ImpactFinder:
    """What one tenant's adapters were made with, as far as these open withdrawals ask.

    Training sets never change, so each is read once; they grow and are many, so no more of them is kept than is asked.
    """

    store: TenantStore
    opened: Sequence[WithdrawalRecord]
    _sets: dict[str, tuple[frozenset[str], frozenset[str]]] = field(default_factory=dict)

    async def find(self, state: TenantState, withdrawal: WithdrawalRecord) -> dict[str, AdapterState]:
        """Every adapter with the example in its set, trained on or held out, wherever the adapter is kept.

        Searches until the record names some: none with the example can be published after that. A training set that
        does not open, or is missing, counts as one with the example. An archived adapter whose record does not open is
        left out, since it answers nobody; raises :class:`SealBroken` for it where no other has the example.
        """
        archive, is_noted = Archive(self.store), withdrawal.is_decided or bool(withdrawal.affected)
        digests = (
            withdrawal.affected if is_noted else {*state.adapters, *[digest async for digest in archive.digests()]}
        )
        broken: list[SealBroken] = []

        async def read(digest: str) -> tuple[str, AdapterState | None]:
            try:
                return digest, await archive.known_adapter(state, digest)
            except SealBroken as error:
                details = {"adapter_digest": digest, "error": error_location(error)}
                logger.error("adapter's record not read", extra=details)
                broken.append(error)
                return digest, None

        found = await gathered(read(digest) for digest in sorted(digests))
        affected = {digest: adapter for digest, adapter in found if adapter is not None}
        if not is_noted:
            affected = {digest: one for digest, one in affected.items() if await self._contains(one, withdrawal)}
        if broken and (is_noted or not affected):
            raise broken[0]
        return affected

    async def _contains(self, adapter: AdapterState, withdrawal: WithdrawalRecord) -> bool:
        try:
            examples, consents = await self._set(adapter.training_set_id)
        except (SealBroken, ObjectNotFound) as error:
            details = {"training_set_id": adapter.training_set_id, "error": error_location(error)}
            logger.error("training set not read", extra=details)
            return True
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
