"""Answers an auditor's questions about a tenant's audit log, with names while the tenant's key exists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from pydantic import ValidationError

from producers.queries.adapters import adapters as published_adapters
from producers.queries.lineage import Lineage, lineage
from schemas.base.contract import Contract, read_tolerant
from schemas.base.identifiers import OpaqueId, Sha256Hex
from schemas.evidence.audit import DOUBTED, AuditEntry
from schemas.objects import object_keys
from schemas.objects.curation import ExampleRecord
from tenancy.audit.copy import AuditCopy
from tenancy.audit.pseudonyms import Pseudonyms
from tenancy.bootstrap import Tenancy
from tenancy.errors import KeyDestroyed, Refused
from tenancy.evidence.trust import Verifier
from tenancy.platform.concurrency import gathered
from tenancy.tenant_id import TenantId

ADAPTER_FACTS = ("adapter_digest", "previous_digest", "cause_id")


class Entry(Contract):
    """One entry as it is shown. ``who`` and ``facts`` hold names where pseudonyms could be resolved."""

    seq: int
    time: datetime
    recorded_at: datetime
    recorded_while: str
    kind: str
    role: str
    who: str
    facts: dict[str, str | int]
    tag: str


class UsedExample(Contract):
    """One example of an adapter, who approved it, and which entry of the log says so."""

    example_id: OpaqueId
    version: int
    role: str
    reviewer_id: OpaqueId
    approval_entry: int | None
    consent_id: OpaqueId | None
    consent_entry: int | None
    withdrawn_entry: int | None
    commitment: Sha256Hex


class Withdrawal(Contract):
    """A withdrawn example or a revoked consent, and the adapters that were trained on what it covers."""

    seq: int
    time: datetime
    kind: str
    name: str
    adapters: tuple[Sha256Hex, ...]
    active: bool


def entries_of(copy: AuditCopy) -> list[AuditEntry]:
    """The entries that can be read; what cannot is `sano audit verify`'s business."""
    found = []
    for stored in copy.entries:
        try:
            found.append(read_tolerant(AuditEntry, stored.body))
        except ValidationError:
            continue
    return found


def selected(
    entries: Iterable[AuditEntry],
    *,
    kind: str | None = None,
    since: datetime | None = None,
    actors: frozenset[str] | None = None,
) -> list[AuditEntry]:
    """The entries of a kind (``purge`` stands for ``purge.fenced`` and the others), since a time, by certain actors."""
    return [
        entry
        for entry in entries
        if (kind is None or entry.kind == kind or entry.kind.startswith(f"{kind}."))
        and (since is None or entry.time >= since)
        and (actors is None or entry.actor.id in actors)
    ]


def of_adapter(entries: Sequence[AuditEntry], start: str) -> tuple[str, list[AuditEntry]]:
    """The whole digest that begins with ``start``, and everything about that adapter: its run, set, loads, end.

    What was said of it and is not certain is among this, and leads to nothing else.
    Raises :class:`Refused` when there is no such adapter in the log, or more than one.
    """
    digests = {
        value
        for entry in entries
        if entry.kind not in DOUBTED
        for name in ADAPTER_FACTS
        if isinstance(value := entry.facts.get(name), str) and value.startswith(start) and len(value) == 64
    }
    if len(digests) != 1:
        which = "no adapter" if not digests else f"{len(digests)} adapters"
        raise Refused("unknown-adapter", f"refused: the audit log knows {which} whose digest begins so")
    digest = digests.pop()
    about = {entry.seq for entry in entries if digest in [entry.facts.get(name) for name in ADAPTER_FACTS]}
    certain = [entry for entry in entries if entry.seq in about and entry.kind not in DOUBTED]
    runs = {entry.facts["run_id"] for entry in certain if "run_id" in entry.facts}
    return digest, [entry for entry in entries if entry.seq in about or entry.facts.get("run_id") in runs]


async def pseudonyms(tenancy: Tenancy, tenant: TenantId) -> Pseudonyms | None:
    """None once the tenant's key is destroyed: nobody can link the entries to names any more."""
    try:
        return Pseudonyms.derived((await tenancy.keys.open(tenant)).data_key)
    except KeyDestroyed:
        return None


def person(name: str, known: Pseudonyms | None) -> frozenset[str]:
    """What a person stands under as an actor: the id itself for operators, the pseudonym for reviewers."""
    return frozenset({name, *([known.of("reviewer", name)] if known else [])})


async def names(tenancy: Tenancy, tenant: TenantId, known: Pseudonyms | None) -> Mapping[str, str]:
    """Pseudonym to name, for what the tenant's records know."""
    if known is None:
        return {}
    store = await tenancy.store(tenant)
    examples = [key.split("/")[1] async for key in store.list("examples")]
    consents = {key.split("/")[1] async for key in store.list("consents")}  # also those that are only waited for
    exports = {key.split("/")[1] async for key in store.list("exports")}
    documents = {key.split("/")[2] async for key in store.list("knowledge", "documents")}
    records = await gathered(store.get_record(object_keys.example(name), ExampleRecord) for name in examples)
    reviewers = {record.reviewer_id for record, _ in records if record.reviewer_id}
    reasons = {record.reason_code for record, _ in records if record.reason_code}
    return {
        **{known.of("example", name): name for name in examples},
        **{known.of("consent", name): name for name in consents},
        **{known.of("export", name): name for name in exports},
        **{known.of("document", name): name for name in documents},
        **{known.of("reviewer", name): name for name in reviewers},
        **{known.of("reason", name): name for name in reasons},
    }


def shown(entry: AuditEntry, resolved: Mapping[str, str]) -> Entry:
    """The entry with names in the place of pseudonyms."""
    facts = {name: resolved.get(str(value), value) for name, value in entry.facts.items()}
    return Entry(
        seq=entry.seq,
        time=entry.time,
        recorded_at=entry.recorded_at,
        recorded_while=entry.recorded_while,
        kind=entry.kind,
        role=entry.actor.role,
        who=resolved.get(entry.actor.id, entry.actor.id),
        facts=facts,
        tag=entry.tag,
    )


async def examples_of(
    tenancy: Tenancy,
    tenant: TenantId,
    digest: str,
    entries: Sequence[AuditEntry],
    verifier: Verifier,
    known: Pseudonyms | None,
) -> list[UsedExample]:
    """Which examples are in the adapter and who approved each. Empty once the key that opens its manifest is gone."""
    if known is None:
        return []
    made: Lineage = await lineage(tenancy, tenant, digest, verifier)
    withdrawn = {entry.facts.get("example"): entry.seq for entry in selected(entries, kind="example.withdrawn")}
    occurrences = [(example.approval_event_id, example.consent_event_id) for example in made.examples]
    wanted = list(dict.fromkeys(found for pair in occurrences for found in pair if found))
    positions = dict(zip(wanted, await gathered(_position(tenancy, tenant, found) for found in wanted), strict=True))
    return [
        UsedExample(
            example_id=example.example_id,
            version=example.version,
            role=example.role,
            reviewer_id=example.reviewer_id,
            approval_entry=positions.get(example.approval_event_id),
            consent_id=example.consent_id,
            consent_entry=positions.get(example.consent_event_id or ""),
            withdrawn_entry=withdrawn.get(known.of("example", example.example_id)),
            commitment=example.commitment,
        )
        for example in made.examples
    ]


async def _position(tenancy: Tenancy, tenant: TenantId, occurrence: str) -> int | None:
    claim = await tenancy.audit.claim(tenant, occurrence)
    return None if claim is None else claim.position


async def withdrawals(
    tenancy: Tenancy, tenant: TenantId, entries: Sequence[AuditEntry], verifier: Verifier, known: Pseudonyms | None
) -> list[Withdrawal]:
    """Every withdrawn example and revoked consent, with the adapters that contain what it covers, active or not.

    Without the key the withdrawals stand under pseudonyms and the adapters' manifests cannot be opened any more.
    """
    ended = [*selected(entries, kind="example.withdrawn"), *selected(entries, kind="consent.revoked")]
    contained: dict[str, list[str]] = {}
    active = None
    resolved = await names(tenancy, tenant, known)
    if known is not None:
        views = await published_adapters(tenancy, tenant)
        active = next((view.digest for view in views if view.active), None)
        for view in views:
            if view.status == "publishing":
                continue
            for example in (await lineage(tenancy, tenant, view.digest, verifier)).examples:
                contained.setdefault(known.of("example", example.example_id), []).append(view.digest)
                if example.consent_id is not None:
                    contained.setdefault(known.of("consent", example.consent_id), []).append(view.digest)
    found = []
    for entry in sorted(ended, key=lambda entry: entry.seq):
        pseudonym = str(entry.facts.get("example") or entry.facts.get("consent"))
        adapters = tuple(dict.fromkeys(contained.get(pseudonym, ())))
        found.append(
            Withdrawal(
                seq=entry.seq,
                time=entry.time,
                kind=entry.kind,
                name=resolved.get(pseudonym, pseudonym),
                adapters=adapters,
                active=active in adapters,
            )
        )
    return found
