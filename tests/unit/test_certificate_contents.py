"""What a certificate says beside the counts: bytes, the contract, subcontractors, and the audit log of the purge."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from consumers.purge.certificate import certificate as certify
from consumers.purge.driver import PurgeReconciler
from consumers.purge.handlers import PurgePorts, on_purge_requested
from consumers.purge.policy import PurgePolicy
from consumers.purge.settings import PurgeSettings
from producers.commands import legal_holds, requests
from producers.commands.onboarding import onboard
from producers.commands.subcontractors import confirm
from producers.queries import purges
from producers.queries.audit_copy import read_copy
from producers.queries.audit_log import entries_of
from schemas.base.canonical import canonical_json
from schemas.base.contract import read_tolerant
from schemas.bus.events import PurgeRequested
from schemas.evidence.audit import CHECKPOINT_PREDICATE, Actor
from schemas.evidence.statements import PURGE_PREDICATE, PurgeCertificate, SubcontractorFinding
from schemas.objects import object_keys
from schemas.objects.purges import StoreCount, SubcontractorConfirmation
from schemas.tenant.policy import TenantPolicy
from tenancy.audit.checkpoints import Checkpointer
from tenancy.audit.log import AuditRecord
from tenancy.audit.verification import verify_copy
from tenancy.audit.witness import read_held
from tenancy.errors import BadSignature, Refused
from tenancy.evidence.verdict import Verdict
from tenancy.evidence.verification import verify_file
from tenancy.storage.objects import Upload
from tenancy.tenant_id import TenantId
from tests.unit.operator_parts import NOW, Parts, certificate, publish_adapter, signed_certificate

TENANT = TenantId("t1")
CONFIRMATION = SubcontractorConfirmation(
    subcontractor="aws-s3", reference="doc-1", recorded_at=NOW + timedelta(minutes=2), recorded_by="op-1"
)
LOADED = AuditRecord("o1", "adapter.loaded", NOW, Actor(role="replica", id="replica-0"))


@pytest.fixture
async def parts() -> Parts:
    made = Parts()
    await onboard(made.tenancy, TENANT, TenantPolicy(baa_reference="BAA-2026.117"))
    made.publisher.events.clear()
    return made


def driver_of(parts: Parts, quiesce_seconds: float = 0.0, **policy: object) -> PurgeReconciler:
    bounds = PurgePolicy(quiesce_seconds=quiesce_seconds, **policy)  # type: ignore[arg-type]
    return PurgeReconciler(parts.tenancy, parts.keys, bounds)


async def begun(parts: Parts, driver: PurgeReconciler) -> str:
    """A purge that was driven as far as it goes at once; its id."""
    purge_id = await requests.request_purge(parts.tenancy, TENANT, requested_by="op")
    requested = next(event for event in parts.publisher.events if isinstance(event.data, PurgeRequested))
    await on_purge_requested(requested, PurgePorts(parts.tenancy, parts.keys.trust, driver, lambda: None))
    await driver.reconcile()
    return purge_id


async def said(parts: Parts, purge_id: str) -> PurgeCertificate:
    envelope = json.loads(await purges.certificate(parts.tenancy, TENANT, purge_id))
    return read_tolerant(PurgeCertificate, parts.keys.trust.verify(envelope, PURGE_PREDICATE)["predicate"])


def verdict_of(parts: Parts, tmp_path: Path, held: PurgeCertificate) -> Verdict:
    (tmp_path / "c.json").write_text(json.dumps(signed_certificate(parts.keys, held)))
    return verify_file(tmp_path / "c.json", parts.keys.trust)


def count_of(held: PurgeCertificate, store: str) -> StoreCount:
    found = next(found for found in held.stores if found.store == store)
    assert found.before is not None
    return found.before


# --- bytes


async def test_it_says_of_every_emptied_store_how_many_bytes_were_there_and_that_none_is_left(parts: Parts) -> None:
    prefix = object_keys.tenant_prefix(TENANT)
    for body in (b"four", b"a second version"):
        await parts.objects.put(f"{prefix}usage/u1", body)
    await parts.objects.delete(f"{prefix}usage/u1")
    await parts.objects.put(f"{prefix}elsewhere/x", b"from outside")
    parts.objects.open_uploads.append(Upload(f"{prefix}usage/u2", "upload-1"))
    held = await said(parts, await begun(parts, driver_of(parts)))
    usage = count_of(held, "objects.usage")
    assert (usage.versions, usage.delete_markers, usage.uploads) == (2, 1, 1)
    assert usage.size_bytes == len(b"four") + len(b"a second version"), "an open upload has no size in its listing"
    assert count_of(held, "objects.strays").size_bytes == len(b"from outside")
    assert count_of(held, "objects.exports").size_bytes == 0
    emptied = [found for found in held.stores if found.outcome == "empty"]
    assert {found.after.size_bytes if found.after else None for found in emptied} == {0}
    assert held.bytes_removed == sum(found.before.size_bytes for found in emptied if found.before)
    assert "open multipart uploads" in held.counting_method


async def test_what_a_late_writer_left_counts_with_its_bytes(parts: Parts) -> None:
    driver = driver_of(parts, quiesce_seconds=60.0)
    purge_id = await begun(parts, driver)
    for body in (b"late", b"later"):
        await parts.objects.put(f"{object_keys.tenant_prefix(TENANT)}usage/u1", body)
        await driver.reconcile()
    before = (await driver.records.read(TENANT, purge_id)).found
    parts.now += timedelta(seconds=61)
    await driver.reconcile()
    held = await said(parts, purge_id)
    late = next(found.late for found in held.stores if found.store == "objects.usage")
    assert late is not None
    assert (late.versions, late.size_bytes) == (2, len(b"late") + len(b"later"))
    assert held.bytes_removed == sum(count.size_bytes for count in before) + 9


# --- the contract


async def test_the_contracts_reference_goes_from_the_policy_into_the_certificate(parts: Parts, tmp_path: Path) -> None:
    held = await said(parts, await begun(parts, driver_of(parts)))
    assert held.baa_reference == "BAA-2026.117"
    assert verdict_of(parts, tmp_path, certificate(baa_reference="BAA-1")).facts["contract"] == "BAA-1"
    assert verdict_of(parts, tmp_path, certificate()).facts["contract"] == "not named"


@pytest.mark.parametrize("text", ["", "with a space", "Grüße", "a/b", "x" * 129, "line\nbreak", "-"])
def test_a_contracts_reference_is_no_free_text(text: str) -> None:
    with pytest.raises(ValidationError):
        TenantPolicy(baa_reference=text)


# --- subcontractors


async def test_each_declared_subcontractor_is_confirmed_or_said_to_be_unconfirmed(parts: Parts, tmp_path: Path) -> None:
    driver = driver_of(parts, quiesce_seconds=60.0, subcontractors=("aws-s3", "aws-kms"))
    purge_id = await begun(parts, driver)
    noted = await confirm(parts.tenancy, TENANT, "aws-s3", reference="doc-1", recorded_by="op-1")
    parts.now += timedelta(seconds=61)
    await driver.reconcile()
    held = await said(parts, purge_id)
    assert held.subcontractors == (
        SubcontractorFinding(subcontractor="aws-s3", outcome="confirmed", confirmation=noted),
        SubcontractorFinding(subcontractor="aws-kms", outcome="unconfirmed"),
    )
    verdict = verdict_of(parts, tmp_path, held)
    assert "aws-s3 confirmed (doc-1" in verdict.facts["subcontractors"]
    assert verdict.facts["subcontractors"].endswith("aws-kms unconfirmed")
    assert any("aws-kms destroyed what it held" in line for line in verdict.does_not_prove)
    assert any("what aws-s3 confirmed is true" in line for line in verdict.does_not_prove)


async def test_where_nobody_is_declared_the_certificate_says_none(parts: Parts, tmp_path: Path) -> None:
    held = await said(parts, await begun(parts, driver_of(parts)))
    assert held.subcontractors == ()
    verdict = verdict_of(parts, tmp_path, held)
    assert verdict.facts["subcontractors"] == "none was declared"
    assert any("no subcontractor holds data" in line for line in verdict.does_not_prove)


async def test_a_certificate_waits_for_confirmations_as_long_as_it_was_told_to_and_no_longer(parts: Parts) -> None:
    waiting = driver_of(parts, subcontractors=("aws-s3",), confirmation_wait=timedelta(days=10))
    purge_id = await begun(parts, waiting)
    assert (await waiting.records.read(TENANT, purge_id)).step == "deleted"
    [view] = (await purges.purges(parts.tenancy)).views
    assert view.waits_for == ("subcontractor aws-s3 to confirm, until 2026-03-11T12:00+00:00",)
    parts.now += timedelta(days=10)
    await waiting.reconcile()
    assert [found.outcome for found in (await said(parts, purge_id)).subcontractors] == ["unconfirmed"]


async def test_a_certificate_waits_no_more_once_all_have_confirmed(parts: Parts) -> None:
    waiting = driver_of(parts, subcontractors=("aws-s3",), confirmation_wait=timedelta(days=10))
    purge_id = await begun(parts, waiting)
    await confirm(parts.tenancy, TENANT, "aws-s3", reference="doc-1", recorded_by="op-1")
    await waiting.reconcile()
    assert (await waiting.records.read(TENANT, purge_id)).step == "certified"


async def test_no_wait_for_confirmations_costs_the_deletion_sla(parts: Parts) -> None:
    waiting = driver_of(parts, subcontractors=("aws-s3",), confirmation_wait=timedelta(days=365))
    purge_id = await begun(parts, waiting)
    parts.now += timedelta(days=29)
    await waiting.reconcile()
    record = await waiting.records.read(TENANT, purge_id)
    assert (record.step, record.moved_at < record.deadline) == ("certified", True)


async def test_a_confirmation_is_taken_once_and_only_while_it_can_be_certified(parts: Parts) -> None:
    driver = driver_of(parts, quiesce_seconds=60.0, subcontractors=("aws-s3", "aws-kms"))

    async def refused(name: str, reference: str) -> str:
        with pytest.raises(Refused) as refusal:
            await confirm(parts.tenancy, TENANT, name, reference=reference, recorded_by="op-1")
        return refusal.value.code

    assert await refused("aws-s3", "doc-1") == "no-purge"
    purge_id = await begun(parts, driver)
    first = await confirm(parts.tenancy, TENANT, "aws-s3", reference="doc-1", recorded_by="op-1")
    parts.now += timedelta(seconds=30)
    assert await confirm(parts.tenancy, TENANT, "aws-s3", reference="doc-1", recorded_by="op-2") == first
    assert await refused("aws-s3", "doc-2") == "confirmation-exists"
    assert await refused("somebody-else", "doc-3") == "unknown-subcontractor"
    parts.now += timedelta(seconds=61)
    await driver.reconcile()
    stored = await purges.certificate(parts.tenancy, TENANT, purge_id)
    assert await refused("aws-kms", "doc-4") == "purge-certified"
    assert await confirm(parts.tenancy, TENANT, "aws-s3", reference="doc-1", recorded_by="op-1") == first
    again = await driver.records.read(TENANT, purge_id)
    assert canonical_json(parts.keys.sign(certify(again))) == stored
    log = [entry for entry in entries_of(await read_copy(parts.tenancy, TENANT)) if entry.kind == "purge.confirmed"]
    assert [(entry.actor.id, entry.facts["reference"]) for entry in log] == [("op-1", "doc-1")]


async def test_nobody_can_confirm_what_is_not_decided_yet(parts: Parts) -> None:
    driver = driver_of(parts, subcontractors=("aws-s3",))
    await legal_holds.place(parts.tenancy, TENANT, reason_code="litigation", placed_by="counsel", hold_id="h1")
    await begun(parts, driver)
    with pytest.raises(Refused, match="not decided yet"):
        await confirm(parts.tenancy, TENANT, "aws-s3", reference="doc-1", recorded_by="op-1")


def test_subcontractors_are_declared_as_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANO_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("SANO_S3_BUCKET", "bucket")
    assert PurgeSettings().purge_policy().subcontractors == ()
    monkeypatch.setenv("SANO_SUBCONTRACTORS", "aws-s3,aws-kms,aws-s3")
    monkeypatch.setenv("SANO_CONFIRMATION_WAIT_DAYS", "3")
    policy = PurgeSettings().purge_policy()
    assert (policy.subcontractors, policy.confirmation_wait) == (("aws-s3", "aws-kms"), timedelta(days=3))
    for wrong in ("Amazon Web Services", "aws-s3,", "aws-s3, aws-kms", "aws-s3,Dr Smith"):
        monkeypatch.setenv("SANO_SUBCONTRACTORS", wrong)
        with pytest.raises(ValidationError):
            PurgeSettings()


# --- the audit log


async def test_the_checkpoint_in_a_certificate_covers_every_step_of_the_destruction(
    parts: Parts, tmp_path: Path
) -> None:
    """No ledger runs here: the purge signs the log itself."""
    await publish_adapter(parts, TENANT)
    purge_id = await begun(parts, driver_of(parts))
    (tmp_path / "c.json").write_bytes(await purges.certificate(parts.tenancy, TENANT, purge_id))
    [held] = read_held(tmp_path / "c.json")
    copy = await read_copy(parts.tenancy, TENANT)
    assert verify_copy(copy, parts.keys.trust, [held]).problems == ()
    signed = parts.keys.trust.verify(held, CHECKPOINT_PREDICATE)["predicate"]
    steps = {str(entry.facts.get("step")): entry.seq for entry in entries_of(copy) if entry.kind == "purge.step"}
    assert {"shredded", "evicted", "deleted"} <= steps.keys()
    assert max(steps[step] for step in ("shredded", "evicted", "deleted")) <= signed["seq"]
    said_of_it = verify_file(tmp_path / "c.json", parts.keys.trust).facts["audit log"]
    assert said_of_it.startswith(f"its first {signed['seq']} entries, signed")


@pytest.mark.parametrize("body", [b"{}", b"garbage", b"\xff\xfe"])
async def test_a_log_that_cannot_be_signed_holds_up_no_certificate(parts: Parts, tmp_path: Path, body: bytes) -> None:
    await parts.objects.put(object_keys.audit_checkpoint(TENANT, 1), body)
    held = await said(parts, await begun(parts, driver_of(parts)))
    assert held.audit_checkpoint is None
    assert verdict_of(parts, tmp_path, held).facts["audit log"] == "no checkpoint: no entry was signed"


@pytest.mark.parametrize("body", [b"{}", b"garbage", b"\xff\xfe"])
async def test_a_log_that_cannot_be_signed_any_more_gives_the_certificate_its_latest_checkpoint(
    parts: Parts, tmp_path: Path, body: bytes
) -> None:
    await parts.tenancy.audit.append(TENANT, LOADED)
    await Checkpointer(parts.tenancy.audit, parts.keys).seal(TENANT)
    await parts.objects.put(object_keys.audit_checkpoint(TENANT, 2), body)
    held = await said(parts, await begun(parts, driver_of(parts)))
    assert held.audit_checkpoint == json.loads((await parts.objects.get(object_keys.audit_checkpoint(TENANT, 1))).body)
    assert verdict_of(parts, tmp_path, held).facts["audit log"].startswith("its first 1 entries")


@pytest.mark.parametrize("body", [b"{}", b"garbage", b"\xff\xfe"])
async def test_a_checkpoint_that_is_none_is_not_put_into_the_certificate(
    parts: Parts, tmp_path: Path, body: bytes
) -> None:
    """Nobody could ever verify that certificate, and the first one stands."""
    await parts.tenancy.audit.append(TENANT, LOADED)
    await Checkpointer(parts.tenancy.audit, parts.keys).seal(TENANT)
    for number in (1, 2):
        await parts.objects.put(object_keys.audit_checkpoint(TENANT, number), body)
    held = await said(parts, await begun(parts, driver_of(parts)))
    assert held.audit_checkpoint is None
    assert verdict_of(parts, tmp_path, held).kind == "certificate of purge"


async def test_a_checkpoint_of_another_tenants_log_is_refused(parts: Parts, tmp_path: Path) -> None:
    held = await said(parts, await begun(parts, driver_of(parts)))
    with pytest.raises(BadSignature, match="another tenant's audit log"):
        verdict_of(parts, tmp_path, certificate(tenant="t2", audit_checkpoint=held.audit_checkpoint))


# --- backups


@pytest.mark.parametrize("kept", [None, timedelta(0), timedelta(days=20)])
async def test_it_says_by_when_backups_are_gone_where_the_operator_declares_it(
    kept: timedelta | None, parts: Parts, tmp_path: Path
) -> None:
    held = await said(parts, await begun(parts, driver_of(parts, backups_kept=kept)))
    assert held.backups_gone_by == (None if kept is None else held.completed_at + kept)
    [line] = [
        one for one in verdict_of(parts, tmp_path, held).does_not_prove if one.startswith("anything about backups")
    ]
    assert held.backups in line
    assert (held.backups_gone_by.isoformat() in line) if held.backups_gone_by else "declared nothing" in line


async def test_it_states_nothing_of_backups_but_what_the_operator_declared(parts: Parts) -> None:
    """A year of backups under an SLA of 30 days: nobody says here that they end before it."""
    kept = timedelta(days=365)
    held = await said(parts, await begun(parts, driver_of(parts, backups_kept=kept)))
    assert held.backups_gone_by is not None
    assert held.backups_gone_by > held.deadline
    assert held.backups.endswith(
        "the operator declares that its own copies of the bucket keep what was deleted for at most 365 days"
    )
    assert "SLA" not in held.model_dump_json()
