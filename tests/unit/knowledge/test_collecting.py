"""How often the collector walks all objects of a process."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from schemas.base.contract import read_tolerant
from schemas.objects.knowledge import DocumentEntry, KnowledgeSet
from tenancy.platform.collecting import YOUNG_OBJECTS, collect_seldom
from tests.unit.operator_parts import NOW

DOCUMENTS, READINGS = 10_000, 8


@pytest.fixture
def seldom() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)  # Python's own: tests/conftest.py has called it too
    collect_seldom()
    yield
    gc.set_threshold(*before)


@pytest.mark.usefixtures("seldom")
def test_reading_large_sets_begins_no_walk_through_all_objects() -> None:
    entry = DocumentEntry(version=1, status="present", event_id="e1", title="Formulary", effective_from=NOW)
    body = KnowledgeSet(generation=1, documents={f"d{number}": entry for number in range(DOCUMENTS)}).model_dump_json()
    gc.collect()
    walked = gc.get_stats()[2]["collections"]
    for _ in range(READINGS):
        assert len(read_tolerant(KnowledgeSet, body).documents) == DOCUMENTS
    assert gc.get_stats()[2]["collections"] == walked


@pytest.mark.parametrize("package", ["consumers", "producers", "inference"])
def test_a_process_of_a_package_looks_seldom_from_its_first_import_on(package: str) -> None:
    told = f"import gc, {package}; print(gc.get_threshold()[0])"
    run = subprocess.run([sys.executable, "-c", told], capture_output=True, check=True, text=True)
    assert int(run.stdout) == YOUNG_OBJECTS
