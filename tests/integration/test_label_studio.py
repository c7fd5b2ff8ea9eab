"""Label Studio as it comes from its package: what clinicians decide in it becomes proposals and reviews."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc.jwk import OKPKey
from opentelemetry import metrics

from deploy.local.settings import LocalSettings
from producers.sources.curation_tools.fields import Fields
from producers.sources.curation_tools.http_client import PersonalAccessToken, ToolClient
from producers.sources.curation_tools.label_studio import LabelStudio
from producers.sources.curation_tools.receiver import Receiver
from producers.sources.curation_tools.routes import PATH, Endpoint
from producers.sources.curation_tools.webhooks import Sender
from producers.sources.proposing import Proposer
from producers.sources.source_key import SourceKey
from schemas.bus.events import ConsentGranted, ExampleProposed, ExampleReviewed
from tenancy.bus import RecordingPublisher
from tenancy.tenant_id import TenantId
from tests.fixtures.gates import GATE, NAME
from tests.fixtures.label_studio import Studio, running_studio
from tests.fixtures.served import served_here
from tests.unit.operator_parts import NOW, onboarded_parts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

TENANT = TenantId("t1")
WAIT_SECONDS = 120.0
CONFIG = (Path(__file__).parents[2] / "docs" / "curation-tools.md").read_text().split("```xml\n")[1].split("```")[0]


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    with running_studio(LocalSettings().cache_dir, tmp_path_factory.mktemp("label-studio")) as made:
        yield made


@dataclass(frozen=True)
class Project:
    """One project with its tasks, and the source that reads it."""

    studio: Studio
    id: int
    bus: RecordingPublisher
    receiver: Receiver

    def add(self, question: str, answer: str, **data: str) -> int:
        """The new task's id."""
        task = {"data": {"question": question, "answer": answer, **data}, "project": self.id}
        return int(self.studio.made("/api/tasks/", task)["id"])

    def annotate(self, task: int, verdict: str, answer: str | None = None) -> None:
        result = [_said("verdict", "choices", {"choices": [verdict]})]
        if answer is not None:
            result.append(_said("answer", "textarea", {"text": [answer]}))
        self.studio.made(f"/api/tasks/{task}/annotations/", {"result": result})

    def published(self, kind: type[Any]) -> list[Any]:
        return [event.data for event in self.bus.events if isinstance(event.data, kind)]

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not holds():
                await asyncio.sleep(0.05)


def _said(name: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"from_name": name, "to_name": "question", "type": kind, "value": value}


@asynccontextmanager
async def project_of(studio: Studio, folder: Path) -> AsyncIterator[tuple[Project, str]]:
    """A new project with the documented configuration, and the address at which the source takes its webhooks."""
    parts = await onboarded_parts(TENANT)
    key = OKPKey.import_key(dict(await parts.tenancy.keys.public_key(TENANT)))
    made = studio.made("/api/projects/", {"title": secrets.token_hex(4), "label_config": CONFIG})
    bus, secret = RecordingPublisher(), secrets.token_bytes(32)
    async with httpx.AsyncClient(base_url=studio.url, trust_env=False, timeout=60) as client:
        tool = LabelStudio(ToolClient(client, PersonalAccessToken(studio.token)), str(made["id"]), Fields())
        proposer = Proposer(TENANT, key, SourceKey(bytes(32)), GATE, bus, "/test", lambda: NOW)
        counter = metrics.get_meter("test").create_counter("records")
        receiver = Receiver(tool, proposer, folder / "position", 3600.0, counter)
        app = Endpoint(lambda: receiver, Sender("label-studio", secret), 1_000_000).app()
        async with served_here(app) as address:
            receiving = asyncio.create_task(receiver.run())
            webhook = {
                "project": made["id"],
                "url": f"{address}{PATH}",
                "headers": {"Authorization": f"Bearer {base64.b64encode(secret).decode()}"},
            }
            try:
                added = await _posted(studio, "/api/webhooks/", webhook)
                yield Project(studio, made["id"], bus, receiver), str(added["id"])
            finally:
                receiving.cancel()
                await asyncio.gather(receiving, return_exceptions=True)


async def _posted(studio: Studio, path: str, body: Any) -> Any:
    return await asyncio.to_thread(studio.made, path, body)


async def test_what_is_decided_in_it_is_proposed_and_reviewed_when_its_webhook_comes(
    studio: Studio, tmp_path: Path
) -> None:
    async with project_of(studio, tmp_path) as (project, _):
        task = await asyncio.to_thread(project.add, f"May {NAME} have it?", "No.", author="dr-who", consent="patient-7")
        await project.until(lambda: len(project.published(ExampleProposed)) == 1)
        [first], [consent] = project.published(ExampleProposed), project.published(ConsentGranted)
        assert (first.version, first.source, first.consent_id) == (1, "curation-tool", consent.consent_id)

        await asyncio.to_thread(project.annotate, task, "approve")
        await project.until(lambda: len(project.published(ExampleReviewed)) == 1)
        [review] = project.published(ExampleReviewed)
        assert (review.verdict, review.version, review.commitment) == ("approved", 1, first.content.commitment)

        await asyncio.to_thread(project.annotate, task, "approve", "Yes, half of it.")
        await project.until(lambda: len(project.published(ExampleProposed)) == 2)
        assert project.published(ExampleProposed)[1].version > 1
        everything = "".join(event.data.model_dump_json() for event in project.bus.events)
        assert all(raw not in everything for raw in (NAME, "dr-who", "patient-7", "half of it"))


async def test_what_its_webhooks_lost_is_found_by_looking_at_what_changed(studio: Studio, tmp_path: Path) -> None:
    async with project_of(studio, tmp_path) as (project, webhook):
        await project.until(lambda: project.receiver.is_ready)
        gone = await asyncio.to_thread(studio.admin.delete, f"/api/webhooks/{webhook}/")
        assert gone.status_code == 204
        for number in range(3):
            task = await asyncio.to_thread(project.add, f"Q{number}?", "No.")
            await asyncio.to_thread(project.annotate, task, "approve")
        assert project.bus.events == []
        project.receiver.note([])
        await project.until(lambda: len(project.published(ExampleReviewed)) == 3)
        assert len(project.published(ExampleProposed)) == 3
