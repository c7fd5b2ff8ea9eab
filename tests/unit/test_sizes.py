"""The sizes that operations.md gives an operator, computed from the settings' defaults."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from inference.adapters.fetch_limiter import FETCHES
from inference.settings import InferenceSettings
from tenancy.storage.sealing import open_sealed, seal
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
    assert f"| {loaded} |" in sizes
    assert f"slots: {default('max_loras') * largest:.1f} GB" in sizes
    assert f"{loaded}, and {FETCHES * 4 * largest:.1f} GB for fetches" in sizes


def test_opening_an_adapter_takes_at_most_four_times_its_file() -> None:
    sealed = seal(bytes(32), "tenants/t/x", bytes(16 << 20))
    tracemalloc.start()
    try:
        opened = open_sealed(bytes(32), "tenants/t/x", sealed)
        beside_the_sealed = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 2 * len(opened) < beside_the_sealed < 3.1 * len(opened)
