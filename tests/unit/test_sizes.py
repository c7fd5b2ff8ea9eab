"""The sizes that operations.md gives an operator, computed from the settings' defaults."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from inference.adapters.placement import FETCHES
from inference.settings import InferenceSettings
from tenancy.storage import ranges
from tenancy.storage.memory import MemoryObjectStore
from tenancy.storage.ranges import BUFFERS, RANGE_BYTES
from tenancy.storage.sealing import FRAME_BYTES, seal
from tests.unit.test_docs import page, section

# Llama-3-8B: hidden 4096, keys and values 1024, feed-forward 14336, 32 layers.
LLAMA_3_8B = 32 * [
    (4096, 4096),
    (4096, 1024),
    (4096, 1024),
    (4096, 4096),
    (4096, 14336),
    (4096, 14336),
    (14336, 4096),
]


def adapter_megabytes(rank: int) -> float:
    """In bfloat16, of all linear layers."""
    return rank * sum(into + out for into, out in LLAMA_3_8B) * 2 / 1e6


def default(name: str) -> Any:
    return InferenceSettings.model_fields[name].default


@pytest.fixture(scope="module")
def sizes() -> str:
    return section(page("docs/operations.md"), "### Sizes")


def test_the_size_of_an_adapter(sizes: str) -> None:
    assert default("max_lora_rank") == 64
    assert f"{adapter_megabytes(16):.1f} MB at rank 16 and {adapter_megabytes(64):.1f} MB at rank 64" in " ".join(
        sizes.split()
    )


def test_what_a_replica_with_the_default_settings_must_hold(sizes: str) -> None:
    largest = adapter_megabytes(default("max_lora_rank")) / 1000
    loaded = f"{default('max_cpu_loras') * largest:.1f} GB"
    assert f"| {(default('max_cpu_loras') + 1) * largest:.1f} GB |" in sizes
    assert f"slots: {default('max_loras') * largest:.1f} GB" in sizes
    fetch = BUFFERS * RANGE_BYTES / 1e6
    assert f"{fetch:.0f} MB for each adapter that is being fetched" in sizes
    assert f"{loaded}, and {FETCHES * fetch / 1000:.1f} GB for fetches" in sizes


async def test_fetching_takes_the_memory_of_its_buffers_however_large_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    range_bytes = 3 * FRAME_BYTES
    monkeypatch.setattr(ranges, "RANGE_BYTES", range_bytes)
    objects, peaks = MemoryObjectStore(), []

    async def data_key() -> bytes:
        return bytes(32)

    for size in (8, 32):
        await objects.put("tenants/t/x", seal(bytes(32), "tenants/t/x", bytes(size << 20)))
        tracemalloc.start()
        try:
            file, buffers = (tmp_path / f"{size}").open("xb"), ranges.RangeBuffers()
            await ranges.opened_in_ranges(objects, data_key, "tenants/t/x", file, buffers)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert max(peaks) < (BUFFERS + 2) * range_bytes, "what the store in memory cuts out of the object is beside it"
