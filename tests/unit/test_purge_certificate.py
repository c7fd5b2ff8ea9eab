"""The certificate: a function of the purge's record, in every byte, and never about a purge that is not over."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from consumers.purge.certificate import certificate
from consumers.purge.driver import PurgeReconciler
from consumers.purge.handlers import PurgePorts, on_purge_requested
from consumers.purge.policy import PurgePolicy
from consumers.purge.watchdog import Watchdog
from producers.commands import requests
from producers.commands.onboarding import onboard
from producers.queries import purges
from schemas.base.canonical import canonical_json
from schemas.base.contract import read_tolerant
from schemas.bus.events import PurgeRequested
from schemas.bus.outcome import Outcome
from schemas.evidence.statements import PURGE_PREDICATE, PurgeCertificate
from schemas.objects import object_keys
from schemas.objects.purges import PurgeRecord
from schemas.stores.registry import STORES, emptied
from tenancy.errors import DeletionRefused, Refused
from tenancy.evidence.verification import verify_file
from tenancy.storage.objects import ObjectVersion, Upload
from tenancy.tenant_id import TenantId
from tests.unit.operator_parts import Parts, onboarded_parts, publish_adapter, purge_ports
from tests.world.purging import LockingObjectStore

TENANT = TenantId("t1")


@pytest.fixture
async def parts() -> Parts:
    return await onboarded_parts(TENANT)


async def purged(parts: Parts) -> PurgeRecord:
    purge_id = await requests.request_purge(parts.tenancy, TENANT, requested_by="op")
    ports = purge_ports(parts)
    await on_purge_requested(parts.publisher.events[-1], ports)
    await ports.driver.reconcile()
    return await ports.driver.records.read(TENANT, purge_id)


async def certified(parts: Parts, record: PurgeRecord) -> PurgeCertificate:
    envelope = json.loads(await purges.certificate(parts.tenancy, record.tenant, record.purge_id))
    return read_tolerant(PurgeCertificate, parts.keys.trust.verify(envelope, PURGE_PREDICATE)["predicate"])


async def test_it_says_of_every_store_what_was_there_what_is_left_and_on_whose_word(
    parts: Parts, tmp_path: Path
) -> None:
    await publish_adapter(parts, TENANT)
    store = await parts.tenancy.store(TENANT)
    await store.put(object_keys.example("e1"), b"one")
    await store.put(object_keys.example("e1"), b"two")
    await parts.objects.delete(object_keys.tenant_key(TENANT, object_keys.example("e2")))
    parts.objects.open_uploads.append(Upload(object_keys.tenant_key(TENANT, "knowledge/k1"), "u1"))
    await parts.objects.put("tenants/t1/elsewhere/x", b"from outside")
    record = await purged(parts)
    said = await certified(parts, record)
    assert [finding.store for finding in said.stores] == list(STORES)
    found = {finding.store: finding for finding in said.stores}

    def before(name: str) -> tuple[int, int, int, int]:
        count = found[name].before
        assert count is not None
        return count.objects, count.versions, count.delete_markers, count.uploads

    assert before("objects.examples") == (1, 2, 1, 0)
    assert before("objects.adapters") == (3, 3, 0, 0)
    assert before("objects.knowledge") == (0, 0, 0, 1)
    assert before("objects.strays") == (1, 1, 0, 0)
    assert before("keys.tenant") == (1, 1, 0, 0)
    assert before("objects.exports") == (0, 0, 0, 0)
    for finding in said.stores:
        is_emptied = finding.store in {store.name for store in emptied()}
        assert (finding.outcome == "empty") == is_emptied
        assert (finding.after is not None and finding.after.total == 0) == is_emptied
        assert finding.probed_at == (record.verified_at if is_emptied else finding.probed_at)
        assert finding.how
        assert finding.probe
    assert found["sano.tenants.v1"].outcome == "expires"
    assert found["sano.tenants.v1"].gone_by is not None
    assert found["engine.slots"].outcome == "receipts"
    assert found["telemetry.logs"].outcome == "none-held"
    assert found["copies.bucket"].outcome == "operator"
    assert said.objects_removed == sum((f.before.objects if f.before else 0) for f in said.stores)
    (tmp_path / "c.json").write_bytes(await purges.certificate(parts.tenancy, record.tenant, record.purge_id))
    verdict = verify_file(tmp_path / "c.json", parts.keys.trust)
    assert verdict.facts["removed"].startswith(f"{said.objects_removed} objects in {said.versions_removed} versions")
    assert any("copies.bucket" in line for line in verdict.does_not_prove)


async def test_certifying_again_at_any_later_time_gives_the_same_bytes(parts: Parts) -> None:
    await publish_adapter(parts, TENANT)
    record = await purged(parts)
    stored = await purges.certificate(parts.tenancy, record.tenant, record.purge_id)
    parts.now += timedelta(days=400)
    again = await purge_ports(parts).driver.records.read(record.tenant, record.purge_id)
    assert canonical_json(parts.keys.sign(certificate(again))) == stored
    key = object_keys.certificate_key(record.tenant, record.purge_id)
    await parts.objects.delete_versions([version async for version in parts.objects.versions(key)])
    body = again.evolve(step="verified").model_dump_json().encode()
    await parts.objects.put(object_keys.purge_key(record.tenant, record.purge_id), body)
    await purge_ports(parts).driver.reconcile()
    assert await purges.certificate(parts.tenancy, record.tenant, record.purge_id) == stored


async def test_there_is_no_certificate_while_anything_is_open(parts: Parts) -> None:
    record = await purged(parts)
    certificate(record)
    broken: list[dict[str, Any]] = [
        {"key_destroyed_at": None},
        {"verified_at": record.verified_at[:1]},
        {"destruction_decided_at": None},
        {"quiesced_at": None},
    ]
    for update in broken:
        with pytest.raises(ValueError, match="a purge is certified"):
            certificate(record.evolve(**update))


async def test_a_purge_whose_certificate_would_contradict_itself_is_shown_and_certified_once_it_does_not(
    parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    ports = purge_ports(parts, quiesce_seconds=60.0)
    driver, watchdog = ports.driver, Watchdog(ports.driver)
    purge_id = await requests.request_purge(parts.tenancy, TENANT, requested_by="op")
    await on_purge_requested(parts.publisher.events[-1], ports)
    await driver.reconcile()
    days = (await driver.records.read(TENANT, purge_id)).sla_days
    await driver.records.note(TENANT, purge_id, lambda current: current.evolve(sla_days=3))
    parts.now += timedelta(seconds=61)
    for _ in range(2):
        await driver.reconcile()
    record = await driver.records.read(TENANT, purge_id)
    assert (record.step, record.uncertifiable) == ("verified", ("deadline",))
    assert [said.__dict__["rules"] for said in caplog.records if said.message == "purge not certified"] == [
        ("deadline",),
        ("deadline",),
    ]
    with pytest.raises(Refused, match="not certified"):
        await purges.certificate(parts.tenancy, TENANT, purge_id)
    assert "purge.completed" not in parts.types()
    [view] = (await purges.purges(parts.tenancy)).views
    assert (view.step, view.flags) == ("verified", ("uncertifiable",))
    assert view.waits_for == ("a release that can certify it: its certificate would contradict itself (deadline)",)
    await watchdog.reconcile()
    assert watchdog.overview.flags["uncertifiable"] == 1
    await driver.records.note(TENANT, purge_id, lambda current: current.evolve(sla_days=days))
    await driver.reconcile()
    assert (await driver.records.read(TENANT, purge_id)).step == "certified"
    [view] = (await purges.purges(parts.tenancy)).views
    assert (view.flags, view.waits_for) == ((), ())


async def test_a_key_that_cannot_be_destroyed_keeps_nothing_else_from_being_deleted(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish_adapter(parts, TENANT)
    locked = object_keys.key_key(TENANT)
    delete = parts.objects.delete_versions

    async def locking(versions: list[ObjectVersion]) -> None:
        await delete([version for version in versions if version.key != locked])
        if any(version.key == locked for version in versions):
            raise DeletionRefused([(locked, "access-denied")])

    monkeypatch.setattr(parts.objects, "delete_versions", locking)
    record = await purged(parts)
    assert (record.step, record.key_destroyed_at, record.is_partial) == ("fenced", None, True)
    [refusal] = record.refusals
    assert (refusal.store, refusal.reason_code, refusal.count) == ("keys.tenant", "access-denied", 1)
    assert parts.stored_keys("tenants/") == []
    [view] = (await purges.purges(parts.tenancy)).views
    assert view.flags == ("partial",)
    assert view.waits_for == ("store keys.tenant to let go of 1 (access-denied)",)
    counted = record.found
    monkeypatch.undo()
    parts.now += timedelta(days=40)
    await purge_ports(parts).driver.reconcile()
    done = await purge_ports(parts).driver.records.read(record.tenant, record.purge_id)
    assert (done.step, done.found) == ("certified", counted), "counted once, before anything was destroyed"
    said = await certified(parts, done)
    [exception] = said.exceptions
    assert exception.until == parts.now
    [view] = (await purges.purges(parts.tenancy)).views
    assert view.flags == ("overdue",)


async def test_one_version_that_is_kept_does_not_keep_the_thousands_behind_it(parts: Parts) -> None:
    locking = LockingObjectStore.instead_of(parts.objects)
    for number in range(2500):
        await parts.objects.put(object_keys.tenant_key(TENANT, f"usage/u{number:04}"), b"x")
    locking.locked = {object_keys.tenant_key(TENANT, "usage/u0007")}
    record = await purged(parts)
    assert parts.stored_keys("tenants/") == sorted(locking.locked)
    [refusal] = record.refusals
    assert (refusal.store, refusal.count, record.step) == ("objects.usage", 1, "evicted")


async def test_a_slower_driver_does_not_count_again_what_the_faster_one_is_destroying(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish_adapter(parts, TENANT)
    fast, slow = purge_ports(parts).driver, purge_ports(parts).driver
    delete = parts.objects.delete_versions

    async def overtaken(versions: list[ObjectVersion]) -> None:
        await delete(versions)
        if versions and versions[0].key == object_keys.key_key(TENANT):
            seen = await slow.records.read(TENANT, "p1")
            await slow._prepared(seen.evolve(sweeps=None))  # it read the record a while ago

    monkeypatch.setattr(parts.objects, "delete_versions", overtaken)
    requested = PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op")
    await on_purge_requested(await parts.tenancy.outbox.publish(TENANT, requested), purge_ports(parts))
    await fast.reconcile()
    record = await fast.records.read(TENANT, "p1")
    assert record.step == "certified"
    assert {count.store: count.versions for count in record.found}["keys.tenant"] == 1


async def test_a_key_whose_deletion_is_refused_as_a_request_is_partial_and_keeps_nothing_else(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish_adapter(parts, TENANT)

    async def denied(tenant: TenantId) -> None:
        raise Refused("object-store-refused", "refused: the object store answered 403 AccessDenied")

    monkeypatch.setattr(type(parts.tenancy.keys), "destroy", lambda _, tenant: denied(tenant))
    record = await purged(parts)
    assert (record.step, record.key_destroyed_at) == ("fenced", None)
    assert [(refusal.store, refusal.count) for refusal in record.refusals] == [("keys.tenant", 0)]
    assert parts.stored_keys("tenants/") == []
    [view] = (await purges.purges(parts.tenancy)).views
    assert view.flags == ("partial",)


async def test_a_place_that_cannot_be_listed_keeps_back_every_store_in_it(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish_adapter(parts, TENANT)
    uploads = parts.objects.uploads

    async def unlisted(prefix: str) -> AsyncIterator[Upload]:
        if prefix == object_keys.state_key(TENANT):
            raise Refused("object-store-refused", "refused: the object store answered 403 AccessDenied")
        async for upload in uploads(prefix):
            yield upload

    monkeypatch.setattr(parts.objects, "uploads", unlisted)
    record = await purged(parts)
    assert [(refusal.store, refusal.count) for refusal in record.refusals] == [("state.superseded", 0)]
    assert parts.stored_keys("tenants/") == []


async def test_the_second_listing_begins_after_the_last_moment_at_which_a_writer_could_write(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish_adapter(parts, TENANT)
    driver = PurgeReconciler(parts.tenancy, parts.keys, PurgePolicy(quiesce_seconds=60.0))
    purge_id = await requests.request_purge(parts.tenancy, TENANT, requested_by="op")
    ports = PurgePorts(parts.tenancy, parts.keys.trust, driver, lambda: None)
    await on_purge_requested(parts.publisher.events[-1], ports)
    await driver.reconcile()
    record = await driver.records.read(TENANT, purge_id)
    quiesced_at = record.quiesced_at
    assert quiesced_at is not None
    assert (record.step, len(record.verified_at)) == ("deleted", 1)
    parts.now = quiesced_at - timedelta(seconds=1)
    uploads = parts.objects.uploads
    late = object_keys.tenant_key(TENANT, "usage/late")

    async def slow(prefix: str) -> AsyncIterator[Upload]:
        async for upload in uploads(prefix):
            yield upload
        if parts.now < quiesced_at:  # the listing of the prefix is over; its answer is on its way
            await parts.objects.put(late, b"within its time")
            parts.now += timedelta(seconds=4)

    monkeypatch.setattr(parts.objects, "uploads", slow)
    await driver.reconcile()
    assert (await driver.records.read(TENANT, purge_id)).step == "deleted"
    await driver.reconcile()
    parts.now += timedelta(minutes=10)
    await driver.reconcile()
    done = await driver.records.read(TENANT, purge_id)
    assert (done.step, parts.stored_keys("tenants/")) == ("certified", [])
    assert [(count.store, count.versions) for count in done.late] == [("objects.usage", 1)]


async def test_a_store_that_refuses_the_whole_request_is_partial_too(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish_adapter(parts, TENANT)
    delete = parts.objects.delete_versions

    async def denied(versions: list[ObjectVersion]) -> None:
        if versions and versions[0].key.startswith(object_keys.tenant_prefix(TENANT)):
            raise Refused("object-store-refused", "refused: the object store answered 403 AccessDenied")
        await delete(versions)

    monkeypatch.setattr(parts.objects, "delete_versions", denied)
    record = await purged(parts)
    assert (record.step, record.is_partial) == ("evicted", True)
    kept = {refusal.store: (refusal.reason_code, refusal.count) for refusal in record.refusals}
    assert kept == {"objects.adapters": ("object-store-refused", 3), "objects.runs": ("object-store-refused", 1)}
    assert record.key_destroyed_at is not None
    monkeypatch.undo()
    await purge_ports(parts).driver.reconcile()
    assert (await purge_ports(parts).driver.records.read(record.tenant, record.purge_id)).step == "certified"


async def test_what_a_store_lists_after_it_was_emptied_is_not_certified(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that it removed everything, and keeps it."""
    await publish_adapter(parts, TENANT)
    delete = parts.objects.delete_versions

    async def pretending(versions: list[ObjectVersion]) -> None:
        await delete([version for version in versions if not version.key.startswith("tenants/")])

    monkeypatch.setattr(parts.objects, "delete_versions", pretending)
    record = await purged(parts)
    assert (record.step, record.is_partial) == ("evicted", True)
    assert {(refusal.store, refusal.reason_code) for refusal in record.refusals} == {
        ("objects.adapters", "still-listed"),
        ("objects.runs", "still-listed"),
    }


async def test_two_tenants_may_have_a_purge_of_one_id_and_each_is_certified_by_its_own(
    parts: Parts, tmp_path: Path
) -> None:
    ports = purge_ports(parts)
    requested = PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op")
    other = TenantId("t2")
    await onboard(parts.tenancy, other)
    for tenant in (other, TENANT):
        assert await on_purge_requested(await parts.tenancy.outbox.publish(tenant, requested), ports) is Outcome.EFFECT
    await ports.driver.reconcile()
    for tenant in (other, TENANT):
        assert (await ports.driver.records.read(tenant, "p1")).step == "certified"
        (tmp_path / "c.json").write_bytes(await purges.certificate(parts.tenancy, tenant, "p1"))
        assert verify_file(tmp_path / "c.json", parts.keys.trust).facts["tenant"] == tenant
