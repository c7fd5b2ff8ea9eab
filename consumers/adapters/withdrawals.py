"""Reconciles withdrawals: applies the tenant's policy to the adapters that contain a withdrawn example.

Any process may reconcile, at any time, again and again. A withdrawal is an object under ``withdrawals/open/`` until its
receipt is signed; each step is found out by doing it again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from consumers.adapters.affected import ImpactFinder
from consumers.adapters.closing import Affected, Closing
from consumers.adapters.erasure import Erasure
from consumers.adapters.retirement import Retirement
from consumers.runtime.policy import HANDLING
from schemas.bus.derived_commands import retraining_run_id
from schemas.bus.events import TrainingRequested
from schemas.objects import object_keys
from schemas.objects.curation import ConsentRecord
from schemas.objects.state import TenantState
from schemas.objects.withdrawals import WithdrawalOutcome, WithdrawalRecord
from tenancy.bootstrap import Tenancy
from tenancy.errors import KeyDestroyed, ObjectNotFound, SealBroken, TenantFenced, UnknownTenant
from tenancy.evidence.signer import Signer
from tenancy.lifecycle.example_texts import Texts
from tenancy.lifecycle.replicas import Replicas
from tenancy.platform.concurrency import gathered
from tenancy.platform.logs import SCOPE, error_location, trouble_logged
from tenancy.platform.tracing import continued
from tenancy.state.archive import Archive
from tenancy.state.open_work import Left, OpenWork, announce, everybody
from tenancy.state.rounds import Rounds
from tenancy.storage.tenant_store import TenantStore
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.adapters")


@dataclass(frozen=True)
class _Case:
    """One open withdrawal, the tenant's state when it was looked at, the adapters that contain the example, and what
    the tenant's other open withdrawals retire.
    """

    store: TenantStore
    record: WithdrawalRecord
    etag: str
    state: TenantState
    affected: Affected
    retired_elsewhere: frozenset[str]

    @property
    def is_served(self) -> bool:
        """Whether the adapter that answers is among the affected."""
        active = self.affected.get(self.state.active_adapter or "")
        return active is not None and active.status == "ready"

    @property
    def is_replaced(self) -> bool:
        """Whether a newer adapter without the example is published, which only waits to be activated.

        One that a rollback left is none: neither a retirement nor its readiness makes it active again.
        """
        active = self.state.adapters[self.state.active_adapter or ""]
        return any(
            digest not in self.affected
            and adapter.status != "retired"
            and not adapter.rolled_back
            and adapter.is_newer_than(active)
            for digest, adapter in self.state.adapters.items()
        )


@dataclass
class WithdrawalReconciler:
    """Drives the open withdrawals of its share of the tenants.

    ``quiesce_seconds``: after a retirement and this long no handler that began before it can still write.
    ``deadline_seconds``: from the look at the state to the last write of one step. A purge waits that long for a
    driver that found the tenant active, and no longer.
    """

    tenancy: Tenancy
    signer: Signer
    replicas: Replicas
    quiesce_seconds: float
    deadline_seconds: float = HANDLING.deadline_seconds
    now: Callable[[], float] = time.monotonic
    owns: Callable[[TenantId], bool] = everybody
    _work: OpenWork = field(init=False)

    def __post_init__(self) -> None:
        objects, owns = self.tenancy.objects, lambda tenant: self.owns(tenant)
        self._work = OpenWork(objects, "withdrawals", self.quiesce_seconds, lambda: self.now(), owns)

    async def reconcile(self) -> None:
        """Take every open withdrawal as far as it goes now."""
        await self._work.reconcile(self._tried_at)

    async def _tried_at(self, tenant: TenantId) -> Left:
        left: Left = "something"  # as long as nobody knows
        with suppress(TenantFenced, KeyDestroyed), _tried("withdrawals not driven"):
            left = await self._look_at(tenant)  # or it was purged since, withdrawals and all
        return left

    async def sweep(self) -> None:
        """The round over all tenants: announces what no marker names."""
        for tenant in await Rounds(self.tenancy.states, "withdrawals", self.tenancy.clock).take():
            with suppress(TenantFenced, KeyDestroyed), _tried("withdrawals not looked for"):
                state = (await self.tenancy.states.read(tenant)).state
                if _may_have_work(state) and (_owes(state) or await _names(await self.tenancy.store(tenant))):
                    await announce(self.tenancy.objects, "withdrawals", tenant)

    async def _look_at(self, tenant: TenantId) -> Left:
        """Drive one tenant and return what the look found; work that it finished itself is seen by the next look."""
        try:
            state = (await self.tenancy.states.read(tenant)).state
        except UnknownTenant:
            return "nothing"
        if state.status != "active":
            return "fenced"
        if not _may_have_work(state):
            return "nothing"
        has_texts = bool(state.text_erasures or state.texts_kept)
        store = await self.tenancy.store(tenant)
        names = await _names(store)
        opened = await self._opened(store, names)
        uses = ImpactFinder(store, [record for record, _ in opened])
        asked_for = [record.run_id for record, _ in opened if record.run_id is not None]
        for record, etag in opened:
            with _tried("withdrawal not driven", withdrawal_id=record.withdrawal_id), continued(record.traceparent):
                await self._advance(uses, record, etag, asked_for)
        # What nobody is served any more comes last: a store that does not delete it keeps no adapter active.
        if state.erasures:
            with _tried("erasures not ended"):
                await self._strike_out(store, state)
        if has_texts:
            with _tried("texts not erased"):
                await Texts(self.tenancy.states, store).finish_erasures(state)
        return "something" if names or _owes(state) else "nothing"

    async def _opened(self, store: TenantStore, names: list[str]) -> list[tuple[WithdrawalRecord, str]]:
        """The open withdrawals, without those whose record does not open."""

        async def read(relative: str) -> tuple[WithdrawalRecord, str] | None:
            try:
                return await store.get_record(relative, WithdrawalRecord)
            except ObjectNotFound:
                return None  # another process closed it since it was listed
            except SealBroken as error:
                withdrawal_id = relative.rpartition("/")[2]
                logger.error(
                    "withdrawal not read", extra={"withdrawal_id": withdrawal_id, "error": error_location(error)}
                )
                return None

        found = await gathered(read(relative) for relative in names)
        return [one for one in found if one is not None]

    async def _strike_out(self, store: TenantStore, state: TenantState) -> None:
        """The withdrawals are read after ``state``, whose erasures they may have ended since."""
        opened = await self._opened(store, await _names(store))
        await Erasure(self.tenancy, store).strike_out(state, (record for record, _ in opened))

    async def _advance(self, uses: ImpactFinder, record: WithdrawalRecord, etag: str, asked_for: list[str]) -> None:
        store = uses.store
        others = (other for other in uses.opened if other.withdrawal_id != record.withdrawal_id)
        retired_elsewhere = frozenset(digest for other in others for digest in other.retiring)
        # Before the state: an adapter that was published while the example was eligible is then in it.
        is_in_force = record.is_decided or await _is_in_force(store, record)
        state = (await self.tenancy.active(store.tenant)).state
        # Reading takes as long as it takes, so the deadline of the writes begins behind it.
        affected = await uses.find(state, record)
        closing = Closing(self.tenancy, store, self.signer)
        left = await closing.collected(record)
        async with asyncio.timeout(self.deadline_seconds):
            state = (await self.tenancy.active(store.tenant)).state
            if record.step == "closing":
                await closing.seal(record, affected, left)
                return
            case = _Case(store, record, etag, state, affected, retired_elsewhere)
            await self._act(case, asked_for, is_in_force=is_in_force)

    async def _act(self, case: _Case, asked_for: list[str], *, is_in_force: bool) -> None:
        retirement = Retirement(self.tenancy, case.store, self.signer, self.replicas, self.quiesce_seconds)
        closing = Closing(self.tenancy, case.store, self.signer)
        record, etag, affected = case.record, case.etag, case.affected
        if record.is_decided:
            await retirement.go_on(record, etag, affected, case.retired_elsewhere)
        elif (outcome := self._outcome(case, is_in_force=is_in_force)) is not None:
            await closing.close(record, etag, outcome, affected)
        elif any(adapter.status == "publishing" for adapter in affected.values()):
            return  # its files are being moved; retired in between, some would be left
        elif self._is_due(case):
            await retirement.begin(record, etag, affected)
        else:
            await self._retrain(case, asked_for)

    def _outcome(self, case: _Case, *, is_in_force: bool) -> WithdrawalOutcome | None:
        """How the withdrawal ends without a retirement, if it does."""
        if not is_in_force:
            return "consent-renewed"
        if case.affected:
            return "flagged" if case.state.policy.on_withdrawal == "flag" else None
        return "not-affected"

    def _is_due(self, case: _Case) -> bool:
        """Whether to retire the affected adapters now: none of them answers, or policy or deadline allows no wait."""
        is_over = self.tenancy.clock() >= case.record.deadline
        return is_over or case.state.policy.on_withdrawal == "stop" or not case.is_served

    async def _retrain(self, case: _Case, asked_for: list[str]) -> None:
        """Ask for a training without the example, once, unless one is under way: it publishes none with it.

        Publication checks the frozen set again when anything was withdrawn since. Where the training ends without an
        adapter, one of a later batch may replace the affected ones; the deadline ends the wait.
        """
        store, record, state = case.store, case.record, case.state
        is_under_way = any(not run.is_over for run in state.runs.values()) or not case.is_served or case.is_replaced
        for run_id in asked_for:  # on other withdrawals' account, and maybe not taken in yet
            is_under_way |= run_id not in state.runs and await Archive(store).run(run_id) is None
        noted = record.evolve(affected=tuple(case.affected))
        if record.run_id is None and not is_under_way:
            run_id = retraining_run_id(record.withdrawal_id)
            requested = TrainingRequested(run_id=run_id, trigger="policy")
            await self.tenancy.outbox.publish(store.tenant, requested, causation_id=record.withdrawal_id)
            asked_for.append(run_id)
            noted = noted.evolve(run_id=run_id)
        if noted != record:
            await store.put_record(object_keys.open_withdrawal(record.withdrawal_id), noted, if_match=case.etag)


async def _names(store: TenantStore) -> list[str]:
    """Where the open withdrawals lie. One request."""
    return [relative async for relative in store.list("withdrawals", "open")]


def _owes(state: TenantState) -> bool:
    return bool(state.erasures or state.text_erasures or state.texts_kept)


def _may_have_work(state: TenantState) -> bool:
    """Whether anything was ever withdrawn or replaced, as far as the state tells."""
    is_touched = state.curation.eligibility_version is not None or bool(state.text_erasures or state.texts_kept)
    return state.status == "active" and is_touched


_tried = partial(trouble_logged, logger, but=(TenantFenced, KeyDestroyed))
"""What fails holds up nothing that comes after it, but what a purge since the look began has made of the tenant."""


async def _is_in_force(store: TenantStore, record: WithdrawalRecord) -> bool:
    """Whether the example may still not be used. What was withdrawn is recorded before its withdrawal is noted."""
    if record.consent_id is None:
        return True  # of an example, for ever
    try:
        consent, _ = await store.get_record(object_keys.consent(record.consent_id), ConsentRecord)
    except (ObjectNotFound, SealBroken):
        return True  # nothing says that it was granted again
    return not consent.granted
