"""Selects what an event tells the audit log: each field of each audited type is treated here, or left out.

A field that nobody declared is never entered: it might be content. A test asks for a treatment of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from schemas.base.canonical import sha256_hex
from schemas.bus import events
from schemas.bus.content import Committed, CommittedDocument, CommittedInline
from schemas.bus.envelope import Event
from schemas.bus.events import EVENT_TYPES, EventData
from schemas.bus.redaction import GateVerdict, Redaction, gate_version
from schemas.evidence.audit import UNLINKABLE, Actor, AuditEntry
from tenancy.audit.log import AuditRecord, Facts
from tenancy.audit.pseudonyms import Named, Pseudonyms

UNREADABLE = "unreadable"
"""Stands where a digest would, for what has no canonical form; nobody signed that either."""

SERVICE_SOURCE = "/sanolith/"

AUDITED: tuple[type[EventData], ...] = tuple(
    model
    for model in EVENT_TYPES.values()
    if model.topic in (events.TENANTS, events.CURATION, events.TRAINING, events.ADAPTERS, events.KNOWLEDGE)
    or model is events.ReplicaEvicted
)
"""Decisions and effects. Usage is no decision, and a replica that starts concerns no tenant."""

PLAIN = frozenset(
    {
        "activation",
        "adapter_digest",
        "attempts",
        "base_model_digest",
        "canary_percent",
        "cause_id",
        "certificate_sha256",
        "commitment",
        "deadline",
        "effective_from",
        "effective_until",
        "fence",
        "fenced_at",
        "objects_removed",
        "percent",
        "previous_digest",
        "public_key_thumbprint",
        "purge_id",
        "reason_code",
        "residual",
        "replica_id",
        "run_id",
        "size_bytes",
        "source",
        "stated_by",
        "training_set_id",
        "trigger",
        "verdict",
        "until",
        "version",
    }
)
"""Opaque ids, digests, codes, times and counts of this installation's own making."""

PSEUDONYMOUS: Mapping[str, Named] = {
    "author_id": "author",
    "consent_id": "consent",
    "document_id": "document",
    "example_id": "example",
    "export_id": "export",
}
"""Ids that others choose: they may identify somebody. So may the reasons of a curation tool, see :func:`_named`."""

DIGESTED = frozenset({"hyperparameters", "policy", "receipt"})
"""Entered as the digest of their canonical JSON."""

REPEATED_OTHERWISE = frozenset({"receipt_sha256", "stated_by"})
"""Facts that the same statement has anew each time it is made."""

ACTORS = frozenset({"acknowledged_by", "requested_by", "reviewer_id"})
"""Entered as who did it."""

SPECIAL: Mapping[str, Callable[[Any], tuple[str, str | int]]] = {
    "content": lambda value: ("commitment", cast(Committed | CommittedDocument | CommittedInline, value).commitment),
    "files": lambda value: ("files", len(value)),
    "provenance_ids": lambda value: ("provenances", len(value)),
    "gate": lambda value: ("gate", gate_version(cast(GateVerdict, value))),
    "redaction": lambda value: ("gate", gate_version(cast(Redaction, value))),
}


def needs_pseudonyms(data: EventData) -> bool:
    """Whether the event names somebody or something whose name comes from outside."""
    return any(_named(type(data), name) or name == "reviewer_id" for name in type(data).model_fields)


def _named(model: type[EventData], field: str) -> Named | None:
    """As what the field's value gets a pseudonym; None where it gets none."""
    if field == "reason_code" and model.topic == events.CURATION:
        return "reason"
    return PSEUDONYMOUS.get(field)


def facts(data: EventData, pseudonyms: Pseudonyms | None) -> Facts:
    """The event as facts. Without ``pseudonyms`` what would stand under one is :data:`UNLINKABLE`."""
    told: Facts = {}
    for name in type(data).model_fields:
        value = getattr(data, name)
        if value is None:
            continue
        named = _named(type(data), name)
        if named is not None:
            told[named] = pseudonyms.of(named, value) if pseudonyms else UNLINKABLE
        elif name in PLAIN:
            told[name] = value if isinstance(value, int) else _text(value)
        elif name in DIGESTED:
            told[f"{name}_sha256"] = _digest(value if isinstance(value, dict) else value.model_dump(mode="json"))
        elif name in SPECIAL:
            fact, said = SPECIAL[name](value)
            told[fact] = said
    return told


def says_the_same(entry: AuditEntry, record: AuditRecord) -> bool:
    """Whether an event that comes again says what was entered.

    Its time may be another, and so may the service that published it: whoever finds an event owed pays it. A replica
    that is asked again signs another receipt. Where a name cannot be linked any more nobody can say that it differs.
    """
    if entry.actor.role != record.actor.role or not (
        record.actor.role == "service" or _equal(entry.actor.id, record.actor.id)
    ):
        return False
    names = {*entry.facts, *record.facts} - REPEATED_OTHERWISE
    return all(_equal(entry.facts.get(name), record.facts.get(name)) for name in names)


def _equal(one: str | int | None, other: str | int | None) -> bool:
    return one == other or UNLINKABLE in (one, other)


def _digest(value: dict[str, Any]) -> str:
    try:
        return sha256_hex(value)
    except ValueError:
        return UNREADABLE


def _text(value: Any) -> str:
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)


def actor(event: Event, pseudonyms: Pseudonyms | None) -> Actor:
    """Who decided or did it: the one whom the event names, else the service that published it."""
    data = event.data
    operator: str | None = getattr(data, "requested_by", None) or getattr(data, "acknowledged_by", None)
    if operator is not None:
        return Actor(role="operator", id=operator)
    reviewer: str | None = getattr(data, "reviewer_id", None)
    if reviewer is not None:
        return Actor(role="reviewer", id=pseudonyms.of("reviewer", reviewer) if pseudonyms else UNLINKABLE)
    if isinstance(data, events.ReplicaEvicted):
        return Actor(role="replica", id=data.replica_id)
    return Actor(role="service", id=_service(event.source))


def _service(source: str) -> str:
    """Our own services by name; a source of somebody else's is text that nobody checked."""
    name = source.removeprefix(SERVICE_SOURCE)
    known = name != source and name.replace("-", "").isalnum() and name.isascii() and len(name) <= 40
    return name if known else "external"
