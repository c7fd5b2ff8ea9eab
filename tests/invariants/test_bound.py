"""Invariant 1, bound: a tenant comes from what is verified, and nothing of one tenant serves another."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from consumers.adapters.handlers import AdaptersPorts, on_adapter_ready
from consumers.curation.handlers import on_example_approved
from consumers.export.handlers import ExportPorts, on_export_requested
from consumers.purge.handlers import on_purge_requested
from producers.commands import requests
from schemas.bus import events
from schemas.bus.content import ChatMessage, Committed, ExampleContent, InlineContent
from schemas.bus.envelope import MalformedEvent, decode, encode
from schemas.bus.outcome import Outcome
from schemas.evidence.statements import TRAINING_PREDICATE, statement
from schemas.objects import object_keys
from schemas.objects.exports import ExportDecision
from tenancy.errors import (
    Refused,
    SealBroken,
)
from tenancy.lifecycle.exports import export_decision
from tenancy.storage.keys import encrypt_inline
from tenancy.tenant_id import TenantId
from tenancy.tokens import BadToken, TokenIssuer, TokenVerifier
from tests.fixtures.all_keys import AllKeys
from tests.invariants.worlds import (
    NAME,
    Pair,
    event,
    frozen,
    receipt,
    service,
)


async def test_bound_no_object_of_one_tenant_opens_for_another(pair: Pair) -> None:
    world = pair.world
    ours, theirs = await world.outside.store(pair.one), await world.outside.store(pair.other)
    copied = 0
    prefix = object_keys.tenant_prefix(pair.other)
    for key in [key async for key in world.memory.keys(prefix)]:
        relative = key.removeprefix(prefix)
        assert (await theirs.get(relative))[0] is not None
        await world.memory.put(object_keys.tenant_key(pair.one, relative), (await world.memory.get(key)).body)
        with pytest.raises(SealBroken):
            await ours.get(relative)
        copied += 1
    assert copied > 15


async def test_bound_the_key_of_one_tenant_does_not_become_anothers(pair: Pair) -> None:
    world = pair.world
    stored = await world.memory.get(object_keys.key_key(pair.other))
    await world.memory.put(object_keys.key_key(pair.one), stored.body)
    with pytest.raises(SealBroken):
        await world.outside.store(pair.one)


async def test_bound_a_claim_check_must_name_the_example_that_was_approved(pair: Pair) -> None:
    world = pair.world
    approval = await world.approval(pair.one, "e20")
    renamed = approval.evolve(example_id="e21")
    version = approval.evolve(version=2)
    before = frozen(world)
    for wrong in (renamed, version):
        with pytest.raises(Refused) as refused:
            await on_example_approved(event(pair.one, wrong, world), world.tenancy)
        assert refused.value.code == "foreign-claim-check"
    with pytest.raises(Refused) as refused:
        await on_example_approved(event(pair.other, approval, world), world.tenancy)
    assert refused.value.code == "no-content", "what lies in another tenant's prefix does not exist for this one"
    assert frozen(world) == before


async def test_bound_content_encrypted_to_another_tenant_is_refused(pair: Pair) -> None:
    world = pair.world
    content = ExampleContent(
        messages=(ChatMessage(role="user", content="q"), ChatMessage(role="assistant", content="a")),
        salt=secrets.token_hex(32),
    )
    keys = await world.outside.keys.open(pair.one)
    approval = events.ExampleApproved(
        example_id="e30",
        version=1,
        reviewer_id="rev-1",
        consent_id="consent-1",
        content=Committed(
            reference=InlineContent(jwe=encrypt_inline(keys.public_key, content)), commitment=content.commitment()
        ),
    )
    before = frozen(world)
    with pytest.raises(SealBroken):
        await on_example_approved(event(pair.other, approval, world), world.tenancy)
    assert frozen(world) == before
    assert await on_example_approved(event(pair.one, approval, world), world.tenancy) is Outcome.EFFECT


async def test_bound_an_event_under_another_tenants_key_is_no_event(pair: Pair) -> None:
    published = [made for log in pair.world.bus.topics.values() for made in log if made.subject == pair.one]
    assert len({made.type for made in published}) >= 10
    for made in published:
        message = encode(made)
        with pytest.raises(MalformedEvent) as refused:
            decode(pair.other.encode(), message.value, message.headers)
        assert refused.value.code == "key-mismatch"
        renamed = {**dict(message.headers), "ce_subject": pair.other.encode()}
        with pytest.raises(MalformedEvent) as refused:
            decode(pair.other.encode(), message.value, list(renamed.items()))
        assert refused.value.code == "id-mismatch", "an id belongs to one tenant"


async def test_bound_a_foreign_adapter_is_not_announced_activated_exported_or_evicted(pair: Pair) -> None:
    world, before = pair.world, frozen(pair.world)
    ready = events.AdapterReady(adapter_digest=pair.foreign, run_id="batch-1", base_model_digest="b" * 64, size_bytes=1)
    export = events.ExportRequested(export_id="x2", adapter_digest=pair.foreign, requested_by="op")
    ports = ExportPorts(world.tenancy, world.keys.trust)
    adapters = AdaptersPorts(world.tenancy, world.keys.trust, lambda: None)
    attempts: list[Callable[[], Awaitable[Any]]] = [
        lambda: on_adapter_ready(event(pair.one, ready, world), adapters),
        lambda: requests.activate(world.tenancy, pair.one, pair.foreign),
        lambda: requests.rollback(world.tenancy, pair.one, pair.foreign),
        lambda: on_export_requested(event(pair.one, export, world), ports),
        lambda: requests.request_export(world.tenancy, pair.one, requested_by="op", digest=pair.foreign),
    ]
    for attempt in attempts:
        with pytest.raises(Refused) as refused:
            await attempt()
        assert refused.value.code == "unknown-adapter"
    retired = events.AdapterRetired(adapter_digest=pair.foreign, reason_code="superseded")
    await world.handle(service(world, "inference"), event(pair.one, retired, world))
    assert set(world.engine.names) == {pair.digest, pair.foreign}
    refusal = object_keys.tenant_key(pair.one, object_keys.export_decision("x2"))
    assert {key: held for key, held in frozen(world).items() if key != refusal} == before
    store = await world.outside.store(pair.one)
    assert await export_decision(store, "x2") == ExportDecision(refusal_code="unknown-adapter")


async def test_bound_a_receipt_counts_only_for_what_it_says_under_our_key(pair: Pair) -> None:
    world = pair.world
    await world.lease.renew()
    requested = events.PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op")
    purge = service(world, "purge")
    await on_purge_requested(event(pair.one, requested, world), purge.ports)
    wrong: dict[str, dict[str, Any]] = {
        "foreign-receipt": receipt(world, pair.other),
        "foreign-receipt ": receipt(world, pair.one, cause="p2"),
        "foreign-receipt  ": receipt(world, pair.one, replica="replica-1"),
        "bad-signature": receipt(world, pair.one, signer=AllKeys.made()),
        "bad-signature ": world.keys.sign(statement(TRAINING_PREDICATE, {"x": "a" * 64}, requested)),
        "bad-signature  ": {},
        "incomplete-eviction": receipt(world, pair.one, local_files_deleted=False),
        "incomplete-eviction  ": receipt(world, pair.one, remaining=(pair.digest,)),
        "incomplete-eviction ": receipt(world, pair.one, slots_overwritten=False),
    }
    for code, envelope in wrong.items():
        data = events.ReplicaEvicted(replica_id="replica-0", cause_id="p1", receipt=envelope)
        with pytest.raises(Refused) as refused:
            await world.handle(purge, event(pair.one, data, world))
        assert refused.value.code == code.strip()
    assert (await world.driver.records.read(pair.one, "p1")).acknowledgements == ()
    data = events.ReplicaEvicted(replica_id="replica-0", cause_id="p1", receipt=receipt(world, pair.one))
    assert await world.handle(purge, event(pair.one, data, world)) is Outcome.EFFECT


@pytest.mark.parametrize("is_retirement", [True, False])
async def test_bound_a_receipt_under_another_key_is_refused_by_the_one_group_that_it_is_for(
    pair: Pair, is_retirement: bool
) -> None:
    """Both groups read every acknowledgement: two refusals of one would be two dead letters."""
    world = pair.world
    purge, adapters = service(world, "purge"), service(world, "adapters")
    cause = pair.digest if is_retirement else "p1"
    forged = receipt(world, pair.one, cause=cause, signer=AllKeys.made())
    data = events.ReplicaEvicted(replica_id="replica-0", cause_id=cause, receipt=forged)
    if not is_retirement:
        requested = events.PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op")
        await on_purge_requested(event(pair.one, requested, world), purge.ports)
    concerned, other = (adapters, purge) if is_retirement else (purge, adapters)
    with pytest.raises(Refused) as refused:
        await world.handle(concerned, event(pair.one, data, world))
    assert refused.value.code == "bad-signature"
    assert await world.handle(other, event(pair.one, data, world)) is Outcome.NOOP_STALE


async def test_bound_a_forged_receipt_for_a_purge_that_nobody_knows_is_refused_too(pair: Pair) -> None:
    world = pair.world
    forged = receipt(world, pair.one, signer=AllKeys.made())
    data = events.ReplicaEvicted(replica_id="replica-0", cause_id="p1", receipt=forged)
    with pytest.raises(Refused):
        await world.handle(service(world, "purge"), event(pair.one, data, world))


def test_bound_a_token_is_for_the_tenant_it_was_issued_to_and_for_no_other_installation() -> None:
    ours, theirs = AllKeys.made(), AllKeys.made()
    token = TokenIssuer(ours.token).issue(TenantId(NAME))
    assert TokenVerifier(ours.trust).tenant(token) == NAME
    with pytest.raises(BadToken):
        TokenVerifier(theirs.trust).tenant(token)
