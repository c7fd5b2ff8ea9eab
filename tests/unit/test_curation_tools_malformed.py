"""Malformed webhooks and records of curation tools: the sender is refused by a status, a record by a code in the log,
nothing is quoted, and what is good between them is published."""

from __future__ import annotations

import asyncio
import base64
import copy
import hmac
import json
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from joserfc.jwk import OKPKey
from opentelemetry import metrics

from producers.sources.curation_tools.argilla import Argilla
from producers.sources.curation_tools.fields import Fields
from producers.sources.curation_tools.http_client import ToolClient
from producers.sources.curation_tools.label_studio import LabelStudio
from producers.sources.curation_tools.receiver import Receiver
from producers.sources.curation_tools.records import Tool
from producers.sources.curation_tools.routes import PATH, Endpoint
from producers.sources.curation_tools.webhooks import Sender
from producers.sources.proposing import Proposer
from schemas.bus.events import ExampleProposed
from tenancy.bus import RecordingPublisher
from tenancy.errors import Refused
from tests.fixtures.gates import GATE, NAME
from tests.unit.damaged_json import damaged
from tests.unit.operator_parts import NOW
from tests.unit.test_curation_tools import ARGILLA_RECORD, DATASET, KEY, RECORD, SECRET, STUDIO_TASK, T0, TENANT

ToolName = Literal["label-studio", "argilla"]
TOOLS: list[ToolName] = ["label-studio", "argilla"]
COUNT = 500

GOOD: dict[ToolName, Any] = {
    "label-studio": {**STUDIO_TASK, "data": {"question": f"May {NAME} have it?", "answer": "No."}},
    "argilla": ARGILLA_RECORD,
}
HOOKS: dict[ToolName, Any] = {
    "label-studio": {
        "action": "ANNOTATION_UPDATED",
        "annotation": {"id": 3, "task": 2, "result": [{"value": {"text": [NAME]}}]},
        "task": {"id": 2, "data": {"question": NAME}},
    },
    "argilla": {
        "type": "response.created",
        "version": 1,
        "timestamp": "2026-11-24T09:00:00Z",
        "data": {"id": "0b1c2d3e-0000-4000-8000-000000000001", "record": {"id": RECORD, "fields": {"question": NAME}}},
    },
}


def tool_of(name: ToolName, answers: Callable[[httpx.Request], bytes]) -> Tool:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=answers(request)))
    client = ToolClient(httpx.AsyncClient(base_url="http://tool", transport=transport))
    return LabelStudio(client, "1", Fields()) if name == "label-studio" else Argilla(client, DATASET, Fields())


def receiver_of(tool: Tool, bus: RecordingPublisher, folder: Path) -> Receiver:
    proposer = Proposer(TENANT, OKPKey.generate_key("X25519"), KEY, GATE, bus, "/test", lambda: NOW)
    counter = metrics.get_meter("test").create_counter("records")
    return Receiver(tool, proposer, folder / "position", 3600.0, counter, lambda: T0)


def numbered(name: ToolName, number: int) -> Any:
    """A good record of its own."""
    made = copy.deepcopy(GOOD[name])
    made["id"] = number if name == "label-studio" else f"7c9e6679-7425-40de-944b-{number:012x}"
    return made


def headers(name: ToolName, body: bytes) -> dict[str, str]:
    if name == "label-studio":
        return {"Authorization": f"Bearer {base64.b64encode(SECRET).decode()}"}
    time = str(int(T0.timestamp()))
    mac = hmac.new(SECRET, b".".join((b"msg_1", time.encode(), body)), "sha256").digest()
    signature = f"v1,{base64.b64encode(mac).decode()}"
    return {"webhook-id": "msg_1", "webhook-timestamp": time, "webhook-signature": signature}


def of_a_stranger(draw: random.Random, good: dict[str, str]) -> dict[str, str]:
    """One of the headers that say who sends is left out, cut, or of other bytes."""
    name = draw.choice(sorted(good))
    match draw.randrange(3):
        case 0:
            return {key: value for key, value in good.items() if key != name}
        case 1:
            return {**good, name: good[name][: draw.randrange(len(good[name]) - 1)]}
    return {**good, name: "".join(chr(draw.randrange(0x20, 0x7F)) for _ in range(draw.randrange(1, 300)))}


@pytest.mark.parametrize("name", TOOLS)
async def test_five_hundred_malformed_webhooks_are_each_answered_and_the_good_ones_between_them_are_taken(
    name: ToolName, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    draw, bus, statuses = random.Random(11), RecordingPublisher(), list[int]()
    caplog.set_level(logging.DEBUG)
    records = {str(numbered(name, number)["id"]): numbered(name, number) for number in range(1, 6)}

    def answers(request: httpx.Request) -> bytes:
        if request.url.path.endswith(("/api/tasks/", "/records")):
            return b'{"tasks": [], "items": [], "total": 0}'
        wanted = request.url.path.rstrip("/").rpartition("/")[2]
        return json.dumps(records.get(wanted, {})).encode()

    receiver = receiver_of(tool_of(name, answers), bus, tmp_path)
    running = asyncio.create_task(receiver.run())
    app = Endpoint(lambda: receiver, Sender(name, SECRET), 20_000, lambda: T0).app()
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://source") as client:
            good = json.dumps(HOOKS[name]).encode()
            for number in range(COUNT):
                body = damaged(draw, good)
                said, is_strange = headers(name, body), number % 5 == 0
                said = of_a_stranger(draw, said) if is_strange else said
                answer = await client.post(PATH, content=body, headers=said)
                statuses.append(answer.status_code)
                assert answer.status_code in ((401, 413) if is_strange else (204, 400, 413)), number
                assert answer.content == b"", "it repeats nothing"
                if number % 100 == 50:  # one of the five that are good, and still taken
                    hook = copy.deepcopy(HOOKS[name])
                    wanted = list(records)[number // 100]
                    if name == "label-studio":
                        hook["task"]["id"] = hook["annotation"]["task"] = int(wanted)
                    else:
                        hook["data"]["record"]["id"] = wanted
                    body = json.dumps(hook).encode()
                    assert (await client.post(PATH, content=body, headers=headers(name, body))).status_code == 204
        async with asyncio.timeout(30):
            while sum(isinstance(event.data, ExampleProposed) for event in bus.events) < len(records):
                await asyncio.sleep(0.01)
        assert not running.done(), "it goes on"
    finally:
        running.cancel()
    assert min(statuses.count(status) for status in (204, 400, 401)) > COUNT // 10
    assert "record failed" not in caplog.text
    assert all(NAME not in event.data.model_dump_json() for event in bus.events)
    assert NAME not in caplog.text


@pytest.mark.parametrize("name", TOOLS)
async def test_five_hundred_malformed_records_are_read_or_refused_by_a_code_and_hold_up_none_of_the_good_ones(
    name: ToolName, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Or one of them would stop every look at what changed: webhooks that were lost would be found no more."""
    draw, bus = random.Random(13), RecordingPublisher()
    caplog.set_level(logging.DEBUG)
    bodies = {
        str(record["id"]): damaged(draw, json.dumps(record).encode())
        for record in (numbered(name, number) for number in range(1, COUNT + 1))
    }
    last = numbered(name, COUNT + 1)
    bodies[str(last["id"])] = json.dumps(last).encode()

    def answers(request: httpx.Request) -> bytes:
        if request.url.path.endswith(("/api/tasks/", "/records")):
            if "page" in request.url.params:
                number, size = int(request.url.params["page"]) - 1, 100
            else:
                number, size = int(request.url.params["offset"]) // 200, 200
            ids: list[Any] = list(bodies)[number * size : (number + 1) * size]
            listed = [{"id": one, "updated_at": T0.isoformat(), "responses": []} for one in ids]
            return json.dumps({"tasks": listed, "items": listed, "total": len(bodies)}).encode()
        return bodies[request.url.path.rstrip("/").rpartition("/")[2]]

    receiver = receiver_of(tool_of(name, answers), bus, tmp_path)
    await receiver.reconcile()
    assert receiver.position_file.exists(), "it came to the end"
    await receiver.look_at(str(last["id"]))
    proposed = [event.data for event in bus.events if isinstance(event.data, ExampleProposed)]
    refused = [record for record in caplog.records if record.message == "record refused"]
    assert len(proposed) > COUNT // 10
    assert len(refused) > COUNT // 10
    own = KEY.opaque_id("person", TENANT, "x")  # what is not text of ours is an opaque id like this one
    assert all(len(data.author_id or own) == len(own) for data in proposed)
    assert len({data.example_id for data in proposed}) == len(proposed), "none is taken for another"
    assert all(NAME not in event.data.model_dump_json() for event in bus.events)
    assert NAME not in caplog.text


@pytest.mark.parametrize("name", TOOLS)
async def test_a_list_that_is_not_one_is_refused_and_not_taken_for_an_empty_one(name: ToolName, tmp_path: Path) -> None:
    """Else the time of the last look would move on, past what changed."""
    objects, texts = b'{"items": {}, "tasks": {}, "total": 0}', b'{"items": "", "tasks": "", "total": 0}'
    for listed in (objects, texts, b"[" * 100_000, b"null"):
        receiver = receiver_of(tool_of(name, lambda _, body=listed: body), RecordingPublisher(), tmp_path)  # type: ignore[misc]
        with pytest.raises(Refused):
            await receiver.reconcile()
        assert not receiver.position_file.exists()
