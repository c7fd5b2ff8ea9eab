"""Everybody signs what it publishes, with a key that may: a whole life in an installation that takes nothing else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from consumers.runtime.signatures import Signatures
from schemas.bus import events
from schemas.bus.dead_letters import REASON
from schemas.bus.envelope import Event, encode
from schemas.bus.events import EVENT_TYPES
from schemas.bus.outcome import Outcome
from schemas.bus.publishers import ONLY_OURS, PUBLISHES
from tenancy.evidence.event_signatures import EventVerifier
from tenancy.evidence.keys import LocalKey
from tenancy.tenant_id import TenantId
from tests.fixtures.event_keys import event_key, signature_header, signer_of
from tests.invariants.worlds import NAME, OTHER_NAME, DispatchedWorld, frozen, learned, purged, samples

STRANGER, FOREIGN = LocalKey.generate(), LocalKey.generate()


async def test_a_whole_life_needs_no_unsigned_event_and_no_key_beyond_what_the_contract_names(tmp_path: Path) -> None:
    world = DispatchedWorld(tmp_path, unsigned_are_refused=True)
    tenant = await world.onboard(NAME)
    await learned(world, tenant)
    await world.publish(tenant, events.ConsentRevoked(consent_id="consent-1", version=2))
    await world.settle()
    world.now += timedelta(days=31)
    await world.settle()
    await purged(world, tenant)
    assert [(topic, reason) for topic, reason in refusals(world) if reason] == []
    assert {event.type for log in world.bus.topics.values() for event in log} >= {
        "sano.adapter.ready",
        "sano.adapter.activated",
        "sano.adapter.retired",
        "sano.purge.completed",
        "sano.replica.evicted",
        "sano.replica.registered",
        "sano.training.completed",
        "sano.outcome.recorded",
    }


def refusals(world: DispatchedWorld) -> list[tuple[str, str]]:
    return [(letter.topic, (dict(letter.headers)[REASON] or b"").decode()) for letter in world.bus.dead]


Forge = Callable[[DispatchedWorld, Event], tuple[str, bytes] | None]


def _moved(world: DispatchedWorld, event: Event) -> tuple[str, bytes]:
    """The good signature of the same event about another tenant."""
    other = Event(OTHER_NAME, event.data, event.time, event.source)
    return signature_header(other, world.event_keys.signer(who(event)))


def who(event: Event) -> str:
    return next(name for name, types in PUBLISHES.items() if type(event.data) in types)


FORGERS: dict[str, tuple[Forge, str]] = {
    "signs nothing": (lambda world, event: None, "unsigned"),
    "signs with a key of its own": (
        lambda world, event: signature_header(event, signer_of(STRANGER, world.clock)),
        "unknown-signer",
    ),
    "moves a signature here from another tenant": (_moved, "wrong-signature"),
    "is registered for another tenant": (
        lambda world, event: signature_header(event, signer_of(FOREIGN, world.clock)),
        "signer-not-allowed",
    ),
}


@pytest.mark.parametrize("how", FORGERS)
async def test_no_forged_event_of_any_type_reaches_a_handler(how: str, tmp_path: Path) -> None:
    world = DispatchedWorld(tmp_path, unsigned_are_refused=True)
    foreign = event_key(FOREIGN, "clinic-7", tenants=(OTHER_NAME,), event_types=tuple(EVENT_TYPES))
    world.signatures = Signatures(EventVerifier(world.event_keys.trust(foreign), world.clock), are_required=True)
    tenant = await world.onboard(NAME)
    digest = await learned(world, tenant)
    approval = await world.approval(tenant, "e49")
    before = settled(world)
    sign, reason = FORGERS[how]
    for data in samples(world, tenant, digest, approval):
        event = Event(tenant, data, world.now, "/attack")
        await assert_refused(world, event, sign(world, event), reason)
    await world.settle()
    assert settled(world) == before, "nothing but the audit log, which tells of the dead letters"
    assert (await world.state(tenant)).status == "active"
    assert await world.served(tenant) == digest


async def assert_refused(world: DispatchedWorld, event: Event, header: tuple[str, bytes] | None, reason: str) -> None:
    outcomes, letters = len(world.outcomes), len(world.bus.dead)
    world.bus.take(encode(event), header)
    await world.settle()
    told = {outcome for _, kind, outcome in world.outcomes[outcomes:] if kind == event.type}
    assert told == {Outcome.DEAD_LETTERED}, event.type
    assert {found for _, found in refusals(world)[letters:]} == {reason}, event.type


def settled(world: DispatchedWorld) -> dict[str, list[str]]:
    """Every object but what goes on by itself."""
    goes_on = ("audit/", "replicas/", "rounds/", "work/")
    return {key: versions for key, versions in frozen(world).items() if not key.startswith(goes_on)}


@pytest.mark.parametrize("publisher", ["inference", "import"])
async def test_whoever_takes_over_a_publisher_can_say_what_it_publishes_and_nothing_else(
    publisher: str, tmp_path: Path
) -> None:
    world = DispatchedWorld(tmp_path, unsigned_are_refused=True)
    tenant = await world.onboard(NAME)
    digest = await learned(world, tenant)
    signer = world.event_keys.signer(publisher)
    for data in samples(world, tenant, digest, await world.approval(tenant, "e49")):
        event = Event(tenant, data, world.now, "/attack")
        if type(data) not in PUBLISHES[publisher]:
            await assert_refused(world, event, signature_header(event, signer), "signer-not-allowed")
    dangerous = {events.TenantChurned, events.PurgeRequested, events.PolicyChanged, events.TrainingRequested}
    assert dangerous <= set(ONLY_OURS) - set(PUBLISHES[publisher])
    assert (await world.state(TenantId(NAME))).status == "active"
