"""Builds the object keys of DESIGN section 5. Prefixes end in ``/``: ``tenants/t1`` also matches ``tenants/t10``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Literal

from schemas.base.identifiers import OPAQUE_ID_PATTERN, PURGE_ID_PATTERN, TENANT_ID_PATTERN

REGISTRY_PREFIX = "registry/"
TENANTS_PREFIX = "tenants/"
REPLICAS_PREFIX = "replicas/"
PURGES_PREFIX = "purges/"
AUDIT_PREFIX = "audit/"
IN_HAND_PREFIX = "in-hand/"
WORK_PREFIX = "work/"
ROUNDS_PREFIX = "rounds/"
PROBES_PREFIX = "probes/"
SPENT_PREFIX = "spent/"

WorkKind = Literal["training", "withdrawals", "rescans", "purges", "audit"]
"""What a service does beside its events, for tenants that it finds by their markers."""
RoundKind = Literal["training", "withdrawals", "rescans", "purges", "audit", "inventory"]
"""What goes through all tenants, slowly."""
WORK_OF_THE_LIVING: tuple[WorkKind, ...] = ("training", "withdrawals", "rescans")
"""There is none for a tenant that is fenced."""
WORK_BEYOND_THE_FENCE: tuple[WorkKind, ...] = ("purges", "audit")
"""The purge itself, and the signing of what it enters in the audit log."""

NEVER_WRITTEN = f"{REGISTRY_PREFIX}never-written"
"""No object has this key. A write conditional on one is answered like any other and writes nothing."""

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_MANIFEST = "manifest.json"
ADAPTER_MODEL_FILES = (ADAPTER_WEIGHTS, ADAPTER_CONFIG)
"""The files erased when an adapter is retired. Its manifest stays: it lists the examples it was made of."""
ADAPTER_FILES = (*ADAPTER_MODEL_FILES, ADAPTER_MANIFEST)

TENANT_AREAS: dict[str, str] = {
    "examples": "one record per example: decision, commitment, consent",
    "contents": "the sealed text of each version of an example",
    "proposals": "one record per proposed example: source, redaction gate, verdict, decision; and which are open",
    "reviews": "one record per reviewer and version of a proposed example",
    "consents": "one record per consent, and the examples waiting for it",
    "training-sets": "frozen, ordered lists of example ids and commitments",
    "runs": "job records, leases, examples left out by attempts, and results of ended runs",
    "staging": "a worker's output under its fencing number, before publication",
    "adapters": "published adapters, by digest",
    "terms": "the tenant's own identifiers and allowed words, and searches for identifiers that were missed",
    "knowledge": "documents of the tenant's retrieval, segments of its index, and lists of which of them count",
    "exports": "exports of adapters for the tenant to take away",
    "usage": "usage of the tenant, and how often answers of each adapter were rated good and bad",
    "withdrawals": "withdrawals that affect adapters, acknowledgements of retirements, and signed receipts; texts "
    "kept only by a legal hold",
}
"""Every area under a tenant's prefix and what it holds. :func:`tenant_key` refuses any other."""

CONSENTS = "consents/"
WITHDRAWALS = "withdrawals/"
OPEN_PROPOSALS = "proposals/open/"
OPEN_PROPOSAL_PATTERN = rf"^[0-9]{{18}}/{OPAQUE_ID_PATTERN[1:]}"
"""What stands behind :data:`OPEN_PROPOSALS` in a key."""
USAGE_DAYS = "usage/days/"
KNOWLEDGE_SEGMENTS = "knowledge/segments/"
KNOWLEDGE_SETS = "knowledge/sets/"


class ForbiddenKey(ValueError):
    """A key that would leave the tenant's prefix or that no area covers."""


def _checked(pattern: str, value: str, what: str) -> str:
    if re.fullmatch(pattern, value) is None:
        raise ForbiddenKey(f"refused: {what} has a shape that no key may have")
    return value


def probe_prefix(probe_id: str) -> str:
    return f"{PROBES_PREFIX}{_checked(OPAQUE_ID_PATTERN, probe_id, 'probe id')}/"


def probe_key(probe_id: str, number: int) -> str:
    return f"{probe_prefix(probe_id)}{number}"


def spent(ends: int, spent_id: str) -> str:
    """An id that counts no more and is over at ``ends``, in seconds since 1970: names sort by that time."""
    return f"{SPENT_PREFIX}{ends:012d}-{_checked(OPAQUE_ID_PATTERN, spent_id, 'spent id')}"


def ends_of_spent(key: str) -> int:
    return int(key.removeprefix(SPENT_PREFIX)[:12])


def registry_prefix(tenant: str) -> str:
    return f"{REGISTRY_PREFIX}{_checked(TENANT_ID_PATTERN, tenant, 'tenant id')}/"


def state_key(tenant: str) -> str:
    return f"{registry_prefix(tenant)}state.json"


def key_key(tenant: str) -> str:
    return f"{registry_prefix(tenant)}key.json"


def tenant_prefix(tenant: str) -> str:
    return f"{TENANTS_PREFIX}{_checked(TENANT_ID_PATTERN, tenant, 'tenant id')}/"


def tenant_key(tenant: str, relative: str) -> str:
    """The full key of ``<area>/<part>/...`` under the tenant's prefix. Raises :class:`ForbiddenKey`."""
    area, *parts = relative.split("/")
    if area not in TENANT_AREAS or not parts:
        raise ForbiddenKey("refused: the key starts with no area of a tenant's prefix, or names nothing in one")
    for part in parts:
        _checked(OPAQUE_ID_PATTERN, part, "a part of the key")
    return tenant_prefix(tenant) + relative


def tenant_area(tenant: str, area: str, *parts: str) -> str:
    """The listing prefix of an area or of a folder in it; ends in ``/``."""
    return tenant_key(tenant, "/".join((area, *parts, "x")))[:-1]


def replica_key(replica: str) -> str:
    return f"{REPLICAS_PREFIX}{_checked(OPAQUE_ID_PATTERN, replica, 'replica id')}.json"


def purges_prefix(tenant: str) -> str:
    """Of one tenant. The requester of a purge chooses its id, so an id is unique only within its tenant."""
    return f"{PURGES_PREFIX}{_checked(TENANT_ID_PATTERN, tenant, 'tenant id')}/"


def purge_key(tenant: str, purge: str) -> str:
    return f"{purges_prefix(tenant)}{_checked(PURGE_ID_PATTERN, purge, 'purge id')}.json"


def certificate_key(tenant: str, purge: str) -> str:
    return f"{purges_prefix(tenant)}{_checked(PURGE_ID_PATTERN, purge, 'purge id')}.certificate.json"


def open_work_prefix(kind: WorkKind) -> str:
    """The markers of every tenant for which there is such work."""
    return f"{WORK_PREFIX}{kind}/"


def open_work_of(kind: WorkKind, tenant: str) -> str:
    """The listing prefix of a tenant's marker."""
    return f"{open_work_prefix(kind)}{_checked(TENANT_ID_PATTERN, tenant, 'tenant id')}/"


def open_work(kind: WorkKind, tenant: str) -> str:
    return f"{open_work_of(kind, tenant)}open"


def round_progress(kind: RoundKind) -> str:
    """How far the slow round over all tenants is."""
    return f"{ROUNDS_PREFIX}{kind}.json"


def record_in_hand(group: str, topic: str, partition: int) -> str:
    """The crash marker of the first record that a consumer group took in hand after an assignment. The key is no prefix
    of another."""
    checked = [_checked(OPAQUE_ID_PATTERN, part, "a consumer group or topic") for part in (group, topic)]
    return f"{IN_HAND_PREFIX}{'/'.join(checked)}/{partition}.json"


# The audit log. It lies outside ``tenants/``, since it outlives a purge; it holds no content.


def audit_prefix(tenant: str) -> str:
    return f"{AUDIT_PREFIX}{_checked(TENANT_ID_PATTERN, tenant, 'tenant id')}/"


def audit_entries_prefix(tenant: str) -> str:
    return f"{audit_prefix(tenant)}entries/"


def audit_entry(tenant: str, seq: int) -> str:
    """Zero-padded, so that the lexical order of a listing is the order of the log."""
    return f"{audit_entries_prefix(tenant)}{seq:012d}"


def audit_claims_prefix(tenant: str) -> str:
    return f"{audit_prefix(tenant)}claims/"


def audit_claim(tenant: str, occurrence: str) -> str:
    return f"{audit_claims_prefix(tenant)}{_checked(OPAQUE_ID_PATTERN, occurrence, 'id of an occurrence')}"


def audit_checkpoints_prefix(tenant: str) -> str:
    return f"{audit_prefix(tenant)}checkpoints/"


def audit_checkpoint(tenant: str, number: int) -> str:
    return f"{audit_checkpoints_prefix(tenant)}{number:08d}.json"


def audit_head(tenant: str) -> str:
    return f"{audit_prefix(tenant)}head.json"


# Relative keys, for TenantStore.


def example(example_id: str) -> str:
    return f"examples/{example_id}"


def content(example_id: str, version: int) -> str:
    return f"contents/{example_id}/{version}"


def proposal(example_id: str) -> str:
    return f"proposals/records/{example_id}"


def open_proposal(proposed_at: datetime, example_id: str) -> str:
    """In the order of time: microseconds since the year 1, so that every time that the contract takes has a place."""
    since = (proposed_at - datetime(1, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return f"{OPEN_PROPOSALS}{max(0, since):018d}/{example_id}"


def review(example_id: str, version: int, event_id: str) -> str:
    """Named by its event: a reviewer's id is in no key."""
    return f"reviews/{example_id}/{version}/{event_id}"


def consent(consent_id: str) -> str:
    return f"{CONSENTS}{consent_id}"


def waiting_example(consent_id: str, example_id: str) -> str:
    return f"{CONSENTS}{consent_id}/waiting/{example_id}"


def terms() -> str:
    return "terms/list"


def rescan(scan_id: str) -> str:
    return f"terms/rescans/{scan_id}"


def training_set(set_id: str) -> str:
    return f"training-sets/{set_id}"


def job(run_id: str) -> str:
    return f"runs/{run_id}/job.json"


def ended_run(run_id: str) -> str:
    return f"runs/{run_id}/result.json"


def left_out(run_id: str, fence: int) -> str:
    return f"runs/{run_id}/left-out/{fence}"


def lease(run_id: str) -> str:
    return f"runs/{run_id}/lease.json"


def staging(run_id: str, fence: int, file: str) -> str:
    return f"staging/{run_id}/{fence}/{file}"


def adapter(digest: str, file: str) -> str:
    return f"adapters/{digest}/{file}"


def adapter_record(digest: str) -> str:
    return f"adapters/{digest}/record.json"


def export(export_id: str, file: str) -> str:
    return f"exports/{export_id}/{file}"


def export_decision(export_id: str) -> str:
    return export(export_id, "decision.json")


def open_withdrawal(withdrawal_id: str) -> str:
    return f"{WITHDRAWALS}open/{withdrawal_id}"


def closed_withdrawal(withdrawal_id: str) -> str:
    return f"{WITHDRAWALS}closed/{withdrawal_id}"


def withdrawal_receipt(withdrawal_id: str) -> str:
    return f"{WITHDRAWALS}receipts/{withdrawal_id}"


def kept_text(example_id: str, version: int) -> str:
    return f"{WITHDRAWALS}kept-texts/{example_id}/{version}"


def retirement_acknowledgement(digest: str, replica_id: str) -> str:
    return f"{WITHDRAWALS}acknowledgements/{digest}/{replica_id}"


def usage(event_id: str) -> str:
    return f"usage/{event_id}"


def usage_day(day: str) -> str:
    return f"{USAGE_DAYS}{day}"


def document(document_id: str, version: int) -> str:
    return f"knowledge/documents/{document_id}/{version}"


def segment(generation: int, digest: str) -> str:
    return f"{KNOWLEDGE_SEGMENTS}{generation}-{digest}"


def knowledge_set(generation: int, digest: str) -> str:
    return f"{KNOWLEDGE_SETS}{generation}-{digest}"


def generation_of(relative: str) -> int | None:
    """The generation of a segment or of a set; None for what is neither."""
    found = re.fullmatch(f"(?:{KNOWLEDGE_SEGMENTS}|{KNOWLEDGE_SETS})([0-9]{{1,16}})-[0-9a-f]{{64}}", relative)
    return int(found[1]) if found else None
