"""Takes ``POST /v1/feedback``: one word on an answer, from the tenant that got it. No text is taken, and none is kept.

The metric counts it by what the answering adapter is to its tenant now: a canary, the active one, another one, or the
base model. So a canary can be compared with what it is to replace, and no label names a tenant or an adapter. The
tenant's usage counts it for the adapter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opentelemetry import metrics

from inference.engine.field_checks import one_of, refused, require_known
from inference.errors import no_such_answer
from inference.tenants.answer_ids import AnswerIds
from inference.tenants.binding import BASE, TenantStateCache
from inference.tenants.turns import Turns
from inference.tenants.usage import Rating, UsageMeter
from inference.tenants.versions import version_of
from schemas.objects.state import TenantState
from tenancy.state.spent import Spent
from tenancy.tenant_id import TenantId

RATINGS = ("up", "down")
CODES = ("incorrect", "incomplete", "unsafe", "style", "other")
"""Name what is wrong with an answer. They become labels, and a caller's own words could hold a name."""
NO_CODE = "none"
FIELDS = frozenset({"answer_id", "rating", "code"})


@dataclass
class Feedback:
    """Counts feedback: of an answer the first, whichever replicas are told and however often."""

    ids: AnswerIds
    views: TenantStateCache
    turns: Turns
    counter: metrics.Counter
    meter: UsageMeter
    spent: Spent

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
        answer = await self.ids.given(tenant, answer_id, (BASE, *state.adapters))
        if answer is None:
            raise no_such_answer()
        if await self.spent.spend(answer.nonce, answer.over_at):
            self._count(tenant, state, answer.adapter, "up" if rating == "up" else "down", str(code or NO_CODE))
        return {"object": "feedback", "answer_id": answer_id, "rating": rating, "adapter": answer.adapter}

    def _count(self, tenant: TenantId, state: TenantState, adapter: str, rating: Rating, code: str) -> None:
        self.counter.add(1, {"rating": rating, "code": code, "adapter": _role(state, adapter)})
        if adapter != BASE:
            self.meter.rated(tenant, adapter, rating)
        version = version_of(state, None if adapter == BASE else adapter)
        if version is not None and rating == "down":
            self.meter.version(tenant, version).rated_down += 1


def _role(state: TenantState, adapter: str) -> str:
    if adapter == BASE:
        return BASE
    if state.canary is not None and adapter == state.canary.adapter_digest:
        return "canary"
    return "active" if adapter == state.active_adapter else "other"
