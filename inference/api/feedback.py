"""Takes ``POST /v1/feedback``: one word on an answer, from the tenant that got it. No text is taken, and none is kept.

It is counted by what the answering adapter is to its tenant now: a canary, the active one, another one, or the base
model. So a canary can be compared with what it is to replace, and no number names a tenant or an adapter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from opentelemetry import metrics

from inference.adapters.recent_set import RecentSet
from inference.engine.field_checks import one_of, refused, require_known
from inference.errors import no_such_answer
from inference.tenants.answer_ids import NONCE_DIGITS, AnswerIds
from inference.tenants.binding import BASE, TenantStateCache
from inference.tenants.turns import Turns
from inference.tenants.usage import UsageMeter
from inference.tenants.versions import version_of
from schemas.objects.state import TenantState
from schemas.tenant.policy import MOST_CANARY_HOURS
from tenancy.state.spent import Spent
from tenancy.tenant_id import TenantId

RATINGS = ("up", "down")
CODES = ("incorrect", "incomplete", "unsafe", "style", "other")
"""Name what is wrong with an answer. They become labels, and a caller's own words could hold a name."""
NO_CODE = "none"
FIELDS = frozenset({"answer_id", "rating", "code"})


@dataclass
class Feedback:
    """Counts feedback. An answer's counts once on a replica, so that a client that sends it again changes nothing; what
    may end a canary counts once in the installation, whichever replicas it is sent to.
    """

    ids: AnswerIds
    views: TenantStateCache
    turns: Turns
    counter: metrics.Counter
    meter: UsageMeter
    spent: Spent
    _rated: RecentSet[str] = field(default_factory=RecentSet)

    async def take(self, tenant: TenantId, body: Mapping[str, Any]) -> dict[str, Any]:
        """Raises :class:`EngineRefused` (400), :class:`RequestRefused` (403, 404, 429), and :class:`Transient` where it
        cannot be told whether it counts, so that it counts when it is sent again.
        """
        state = await self.views.active(tenant)
        sent = {name: value for name, value in body.items() if value is not None}
        require_known(sent, FIELDS)
        answer_id, rating, code = sent.get("answer_id"), sent.get("rating"), sent.get("code")
        if not isinstance(answer_id, str):
            raise refused("answer_id", "must be the id of an answer")
        one_of(*RATINGS)("rating", rating)
        if code is not None:
            one_of(*CODES)("code", code)
        self.turns.rates.admit(tenant, state.policy)
        adapter = await self.ids.adapter(tenant, answer_id, (BASE, *state.adapters))
        if adapter is None:
            raise no_such_answer()
        if (bare := answer_id[-64:]) not in self._rated:
            if rating == "down":
                await self._count_against(tenant, state, adapter, bare)
            if bare not in self._rated:  # nor by a request beside this one
                self._rated.add(bare)
                labels = {"rating": str(rating), "code": str(code or NO_CODE), "adapter": _role(state, adapter)}
                self.counter.add(1, labels)
        return {"object": "feedback", "answer_id": answer_id, "rating": rating, "adapter": adapter}

    async def _count_against(self, tenant: TenantId, state: TenantState, adapter: str, answer_id: str) -> None:
        """Count it for its side of the tenant's canary, where it is on one, unless another replica has."""
        version = version_of(state, None if adapter == BASE else adapter)
        if version is None or state.canary is None:
            return
        # Whatever the policy said meanwhile, nothing counts for the canary from then on.
        ends = int((state.canary.began_at + timedelta(hours=MOST_CANARY_HOURS)).timestamp())
        if await self.spent.spend(answer_id[:NONCE_DIGITS], ends):
            self.meter.version(tenant, version).rated_down += 1


def _role(state: TenantState, adapter: str) -> str:
    if adapter == BASE:
        return BASE
    if state.canary is not None and adapter == state.canary.adapter_digest:
        return "canary"
    return "active" if adapter == state.active_adapter else "other"
