"""A certificate that contradicts itself breaks a rule, and an honest one of any release breaks none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from consumers.purge.certificate import certificate as statement_of
from schemas.base.contract import read_tolerant
from schemas.bus.events import CURATION
from schemas.evidence.audit import CHECKPOINT_PREDICATE, AuditCheckpoint, genesis
from schemas.evidence.statements import (
    PurgeCertificate,
    Retained,
    StoreFinding,
    SubcontractorFinding,
    backups_in_words,
    statement,
)
from schemas.objects.purges import (
    PurgeExport,
    PurgeRecord,
    Residue,
    StoreCount,
    StoreRefusal,
    SubcontractorConfirmation,
)
from schemas.objects.replicas import ReplicaAcknowledgement
from schemas.stores.registry import STORES, registry_sha256, swept
from schemas.tenant.holds import LegalHold
from tenancy.errors import BadSignature
from tenancy.evidence.certificate_rules import EVERY_RELEASE, RULES, SKEW, Contradictory, broken
from tenancy.evidence.purge_certificate import checked_certificate
from tenancy.evidence.verdict import Verdict
from tests.fixtures.all_keys import AllKeys
from tests.unit.operator_parts import NOW, certificate, finding, purge_record

DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
SIGNER = AllKeys.numbered(3)


def checkpoint(tenant: str) -> dict[str, Any]:
    signed = AuditCheckpoint(
        tenant=tenant, number=1, seq=3, entry_sha256="a" * 64, previous=genesis(tenant), signed_at=NOW
    )
    return SIGNER.sign(statement(CHECKPOINT_PREDICATE, {"log": "a" * 64}, signed))


HOLD = LegalHold(
    hold_id="h1",
    reason_code="litigation",
    placed_by="op",
    placed_at=NOW - DAY,
    released_by="op",
    released_at=NOW + 10 * SECOND,
)
EXPORT = PurgeExport(
    adapter_digest="a" * 64,
    waits_until=NOW + DAY,
    ready_at=NOW + SECOND,
    acknowledged_at=NOW + 20 * SECOND,
    acknowledged_by="op",
)
REFUSAL = StoreRefusal(
    store="objects.runs", reason_code="access-denied", count=1, since=NOW + SECOND, until=NOW + 70 * SECOND
)
EXPIRED = ReplicaAcknowledgement(
    replica_id="replica-2",
    outcome="expired",
    at=NOW + 90 * SECOND,
    incarnation="process-2",
    lease_ended_at=NOW + 60 * SECOND,
    fenced_at=NOW + 30 * SECOND,
)
CONFIRMATION = SubcontractorConfirmation(
    subcontractor="aws-s3", reference="doc-1", recorded_at=NOW + 60 * SECOND, recorded_by="op"
)


def full_record(**changes: object) -> PurgeRecord:
    """A purge in which everything happened that a certificate speaks of."""
    plain = purge_record()
    happened = {
        "holds": (HOLD,),
        "export": EXPORT,
        "refusals": (REFUSAL,),
        "replicas": ("replica-1", "replica-2"),
        "acknowledgements": (*plain.acknowledgements, EXPIRED),
        "subcontractors": ("aws-s3", "aws-kms"),
        "confirmations": (CONFIRMATION,),
        "late": (StoreCount(store="objects.usage", objects=1, versions=2, size_bytes=7),),
        "audit_checkpoint": checkpoint("t1"),
    }
    return plain.evolve(**{**happened, **changes})


def said(record: PurgeRecord) -> PurgeCertificate:
    return read_tolerant(PurgeCertificate, statement_of(record)["predicate"])


def verdict_of(held: PurgeCertificate) -> Verdict:
    made = {**statement_of(full_record()), "predicate": held.model_dump(mode="json")}
    return checked_certificate(Path("c.json"), made)


FULL = said(full_record())


def altered(held: PurgeCertificate = FULL, **changes: object) -> PurgeCertificate:
    return held.evolve(**changes)


def with_store(name: str, held: PurgeCertificate = FULL, **changes: object) -> PurgeCertificate:
    stores = [found.evolve(**changes) if found.store == name else found for found in held.stores]
    return altered(held, stores=tuple(stores))


def stays(name: str) -> PurgeCertificate:
    """Called unreadable, and named among what stays."""
    named = (*STAYS.retained, Retained(store=name, holds="events", because="as the operator wishes"))
    return with_store(name, altered(STAYS, retained=named), outcome="unreadable", gone_by=None, probed_at=())


def with_replica(number: int, **changes: object) -> PurgeCertificate:
    replicas = [*FULL.replicas]
    replicas[number] = replicas[number].evolve(**changes)
    return altered(replicas=tuple(replicas))


def with_subcontractor(**changes: object) -> PurgeCertificate:
    first, *others = FULL.subcontractors or ()
    return altered(subcontractors=(first.evolve(**changes), *others))


def without(*prefixes: str, held: PurgeCertificate = FULL) -> PurgeCertificate:
    return altered(held, stores=tuple(found for found in held.stores if not found.store.startswith(prefixes)))


def listed_at(*moments: datetime) -> PurgeCertificate:
    stores = [f.evolve(probed_at=moments) if f.outcome == "empty" else f for f in FULL.stores]
    return altered(verified_at=moments, stores=tuple(stores))


def kept(store: str) -> StoreFinding:
    return finding(store, "object-store").evolve(outcome="kept", before=None, after=None, probed_at=())


NO_KEY = tuple(key for key in FULL.keys if key.key != "keys.tenant")
LIVING_KEY = tuple(key.evolve(destroyed_at=None) for key in FULL.keys)
ONE_LEFT = Residue(versions=1, delete_markers=0, uploads=0)
BYTES_LEFT = Residue(versions=0, delete_markers=0, uploads=0, size_bytes=7)
RETAINED = Retained(store="purges.reports", holds="ids", because="evidence")
STAYS = said(full_record(topic_retention={CURATION: "unlimited"}))
OTHER = certificate()
FIRST, LAST = FULL.verified_at

ALTERATIONS: list[tuple[str, str, Callable[[], PurgeCertificate]]] = [
    ("nothing-left", "residual", lambda: altered(residual=1)),
    ("nothing-left", "a version", lambda: with_store("objects.usage", after=ONE_LEFT)),
    ("nothing-left", "bytes", lambda: with_store("objects.usage", after=BYTES_LEFT)),
    ("nothing-kept-back", "open", lambda: altered(exceptions=(REFUSAL.evolve(until=None),))),
    ("key-destroyed", "no keys", lambda: altered(keys=())),
    ("key-destroyed", "not the tenant's", lambda: altered(keys=NO_KEY)),
    ("key-destroyed", "never", lambda: altered(keys=LIVING_KEY)),
    ("key-destroyed", "at another time", lambda: altered(key_destroyed_at=FULL.key_destroyed_at + SECOND)),
    ("every-store", "a topic", lambda: without("sano.tenants.v1")),
    ("every-store", "a cache", lambda: without("engine.prefix-cache")),
    ("every-store", "of another release", lambda: altered(without("state.", held=OTHER), **sums(4))),
    ("store-once", "a kept one", lambda: altered(stores=(*FULL.stores, found("audit")))),
    ("store-outcomes", "left to the operator", lambda: with_store("objects.adapters", outcome="operator")),
    ("store-outcomes", "no receipts", lambda: with_store("engine.slots", outcome="operator")),
    ("store-outcomes", "emptied otherwise", lambda: with_store("copies.bucket", outcome="none-held")),
    (
        "store-outcomes",
        "unknown to its release",
        lambda: altered(stores=(*FULL.stores, kept("purges.reports")), retained=(*FULL.retained, RETAINED)),
    ),
    (
        "store-outcomes",
        "of another release, left to the operator",
        lambda: with_store("objects.adapters", OTHER, outcome="operator"),
    ),
    (
        "store-outcomes",
        "of another release, unknown here, left to the operator",
        lambda: altered(OTHER, stores=(*OTHER.stores, kept("objects.new").evolve(outcome="operator"))),
    ),
    ("kept-named", "retained nothing", lambda: altered(retained=())),
    ("kept-named", "of another release", lambda: altered(OTHER, stores=(*OTHER.stores, kept("purges.reports")))),
    ("listings-said", "after", lambda: with_store("keys.tenant", after=None)),
    ("two-listings", "none", lambda: listed_at()),
    ("two-listings", "one", lambda: listed_at(LAST)),
    ("listing-times", "never", lambda: with_store("objects.usage", probed_at=())),
    ("listing-times", "at another time", lambda: with_store("keys.tenant", probed_at=(FIRST, FIRST))),
    ("totals", "objects", lambda: altered(objects_removed=0)),
    ("totals", "versions", lambda: altered(versions_removed=FULL.versions_removed - 2)),
    ("totals", "bytes", lambda: altered(bytes_removed=0)),
    ("totals", "a late writer's", lambda: with_store("objects.usage", late=None)),
    ("totals", "a store's", lambda: with_store("objects.adapters", before=None)),
    ("steps-in-order", "quiesced after the listing", lambda: altered(quiesced_at=LAST + SECOND)),
    ("steps-in-order", "quiesced before the fence", lambda: altered(quiesced_at=NOW - SECOND)),
    ("steps-in-order", "decided late", lambda: altered(destruction_decided_at=FULL.key_destroyed_at + SECOND)),
    ("steps-in-order", "listed before the key's end", lambda: listed_at(NOW + 50 * SECOND, LAST)),
    ("steps-in-order", "listed backwards", lambda: listed_at(LAST, LAST - SECOND)),
    ("steps-in-order", "completed first", lambda: altered(completed_at=LAST - SECOND)),
    ("asked-before", "years later", lambda: altered(requested_at=NOW + 900 * DAY, deadline=NOW + 930 * DAY)),
    ("asked-before", "more than clocks differ", lambda: asked(NOW + SKEW + SECOND)),
    ("deadline", "years later", lambda: altered(deadline=FULL.deadline + 3650 * DAY)),
    ("deadline", "fewer days", lambda: altered(sla_days=29)),
    ("replicas-accounted-for", "none", lambda: altered(replicas=())),
    ("replicas-accounted-for", "one more", lambda: altered(replicas_found=(*FULL.replicas_found, "replica-3"))),
    ("replicas-accounted-for", "one twice", lambda: altered(replicas=(*FULL.replicas, FULL.replicas[0]))),
    ("receipts-named", "none", lambda: with_replica(0, receipt_sha256=None)),
    ("processes-named", "none", lambda: with_replica(0, incarnation=None)),
    ("leases-over", "not yet", lambda: with_replica(1, lease_ended_at=EXPIRED.at + SECOND)),
    ("leases-over", "cut off without an end", lambda: with_replica(1, lease_ended_at=None)),
    ("replicas-in-time", "before the fence", lambda: with_replica(0, at=NOW - SKEW - SECOND)),
    ("replicas-in-time", "after the completion", lambda: with_replica(0, at=LAST + SKEW + SECOND)),
    ("no-open-hold", "open", lambda: altered(holds=(HOLD.evolve(released_at=None),))),
    (
        "no-open-hold",
        "released after the decision",
        lambda: altered(holds=(HOLD.evolve(released_at=NOW + 31 * SECOND),)),
    ),
    ("holds-in-order", "placed last", lambda: altered(holds=(HOLD.evolve(placed_at=NOW + DAY),))),
    ("export-tried", "neither when nor why not", lambda: not_taken(ready_at=None, waits_until=NOW, wait=DAY)),
    ("export-days", "not taken", lambda: not_taken()),
    ("export-days", "counted from the fence", lambda: not_taken(waits_until=NOW, wait=DAY)),
    ("export-in-time", "taken after", lambda: exported(acknowledged_at=NOW + DAY)),
    ("export-in-time", "taken before the fence", lambda: exported(acknowledged_at=NOW - DAY)),
    ("export-in-time", "put out after", lambda: exported(ready_at=NOW + DAY)),
    ("kept-back-in-time", "before the fence", lambda: kept_back(NOW - DAY, NOW)),
    ("kept-back-in-time", "backwards", lambda: kept_back(NOW + 60 * SECOND, NOW + 30 * SECOND)),
    ("kept-back-in-time", "after the completion", lambda: kept_back(NOW, LAST + DAY)),
    ("events-gone-by", "before the completion", lambda: altered(OTHER, topics_survive_until=NOW)),
    (
        "events-gone-by",
        "before a topic's",
        lambda: altered(topics_survive_until=cast(datetime, FULL.topics_survive_until) - SECOND),
    ),
    ("events-gone-by", "of no time", lambda: with_store("sano.tenants.v1", gone_by=None)),
    ("events-gone-by", "of a time before", lambda: with_store("sano.tenants.v1", gone_by=NOW)),
    ("events-gone-by", "though a topic stays", lambda: altered(STAYS, topics_survive_until=FULL.topics_survive_until)),
    ("events-gone-by", "of no topic that stays", lambda: altered(topics_survive_until=None)),
    ("stays-without-date", "with one", lambda: with_store(CURATION, STAYS, gone_by=FULL.topics_survive_until)),
    ("kept-named", "what stays on the bus", lambda: altered(STAYS, retained=FULL.retained)),
    ("store-outcomes", "dead letters that stay", lambda: stays(f"{CURATION}.dlq")),
    ("store-outcomes", "telemetry that stays", lambda: stays("telemetry.logs")),
    ("backups-gone-by", "without a declaration", lambda: altered(backups_gone_by=FULL.completed_at + DAY)),
    ("backups-gone-by", "never", lambda: backed_up(backups_gone_by=None)),
    ("backups-gone-by", "after other days", lambda: backed_up(backups_gone_by=FULL.completed_at + 364 * DAY)),
    ("backups-gone-by", "before the completion", lambda: backed_up(-DAY)),
    ("backups-declared", "the SLA's", lambda: backed_up(backups="copies end before the smallest SLA")),
    ("backups-declared", "nothing", lambda: backed_up(backups=FULL.backups)),
    ("backups-declared", "something", lambda: altered(backups=backups_in_words(DAY))),
    ("confirmations", "without one", lambda: with_subcontractor(confirmation=None)),
    ("confirmations", "unconfirmed with one", lambda: with_subcontractor(outcome="unconfirmed")),
    ("own-confirmations", "another's", lambda: with_subcontractor(subcontractor="aws-glacier")),
    ("confirmed-after", "before", lambda: confirmed(recorded_at=NOW - DAY)),
    ("checkpoint", "no envelope", lambda: altered(audit_checkpoint={"payload": "!"})),
    ("checkpoint", "no statement", lambda: altered(audit_checkpoint={"payload": "e30="})),
    ("own-checkpoint", "another tenant's", lambda: altered(audit_checkpoint=checkpoint("t2"))),
]


def found(name: str) -> StoreFinding:
    return next(one for one in FULL.stores if one.store == name)


def sums(count: int) -> dict[str, int]:
    return {"objects_removed": count, "versions_removed": count, "bytes_removed": 0}


def asked(at: datetime) -> PurgeCertificate:
    return altered(requested_at=at, deadline=at + 30 * DAY)


def exported(**changes: object) -> PurgeCertificate:
    return altered(export=EXPORT.evolve(**changes))


def not_taken(**changes: object) -> PurgeCertificate:
    return exported(**{"acknowledged_at": None, "acknowledged_by": None, **changes})


def kept_back(since: datetime, until: datetime) -> PurgeCertificate:
    return altered(exceptions=(REFUSAL.evolve(since=since, until=until),))


def backed_up(kept: timedelta = 365 * DAY, **changes: object) -> PurgeCertificate:
    declared: dict[str, object] = {
        "backups_kept": kept,
        "backups": backups_in_words(kept),
        "backups_gone_by": FULL.completed_at + kept,
    }
    return altered(FULL, **(declared | changes))


def confirmed(**changes: object) -> PurgeCertificate:
    return with_subcontractor(confirmation=CONFIRMATION.evolve(**changes))


@pytest.mark.parametrize(("name", "how", "alteration"), ALTERATIONS, ids=[f"{n}: {how}" for n, how, _ in ALTERATIONS])
def test_an_alteration_breaks_one_rule_and_is_refused_with_its_sentence(
    name: str, how: str, alteration: Callable[[], PurgeCertificate]
) -> None:
    lie = alteration()
    [rule] = broken(lie)
    assert rule.name == name
    with pytest.raises(BadSignature) as refused:
        verdict_of(lie)
    assert str(refused.value) == f"refused: {rule.otherwise}"


def test_every_rule_has_an_alteration_that_only_it_finds() -> None:
    assert [rule.name for rule in RULES] == list(dict.fromkeys(name for name, _, _ in ALTERATIONS))
    assert len({rule.otherwise for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("prefix", ["objects.", "objects.adapters", "keys.tenant", "engine."])
def test_what_a_certificate_leaves_out_is_missed(prefix: str) -> None:
    assert "every-store" in {rule.name for rule in broken(without(prefix))}


# --- what is no contradiction


def test_an_honest_certificate_breaks_no_rule() -> None:
    assert broken(FULL) == ()
    assert {one.store for one in FULL.stores} == set(STORES)
    assert broken(said(purge_record())) == ()


def test_both_listings_may_be_of_one_moment_and_clocks_may_differ_by_what_they_may() -> None:
    assert broken(listed_at(LAST, LAST)) == ()
    assert broken(asked(NOW + SKEW)) == ()
    assert broken(with_replica(0, at=NOW - SKEW)) == ()
    assert broken(confirmed(recorded_at=FULL.destruction_decided_at - SKEW)) == ()


@pytest.mark.parametrize(
    ("changes", "unproved"),
    [
        ({"ready_at": None}, "that the tenant was offered its adapter"),
        ({}, "that the tenant had its days from when its export was ready"),
    ],
)
def test_an_export_of_a_release_that_noted_no_more_contradicts_nothing_and_the_verdict_says_what_is_unproved(
    changes: dict[str, object], unproved: str
) -> None:
    held = not_taken(waits_until=NOW, **changes)
    assert broken(held) == ()
    assert [line for line in verdict_of(held).does_not_prove if line.startswith(unproved)]
    assert not [line for line in verdict_of(FULL).does_not_prove if line.startswith("that the tenant")]


def test_an_export_that_was_refused_or_that_the_sla_left_less_time_contradicts_nothing() -> None:
    assert broken(not_taken(ready_at=None, waits_until=NOW, wait=DAY, refusal_code="bad-signature")) == ()
    late = altered(not_taken(waits_until=NOW + SECOND, wait=30 * DAY), sla_days=1, deadline=NOW + DAY)
    assert broken(late) == ()


def test_every_release_empties_what_this_one_asks_of_every_release() -> None:
    assert {store.name for store in swept()} > EVERY_RELEASE
    assert FULL.registry_sha256 == registry_sha256() != OTHER.registry_sha256
    assert {one.store for one in OTHER.stores} == EVERY_RELEASE
    assert broken(OTHER) == ()


@pytest.mark.parametrize(("kept", "words"), [(DAY, "1 day"), (1.5 * DAY, "2 days"), (365 * DAY, "365 days")])
def test_declared_days_are_told_whole_and_never_fewer(kept: timedelta, words: str) -> None:
    assert backups_in_words(kept).endswith(f"at most {words}")


def test_a_store_that_is_added_removed_or_ends_otherwise_makes_another_registry_under_the_same_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Certificates made before are then not asked for what they cannot speak of, without anybody's remembering."""
    mine, usage = registry_sha256(), STORES["objects.usage"]
    for name, store in (
        ("objects.new", usage.evolve(name="objects.new")),
        ("objects.usage", usage.evolve(medium="outside")),
        ("objects.usage", usage.evolve(protection="no-tenant-data", medium="telemetry")),
    ):
        with monkeypatch.context() as changed:
            changed.setitem(STORES, name, store)
            assert registry_sha256() != mine
            assert "every-store" not in {rule.name for rule in broken(FULL)}
    with monkeypatch.context() as changed:
        # Not an item deleted and put back: it would be the last of the registry from then on.
        without = {name: store for name, store in STORES.items() if name != "objects.usage"}
        changed.setattr("schemas.stores.registry.STORES", without)
        assert registry_sha256() != mine
    with monkeypatch.context() as changed:
        changed.setitem(STORES, "objects.usage", usage.evolve(holds="the same in other words"))
        assert registry_sha256() == mine


def test_a_certificate_of_a_newer_release_has_stores_that_are_unknown_here_and_holds() -> None:
    newer = altered(
        tool="sanolith 99.0.0",
        registry_sha256="e" * 64,
        stores=tuple(
            {
                **{one.store: one for one in FULL.stores if one.store not in ("objects.knowledge", "telemetry.logs")},
                "objects.new": found("objects.knowledge").evolve(store="objects.new"),
                "purges.reports": kept("purges.reports"),
                "engine.slots": found("engine.slots").evolve(outcome="ended"),
            }.values()
        ),
        retained=(*FULL.retained, RETAINED),
    )
    assert broken(newer) == ()
    assert any("covers every store: sanolith 99.0.0" in line for line in verdict_of(newer).does_not_prove)
    assert not any("covers every store" in line for line in verdict_of(FULL).does_not_prove)


def test_a_replica_whose_record_was_taken_away_has_no_end_of_a_lease_and_the_verdict_says_so() -> None:
    """An operator may take away the record of a replica that is gone for good; no lease of it is known then."""
    gone = ReplicaAcknowledgement(replica_id="replica-2", outcome="expired", at=EXPIRED.at)
    held = said(full_record(acknowledgements=(*purge_record().acknowledgements, gone)))
    assert any("replica-2 had stopped" in line for line in verdict_of(held).does_not_prove)
    assert not any("had stopped" in line for line in verdict_of(FULL).does_not_prove)


def test_what_another_release_counted_in_a_store_that_this_one_does_not_know_is_in_the_totals() -> None:
    """Between the counting and the certificate the service was upgraded, and the store has another name."""
    count = StoreCount(store="objects.renamed", objects=2, versions=3, size_bytes=11)
    record = purge_record(found=(*purge_record().found[1:], count), late=(count,))
    held = said(record)
    [strays] = [one for one in held.stores if one.store == "objects.strays"]
    assert strays.before == StoreCount(store="objects.strays", objects=3, versions=4, size_bytes=16)
    assert strays.late == count.evolve(store="objects.strays")
    assert held.objects_removed == record.objects_removed


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"sla_days": 3}, "deadline"),
        ({"replicas": ("replica-1", "replica-2", "replica-3")}, "replicas-accounted-for"),
        ({"refusals": (REFUSAL.evolve(until=None),)}, "nothing-kept-back"),
        ({"requested_at": NOW + DAY, "deadline": NOW + 31 * DAY}, "asked-before"),
        ({"key_destroyed_at": NOW}, "steps-in-order"),
        ({"subcontractors": ("aws-s3",), "audit_checkpoint": checkpoint("t2")}, "own-checkpoint"),
    ],
)
def test_no_statement_is_made_of_a_record_that_contradicts_itself(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(Contradictory, match=rule):
        statement_of(full_record(**changes))


def test_subcontractors_that_are_unconfirmed_or_not_declared_contradict_nothing() -> None:
    unconfirmed = SubcontractorFinding(subcontractor="aws-kms", outcome="unconfirmed")
    assert broken(altered(subcontractors=(unconfirmed,))) == ()
    assert broken(altered(subcontractors=())) == ()


def test_what_another_version_says_of_backups_in_its_own_words_contradicts_nothing() -> None:
    assert broken(altered(tool="sanolith 99.0.0", backups="in other words")) == ()
