"""Export: a plain folder that agrees with its signed manifest, or nothing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from consumers.export.handlers import ExportPorts, on_export_requested
from producers.commands import exporting, requests
from producers.commands.exporting import export_adapter
from producers.queries import waiting
from schemas.objects import object_keys
from tenancy.errors import BadSignature, Refused
from tenancy.lifecycle.exports import EXPORT_FILES
from tenancy.tenant_id import TenantId
from tests.unit.operator_parts import Parts, onboarded_parts, publish_adapter

TENANT = TenantId("t1")
BOUND_SECONDS = 10.0


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.01)


@pytest.fixture
async def parts() -> Parts:
    return await onboarded_parts(TENANT)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def exported(parts: Parts, directory: Path) -> exporting.Exported:
    """An export with the export consumer at work beside it."""

    async def consumer() -> None:
        async with asyncio.timeout(BOUND_SECONDS):
            while True:
                requests = [event for event in parts.publisher.events if event.type == "sano.export.requested"]
                if requests:
                    await on_export_requested(requests[-1], ExportPorts(parts.tenancy, parts.keys.trust))
                    return
                await asyncio.sleep(0.01)

    working = asyncio.create_task(consumer())
    made = await export_adapter(
        parts.tenancy,
        TENANT,
        directory,
        parts.keys.trust,
        requested_by="operator",
        timeout_seconds=BOUND_SECONDS,
    )
    await working
    return made


async def test_an_export_is_a_plain_folder_with_the_adapter_its_manifest_and_its_examples(
    parts: Parts, tmp_path: Path
) -> None:
    digest = await publish_adapter(parts, TENANT)
    await requests.activate(parts.tenancy, TENANT, digest)
    made = await exported(parts, tmp_path / "out")
    assert (made.adapter_digest, made.examples) == (digest, 3)
    assert names(tmp_path / "out") == sorted(EXPORT_FILES)
    lines = (tmp_path / "out" / "examples.jsonl").read_text().splitlines()
    assert [json.loads(line)["reviewer_id"] for line in lines] == ["reviewer-0", "reviewer-1", "reviewer-2"]
    assert names(tmp_path) == ["out"]


async def test_an_export_into_a_folder_that_holds_something_is_refused_before_anything_is_asked(
    parts: Parts, tmp_path: Path
) -> None:
    digest = await publish_adapter(parts, TENANT)
    await requests.activate(parts.tenancy, TENANT, digest)
    parts.publisher.events.clear()
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(Refused, match="is not empty; name a new or an empty folder"):
        await exported(parts, tmp_path)
    assert (parts.publisher.events, names(tmp_path)) == ([], ["mine.txt"])


async def test_an_export_whose_weights_are_not_the_signed_ones_leaves_nothing(parts: Parts, tmp_path: Path) -> None:
    digest, other = await publish_adapter(parts, TENANT, 1), await publish_adapter(parts, TENANT, 2)
    await requests.activate(parts.tenancy, TENANT, digest)
    store = await parts.tenancy.store(TENANT)
    foreign, _ = await store.get(object_keys.adapter(other, object_keys.ADAPTER_WEIGHTS))
    await store.put(object_keys.adapter(digest, object_keys.ADAPTER_WEIGHTS), foreign)
    with pytest.raises(BadSignature, match="not those that the manifest speaks of"):
        await exported(parts, tmp_path / "out")
    assert names(tmp_path) == []


async def test_a_tenant_without_an_active_adapter_has_nothing_to_export(parts: Parts, tmp_path: Path) -> None:
    await publish_adapter(parts, TENANT)
    with pytest.raises(Refused, match="no active adapter to export"):
        await exporting.export_adapter(
            parts.tenancy, TENANT, tmp_path / "out", parts.keys.trust, requested_by="operator", timeout_seconds=1
        )
    assert parts.types() == []
