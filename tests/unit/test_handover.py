"""The right of export: a purge hands the adapter over before it destroys anything, and waits until a deadline."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from consumers.purge import handover
from consumers.purge.driver import PurgeReconciler
from consumers.purge.handlers import PurgePorts, on_export_acknowledged, on_purge_requested
from consumers.purge.policy import PurgePolicy
from producers.commands import legal_holds, requests
from producers.commands.exporting import export_adapter
from producers.commands.onboarding import onboard
from producers.queries import purges, waiting
from schemas.bus.envelope import Event
from schemas.bus.events import ExportAcknowledged
from schemas.bus.outcome import Outcome
from schemas.objects import object_keys
from schemas.objects.purges import PurgeRecord
from schemas.tenant.policy import TenantPolicy
from tenancy.errors import BadSignature, Refused, StoreUnavailable, TenantFenced
from tenancy.evidence.verification import checked, verify_file
from tenancy.lifecycle.exports import EXPORT_FILES
from tenancy.tenant_id import TenantId
from tests.unit.operator_parts import NOW, Parts, publish_adapter, purge_ports

TENANT = TenantId("t1")
POLICY = TenantPolicy(right_of_export=True, export_wait_days=5)


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.01)


@pytest.fixture
async def parts() -> Parts:
    made = Parts()
    await onboard(made.tenancy, TENANT, POLICY)
    made.publisher.events.clear()
    return made


@pytest.fixture
def ports(parts: Parts) -> PurgePorts:
    return purge_ports(parts)


async def purging(parts: Parts, ports: PurgePorts) -> PurgeRecord:
    """The purge as far as it goes at once."""
    purge_id = await requests.request_purge(parts.tenancy, TENANT, requested_by="op")
    await on_purge_requested(parts.publisher.events[-1], ports)
    await ports.driver.reconcile()
    return await ports.driver.records.read(TENANT, purge_id)


async def fenced(parts: Parts, ports: PurgePorts) -> PurgeRecord:
    """The purge right after its fence, which the event itself brings."""
    purge_id = await requests.request_purge(parts.tenancy, TENANT, requested_by="op")
    await on_purge_requested(parts.publisher.events[-1], ports)
    record = await ports.driver.records.read(TENANT, purge_id)
    assert record.step == "fenced"
    return record


async def looked(ports: PurgePorts, record: PurgeRecord) -> PurgeRecord:
    await ports.driver.reconcile()
    return await ports.driver.records.read(record.tenant, record.purge_id)


async def certified_export(parts: Parts, record: PurgeRecord) -> str:
    """What a certificate that verifies says of the export."""
    envelope = json.loads(await purges.certificate(parts.tenancy, record.tenant, record.purge_id))
    return checked(Path("c.json"), envelope, parts.keys.trust).facts["export"]


async def taken(parts: Parts, directory: Path) -> Any:
    return await export_adapter(
        parts.tenancy, TENANT, directory, parts.keys.trust, requested_by="op-2", timeout_seconds=5.0
    )


async def test_the_tenant_takes_its_adapter_while_it_is_purged_and_the_purge_goes_on(
    parts: Parts, ports: PurgePorts, tmp_path: Path
) -> None:
    digest = await publish_adapter(parts, TENANT)
    await requests.activate(parts.tenancy, TENANT, digest)
    record = await purging(parts, ports)
    assert record.step == "exported"
    assert parts.types()[-2:] == ["purge.fenced", "export.ready"]
    [view] = (await purges.purges(parts.tenancy)).views
    assert view.waits_for == ("the tenant to take its export, until 2026-03-06T12:00+00:00",)
    made = await taken(parts, tmp_path / "out")
    assert (made.adapter_digest, made.export_id) == (digest, record.purge_id)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(EXPORT_FILES)
    acknowledged = parts.publisher.events[-1]
    assert acknowledged.data == ExportAcknowledged(
        export_id=record.purge_id, adapter_digest=digest, acknowledged_by="op-2"
    )
    assert await on_export_acknowledged(acknowledged, ports) is Outcome.EFFECT
    assert await on_export_acknowledged(acknowledged, ports) is Outcome.NOOP_DUPLICATE
    await ports.driver.reconcile()
    assert (await ports.driver.records.read(record.tenant, record.purge_id)).step == "certified"
    assert await on_export_acknowledged(acknowledged, ports) is Outcome.NOOP_STALE
    assert parts.stored_keys("tenants/") == []
    (tmp_path / "c.json").write_bytes(await purges.certificate(parts.tenancy, record.tenant, record.purge_id))
    facts = verify_file(tmp_path / "c.json", parts.keys.trust).facts
    assert facts["export"].startswith(f"{digest} taken at")
    with pytest.raises(TenantFenced):
        await taken(parts, tmp_path / "late")


async def test_a_tenant_that_does_not_take_it_keeps_nothing_from_being_destroyed(
    parts: Parts, ports: PurgePorts
) -> None:
    await publish_adapter(parts, TENANT)
    record = await purging(parts, ports)
    parts.now = NOW + timedelta(days=5) - timedelta(seconds=1)
    await ports.driver.reconcile()
    assert (await ports.driver.records.read(record.tenant, record.purge_id)).step == "exported"
    parts.now += timedelta(seconds=1)
    await ports.driver.reconcile()
    ended = await ports.driver.records.read(record.tenant, record.purge_id)
    assert ended.step == "certified"
    assert ended.export is not None
    assert ended.export.acknowledged_at is None


async def test_a_process_that_hangs_over_the_export_ends_in_time_and_the_purge_waits_so_long_before_it_certifies(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(*_: object) -> None:
        await asyncio.Event().wait()

    await publish_adapter(parts, TENANT)
    policy = PurgePolicy(quiesce_seconds=100.0, deadline_seconds=0.01)
    ports = replace(purge_ports(parts), driver=PurgeReconciler(parts.tenancy, parts.keys, policy))
    monkeypatch.setattr(handover, "write_export", hangs)
    record = await purging(parts, ports)
    assert (record.step, record.export and record.export.refusal_code) == ("fenced", "store-too-slow")
    parts.now = record.deadline - timedelta(days=1)  # the last attempt; another process may have begun a moment ago
    await ports.driver.reconcile()
    record = await ports.driver.records.read(record.tenant, record.purge_id)
    assert (record.step, record.quiesced_at) == ("deleted", parts.now + timedelta(seconds=100))
    parts.now += timedelta(seconds=100)
    await ports.driver.reconcile()
    assert (await ports.driver.records.read(record.tenant, record.purge_id)).step == "certified"


async def test_a_hold_that_comes_and_goes_while_the_tenant_is_waited_for_is_shown_as_it_is(
    parts: Parts, ports: PurgePorts
) -> None:
    await publish_adapter(parts, TENANT)
    await purging(parts, ports)
    await legal_holds.place(parts.tenancy, TENANT, reason_code="litigation", placed_by="op", hold_id="h1")
    await ports.driver.reconcile()
    [view] = (await purges.purges(parts.tenancy)).views
    assert (view.step, view.flags, view.open_holds) == ("exported", ("blocked-by-hold",), ("h1",))
    assert view.waits_for[1:] == ("release of hold h1 (litigation)",)
    await legal_holds.release(parts.tenancy, TENANT, "h1", released_by="op")
    await ports.driver.reconcile()
    [view] = (await purges.purges(parts.tenancy)).views
    assert (view.step, view.flags, view.open_holds) == ("exported", (), ())


async def test_where_the_base_model_answered_the_adapter_that_was_published_last_is_put_out(
    parts: Parts, ports: PurgePorts
) -> None:
    await publish_adapter(parts, TENANT, 1)
    last = await publish_adapter(parts, TENANT, 2)
    record = await purging(parts, ports)
    assert record.export is not None
    assert record.export.adapter_digest == last


@pytest.mark.parametrize("has_right", [True, False])
async def test_nothing_to_take_and_no_right_to_take_it_wait_for_nobody(has_right: bool) -> None:
    parts = Parts()
    await onboard(parts.tenancy, TENANT, POLICY.evolve(right_of_export=has_right))
    if not has_right:
        await publish_adapter(parts, TENANT)
    record = await purging(parts, purge_ports(parts))
    assert record.step == "certified"
    assert (record.export is not None) == has_right
    assert "export.ready" not in parts.types()


async def test_an_adapter_that_cannot_be_exported_is_said_so_and_ends_with_the_wait(
    parts: Parts, ports: PurgePorts
) -> None:
    digest = await publish_adapter(parts, TENANT)
    store = await parts.tenancy.store(TENANT)
    await store.put(object_keys.adapter(digest, object_keys.ADAPTER_MANIFEST), b'{"payload": "e30=", "signatures": []}')
    record = await purging(parts, ports)
    assert record.step == "fenced"
    assert record.export is not None
    assert record.export.refusal_code == BadSignature("x").code
    [view] = (await purges.purges(parts.tenancy)).views
    assert "cannot be made (bad-signature)" in view.waits_for[0]
    parts.now += timedelta(days=5)
    await ports.driver.reconcile()
    assert (await ports.driver.records.read(record.tenant, record.purge_id)).step == "certified"
    assert "could not be made available (bad-signature)" in await certified_export(parts, record)


async def test_a_refusal_is_found_out_by_an_attempt_also_when_the_time_is_over(parts: Parts, ports: PurgePorts) -> None:
    digest = await publish_adapter(parts, TENANT)
    store = await parts.tenancy.store(TENANT)
    await store.put(object_keys.adapter(digest, object_keys.ADAPTER_MANIFEST), b"{}")
    record = await fenced(parts, ports)
    parts.now += timedelta(days=6)
    assert (await looked(ports, record)).step == "certified"
    assert "could not be made available (bad-signature)" in await certified_export(parts, record)
    assert "export.ready" not in parts.types()


@pytest.mark.parametrize("away", [timedelta(days=6), timedelta(days=5), timedelta(days=5) - timedelta(seconds=1)])
async def test_the_tenants_days_count_from_when_its_export_is_ready(
    parts: Parts, ports: PurgePorts, away: timedelta
) -> None:
    """Between the fence and the first attempt nobody drove the purge."""
    await publish_adapter(parts, TENANT)
    record = await fenced(parts, ports)
    parts.now += away
    record = await looked(ports, record)
    assert (record.step, record.export and record.export.ready_at) == ("exported", parts.now)
    assert parts.types()[-1] == "export.ready"
    parts.now += timedelta(days=5) - timedelta(seconds=1)
    assert (await looked(ports, record)).step == "exported"
    parts.now += timedelta(seconds=1)
    assert (await looked(ports, record)).step == "certified"
    ready, ended = NOW + away, NOW + away + timedelta(days=5)
    said = f"made available at {ready.isoformat()} and not taken by {ended.isoformat()}"
    assert said in await certified_export(parts, record)


@pytest.mark.parametrize(("left", "waits"), [(3, 2), (1, 0), (-2, 0)])
async def test_the_tenants_days_leave_the_last_day_of_the_deletion_sla_to_the_destruction(
    parts: Parts, ports: PurgePorts, left: int, waits: int
) -> None:
    await publish_adapter(parts, TENANT)
    record = await fenced(parts, ports)
    parts.now = record.deadline - timedelta(days=left)
    record = await looked(ports, record)
    assert record.export is not None
    assert record.export.waits_until == parts.now + timedelta(days=waits)
    assert parts.types().count("export.ready") == 1
    parts.now += timedelta(days=waits)
    assert (await looked(ports, record)).step == "certified"
    assert "made available at" in await certified_export(parts, record)


async def test_a_fence_that_came_late_leaves_the_last_day_of_the_deletion_sla_too(
    parts: Parts, ports: PurgePorts
) -> None:
    await publish_adapter(parts, TENANT)
    await requests.request_purge(parts.tenancy, TENANT, requested_by="op")
    requested = parts.publisher.events[-1]
    parts.now += timedelta(days=27)
    await on_purge_requested(requested, ports)
    await ports.driver.reconcile()
    [view] = (await purges.purges(parts.tenancy)).views
    assert view.waits_for == ("the tenant to take its export, until 2026-03-30T12:00+00:00",)
    parts.now = view.deadline - timedelta(days=1)
    await ports.driver.reconcile()
    assert (await ports.driver.records.read(view.tenant, view.purge_id)).step == "certified"


@pytest.mark.parametrize("is_mended", [True, False])
@pytest.mark.parametrize(
    ("error", "code"), [(StoreUnavailable("out of reach"), "unavailable"), (TimeoutError(), "store-too-slow")]
)
async def test_an_outage_is_waited_for_until_the_last_day_of_the_deletion_sla(
    parts: Parts, ports: PurgePorts, monkeypatch: pytest.MonkeyPatch, is_mended: bool, error: Exception, code: str
) -> None:
    async def is_out(*_: object) -> None:
        raise error

    await publish_adapter(parts, TENANT)
    with monkeypatch.context() as patched:
        patched.setattr(handover, "write_export", is_out)
        record = await purging(parts, ports)
        for days in (5, 10, 28):
            parts.now = NOW + timedelta(days=days)
            record = await looked(ports, record)
            assert (record.step, record.export and record.export.refusal_code) == ("fenced", code)
        if not is_mended:
            parts.now = record.deadline - timedelta(days=1)
            assert (await looked(ports, record)).step == "certified"
            assert f"could not be made available ({code})" in await certified_export(parts, record)
            return
    record = await looked(ports, record)
    assert (record.step, record.export and record.export.refusal_code) == ("exported", None)


async def test_a_failure_of_the_purge_itself_ends_with_the_tenants_time(
    parts: Parts, ports: PurgePorts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise RuntimeError("a defect")

    await publish_adapter(parts, TENANT)
    monkeypatch.setattr(handover, "write_export", fails)
    record = await purging(parts, ports)
    assert (record.step, record.export and record.export.refusal_code) == ("fenced", "export-failed")
    parts.now += timedelta(days=5)
    assert (await looked(ports, record)).step == "certified"
    assert "could not be made available (export-failed)" in await certified_export(parts, record)


async def test_an_acknowledgement_counts_only_for_what_was_put_out(parts: Parts, ports: PurgePorts) -> None:
    digest = await publish_adapter(parts, TENANT)
    other = TenantId("t2")
    await onboard(parts.tenancy, other, POLICY)
    record = await purging(parts, ports)

    def said(tenant: TenantId = TENANT, **changed: str) -> Event[ExportAcknowledged]:
        data = {"export_id": record.purge_id, "adapter_digest": digest, "acknowledged_by": "op", **changed}
        return Event(subject=tenant, data=ExportAcknowledged.model_validate(data), time=NOW, source="/test")

    with pytest.raises(Refused, match="another adapter"):
        await on_export_acknowledged(said(adapter_digest="f" * 64), ports)
    assert await on_export_acknowledged(said(export_id="export-1"), ports) is Outcome.NOOP_STALE
    assert await on_export_acknowledged(said(other), ports) is Outcome.NOOP_STALE, "another tenant's word"
    assert (await ports.driver.records.read(record.tenant, record.purge_id)).export == record.export
    assert await on_export_acknowledged(said(), ports) is Outcome.EFFECT
