"""Publishes one reviewer's verdict on a proposed example, bound to the text that waits now."""

from __future__ import annotations

from collections.abc import Collection

from producers.queries.proposals import ProposalView, proposed_text
from schemas.bus.events import ExampleReviewed, Verdict
from tenancy.bootstrap import Tenancy
from tenancy.errors import Refused
from tenancy.tenant_id import TenantId


async def review(
    tenancy: Tenancy,
    tenant: TenantId,
    example_id: str,
    *,
    version: int,
    reviewer_id: str,
    authored_as: Collection[str] = (),
    verdict: Verdict,
    reason_code: str | None = None,
) -> ProposalView:
    """Publish the verdict on this version. What it comes to is curation's to say.

    ``authored_as``: further ids under which the reviewer may be its author.
    Raises :class:`Refused` where that version does not wait for reviewers, or the reviewer is its author.
    """
    proposal = (await proposed_text(tenancy, tenant, example_id)).proposal
    if proposal.version != version:
        why = f"refused: version {proposal.version} waits for reviewers, and not {version}; look at it first"
        raise Refused("another-version", why)
    if proposal.author_id in (reviewer_id, *authored_as):
        raise Refused("own-example", "refused: who wrote or edited an example does not review it")
    said = ExampleReviewed(
        example_id=example_id,
        version=version,
        reviewer_id=reviewer_id,
        verdict=verdict,
        reason_code=reason_code,
        commitment=proposal.commitment,
    )
    await tenancy.outbox.publish(tenant, said)
    return proposal
