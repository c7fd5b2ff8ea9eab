"""Invariant 6, declared: every place that can hold tenant data is in one registry."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from consumers.purge.certificate import RETAINED
from consumers.purge.driver import stores
from schemas import events, object_keys
from schemas.topics import LIVE_TOPICS, TOPICS, dead_letter_topic
from tests.invariants.worlds import (
    NAME,
    Pair,
    every_name,
    learned,
    purged,
)
from tests.unit import test_fetching
from tests.world.world import World

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "tenancy", "producers", "consumers", "inference", "deploy")


def _topics_in_code() -> set[str]:
    found = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found |= set(re.findall(r"sano\.[a-z]+\.v\d+(?:\.[a-z]+)?", node.value))
    return found


async def test_declared_every_topic_that_code_names_or_the_world_uses_is_in_the_list(pair: Pair) -> None:
    await purged(pair.world, pair.one)
    assert _topics_in_code() <= set(TOPICS)
    assert len(_topics_in_code()) >= 8, "or the search finds nothing"
    assert set(pair.world.bus.topics) <= set(LIVE_TOPICS)
    assert {data.topic for data in events.EVENT_TYPES.values()} == set(LIVE_TOPICS)
    assert {topic for found in pair.world.services for topic in found.topics} <= set(LIVE_TOPICS)


def test_declared_every_topic_has_its_dead_letters_and_they_are_declared_too() -> None:
    for topic in LIVE_TOPICS:
        letters = TOPICS[dead_letter_topic(topic)]
        assert letters.name == f"{topic}.dlq"
        assert letters.privacy == TOPICS[topic].privacy
        assert letters.worst_case_survival_ms() <= TOPICS[topic].worst_case_survival_ms()
    assert set(TOPICS) == {*LIVE_TOPICS, *map(dead_letter_topic, LIVE_TOPICS)}


KEPT_PLACES = ("kept: the purge", "kept: no tenant's data")
KEPT_AND_SAID = ("this certificate and the purge's record", "the tenant's state object")


def place_of(key: str) -> str:
    """The declaration that covers an object: a store that the purge empties, or something that is kept on purpose."""
    area, _, rest = key.partition("/")
    if area in ("tenants", "registry"):
        tenant = rest.partition("/")[0]
        for store in stores(tenant):
            if key.startswith(store.prefix) and (store.prefix.endswith("/") or key == store.prefix):
                relative = key.removeprefix(object_keys.tenant_prefix(tenant))
                assert area == "registry" or object_keys.tenant_key(tenant, relative) == key
                return store.name
    if re.fullmatch(r"purges/[^/]+\.json", key):
        return KEPT_PLACES[0]
    if re.fullmatch(r"replicas/[^/]+\.json", key):
        return KEPT_PLACES[1]
    raise AssertionError(f"{key.partition('/')[0]}/… is declared nowhere")


async def test_declared_every_object_is_emptied_by_the_purge_or_kept_on_purpose(tmp_path: Path) -> None:
    world, names = World(tmp_path), set[str]()
    with every_name(names):
        tenant = await world.onboard(NAME)
        await learned(world, tenant)
        await purged(world, tenant)
    assert {place_of(name) for name in names} == {*(store.name for store in stores(tenant)), *KEPT_PLACES}
    used = {name.split("/")[2] for name in names if name.startswith("tenants/")}
    assert used == set(object_keys.TENANT_AREAS) - {"knowledge"}, "every area but the one that nothing uses yet"
    assert [key for key in world.memory.objects if tenant in key.split("/")] == [object_keys.state_key(tenant)]
    for sentence in KEPT_AND_SAID:
        assert any(sentence in kept for kept in RETAINED), "what is kept is said in the certificate"
    replica = await world.memory.get(object_keys.replica_key("replica-0"))
    assert tenant.encode() not in replica.body


@pytest.mark.parametrize(
    "key", ["cache/t1/x", "tenants/t1", "tenants/t1/cache/x", "registry/t1/other.json", "audit/t1/x", "t1/examples/x"]
)
def test_declared_an_object_elsewhere_would_be_found(key: str) -> None:
    with pytest.raises((AssertionError, object_keys.ForbiddenKey)):
        place_of(key)


def files_in(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


_WRITTEN: list[str] = []
_WATCHING = False


def _audit(name: str, arguments: tuple[Any, ...]) -> None:
    if not _WATCHING:
        return
    opens = name == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if opens or name == "os.mkdir":
        _WRITTEN.append(str(arguments[0]))
    elif name in {"os.symlink", "os.link"} or name == "os.rename":
        _WRITTEN.append(str(arguments[1]))


@contextmanager
def writes() -> Iterator[list[str]]:
    """Every path that this process creates, opens for writing or renames to, by Python's own audit events."""
    global _WATCHING
    if "audit" not in _HOOKED:
        sys.addaudithook(_audit)  # it cannot be removed again, so it is added once
        _HOOKED.add("audit")
    _WRITTEN.clear()
    _WATCHING = True
    try:
        yield _WRITTEN
    finally:
        _WATCHING = False


_HOOKED: set[str] = set()


async def test_declared_nothing_is_written_outside_the_scratch_directory_and_nothing_stays_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch, elsewhere = tmp_path / "work", tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    world = World(scratch)
    tenant = await world.onboard(NAME)
    with writes() as written:
        await learned(world, tenant)
        await purged(world, tenant)
    assert any(path.endswith("adapter_model.safetensors") for path in written), "or nothing was watched"
    assert [path for path in written if not path.startswith(str(scratch))] == []
    assert files_in(elsewhere) == []
    assert files_in(scratch) == []


async def test_declared_a_replica_writes_to_its_adapter_directory_only(tmp_path: Path) -> None:
    root = tmp_path / "adapters" / "replica-0"
    bench = test_fetching.Bench(root)
    await bench.onboard()
    digest = await bench.store(test_fetching.Adapter())
    with writes() as written:
        await bench.files.fetch(test_fetching.TENANT, digest)
        bench.files.remove(digest)
    assert written
    assert [path for path in written if not path.startswith(str(root))] == []
    assert files_in(tmp_path) == []
