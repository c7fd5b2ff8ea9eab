"""Checks a certificate of purge for contradictions: the purge signs none that breaks a rule, and verifiers accept none.

A certificate outlives the release that made it, so a rule checks only what holds for every release. The content of a
registry of stores is checked only in certificates made under that registry.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from schemas.base.contract import read_tolerant
from schemas.evidence.audit import AuditCheckpoint
from schemas.evidence.statements import PurgeCertificate, StoreFinding, backups_in_words
from schemas.objects.purges import PurgeExport, StoreCount
from schemas.stores.registry import STORES, is_emptied, may_stay, outcome_of, registry_sha256
from schemas.stores.store import LISTED
from schemas.tenant.policy import waits_until
from schemas.version import TOOL
from tenancy.evidence.envelopes import unverified
from tenancy.evidence.eviction_receipts import (
    are_accounted_for,
    came_after,
    came_after_their_leases,
    name_their_processes,
    name_their_receipts,
)
from tenancy.platform.settings import CLOCK_SKEW_SECONDS

TENANT_KEY = "keys.tenant"
EVERY_RELEASE = frozenset({TENANT_KEY, "state.superseded", "objects.examples", "objects.runs", "objects.adapters"})
"""The stores that a purge empties in every release, so none may rename them. They are what is asked of a certificate
that was made under a registry of stores that is not known here."""

SKEW = timedelta(seconds=CLOCK_SKEW_SECONDS)
"""How far the clocks of two machines may be apart, so how far their times may seem out of order. The times of the
purge's own steps may not: each is noted as no earlier than those before it."""


@dataclass(frozen=True)
class Rule:
    """``holds`` is false of a certificate that contradicts itself in one way; ``otherwise`` then says in which."""

    name: str
    otherwise: str
    holds: Callable[[PurgeCertificate], bool]


RULES: list[Rule] = []
"""The gravest first: in the order of this module."""

Predicate = Callable[[PurgeCertificate], bool]


def rule(name: str, otherwise: str) -> Callable[[Predicate], Predicate]:
    """Makes a function a rule; it is false of a certificate that breaks it."""

    def made(holds: Predicate) -> Predicate:
        RULES.append(Rule(name, otherwise, holds))
        return holds

    return made


class Contradictory(Exception):
    """A certificate that would contradict itself. The message names the rules."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        super().__init__(", ".join(rule.name for rule in rules))
        self.rules = rules


def broken(held: PurgeCertificate) -> tuple[Rule, ...]:
    """The rules that the certificate breaks, the gravest first."""
    return tuple(rule for rule in RULES if not rule.holds(held))


def is_of_this_registry(held: PurgeCertificate) -> bool:
    """Whether the registry of stores that it was made under is the one that is known here."""
    return held.registry_sha256 == registry_sha256()


def checkpoint_of(held: PurgeCertificate) -> AuditCheckpoint | None:
    """What the checkpoint says. It lies in what is signed here; its own signature may be by an earlier key.

    Raises :class:`ValueError` for what is none.
    """
    if held.audit_checkpoint is None:
        return None
    try:
        return read_tolerant(AuditCheckpoint, unverified(held.audit_checkpoint)["predicate"])
    except (KeyError, TypeError):
        raise ValueError("no checkpoint") from None


@rule("nothing-left", "the certificate itself says that the purge was not complete")
def _nothing_is_left(held: PurgeCertificate) -> bool:
    left = [found.after for found in held.stores if found.after and (found.after.total or found.after.size_bytes)]
    return held.residual == 0 and not left


@rule("nothing-kept-back", "the certificate itself says that a store still keeps something back")
def _nothing_kept_back(held: PurgeCertificate) -> bool:
    return all(refusal.until is not None for refusal in held.exceptions)


@rule("key-destroyed", "the certificate does not say that the tenant's key was destroyed, or gives another time for it")
def _key_is_destroyed(held: PurgeCertificate) -> bool:
    return [key.destroyed_at for key in held.keys if key.key == TENANT_KEY] == [held.key_destroyed_at]


@rule("every-store", "the certificate does not cover every store of the registry that it was made under")
def _every_store_is_there(held: PurgeCertificate) -> bool:
    required = frozenset(STORES) if is_of_this_registry(held) else EVERY_RELEASE
    return required <= {found.store for found in held.stores}


@rule("store-once", "the certificate lists a store twice")
def _each_store_once(held: PurgeCertificate) -> bool:
    return max(Counter(found.store for found in held.stores).values(), default=0) <= 1


@rule("store-outcomes", "the certificate gives a store an outcome that a purge cannot give it")
def _outcomes_are_possible(held: PurgeCertificate) -> bool:
    """A store that a purge lists and that only another registry has was emptied, is kept, or holds nothing of any
    tenant.
    """
    is_known = is_of_this_registry(held)

    def is_possible(found: StoreFinding) -> bool:
        known = STORES.get(found.store)
        if is_known or (known is not None and is_emptied(known)):
            may_be_unreadable = known is not None and found.outcome == "unreadable" and may_stay(known)
            return known is not None and (found.outcome == outcome_of(known) or may_be_unreadable)
        return found.medium not in LISTED or found.outcome in ("empty", "kept", "none-held")

    return all(is_possible(found) for found in held.stores)


@rule("kept-named", "the certificate calls a store kept or unreadable without saying what stays in it and why")
def _kept_for_a_reason(held: PurgeCertificate) -> bool:
    stays = {found.store for found in held.stores if found.outcome in ("kept", "unreadable")}
    return stays <= {kept.store for kept in held.retained}


def _emptied(held: PurgeCertificate) -> list[StoreFinding]:
    return [found for found in held.stores if found.outcome == "empty"]


@rule("listings-said", "the certificate calls a store empty without saying what was listed there")
def _what_was_listed_is_said(held: PurgeCertificate) -> bool:
    return all(found.after is not None for found in _emptied(held))


@rule("two-listings", "the certificate does not give the times of two listings")
def _two_listings(held: PurgeCertificate) -> bool:
    return len(held.verified_at) == 2


@rule("listing-times", "the certificate gives a store other listing times than those of the purge")
def _listings_are_the_two(held: PurgeCertificate) -> bool:
    return all(found.probed_at == held.verified_at for found in _emptied(held))


def _counts(held: PurgeCertificate) -> Iterator[StoreCount]:
    for found in held.stores:
        yield from (count for count in (found.before, found.late) if count is not None)


@rule("totals", "the certificate's totals are not the sums of the counts that it gives for each store")
def _totals_are_sums(held: PurgeCertificate) -> bool:
    objects = sum(count.objects for count in _counts(held))
    versions = sum(count.total for count in _counts(held))
    size_bytes = sum(count.size_bytes for count in _counts(held))
    return (held.objects_removed, held.versions_removed, held.bytes_removed) == (objects, versions, size_bytes)


@rule("steps-in-order", "the certificate's times are out of order")
def _steps_are_in_order(held: PurgeCertificate) -> bool:
    """Two listings may be of the same moment: no late writer was left to wait for, and a clock that is behind another
    gives that other's time.
    """
    steps = (held.fenced_at, held.destruction_decided_at, held.key_destroyed_at, *held.verified_at, held.completed_at)
    is_settled = all(held.quiesced_at <= last for last in held.verified_at[-1:])
    return list(steps) == sorted(steps) and held.fenced_at <= held.quiesced_at and is_settled


@rule("asked-before", "the certificate says that the tenant was fenced before the purge was requested")
def _asked_before(held: PurgeCertificate) -> bool:
    return held.requested_at <= held.fenced_at + SKEW


@rule("deadline", "the certificate's deadline is not the contract's number of days after the request")
def _deadline_is_the_contracts(held: PurgeCertificate) -> bool:
    return held.deadline == held.requested_at + timedelta(days=held.sla_days)


@rule(
    "replicas-accounted-for", "the certificate does not say how each replica that was found ceased to serve the tenant"
)
def _replicas_are_accounted_for(held: PurgeCertificate) -> bool:
    return are_accounted_for(held.replicas_found, held.replicas)


@rule("receipts-named", "the certificate mentions a replica's receipt but does not identify it")
def _receipts_are_named(held: PurgeCertificate) -> bool:
    return name_their_receipts(held.replicas)


@rule(
    "processes-named",
    "the certificate does not say which process of a replica signed its receipt: one before a restart, perhaps",
)
def _processes_named(held: PurgeCertificate) -> bool:
    return name_their_processes(held.replicas)


@rule(
    "leases-over",
    "the certificate counts a replica as expired whose lease had not ended or, if it was cut off, has no end",
)
def _leases_are_over(held: PurgeCertificate) -> bool:
    """Of a replica whose record an operator had taken away no end of a lease is known, and it was not cut off."""
    has_no_end = [noted for noted in held.replicas if noted.lease_ended_at is None]
    return came_after_their_leases(held.replicas) and all(noted.fenced_at is None for noted in has_no_end)


@rule(
    "replicas-in-time",
    "the certificate says that a replica ceased to serve the tenant before the fence or after the completion",
)
def _replicas_left_in_the_purge(held: PurgeCertificate) -> bool:
    is_before_the_end = all(noted.at <= held.completed_at + SKEW for noted in held.replicas)
    return came_after(held.fenced_at, held.replicas) and is_before_the_end


@rule("no-open-hold", "the certificate itself says that the destruction was decided while a legal hold was open")
def _no_hold_was_open(held: PurgeCertificate) -> bool:
    return all(hold.released_at is not None and hold.released_at <= held.destruction_decided_at for hold in held.holds)


@rule("holds-in-order", "the certificate says that a legal hold was released before it was placed")
def _holds_were_placed_first(held: PurgeCertificate) -> bool:
    return all(hold.released_at is None or hold.placed_at <= hold.released_at + SKEW for hold in held.holds)


def _not_taken(held: PurgeCertificate) -> PurgeExport | None:
    """The export of an adapter that the tenant did not say it took; None where there was none to take."""
    export = held.export
    return export if export is not None and export.adapter_digest is not None and not export.acknowledged_at else None


@rule("export-tried", "the certificate does not say when the tenant's export was ready, nor why it could not be made")
def _export_was_tried(held: PurgeCertificate) -> bool:
    """Asked where ``wait`` is noted, which is when an attempt ends: not every release noted it, nor the reason."""
    export = _not_taken(held)
    return export is None or export.wait is None or not (export.ready_at is None and export.refusal_code is None)


@rule(
    "export-days",
    "the certificate itself says that the tenant was given less time for its export than the contract grants",
)
def _export_had_its_time(held: PurgeCertificate) -> bool:
    """From when it was ready, where the certificate says what the contract grants."""
    export = _not_taken(held)
    if export is None:
        return True
    granted = export.waits_until
    if export.wait is not None and export.ready_at is not None:
        granted = max(granted, waits_until(export.ready_at, export.wait, held.deadline))
    return held.destruction_decided_at >= granted


@rule(
    "export-in-time",
    "the certificate says that the export was made available or taken before the fence or after the destruction",
)
def _export_was_before(held: PurgeCertificate) -> bool:
    moments = (held.export.ready_at, held.export.acknowledged_at) if held.export is not None else ()
    return all(
        held.fenced_at - SKEW <= moment <= held.destruction_decided_at + SKEW
        for moment in moments
        if moment is not None
    )


@rule(
    "kept-back-in-time",
    "the certificate says that a store kept something back at a time outside the purge, or backwards",
)
def _refusals_are_in_the_purge(held: PurgeCertificate) -> bool:
    return all(
        held.fenced_at - SKEW <= refusal.since <= until + SKEW and until <= held.completed_at + SKEW
        for refusal in held.exceptions
        if (until := refusal.until) is not None
    )


@rule(
    "events-gone-by",
    "the certificate's time by which events are gone is before the completion or before that of some topic, or it "
    "gives one though a topic keeps them without end",
)
def _events_go_by_later(held: PurgeCertificate) -> bool:
    gone_by = [found.gone_by for found in held.stores if found.outcome == "expires"]
    until = held.topics_survive_until
    if any(found.outcome == "unreadable" for found in held.stores):
        return until is None and all(moment is not None and held.completed_at <= moment for moment in gone_by)
    return (
        until is not None
        and held.completed_at <= until
        and all(moment is not None and held.completed_at <= moment <= until for moment in gone_by)
    )


@rule(
    "stays-without-date",
    "the certificate gives a time by which a topic's events are gone that it says stay there unreadable",
)
def _what_stays_has_no_date(held: PurgeCertificate) -> bool:
    return all(found.gone_by is None for found in held.stores if found.outcome == "unreadable")


@rule(
    "backups-gone-by",
    "the certificate's time by which backups are gone is not the declared number of days after the completion",
)
def _backups_are_gone_as_declared(held: PurgeCertificate) -> bool:
    if held.backups_kept is None:
        return held.backups_gone_by is None
    return held.backups_gone_by == held.completed_at + held.backups_kept and held.backups_kept >= timedelta()


@rule("backups-declared", "the certificate's statement about backups is not what the operator declared")
def _backups_are_told_as_declared(held: PurgeCertificate) -> bool:
    """The words of another version are its own."""
    return held.tool != TOOL or held.backups == backups_in_words(held.backups_kept)


@rule("confirmations", "the certificate calls a subcontractor confirmed but names no confirmation, or the reverse")
def _confirmed_is_confirmation(held: PurgeCertificate) -> bool:
    return all((found.outcome == "confirmed") == (found.confirmation is not None) for found in held.subcontractors)


@rule("own-confirmations", "the certificate gives one subcontractor's confirmation for another")
def _confirmations_are_their_own(held: PurgeCertificate) -> bool:
    return all(
        found.confirmation is None or found.confirmation.subcontractor == found.subcontractor
        for found in held.subcontractors
    )


@rule("confirmed-after", "the certificate says that a subcontractor confirmed the destruction before it was decided")
def _confirmations_came_after(held: PurgeCertificate) -> bool:
    return all(
        found.confirmation is None or held.destruction_decided_at <= found.confirmation.recorded_at + SKEW
        for found in held.subcontractors
    )


@rule("checkpoint", "the certificate's checkpoint of the audit log cannot be read as one")
def _checkpoint_is_readable(held: PurgeCertificate) -> bool:
    try:
        checkpoint_of(held)
    except ValueError:
        return False
    return True


@rule("own-checkpoint", "the certificate names a checkpoint of another tenant's audit log")
def _checkpoint_is_the_tenants(held: PurgeCertificate) -> bool:
    checkpoint = checkpoint_of(held) if _checkpoint_is_readable(held) else None
    return checkpoint is None or checkpoint.tenant == held.tenant
