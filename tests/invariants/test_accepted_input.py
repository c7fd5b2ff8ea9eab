"""Whatever the contract accepts ends in an outcome, at every consumer: no defect of ours, and nothing that comes again.

The events are made from the golden schemas, with extreme numbers and times, and name what is there as often as not.
"""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from consumers.adapters import app as adapters
from consumers.curation import app as curation
from consumers.purge import app as purge
from consumers.runtime.poison import BAD_KEY, OURS
from schemas.base.contract import read_tolerant
from schemas.bus import events
from schemas.bus.envelope import Event
from schemas.bus.events import EVENT_TYPES, EventData, ReplicaRegistered
from schemas.bus.outcome import Outcome
from tenancy.errors import Transient
from tenancy.platform.logs import SCOPE
from tests.fixtures.examples import examples
from tests.fixtures.records import record_of
from tests.invariants.worlds import DispatchedWorld, event, learned, receipt, service
from tests.unit.event_strategies import data_of, event_types, moments
from tests.world.bus import Service
from tests.world.world import POLICY

Json = dict[str, Any]

LEARNED, GOING, GONE, UNKNOWN = "t-learned", "t-going", "t-gone", "t-unknown"
EXPORTING = POLICY.evolve(right_of_export=True)

ACTED_ON = sorted(data.type for data in {*curation.HANDLERS, *adapters.HANDLERS, *purge.HANDLERS})
"""More often than the rest: what others' events change most of."""

KNOWN: dict[str, tuple[str, ...]] = {
    "example_id": ("e0", "e1", "e8", "e9"),
    "consent_id": ("consent-1", "consent-2"),
    "run_id": ("batch-1", "r1"),
    "export_id": ("x1", "p-going", "p.certificate"),
    "purge_id": ("p-going", "p-gone", "p1"),
    "cause_id": ("p-going", "p-gone", "p.certificate"),
    "replica_id": ("replica-0",),
    "usage_id": ("u1", "20260101." + "a" * 32 + ".1", "99991231." + "a" * 32 + ".999999999999"),
}
"""What the world knows under these names, beside what nobody has heard of."""


@st.composite
def sent(draw: st.DrawFn) -> tuple[str, str, Json, Any]:
    """A tenant, a type, data that its golden schema accepts, and a time."""
    event_type = draw(st.sampled_from(ACTED_ON) | event_types)
    data = draw(data_of(event_type))
    for name, known in KNOWN.items():
        if name in data and draw(st.integers(0, 3)):
            data[name] = draw(st.sampled_from(known))
    if draw(st.booleans()) and "version" in data:
        data["version"] = draw(st.sampled_from([1, 2, 2**53 - 1]))
    tenant = draw(st.sampled_from([LEARNED, LEARNED, LEARNED, GOING, GONE, UNKNOWN]))
    return tenant, event_type, data, draw(moments)


async def lived(scratch: Path) -> tuple[DispatchedWorld, str]:
    """A tenant that has learned, one whose purge waits for it to take its export, and one that is purged."""
    world = DispatchedWorld(scratch)
    digest = await learned(world, await world.onboard(LEARNED))
    for name, policy in ((GOING, EXPORTING), (GONE, POLICY)):
        tenant = await world.onboard(name, policy)
        await learned(world, tenant)
        asked = events.PurgeRequested(purge_id=f"p-{name[2:]}", reason_code="churned", requested_by="op")
        await world.publish(tenant, asked)
        await world.settle()
    return world, digest


def named(world: DispatchedWorld, digest: str, tenant: str, data: EventData) -> EventData:
    """With digests that the tenant has, and receipts that are signed, where the event has such."""
    fields = type(data).model_fields
    update: Json = {}
    if "adapter_digest" in fields:
        update["adapter_digest"] = digest
    if isinstance(data, events.ReplicaEvicted):
        update["receipt"] = receipt(world, tenant, replica=data.replica_id, cause=data.cause_id)
    return data.evolve(**update)


async def test_a_purge_that_cannot_be_named_is_refused_as_it_is_read(tmp_path: Path) -> None:
    """The record of a purge of this name would lie where the certificate of another lies."""
    world = DispatchedWorld(tmp_path)
    tenant = await world.onboard(LEARNED)
    command = event(tenant, events.PurgeRequested(purge_id="p", reason_code="x", requested_by="op"), world)
    value = b'{"purge_id":"p.certificate","reason_code":"x","requested_by":"op"}'
    outcome = await world.dispatch(service(world, "purge"), record_of(command, value=value))
    assert outcome is Outcome.DEAD_LETTERED
    assert world.errors == ["invalid-data: invalid-data: purge_id: string_pattern_mismatch"]


async def test_what_speaks_of_a_purge_that_cannot_be_speaks_of_none(tmp_path: Path) -> None:
    world = DispatchedWorld(tmp_path)
    tenant = await world.onboard(LEARNED)
    said = [
        events.ExportAcknowledged(export_id="p.certificate", adapter_digest="a" * 64, acknowledged_by="op"),
        events.ReplicaEvicted(
            replica_id="replica-0",
            cause_id="p.certificate",
            receipt=receipt(world, tenant, cause="p.certificate"),
        ),
    ]
    for data in said:
        assert await world.handle(service(world, "purge"), event(tenant, data, world)) is Outcome.NOOP_STALE


@contextmanager
def complaints() -> Iterator[list[str]]:
    """What is logged as an error: what drivers and keepers say when they cannot go on."""
    found: list[str] = []

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(f"{record.getMessage()} {getattr(record, 'error', '')}")

    listening = Listening(logging.ERROR)
    logging.getLogger(SCOPE).addHandler(listening)
    try:
        yield found
    finally:
        logging.getLogger(SCOPE).removeHandler(listening)


@examples(3)
@given(st.lists(st.tuples(sent(), st.booleans()), min_size=1, max_size=60))
def test_every_event_that_the_schemas_accept_comes_to_an_outcome_at_every_consumer(
    history: list[tuple[tuple[str, str, Json, Any], bool]],
) -> None:
    async def delivered() -> None:
        with tempfile.TemporaryDirectory() as scratch, complaints() as heard:
            world, digest = await lived(Path(scratch))
            world.errors.clear()
            for (tenant, event_type, body, time), is_named in history:
                data = read_tolerant(EVENT_TYPES[event_type], json.dumps(body))
                data = named(world, digest, tenant, data) if is_named else data
                subject = data.replica_id if isinstance(data, ReplicaRegistered) else tenant
                made = Event(subject=subject, data=data, time=time, source="/test")
                for found in world.services:
                    if made.topic in found.topics:
                        await _handled(world, found, made)
            await world.settle()
            ours = [error for error in world.errors if error.partition(":")[0] in OURS | {BAD_KEY}]
            assert (ours, heard) == ([], [])

    asyncio.run(delivered())


async def _handled(world: DispatchedWorld, found: Service, made: Event) -> None:
    try:
        await world.handle(found, made)
    except Transient:
        # The ledger waits for the state that another consumer makes of it.
        assert isinstance(made.data, events.TenantOnboarded), made
