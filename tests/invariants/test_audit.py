"""A tenant's life in its audit log: what an auditor asks, before the purge and after it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from consumers.ledger.audit import on_audited
from consumers.ledger.keeper import SURVIVAL
from producers.commands import legal_holds
from producers.queries import audit_log
from producers.queries.audit_copy import read_copy
from producers.queries.document_lineage import document_lineage
from schemas.bus import events
from schemas.bus.envelope import Event
from schemas.bus.outcome import Outcome
from schemas.evidence.audit import CHECKPOINT_PREDICATE, UNLINKABLE, Actor, AuditEntry
from schemas.objects import object_keys
from tenancy.audit.copy import AuditCopy
from tenancy.audit.log import AuditRecord
from tenancy.audit.verification import verify_copy
from tenancy.audit.witness import read_held
from tenancy.state.rounds import ROUND
from tenancy.tenant_id import TenantId
from tests.world.world import POLICY, World

OPERATOR = "op-7"


async def lived(world: World, name: str = "t1") -> tuple[TenantId, str]:
    """From onboarding to a served adapter, with a rejection, a withdrawal after training, an export and a rollback."""
    # The adapter stays as it is after a withdrawal; what retraining does is the subject of test_withdrawals.
    tenant = await world.onboard(name, POLICY.evolve(on_withdrawal="flag"))
    policy = (await world.state(tenant)).policy
    await world.publish(
        tenant, events.TenantOnboarded(policy=policy, public_key_thumbprint="k" * 43, requested_by=OPERATOR)
    )
    await world.publish(tenant, events.ConsentGranted(consent_id="consent-1", version=1))
    for number in range(3):
        await world.publish(tenant, await world.approval(tenant, f"e{number}", text=name))
    rejected = events.ExampleRejected(example_id="e9", version=1, reviewer_id="rev-2", reason_code="unclear")
    await world.publish(tenant, rejected)
    await world.settle()
    active = await world.served(tenant)
    await world.publish(tenant, events.ExportRequested(export_id="x1", requested_by=OPERATOR))
    await world.publish(tenant, events.ExampleWithdrawn(example_id="e1", reason_code="patient-request"))
    await world.settle()
    return tenant, active


async def copied(world: World, tenant: TenantId) -> AuditCopy:
    copy = await read_copy(world.outside, tenant)
    verdict = verify_copy(copy, world.keys.trust)
    assert verdict.problems == ()
    assert verdict.signed_entries == verdict.entries, "at rest everything is signed"
    return copy


async def entries(world: World, tenant: TenantId) -> list[AuditEntry]:
    return audit_log.entries_of(await copied(world, tenant))


async def test_every_decision_and_effect_is_an_entry(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, _ = await lived(world)
    await world.publish(tenant, events.TenantChurned(requested_by=OPERATOR))
    await world.settle()
    log = await entries(world, tenant)
    kinds = [entry.kind for entry in log]
    assert sorted(kinds) == sorted(
        [
            "tenant.onboarded",
            "consent.granted",
            *["example.approved"] * 3,
            "example.rejected",
            "training.requested",
            "training.started",
            "training_set.frozen",
            "training.completed",
            "adapter.ready",
            "adapter.activated",
            "adapter.loaded",
            "export.requested",
            "export.ready",
            "example.withdrawn",
            "withdrawal.closed",
            "tenant.churned",
            "purge.requested",
            "purge.fenced",
            *["purge.step"] * 4,
            "replica.evicted",
            "purge.completed",
        ]
    )

    steps = [entry.facts["step"] for entry in log if entry.kind == "purge.step"]
    assert steps == ["shredded", "evicted", "deleted", "verified"]


async def test_an_adapter_leads_to_its_run_code_seed_loads_and_to_who_approved_each_example(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, active = await lived(world)
    log = await entries(world, tenant)
    digest, about = audit_log.of_adapter(log, active[:8])
    assert digest == active
    told = {entry.kind: entry for entry in about}
    assert set(told) == {
        "training.requested",
        "training.started",
        "training_set.frozen",
        "training.completed",
        "adapter.ready",
        "adapter.activated",
        "adapter.loaded",
        "export.ready",
    }
    frozen = told["training_set.frozen"].facts
    assert frozen["training_set_id"] == told["training.completed"].facts["training_set_id"]
    assert {"seed", "code_version", "base_model_digest", "hyperparameters_sha256"} <= frozen.keys()
    assert (told["adapter.loaded"].actor.role, told["adapter.loaded"].actor.id) == ("replica", "replica-0")
    known = await audit_log.pseudonyms(world.outside, tenant)
    used = await audit_log.examples_of(world.outside, tenant, digest, log, world.keys.trust, known)
    assert [(example.example_id, example.reviewer_id) for example in used] == [(f"e{n}", "rev-1") for n in range(3)]
    for example in used:
        assert example.approval_entry is not None
        approval = log[example.approval_entry - 1]
        assert (approval.kind, approval.facts["commitment"]) == ("example.approved", example.commitment)
        assert example.consent_entry is not None
        assert log[example.consent_entry - 1].kind == "consent.granted"
    assert [example.withdrawn_entry is not None for example in used] == [False, True, False]


async def test_a_withdrawal_leads_to_the_adapters_that_contain_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, active = await lived(world)
    await world.publish(tenant, events.ExampleWithdrawn(example_id="e77", reason_code="patient-request"))
    await world.publish(tenant, events.ConsentRevoked(consent_id="consent-1", version=2))
    await world.settle()
    log = await entries(world, tenant)
    known = await audit_log.pseudonyms(world.outside, tenant)
    found = await audit_log.withdrawals(world.outside, tenant, log, world.keys.trust, known)
    assert {(one.name, one.adapters, one.active) for one in found} == {
        ("e1", (active,), True),
        ("e77", (), False),
        ("consent-1", (active,), True),
    }


async def test_everything_that_a_person_did_is_found_while_the_key_lives_and_operators_for_ever(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, _ = await lived(world)

    async def did(name: str) -> list[str]:
        actors = audit_log.person(name, await audit_log.pseudonyms(world.outside, tenant))
        return [entry.kind for entry in audit_log.selected(await entries(world, tenant), actors=actors)]

    assert await did("rev-1") == ["example.approved"] * 3
    assert await did("rev-2") == ["example.rejected"]
    assert await did("rev-3") == []
    assert sorted(await did(OPERATOR)) == ["export.requested", "tenant.onboarded"]
    await world.publish(tenant, events.TenantChurned(requested_by=OPERATOR))
    await world.settle()
    assert await did("rev-1") == []
    assert sorted(await did(OPERATOR)) == ["export.requested", "purge.requested", "tenant.churned", "tenant.onboarded"]


async def test_names_are_resolved_while_the_key_lives(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, _ = await lived(world)
    log = await entries(world, tenant)
    known = await audit_log.pseudonyms(world.outside, tenant)
    resolved = await audit_log.names(world.outside, tenant, known)
    shown = [audit_log.shown(entry, resolved) for entry in log]
    assert {entry.facts["example"] for entry in shown if entry.kind == "example.approved"} == {"e0", "e1", "e2"}
    assert {entry.who for entry in shown if entry.kind == "example.approved"} == {"rev-1"}
    assert {entry.facts["reason"] for entry in shown if entry.kind == "example.withdrawn"} == {"patient-request"}
    assert {entry.facts["export"] for entry in shown if entry.kind == "export.ready"} == {"x1"}
    assert {entry.facts["consent"] for entry in shown if entry.kind == "consent.granted"} == {"consent-1"}
    for entry in log:
        assert not {"e0", "e1", "e2", "rev-1", "rev-2", "consent-1"} & {entry.actor.id, *map(str, entry.facts.values())}


async def test_after_the_purge_the_log_holds_and_nothing_leads_from_it_to_a_name(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, active = await lived(world)
    before = await entries(world, tenant)
    await world.publish(tenant, events.TenantChurned(requested_by=OPERATOR))
    await world.settle()
    after = await entries(world, tenant)
    assert after[: len(before)] == before, "what was entered stays as it was"
    known = await audit_log.pseudonyms(world.outside, tenant)
    assert known is None
    assert await audit_log.names(world.outside, tenant, known) == {}
    verifier = world.keys.trust
    assert await audit_log.examples_of(world.outside, tenant, active, after, verifier, known) == []
    withdrawn = await audit_log.withdrawals(world.outside, tenant, after, verifier, known)
    assert [(one.adapters, one.active) for one in withdrawn] == [((), False)]
    # Which event an entry was is told by the claims, as long as a topic may deliver the event again.
    assert [key async for key in world.memory.keys(object_keys.audit_claims_prefix(tenant))]
    world.now += SURVIVAL - timedelta(minutes=10)
    await world.keeper.sweep()
    assert [key async for key in world.memory.keys(object_keys.audit_claims_prefix(tenant))]
    world.now += ROUND
    await world.keeper.sweep()
    left = [key for key in world.memory.objects if key.startswith(object_keys.audit_claims_prefix(tenant))]
    assert left == [], "also no earlier version"
    assert await entries(world, tenant) == after


async def test_a_purged_tenants_claims_are_kept_while_a_topic_never_drops_an_event(tmp_path: Path) -> None:
    """It could deliver the purge's own events again at any time, and they would be entered twice."""
    world = World(tmp_path)
    tenant, _ = await lived(world)
    await world.publish(tenant, events.PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op"))
    await world.settle()
    world.now += 10 * SURVIVAL
    await replace(world.keeper, survival=None).sweep()
    assert [key async for key in world.memory.keys(object_keys.audit_claims_prefix(tenant))]
    world.now += ROUND
    await world.keeper.sweep()
    assert not [key async for key in world.memory.keys(object_keys.audit_claims_prefix(tenant))]


async def test_a_living_tenants_claims_are_kept_however_quiet_it_is(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, _ = await lived(world)
    world.now += 10 * SURVIVAL
    await world.keeper.sweep()
    assert [key async for key in world.memory.keys(object_keys.audit_claims_prefix(tenant))]


async def test_a_refused_replay_after_the_purge_is_entered_and_creates_nothing_else(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, _ = await lived(world)
    approved = next(made for made in world.bus.topics[events.CURATION] if made.type == "sano.example.approved")
    await world.publish(tenant, events.TenantChurned(requested_by=OPERATOR))
    await world.settle()
    before, log = set(world.memory.objects), await entries(world, tenant)
    refused = events.OutcomeRecorded(
        event_id=approved.id,
        event_type=approved.type,
        consumer="curation",
        outcome=Outcome.REFUSED_PURGED,
        delivery="sano.curation.v1/0/99",
        replay_id="replay-3",
    )
    for _ in range(3):
        await world.publish(tenant, refused)
    for offset, outcome in enumerate((Outcome.EFFECT, Outcome.NOOP_DUPLICATE, Outcome.NOOP_STALE)):
        said = {"outcome": outcome, "delivery": f"sano.curation.v1/0/{offset}"}
        await world.publish(tenant, refused.evolve(**said))
    await world.settle()
    added = (await entries(world, tenant))[len(log) :]
    assert [(entry.kind, entry.actor.id) for entry in added] == [("event.refused", "curation")]
    facts = added[0].facts
    assert (facts["replay_id"], facts["outcome"]) == ("replay-3", "REFUSED_PURGED")
    about = next(entry for entry in log if entry.tag == facts["about"])
    assert about.kind == "example.approved"
    assert approved.id not in str(added[0]), "its id could be guessed from the example's"
    new = set(world.memory.objects) - before
    assert all(key.startswith(object_keys.audit_prefix(tenant)) for key in new)


async def test_a_refused_version_of_a_document_is_told_from_one_that_is_pending_without_the_whole_log(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    ledger = next(service for service in world.services if service.name == "ledger")
    tenant = await world.onboard("t1")
    await world.publish(tenant, world.document(tenant, "d1"))
    await world.settle()
    told = [Event(subject=tenant, data=world.document(tenant, "d1", n), time=world.now, source="/x") for n in (2, 3)]
    for event in told:
        await on_audited(event, ledger.ports)  # before the service of documents has it
    refused = events.OutcomeRecorded(
        event_id=told[0].id,
        event_type=told[0].type,
        consumer="knowledge",
        outcome=Outcome.DEAD_LETTERED,
        delivery="sano.knowledge.v1/0/1",
    )

    async def said() -> list[tuple[int, str]]:
        return [(one.version, one.standing) for one in (await document_lineage(world.outside, tenant, "d1")).said]

    for standing in ("pending", "refused"):
        assert await said() == [(1, "counts"), (2, standing), (3, "pending")]
        await world.publish(tenant, refused)
        await world.settle()


async def test_a_late_event_is_noted_without_names_and_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, _ = await lived(world)
    late = await world.approval(tenant, "e50")
    await world.publish(tenant, events.TenantChurned(requested_by=OPERATOR))
    await world.settle()
    log = await entries(world, tenant)
    for _ in range(3):
        await world.publish(tenant, late)
        await world.settle()
    added = (await entries(world, tenant))[len(log) :]
    assert [(entry.kind, entry.recorded_while, entry.actor.id) for entry in added] == [
        ("example.approved", "purged", UNLINKABLE)
    ]
    assert added[0].facts["example"] == UNLINKABLE


async def test_the_purge_is_signed_when_it_fences_and_when_it_is_over(tmp_path: Path) -> None:
    """Not when the keeper comes by: a certificate may name the checkpoint."""
    world = World(tmp_path)
    tenant, _ = await lived(world)
    looked: list[str] = []

    async def nobody_looks() -> None:
        looked.append("")

    world.keeper = _Keeper(nobody_looks)  # type: ignore[assignment]
    await world.publish(tenant, events.TenantChurned(requested_by=OPERATOR))
    await world.settle()
    assert looked
    log = audit_log.entries_of(await read_copy(world.outside, tenant))
    verdict = verify_copy(await read_copy(world.outside, tenant), world.keys.trust)
    completed = next(entry for entry in log if entry.kind == "purge.completed")
    assert verdict.signed_entries >= completed.seq
    head = await world.outside.audit.head(tenant)
    assert head is not None
    assert head.checkpoint == verdict.last_checkpoint


class _Keeper:
    def __init__(self, look: Callable[[], Awaitable[None]]) -> None:
        self.reconcile = look


async def test_the_certificate_of_the_purge_names_a_checkpoint_and_is_a_witness(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, _ = await lived(world)
    await world.publish(tenant, events.TenantChurned(requested_by=OPERATOR))
    await world.settle()
    purge = (await world.state(tenant)).purge
    assert purge is not None
    file = tmp_path / "certificate.json"
    file.write_bytes((await world.memory.get(object_keys.certificate_key(tenant, purge.purge_id))).body)
    (held,) = read_held(file)
    copy = await copied(world, tenant)
    assert verify_copy(copy, world.keys.trust, [held]).problems == ()
    log = audit_log.entries_of(copy)
    fenced = next(entry.seq for entry in log if entry.kind == "purge.fenced")
    signed = world.keys.trust.verify(held, CHECKPOINT_PREDICATE)["predicate"]
    assert signed["seq"] >= fenced, "the whole life of the tenant is under it"
    cut = replace(copy, entries=copy.entries[: fenced - 1], checkpoints=(), head=None)
    assert any("which you hold" in problem for problem in verify_copy(cut, world.keys.trust, [held]).problems)


async def test_a_legal_hold_is_entered_by_who_placed_and_by_who_released_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    for _ in range(2):
        await legal_holds.place(
            world.outside, tenant, reason_code="litigation", placed_by="counsel-1", hold_id="hold-1"
        )
    for _ in range(2):
        await legal_holds.release(world.outside, tenant, "hold-1", released_by="counsel-2")
    await world.settle()
    log = await entries(world, tenant)
    assert [(entry.kind, entry.actor.id, entry.facts["hold_id"]) for entry in log] == [
        ("hold.placed", "counsel-1", "hold-1"),
        ("hold.released", "counsel-2", "hold-1"),
    ]


async def test_a_busy_tenants_log_is_signed_without_waiting_for_the_keeper(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    ledger = next(service for service in world.services if service.name == "ledger")
    for number in range(30):
        data = events.ConsentGranted(consent_id=f"c-{number}", version=1)
        await world.handle(ledger, Event(subject=tenant, data=data, time=world.now, source="/test"))
        head = await world.outside.audit.head(tenant)
        assert head is not None
        assert (head.seq, head.unsigned) == (number + 1, (number + 1) % ledger.ports.checkpoint_entries)


async def test_one_tenants_trouble_does_not_keep_the_others_unsigned(tmp_path: Path) -> None:
    world = World(tmp_path)
    for name in ("t1", "t10"):
        tenant = await world.onboard(name)
        await world.outside.audit.append(
            tenant, AuditRecord("o1", "adapter.loaded", world.now, Actor(role="replica", id="replica-0"))
        )
    # Somebody else's signature where the first checkpoint of t1 would be.
    await world.memory.put(object_keys.audit_checkpoint("t1", 1), b"{}")
    await world.keeper.reconcile()
    head = await world.outside.audit.head(TenantId("t10"))
    assert head is not None
    assert head.unsigned == 0
