"""How often the collector walks all objects of a process."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from schemas.base.contract import read_tolerant
from schemas.objects.knowledge import DocumentEntry, KnowledgeSet
from tenancy.platform.collecting import collect_seldom
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
