"""Invariant 6, declared: every place that can hold tenant data is in one registry, and the purge empties all of them.

What the code could write is found in its syntax trees, what the whole world does write is watched while it lives.
The same is asked of the real processes in ``tests/e2e/test_canary.py``.
"""

from __future__ import annotations

import ast
import json
from datetime import timedelta
from pathlib import Path

import pytest

from producers.commands.terms import add_terms
from schemas.bus import events
from schemas.bus.topics import LIVE_TOPICS, TOPICS, dead_letter_topic
from schemas.evidence.statements import PURGE_PREDICATE
from schemas.objects import object_keys
from schemas.stores.registry import STORES, UndeclaredStore, emptied, kept, of_medium, store_of_key, swept
from tenancy.storage.memory import MemoryObjectStore
from tenancy.storage.objects import Upload
from tests.fixtures.declared import WRITTEN_BY, covers_path
from tests.fixtures.write_audit import writes
from tests.invariants.source import (
    caches,
    keys_by_hand,
    modules,
    signed_urls,
    topics_by_hand,
    topics_named,
    writing_lines,
)
from tests.invariants.worlds import NAME, Pair, every_name, frozen, learned, purged
from tests.unit import test_fetching
from tests.world.world import QUIESCE_SECONDS, World

# --- topics


async def test_declared_every_topic_that_code_names_or_the_world_uses_is_in_the_registry(pair: Pair) -> None:
    await purged(pair.world, pair.one)
    named = {topic for _, tree in modules() for topic in topics_named(tree)}
    assert len(named) >= 8, "or the search finds nothing"
    for topic in (*named, *pair.world.bus.topics, *TOPICS, *(data.topic for data in events.EVENT_TYPES.values())):
        assert (STORES[topic].medium, STORES[topic].where) == ("bus", topic)
    assert {store.name for store in of_medium("bus")} == set(TOPICS), "nothing is declared that does not exist"
    assert {topic for found in pair.world.services for topic in found.topics} <= set(LIVE_TOPICS)


def test_declared_every_topic_has_its_dead_letters_and_they_are_declared_too() -> None:
    for topic in LIVE_TOPICS:
        letters = TOPICS[dead_letter_topic(topic)]
        assert letters.name == f"{topic}.dlq"
        assert letters.privacy == TOPICS[topic].privacy
        assert letters.worst_case_survival_ms() <= TOPICS[topic].worst_case_survival_ms()
    assert set(TOPICS) == {*LIVE_TOPICS, *map(dead_letter_topic, LIVE_TOPICS)}


def test_declared_no_topic_is_named_anywhere_but_in_the_contract() -> None:
    """``schemas/bus/events/base.py`` names the topics; everybody else uses these, so that none is made in passing."""
    assert {name for name, tree in modules() if topics_by_hand(tree)} == set()


# --- objects


def test_declared_no_object_key_is_made_anywhere_but_in_the_contract() -> None:
    allowed = {"schemas.objects.object_keys", "schemas.stores.durable"}
    assert {name for name, tree in modules() if keys_by_hand(tree)} - allowed == set()


async def test_declared_every_object_is_emptied_by_the_purge_or_kept_on_purpose(tmp_path: Path) -> None:
    world, names = World(tmp_path), set[str]()
    with every_name(names):
        tenant = await world.onboard(NAME)
        await learned(world, tenant)
        await world.publish(tenant, world.document(tenant, "d1"))
        await add_terms(world.outside, tenant, allowed=["Elm ward"], changed_by="op")
        await world.settle()
        await world.runner.sweep()
        await world.withdrawals.sweep()
        await purged(world, tenant)
        for look in (world.keeper.reconcile, world.driver.reconcile) * 2:
            world.now += timedelta(seconds=2 * QUIESCE_SECONDS)
            await look()
    lain_in = {store_of_key(name, is_current=current).name for name in names for current in (True, False)}
    assert "objects.strays" not in lain_in, "everything lies in an area of its own"
    # The last three are of the runtime around the handlers, the operators' doctor and the review page.
    unused = {"objects.strays", "consumers.in-hand", "probes", "spent"}
    assert lain_in == {store.name for store in of_medium("object-store", "key-material")} - unused
    assert {store_of_key(key).name for key in world.memory.objects} <= {store.name for store in kept()}
    left = [key for key in world.memory.objects if tenant in key.split("/")]
    evidence = (object_keys.audit_prefix(tenant), object_keys.purges_prefix(tenant))
    assert [key for key in left if not key.startswith(evidence)] == [object_keys.state_key(tenant)]
    replica = await world.memory.get(object_keys.replica_key("replica-0"))
    assert tenant.encode() not in replica.body


async def test_declared_the_certificate_speaks_of_every_store_and_says_what_is_kept(pair: Pair) -> None:
    await purged(pair.world, pair.one)
    [envelope] = [held[-1].body for key, held in pair.world.memory.objects.items() if key.endswith(".certificate.json")]
    said = pair.world.keys.trust.verify(json.loads(envelope or b""), PURGE_PREDICATE)["predicate"]
    assert [finding["store"] for finding in said["stores"]] == list(STORES)
    emptied_ones = {store.name for store in emptied()}
    assert {finding["store"] for finding in said["stores"] if finding["outcome"] == "empty"} == emptied_ones
    content_free = {store.name for store in kept() if store.protection != "no-tenant-data"}
    assert {entry["store"] for entry in said["retained"]} == content_free
    assert content_free >= {"state.current", "purges.record", "purges.certificate"}


async def test_declared_the_purge_empties_every_store_that_says_so_of_versions_markers_and_uploads(
    pair: Pair,
) -> None:
    """Whatever lies there, from whomever: two versions, one of them under a delete marker, and an upload begun."""
    world, tenant = pair.world, pair.one
    planted = []
    for store in swept():
        if store.versions == "superseded" or store.medium == "key-material":
            continue  # one object each, which the tenant has already
        key = f"{store.prefix(tenant)}planted"
        await world.memory.put(key, b"first")
        await world.memory.put(key, b"second")
        await world.memory.delete(key)
        world.memory.open_uploads.append(Upload(f"{key}-upload", f"upload-{store.name}"))
        planted.append(store.name)
    assert len(planted) == len(object_keys.TENANT_AREAS) + 1 + len(object_keys.WORK_OF_THE_LIVING)
    before = frozen(world, pair.other)
    await purged(world, tenant)
    for store in swept():
        left = [
            version
            async for version in world.memory.versions(store.prefix(tenant))
            if store_of_key(version.key, is_current=version.is_latest).name == store.name
        ]
        uploads = [upload async for upload in world.memory.uploads(store.prefix(tenant))]
        assert (left, uploads) == ([], []), store.name
    assert frozen(world, pair.other) == before


@pytest.mark.parametrize("key", ["cache/t1/x", "tenants/t1", "registry/t1/other.json", "audits/t1/x", "t1/examples/x"])
async def test_declared_an_object_elsewhere_would_be_found(key: str) -> None:
    names = set[str]()
    with every_name(names):
        await MemoryObjectStore().put(key, b"")
    with pytest.raises(UndeclaredStore):
        store_of_key(names.pop())


# --- files


def test_declared_every_module_that_writes_files_says_to_which_store() -> None:
    declared = {module for writers in WRITTEN_BY.values() for module in writers}
    writing = {name for name, tree in modules() if writing_lines(tree)}
    assert writing - declared == set(), "add the module to WRITTEN_BY in tests/fixtures/declared.py under its store"
    assert declared - writing == set(), "these write nothing any more"


def test_declared_nothing_is_remembered_by_a_decorator_and_no_url_is_signed() -> None:
    """A cache in a process would outlive the purge, and a signed URL is a way around the tenant's store."""
    for look in (caches, signed_urls):
        assert {name for name, tree in modules() if look(tree)} == set()


def files_in(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


async def test_declared_nothing_is_written_outside_the_scratch_folder_and_nothing_stays_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, elsewhere = tmp_path / "work", tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    world = World(work)
    tenant = await world.onboard(NAME)
    with writes() as written:
        await learned(world, tenant)
        await purged(world, tenant)
    assert any(path.endswith("adapter_model.safetensors") for path in written), "or nothing was watched"
    roots = {"work_dir": str(work)}
    assert [path for path in written if path != str(work) and not covers_path("worker.scratch", path, roots)] == []
    assert files_in(elsewhere) == []
    assert files_in(work) == []


async def test_declared_a_replica_writes_to_its_adapter_folder_only(tmp_path: Path) -> None:
    root = tmp_path / "adapters"
    bench = test_fetching.Bench(root / "replica-0")
    await bench.onboard()
    digest = await bench.store(test_fetching.Adapter())
    with writes() as written:
        await bench.fetched(digest)
        bench.files.remove(digest)
    assert written
    roots = {"adapter_dir": str(root)}
    assert [path for path in written if not covers_path("replica.adapter-files", path, roots)] == []
    assert files_in(tmp_path) == []


# --- what the searches above find


@pytest.mark.parametrize(
    "line",
    [
        "path.write_text(x)",
        "path.open('wb')",
        "open(path, 'a')",
        "open(path, mode='x')",
        "os.open(path, os.O_CREAT | os.O_RDWR)",
        "folder.mkdir()",
        "tempfile.mkdtemp()",
        "asyncio.to_thread(tempfile.mkdtemp)",
        "NamedTemporaryFile()",
        "shutil.move(a, b)",
        "model.save_pretrained(x)",
        "torch.save(x, y)",
        "sqlite3.connect(path)",
        "SharedMemory(create=True)",
    ],
)
def test_declared_a_call_that_writes_is_seen(line: str) -> None:
    assert writing_lines(ast.parse(line)) == [1]


@pytest.mark.parametrize(
    "line", ["path.open('rb')", "open(path)", "d.copy()", "os.open(p, os.O_RDONLY)", "x.read_text()"]
)
def test_declared_a_call_that_only_reads_is_let_be(line: str) -> None:
    assert writing_lines(ast.parse(line)) == []


def test_declared_the_other_searches_see_what_they_look_for() -> None:
    for line in (
        "objects.put('cache/x', b'')",
        "objects.put(f'cache/{x}', b'')",
        "store.put_record('examples/' + x, y)",
        "key = f'tenants/{tenant}/x'",
        "key = 'audit/' + tenant",
    ):
        assert keys_by_hand(ast.parse(line)), line
    assert not keys_by_hand(ast.parse("store.put(object_keys.example(x), b'')"))
    for line in ("NewTopic('side', 1, 1)", "producer.send('side', b'')", "RawMessage(topic='side')"):
        assert topics_by_hand(ast.parse(line)), line
    assert not topics_by_hand(ast.parse("producer.send(topic, b'')"))
    assert topics_named(ast.parse("x = 'sano.side.v1.dlq'")) == {"sano.side.v1.dlq"}
    for line in ("@lru_cache(maxsize=8)\ndef f(): ...", "@functools.cache\ndef f(): ...", "g = functools.lru_cache(f)"):
        assert caches(ast.parse(line)), line
    assert signed_urls(ast.parse("client.generate_presigned_url('get_object')"))
