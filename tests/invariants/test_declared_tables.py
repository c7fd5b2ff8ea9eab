"""What our services remember from one event to the next is declared, attribute by attribute, and a purge ends it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.stores.registry import STORES
from tests.fixtures.declared import TABLES
from tests.invariants.source import modules, tables
from tests.invariants.worlds import NAME, learned, purged
from tests.world.world import World

LONG_LIVED = (
    "consumers.",
    "inference.",
    "tenancy.lifecycle.purge_records",
    "tenancy.platform.recent_set",
    "tenancy.service.",
    "tenancy.state.open_work",
    "tenancy.storage.kept_keys",
    "tenancy.tokens",
)


def found() -> Iterator[str]:
    for module, tree in modules():
        if module.startswith(LONG_LIVED):
            yield from (f"{module}.{table}" for table in tables(tree))


def test_every_table_in_the_memory_of_a_service_belongs_to_one_entry_of_the_registry() -> None:
    declared = [table for held in TABLES.values() for table in held]
    assert len(declared) == len(set(declared)), "each has one entry"
    assert set(found()) - set(declared) == set(), "add it to TABLES in tests/fixtures/declared.py under its store"
    assert set(declared) - set(found()) == set(), "these are not there any more"


def test_only_memory_has_tables() -> None:
    assert {STORES[name].medium for name in TABLES} == {"process-memory"}


@pytest.mark.parametrize(
    "code",
    [
        "class A:\n    b: dict[str, int] = field(default_factory=dict)",
        "class A:\n    b: OrderedDict[str, int]",
        "class A:\n    b: Mapping[str, int] = field(default_factory=lambda: {})",
        "class A:\n    b: set[str] | None = None",
        "class A:\n    b = []",
        "class A:\n    def __init__(self):\n        self.b = {}",
        "class A:\n    def __init__(self):\n        self.b = collections.deque(maxlen=3)",
        "class A:\n    def __init__(self):\n        self.b: asyncio.Queue[bytes] = make()",
        "class A:\n    def start(self):\n        if self.c:\n            self.b = self.c = [x for x in y]",
    ],
)
def test_a_table_is_seen_wherever_it_is_made(code: str) -> None:
    assert "A.b" in tables(ast.parse(code))


def test_a_table_of_a_module_is_seen() -> None:
    assert tables(ast.parse("_seen: set[str] = set()\nLIMITS = {'a': 1}")) == {"_seen"}


@pytest.mark.parametrize(
    "code",
    [
        "class A:\n    b: tuple[str, ...] = ()",
        "class A:\n    b: frozenset[str]",
        "class A:\n    events: metrics.Counter",
        "class A:\n    key: bytes = field(default_factory=lambda: token_bytes(32))",
        "class A:\n    def f(self):\n        b = {}\n        return b",
    ],
)
def test_what_is_no_table_of_an_object_is_let_be(code: str) -> None:
    assert tables(ast.parse(code)) == set()


async def test_after_a_purge_a_replicas_tables_and_what_it_has_not_sent_hold_nothing_of_the_tenant(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    tenant, other = await world.onboard(NAME), await world.onboard("another")
    digests = {held: await learned(world, held, text=held) for held in (tenant, other)}
    await world.views.active(tenant)
    await world.views.active(other)
    parts = (world.views, world.placement, world.placement.residency, world.load_audit)
    names = {table for store in ("replica.tables", "replica.unsent") for table in TABLES[store]}

    def remembered() -> str:
        """All of it as text; what the engine's own processes have is the receipt's to say."""
        seen = {
            f"{type(part).__module__}.{type(part).__name__}.{name}": str(value)
            for part in parts
            for name, value in vars(part).items()
        }
        assert len(names & set(seen)) >= 6, "or nothing is looked at"
        return " ".join(text for name, text in seen.items() if name in names)

    before = remembered()
    assert tenant in before
    assert digests[tenant] in before
    await purged(world, tenant)
    after = remembered()
    assert tenant not in after
    assert digests[tenant] not in after
    assert digests[other] in after
