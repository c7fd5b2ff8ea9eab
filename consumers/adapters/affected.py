"""Which adapters contain a withdrawn example, or one under a withdrawn consent."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from consumers.runtime.telemetry import SCOPE, where
from schemas import object_keys
from schemas.records import TrainingSet
from schemas.state import AdapterState, TenantState
from schemas.withdrawals import WithdrawalRecord
from tenancy.archive import Archive
from tenancy.bounded import gathered
from tenancy.errors import ObjectNotFound, SealBroken
from tenancy.store import TenantStore

logger = logging.getLogger(f"{SCOPE}.adapters")


@dataclass(frozen=True)
class Found:
    """What a withdrawal affects, and what is only not known to be free of the example: see its record."""

    affected: dict[str, AdapterState]
    unread: tuple[str, ...]
    undetermined: tuple[str, ...]


@dataclass
class Uses:
    """What one tenant's adapters were made with. Training sets never change, so each is read once."""

    store: TenantStore
    _sets: dict[str, tuple[frozenset[str], frozenset[str]]] = field(default_factory=dict)

    async def found(self, state: TenantState, withdrawal: WithdrawalRecord, *, is_overdue: bool) -> Found:
        """Every adapter with the example in its set, trained on or held out, wherever the adapter is kept.

        Once noted in the record they are not searched for again: none that contains it can be published any more.
        Only what did not open then is tried again, for as long as nothing is decided.

        What does not open, or is not there, will hardly be there at the next look. Any other failure may be the
        store's and pass, so it is raised, except when ``is_overdue``: then what is not known counts as affected.
        """
        noted = dict.fromkeys((*withdrawal.affected, *withdrawal.undetermined)) if withdrawal.affected else None
        if noted is None:
            noted = dict.fromkeys([*state.adapters, *[digest async for digest in Archive(self.store).digests()]])
        known, undetermined = await self._known(state, noted, is_overdue=is_overdue)
        if withdrawal.is_decided:
            affected = {digest: known[digest] for digest in withdrawal.affected if digest in known}
            unknown = dict.fromkeys((*withdrawal.undetermined, *undetermined))
            return Found(affected, withdrawal.unread, tuple(unknown))
        affected, unread = {}, []
        for digest in sorted(known):
            is_noted = digest in withdrawal.affected and digest not in withdrawal.unread
            contains = is_noted or await self._contains(digest, known[digest], withdrawal, is_overdue=is_overdue)
            if contains is None:
                unread.append(digest)
            if contains is not False:
                affected[digest] = known[digest]
        return Found(affected, tuple(unread), tuple(undetermined))

    async def _known(
        self, state: TenantState, digests: Iterable[str], *, is_overdue: bool
    ) -> tuple[dict[str, AdapterState], list[str]]:
        """These adapters, and those of them whose record cannot be read."""
        archive = Archive(self.store)

        async def read(digest: str) -> tuple[str, AdapterState | None]:
            try:
                return digest, await archive.known_adapter(state, digest)
            except Exception as error:
                if not (is_overdue or isinstance(error, SealBroken)):
                    raise
                logger.error("adapter's record not read", extra={"adapter_digest": digest, "error": where(error)})
                return digest, None

        found = await gathered(read(digest) for digest in digests)
        known = {digest: adapter for digest, adapter in found if adapter is not None}
        return known, sorted(digest for digest, adapter in found if adapter is None)

    async def _contains(
        self, digest: str, adapter: AdapterState, withdrawal: WithdrawalRecord, *, is_overdue: bool
    ) -> bool | None:
        """None where the training set cannot be read."""
        try:
            examples, consents = await self._set(adapter.training_set_id)
        except Exception as error:
            if not (is_overdue or isinstance(error, SealBroken | ObjectNotFound)):
                raise
            logger.error("training set not read", extra={"adapter_digest": digest, "error": where(error)})
            return None
        return withdrawal.example_id in examples or withdrawal.consent_id in consents

    async def _set(self, set_id: str) -> tuple[frozenset[str], frozenset[str]]:
        if set_id not in self._sets:
            held, _ = await self.store.get_record(object_keys.training_set(set_id), TrainingSet)
            self._sets[set_id] = (
                frozenset(entry.example_id for entry in held.entries),
                frozenset(entry.consent_id for entry in held.entries if entry.consent_id),
            )
        return self._sets[set_id]
