"""Measures how far a tenant's reviewers agree, beyond what chance would give: Krippendorff's alpha.

K. Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), section C, nominal data: any number of observers,
and not every observer on every unit. A unit is a version of an example, a value is a verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

from pydantic import Field

from producers.queries.parts import part_of
from schemas.base.contract import Contract
from schemas.objects.proposals import ReviewRecord
from tenancy.bootstrap import Tenancy
from tenancy.platform.concurrency import gathered
from tenancy.tenant_id import TenantId

MOST_REVIEWS = 5_000
"""Each costs a request to the bucket."""


class Agreement(Contract):
    """``alpha`` is 1 for perfect agreement and 0 for chance; absent: nothing to compare, or all verdicts are equal."""

    alpha: float | None
    units: int = Field(description="versions that at least two reviewed")
    reviews: int = Field(description="that were read")
    is_whole: bool = Field(description="whether every review was read")


def krippendorff_alpha(units: Iterable[Sequence[Hashable]]) -> float | None:
    """Alpha for nominal values; each unit has the values that its observers gave. None where it is not defined.

    With o_ck the coincidences of values c and k over all pairs of a unit, each pair weighted by 1/(m_u - 1), and n_c
    the sum of the row: alpha = 1 - (n - 1) * sum over c != k of o_ck / sum over c != k of n_c * n_k.
    """
    coincidences: Counter[tuple[Hashable, Hashable]] = Counter()
    weights: dict[tuple[Hashable, Hashable], float] = {}
    for values in units:
        if len(values) < 2:
            continue
        coincidences.clear()
        coincidences.update((one, other) for i, one in enumerate(values) for j, other in enumerate(values) if i != j)
        for pair, count in coincidences.items():
            weights[pair] = weights.get(pair, 0.0) + count / (len(values) - 1)
    sums: dict[Hashable, float] = {}
    for (value, _), weight in weights.items():
        sums[value] = sums.get(value, 0.0) + weight
    total = sum(sums.values())
    expected = sum(sums[one] * sums[other] for one in sums for other in sums if one != other)
    if expected == 0:
        return None
    observed = sum(weight for (one, other), weight in weights.items() if one != other)
    return 1 - (total - 1) * observed / expected


async def agreement(tenancy: Tenancy, tenant: TenantId) -> Agreement:
    """Of the tenant's reviews, :data:`MOST_REVIEWS` at most. Raises :class:`KeyDestroyed`."""
    store = await tenancy.store(tenant)
    part = await part_of(store.list("reviews"), MOST_REVIEWS)
    found = await gathered(store.get_record(name, ReviewRecord) for name in part.names)
    units: dict[tuple[str, int], list[str]] = {}
    for review, _ in found:
        units.setdefault((review.example_id, review.version), []).append(review.verdict)
    return Agreement(
        alpha=krippendorff_alpha(units.values()),
        units=sum(len(values) > 1 for values in units.values()),
        reviews=len(part.names),
        is_whole=part.following is None,
    )
