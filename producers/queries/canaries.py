"""Shows operators a tenant's canary: what it and the active adapter answered, and what follows from that."""

from __future__ import annotations

from schemas.base.contract import Contract
from schemas.base.identifiers import ReasonCode, Sha256Hex
from schemas.bus.events import AnswersCounted
from schemas.objects.state import CanaryState, EndedCanary
from tenancy.bootstrap import Tenancy
from tenancy.lifecycle.canaries import Decision, answers_of, verdict
from tenancy.tenant_id import TenantId


class SideView(Contract):
    """One side of the comparison. ``adapter`` is absent for the base model."""

    side: str
    adapter: Sha256Hex | None
    answers: AnswersCounted


class CanaryView(Contract):
    """The canary, if there is one, and the latest that its metrics ended. ``decided_by``: the policy's word."""

    canary: CanaryState | None
    decided_by: str
    sides: tuple[SideView, ...] = ()
    decision: Decision | None = None
    reason_code: ReasonCode | None = None
    ended: EndedCanary | None = None


async def canary(tenancy: Tenancy, tenant: TenantId) -> CanaryView:
    """What is known of the tenant's canary now. Raises :class:`TenantFenced` and :class:`UnknownTenant`."""
    state = (await tenancy.active(tenant)).state
    view = CanaryView(canary=state.canary, decided_by=state.policy.canary_decision, ended=state.ended_canary)
    if state.canary is None:
        return view
    now = tenancy.clock()
    counted = await answers_of(await tenancy.store(tenant), state.canary, now)
    found = verdict(state.policy, state.canary, counted, now)
    sides = (
        SideView(side="canary", adapter=state.canary.adapter_digest, answers=counted.candidate),
        SideView(side="active", adapter=state.active_adapter, answers=counted.active),
    )
    return view.evolve(sides=sides, decision=found.decision, reason_code=found.reason_code)
