"""Waiting for consumers: bounded, by looking at what they write, with a word of where it stands."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from consumers.adapters.handlers import on_adapter_ready
from consumers.curation.handlers import on_consent_granted, on_example_approved
from producers.commands import requests
from producers.queries import purges, waiting
from producers.sources.importing import import_approvals
from schemas.bus.envelope import Event
from schemas.bus.events import AdapterReady
from schemas.bus.outcome import Outcome
from schemas.objects.state import RunState
from tenancy.errors import TenantFenced
from tenancy.state.activation import retired
from tenancy.state.registry import Change
from tenancy.tenant_id import TenantId
from tests.fixtures.gates import gate_of_tests
from tests.unit.operator_parts import (
    BASE,
    NOW,
    Parts,
    adapters_ports,
    onboarded_parts,
    publish_adapter,
    purge_to_the_end,
)

TENANT = TenantId("t1")
BOUND_SECONDS = 10.0


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.01)


@pytest.fixture
async def parts() -> Parts:
    return await onboarded_parts(TENANT)


def with_run(run: RunState) -> Change:
    return lambda state: state.evolve(runs={"run-9": run})


async def swap(parts: Parts, change: Change) -> None:
    await parts.tenancy.states.swap(TENANT, change)


async def test_waiting_for_a_run_reports_its_way_and_returns_once_its_adapter_is_active(parts: Parts) -> None:
    older, digest = await publish_adapter(parts, TENANT, 1), await publish_adapter(parts, TENANT, 2)
    await requests.activate(parts.tenancy, TENANT, older)

    async def consumers() -> None:
        for status in ("queued", "running", "completed"):
            run = RunState.model_validate({"status": status, "adapter_digest": digest, "requested_at": NOW})
            await swap(parts, with_run(run))
            await asyncio.sleep(0.05)
        ready = AdapterReady(adapter_digest=digest, run_id="run-9", base_model_digest=BASE, size_bytes=1)
        event = Event(subject=TENANT, data=ready, time=NOW, source="/test")
        await on_adapter_ready(event, adapters_ports(parts))

    working, seen = asyncio.create_task(consumers()), list[str]()
    run = await waiting.run_ended(
        parts.tenancy, TENANT, "run-9", timeout_seconds=BOUND_SECONDS, report=lambda status: seen.append(status)
    )
    active_on_return = (await parts.tenancy.states.read(TENANT)).state.active_adapter
    await working
    assert (run.status, active_on_return) == ("completed", digest)
    assert list(dict.fromkeys(seen)) == ["requested", "queued", "running", "activating"]


async def test_waiting_for_a_run_ends_when_its_adapter_was_retired_before_it_could_be_activated(parts: Parts) -> None:
    digest = await publish_adapter(parts, TENANT, 1)
    adapters = (await parts.tenancy.states.read(TENANT)).state.adapters
    await swap(parts, retired({digest: adapters[digest]}, "withdrawn-example", parts.tenancy.outbox.entry))
    await swap(parts, with_run(RunState(status="completed", adapter_digest=digest, requested_at=NOW)))
    found = await waiting.run_ended(parts.tenancy, TENANT, "run-9", timeout_seconds=0.5)
    assert found.adapter_digest == digest


async def test_waiting_ends_with_a_rejection_and_with_a_purge(parts: Parts) -> None:
    rejected = RunState(status="rejected", reason_code="too-few-examples", requested_at=NOW)
    await swap(parts, with_run(rejected))
    found = await waiting.run_ended(parts.tenancy, TENANT, "run-9", timeout_seconds=BOUND_SECONDS)
    assert found.reason_code == "too-few-examples"
    await requests.churn(parts.tenancy, TENANT, requested_by="operator")
    await purge_to_the_end(parts)
    with pytest.raises(TenantFenced):
        await waiting.run_ended(parts.tenancy, TENANT, "run-9", timeout_seconds=BOUND_SECONDS)


async def test_every_wait_is_bounded_and_says_for_what(parts: Parts) -> None:
    with pytest.raises(waiting.WaitedTooLong, match=r"the end of run run-9 did not happen within 0\.1 s"):
        await waiting.run_ended(parts.tenancy, TENANT, "run-9", timeout_seconds=0.1)
    with pytest.raises(waiting.WaitedTooLong, match="the certificate of the purge"):
        await waiting.purge_certified(parts.tenancy, TENANT, timeout_seconds=0.1)


async def test_waiting_for_a_purge_ends_with_its_certificate(parts: Parts) -> None:
    await publish_adapter(parts, TENANT)
    await requests.churn(parts.tenancy, TENANT, requested_by="compliance")
    purging = asyncio.create_task(purge_to_the_end(parts))
    record = await waiting.purge_certified(parts.tenancy, TENANT, timeout_seconds=BOUND_SECONDS)
    await purging
    assert (record.step, record.requested_by, record.reason_code) == ("certified", "compliance", "churned")
    assert b"payload" in await purges.certificate(parts.tenancy, record.tenant, record.purge_id)


async def test_the_wait_for_curation_ends_when_every_example_is_decided(parts: Parts, tmp_path: Path) -> None:
    lines = [
        {
            "example_id": f"e{n}",
            "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
            "reviewer": "r",
            "consent": "c",
        }
        for n in range(3)
    ]
    path = tmp_path / "f.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    imported = await import_approvals(path, TENANT, parts.tenancy, gate_of_tests)
    with pytest.raises(waiting.WaitedTooLong, match="curation of all 3 examples"):
        await waiting.examples_curated(parts.tenancy, TENANT, imported, timeout_seconds=0.1)
    granted, *approvals = list(parts.publisher.events)
    outcomes = [await on_consent_granted(granted, parts.tenancy)]
    outcomes += [await on_example_approved(event, parts.tenancy) for event in approvals]
    assert outcomes == [Outcome.EFFECT] * 4
    seen: list[tuple[str, int, int]] = []
    await waiting.examples_curated(
        parts.tenancy,
        TENANT,
        imported,
        timeout_seconds=BOUND_SECONDS,
        progress=lambda *step: seen.append(step),
    )
    assert seen[-1] == ("curating", 3, 3)
