"""Histories of reviewers' decisions and of consents, for Hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from schemas.bus import events
from tenancy.tenant_id import TenantId
from tests.world.world import World

EXAMPLES = [f"e{number}" for number in range(5)]
CONSENTS = ["consent-1", "consent-2"]

Decision = tuple[Any, ...]

decisions: st.SearchStrategy[Decision] = st.one_of(
    st.tuples(st.just("approve"), st.sampled_from(EXAMPLES), st.integers(1, 3), st.sampled_from([*CONSENTS, None])),
    st.tuples(st.just("reject"), st.sampled_from(EXAMPLES), st.integers(1, 3)),
    st.tuples(st.just("withdraw"), st.sampled_from(EXAMPLES)),
    st.tuples(st.just("grant"), st.sampled_from(CONSENTS), st.integers(1, 4)),
    st.tuples(st.just("revoke"), st.sampled_from(CONSENTS), st.integers(1, 4)),
)


async def event_of(world: World, tenant: TenantId, made: Decision) -> events.EventData:
    """The decision as an event. An approved content is uploaded."""
    match made:
        case ("approve", example, version, consent):
            return await world.approval(tenant, example, version=version, consent=consent)
        case ("reject", example, version):
            return events.ExampleRejected(
                example_id=example, version=version, reviewer_id="rev-1", reason_code="unclear"
            )
        case ("withdraw", example):
            return events.ExampleWithdrawn(example_id=example, reason_code="patient-request")
        case ("grant", consent, version):
            return events.ConsentGranted(consent_id=consent, version=version)
        case ("revoke", consent, version):
            return events.ConsentRevoked(consent_id=consent, version=version)
    raise AssertionError(made)


def unique(history: list[Decision]) -> list[Decision]:
    """Each event once: an approval of one version is one event. A version may be approved and rejected, or granted and
    revoked: by different people, or by a tool that numbers texts and not decisions.
    """
    seen: set[tuple[Any, ...]] = set()
    kept = []
    for made in history:
        named = made[:2] if made[0] == "withdraw" else made[:3]
        if named not in seen:
            seen.add(named)
            kept.append(made)
    return kept
