"""What the benchmark of activations counts as an acknowledgement."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from schemas.bus.events import OutcomeRecorded
from schemas.bus.outcome import Outcome
from schemas.serving_api import ADAPTER_HEADER
from tests.bench.activation import NAMES, Replicas
from tests.unit.operator_parts import Parts

NEW, OLD = "a" * 64, "b" * 64


def replicas(*answering: str) -> Replicas:
    """Replicas that answer by these adapters."""

    def client(adapter: str) -> httpx.AsyncClient:
        transport = httpx.MockTransport(lambda _: httpx.Response(200, headers={ADAPTER_HEADER: adapter}))
        return httpx.AsyncClient(transport=transport, base_url="http://replica")

    return Replicas([client(adapter) for adapter in answering], Parts().tenancy, "none", [])


def acknowledged(name: str) -> OutcomeRecorded:
    said: dict[str, Any] = {"event_type": "sano.adapter.activated", "outcome": Outcome.NOOP_DUPLICATE}
    return OutcomeRecorded(event_id="e1", consumer=f"inference.{name}", delivery="sano.adapters.v1/0/7", **said)


async def test_a_replica_that_acknowledged_and_answers_by_the_adapter_before_is_a_failure() -> None:
    three = replicas(NEW, OLD, NEW)
    assert await three._answered(acknowledged(NAMES[0]), NEW) > 0
    with pytest.raises(RuntimeError, match=f"{NAMES[1]} acknowledged"):
        await three._answered(acknowledged(NAMES[1]), NEW)
