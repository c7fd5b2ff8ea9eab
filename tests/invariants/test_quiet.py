"""Invariant 9, quiet: keys, names, labels, spans, logs and errors carry no text, names or tokens."""

from __future__ import annotations

import io
import json
import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from pythonjsonlogger.json import JsonFormatter

from schemas.bus import events
from schemas.bus.content import ChatMessage, ClaimCheck, Committed, ExampleContent, InlineContent
from schemas.bus.dead_letters import REASON_HEADERS
from schemas.bus.envelope import encode
from schemas.objects import object_keys
from tenancy.platform.logs import SCOPE
from tenancy.storage.keys import encrypt_inline
from tenancy.tenant_id import TenantId
from tenancy.tokens import BadToken, TokenIssuer, TokenVerifier
from tests.fixtures.all_keys import AllKeys
from tests.fixtures.records import record_of
from tests.invariants.worlds import (
    NAME,
    OTHER_NAME,
    DispatchedWorld,
    assert_purged,
    event,
    every_name,
    service,
)
from tests.world.world import World

CANARY = "canary-8841"
REVIEWER = "reviewer-canary-7712"


@contextmanager
def log_lines() -> Iterator[io.StringIO]:
    """Everything that our loggers say, with all its fields and tracebacks."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(JsonFormatter("{levelname}{name}{message}", style="{"))
    logger = logging.getLogger(SCOPE)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield out
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _content(example_id: str) -> ExampleContent:
    return ExampleContent(
        messages=(
            ChatMessage(role="system", content=f"house rule {CANARY}"),
            ChatMessage(role="user", content=f"Frau Müller, MRN {CANARY}, {example_id}"),
            ChatMessage(role="assistant", content=f"The answer about {CANARY}, {example_id}"),
        ),
        salt=secrets.token_hex(32),
    )


async def _approval(world: World, tenant: TenantId, example_id: str, *, inline: bool = False) -> events.ExampleApproved:
    content = _content(example_id)
    store = await world.outside.store(tenant)
    if inline:
        reference: ClaimCheck | InlineContent = InlineContent(jwe=encrypt_inline(store.keys.public_key, content))
    else:
        await store.put_record(object_keys.content(example_id, 1), content)
        reference = ClaimCheck(example_id=example_id, version=1)
    return events.ExampleApproved(
        example_id=example_id,
        version=1,
        reviewer_id=REVIEWER,
        consent_id="consent-1",
        content=Committed(reference=reference, commitment=content.commitment()),
    )


async def _whole_loop_with_canaries(world: DispatchedWorld, tenant: TenantId) -> list[bytes]:
    """The loop, and everything that can go wrong in it; returns every object body that ever was."""
    bodies: list[bytes] = []
    put = world.memory.put

    async def kept(key: str, body: bytes, **conditions: Any) -> str:
        bodies.append(bytes(body))
        return await put(key, body, **conditions)

    world.memory.put = kept  # type: ignore[method-assign]
    await world.publish(tenant, events.ConsentGranted(consent_id="consent-1", version=1))
    for number in range(3):
        await world.publish(tenant, await _approval(world, tenant, f"e{number}", inline=number == 2))
    await world.publish(
        tenant, events.ExampleRejected(example_id="e8", version=1, reviewer_id=REVIEWER, reason_code="unclear")
    )
    await world.settle()
    await world.served(tenant)
    await world.publish(tenant, events.ExportRequested(export_id="x1", requested_by="op"))
    # What goes wrong: an approval of other words, an unreadable value, a training that fails on what it reads.
    wrong = await _approval(world, tenant, "e20")
    await world.publish(tenant, wrong.evolve(content=wrong.content.evolve(commitment="f" * 64)))
    foreign = await _approval(world, TenantId(OTHER_NAME), "e21", inline=True)
    await world.publish(tenant, foreign)
    await world.settle()
    unreadable = record_of(
        event(tenant, wrong, world), value=json.dumps({"example_id": CANARY, CANARY: CANARY}).encode()
    )
    await world.dispatch(service(world, "curation"), unreadable)

    def fails(*arguments: Any) -> Any:
        raise ValueError(f"cannot train on {CANARY}")

    world.trainer.train = fails  # type: ignore[method-assign,assignment]
    await world.publish(tenant, events.TrainingRequested(run_id="run-9", trigger="operator"))
    await world.settle()
    assert (await world.state(tenant)).runs["run-9"].status == "failed"
    await world.publish(tenant, events.TenantChurned(requested_by="op"))
    await world.settle()
    await assert_purged(world, tenant)
    return bodies


async def test_quiet_what_people_wrote_is_nowhere_but_sealed(tmp_path: Path) -> None:
    world = DispatchedWorld(tmp_path)
    tenant = await world.onboard(NAME)
    await world.onboard(OTHER_NAME)
    names: set[str] = set()
    with log_lines() as log, every_name(names):
        bodies = await _whole_loop_with_canaries(world, tenant)
    said = log.getvalue()
    spans = [span.to_json() for span in world.spans.get_finished_spans()]
    metrics = generate_latest(world.registry).decode()
    messages = [encode(made) for logged in world.bus.topics.values() for made in logged]
    headers = [dict(message.headers) for message in messages]

    # Something was looked at.
    assert world.trainer.trained
    assert {"attempt failed", "handled", "purge step"} <= {json.loads(line)["message"] for line in said.splitlines()}
    assert len(spans) > 10
    assert "sano_bus_events_total" in metrics
    assert len(world.bus.dead) == 3
    assert len(names) > 20
    assert world.errors

    # Nowhere in clear: neither contents nor what would lead to them.
    assert all(CANARY.encode() not in body for body in bodies)
    for place in (said, *spans, metrics, *names, *world.errors):
        assert CANARY not in place
    for message, header in zip(messages, headers, strict=True):
        assert CANARY.encode() not in message.value + message.key + b"".join(header.values())
    # Who reviewed is in the events' bodies and the sealed records, and in no name, label, header or log.
    for place in (said, *spans, metrics, *names, *world.errors, repr(headers)):
        assert REVIEWER not in place
    assert any(REVIEWER.encode() in message.value for message in messages)
    # The audit log outlives the tenant: it holds no name that came from outside.
    audit = [
        version.body or b""
        for key, versions in world.memory.objects.items()
        if key.startswith(object_keys.AUDIT_PREFIX)
        for version in versions
    ]
    assert any(b'"kind":"example.approved"' in body for body in audit)
    for name in (REVIEWER, "consent-1", '"e0"', '"e8"', "unclear", '"x1"'):
        assert all(name.encode() not in body for body in audit), name
    # No tenant in a label, an attribute or a log line.
    for place in (said, *spans, metrics):
        assert NAME not in place
    # A dead letter keeps what its sender wrote, and our own words about it say nothing of that.
    for letter in world.bus.dead:
        reasons = b"".join(value or b"" for name, value in letter.headers if name in REASON_HEADERS)
        assert CANARY.encode() not in reasons


async def test_quiet_a_token_is_in_no_error_that_refuses_it() -> None:
    ours, theirs = AllKeys.made(), AllKeys.made()
    token = TokenIssuer(theirs.token).issue(TenantId(NAME))
    with pytest.raises(BadToken) as refused:
        TokenVerifier(ours.trust).tenant(token)
    assert token not in str(refused.value) + repr(refused.value)
    assert token.split(".")[1] not in str(refused.value)
