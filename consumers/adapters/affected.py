"""Which adapters contain a withdrawn example, or one under a withdrawn consent."""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas import object_keys
from schemas.records import TrainingSet
from schemas.state import AdapterState, TenantState
from schemas.withdrawals import WithdrawalRecord
from tenancy.archive import Archive
from tenancy.store import TenantStore


@dataclass
class Uses:
    """What one tenant's adapters were made with. Training sets never change, so each is read once."""

    store: TenantStore
    _sets: dict[str, tuple[frozenset[str], frozenset[str]]] = field(default_factory=dict)

    async def affected(self, state: TenantState, withdrawal: WithdrawalRecord) -> dict[str, AdapterState]:
        """Every adapter with the example in its set, trained on or held out, wherever the adapter is kept.

        Once noted in the record they are not searched for again: none that contains it can be published any more.
        """
        archive = Archive(self.store)
        if withdrawal.affected:
            noted = [await archive.known_adapter(state, digest) for digest in withdrawal.affected]
            return {d: adapter for d, adapter in zip(withdrawal.affected, noted, strict=True) if adapter is not None}
        known = await archive.all_adapters(state)
        return {digest: known[digest] for digest in sorted(known) if await self._contains(known[digest], withdrawal)}

    async def _contains(self, adapter: AdapterState, withdrawal: WithdrawalRecord) -> bool:
        set_id = adapter.training_set_id
        if set_id not in self._sets:
            held, _ = await self.store.get_record(object_keys.training_set(set_id), TrainingSet)
            self._sets[set_id] = (
                frozenset(entry.example_id for entry in held.entries),
                frozenset(entry.consent_id for entry in held.entries if entry.consent_id),
            )
        examples, consents = self._sets[set_id]
        return withdrawal.example_id in examples or withdrawal.consent_id in consents
