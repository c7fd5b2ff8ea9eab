"""Crash points: every effect has a name without ids, and a process dies at exactly the one that was asked for."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.objects import object_keys
from schemas.objects.object_keys import TENANT_AREAS
from tenancy.bus import RawMessage, RecordingPublisher
from tenancy.errors import PreconditionFailed, Refused
from tenancy.storage.memory import MemoryObjectStore
from tenancy.storage.objects import ObjectVersion, Upload
from tests.unit.event_strategies import approved
from tests.world.effects import KillAt, ObservedObjectStore, ObservedPublisher, object_effect

ROOT = Path(__file__).parents[2]


class Notes:
    def __init__(self) -> None:
        self.seen: list[str] = []

    def before(self, effect: str) -> None:
        self.seen.append(f"before:{effect}")

    def after(self, effect: str) -> None:
        self.seen.append(f"after:{effect}")


@pytest.mark.parametrize(
    ("text", "effect", "when", "occurrence"),
    [
        ("before:put:examples", "put:examples", "before", 1),
        ("after:swap:state#2", "swap:state", "after", 2),
        ("after:publish:sano.adapter.ready#10", "publish:sano.adapter.ready", "after", 10),
    ],
)
def test_a_crash_point_is_read(text: str, effect: str, when: str, occurrence: int) -> None:
    point = KillAt.parse(text)
    assert (point.effect, point.when, point.occurrence) == (effect, when, occurrence)


@pytest.mark.parametrize(
    "text",
    ["", "put:examples", "during:put:examples", "before:", "before", "after:swap:state#0", "after:x#", "after:x#a"],
)
def test_what_is_no_crash_point_is_refused_with_the_shape_of_one(text: str) -> None:
    with pytest.raises(Refused, match="before:EFFECT or after:EFFECT"):
        KillAt.parse(text)


def run_with(crash_at: str, effects: list[str]) -> subprocess.CompletedProcess[str]:
    program = "\n".join(
        [
            "from tests.world.effects import KillAt",
            f"point = KillAt.parse({crash_at!r})",
            f"for effect in {effects!r}:",
            "    point.before(effect); print('doing', effect, flush=True); point.after(effect)",
            "print('end')",
        ]
    )
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("crash_at", "done"),
    [
        ("before:b", ["doing a"]),
        ("after:b", ["doing a", "doing b"]),
        ("before:b#2", ["doing a", "doing b", "doing a"]),
        ("after:b#3", ["doing a", "doing b", "doing a", "doing b", "end"]),
    ],
)
def test_the_process_is_killed_at_the_nth_occurrence_and_at_no_other(crash_at: str, done: list[str]) -> None:
    finished = run_with(crash_at, ["a", "b", "a", "b"])
    assert finished.stdout.splitlines() == done
    assert finished.returncode == (0 if done[-1] == "end" else -signal.SIGKILL)


@pytest.mark.parametrize(
    ("operation", "key", "effect"),
    [
        ("put", "registry/t1/state.json", "swap:state"),
        ("put", "registry/t1/key.json", "put:key.json"),
        ("erase", "registry/t1/key.json", "erase:key.json"),
        ("erase", "registry/t1/state.json", "erase:state.json"),
        ("put", "tenants/t1/examples/ex-1", "put:examples"),
        ("put", "tenants/t1/runs/run-1/job.json", "put:runs"),
        ("put", "tenants/t1/runs/run-1/lease.json", "put:lease"),
        ("put", "purges/t-1/p-1.json", "put:purges"),
        ("put", "purges/t-1/p-1.certificate.json", "put:certificate"),
        ("put", "replicas/r-1.json", "put:replicas"),
        ("put", "audit/t1/entries/000000000001", "put:audit-entries"),
        ("put", "audit/t1/head.json", "put:audit-head"),
        ("erase", "audit/t1/claims/event-1", "erase:audit-claims"),
    ],
)
def test_an_effect_is_named_by_where_it_writes(operation: str, key: str, effect: str) -> None:
    assert object_effect(operation, key) == effect


@pytest.mark.parametrize("area", sorted(TENANT_AREAS))
def test_no_effects_name_holds_an_id(area: str) -> None:
    effect = object_effect("put", object_keys.tenant_key("canary-t", f"{area}/canary-1/canary-2"))
    assert effect == f"put:{area}"


async def test_every_write_is_seen_before_and_after_and_no_read_is() -> None:
    notes = Notes()
    store = ObservedObjectStore(MemoryObjectStore(), notes)
    await store.put("tenants/t1/examples/x", b"x")
    await store.put_chunks("tenants/t1/adapters/d/f", [b"x"])
    await store.delete("tenants/t1/examples/x")
    await store.delete_versions([ObjectVersion("tenants/t1/examples/x", "1", False, False)])
    await store.abort_upload(Upload("tenants/t1/adapters/d/f", "u"))
    seen = [f"{when}:{effect}" for effect in (
        "put:examples", "put:adapters", "delete:examples", "erase:examples", "abort:upload"
    ) for when in ("before", "after")]  # fmt: skip
    assert notes.seen == seen
    await store.get("tenants/t1/adapters/d/f")
    await store.exists("tenants/t1/adapters/d/f")
    await store.read_chunks("tenants/t1/adapters/d/f", list)
    assert [key async for key in store.keys("")]
    assert [version async for version in store.versions("")]
    assert [upload async for upload in store.uploads("")] == []
    await store.delete_versions([])
    assert notes.seen == seen, "nothing was written"


async def test_a_write_that_was_refused_is_not_seen_as_done() -> None:
    notes = Notes()
    store = ObservedObjectStore(MemoryObjectStore(), notes)
    await store.put("tenants/t1/examples/x", b"x")
    with pytest.raises(PreconditionFailed):
        await store.put("tenants/t1/examples/x", b"x", if_absent=True)
    assert notes.seen[-1] == "before:put:examples"


async def test_publications_are_effects_by_their_type() -> None:
    notes, inner = Notes(), RecordingPublisher()
    publisher = ObservedPublisher(inner, notes)
    await publisher.publish(approved())
    await publisher.publish_raw(RawMessage("sano.curation.v1.dlq", b"k", b"v", []))
    assert notes.seen == [
        "before:publish:sano.example.approved",
        "after:publish:sano.example.approved",
        "before:publish:dead-letter",
        "after:publish:dead-letter",
    ]
    assert (len(inner.events), len(inner.raw)) == (1, 1)
