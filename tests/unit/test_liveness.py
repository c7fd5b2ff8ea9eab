"""When a consumer counts as alive and as ready, and how long it may go without a poll."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from consumers.runtime.dispatch import Dispatcher
from consumers.runtime.liveness import Progress
from consumers.runtime.policy import HandlingPolicy
from consumers.runtime.service import Consumer
from consumers.runtime.settings import ConsumerSettings
from schemas.bus import events
from tenancy.bus import RecordingPublisher
from tenancy.service.health import health_app
from tenancy.service.loops import own_loop
from tests.unit.runtime_parts import (
    TELEMETRY,
    a_tenancy,
)


def test_a_message_in_hand_for_too_long_is_not_alive() -> None:
    now = [0.0]
    progress = Progress(90.0, 3, now=lambda: now[0])
    held = progress.begin()
    now[0] = 89.0
    assert progress.is_alive()
    other = progress.begin()
    now[0] = 91.0
    assert not progress.is_alive()
    progress.end(other, has_succeeded=True)
    assert not progress.is_alive(), "others that get on do not hide it"
    progress.end(held)
    assert progress.is_alive()


def test_failures_count_in_a_row_and_whoever_gets_on_begins_the_row_anew() -> None:
    """One lane that fails for ever stops nobody; what fails in every lane stops the consumer."""
    progress = Progress(90.0, 3)

    def handled(*, has_succeeded: bool) -> None:
        held = progress.begin()
        if not has_succeeded:
            progress.fail()
        progress.end(held, has_succeeded=has_succeeded)

    for _ in range(20):
        handled(has_succeeded=False)
        handled(has_succeeded=False)
        handled(has_succeeded=True)
        assert progress.is_alive()
    for _ in range(3):
        handled(has_succeeded=False)
    assert not progress.is_alive()


def test_a_consumer_is_not_evicted_within_any_deadline_that_a_setting_can_name() -> None:
    named = ConsumerSettings.model_fields["handler_deadline_seconds"]
    [most] = [item.le for item in named.metadata if hasattr(item, "le")]
    for deadline in (0.001, 60.0, 299.0, 301.0, most):
        policy = ConsumerSettings(
            kafka_bootstrap_servers="x:1", s3_bucket="b", handler_deadline_seconds=deadline
        ).handling_policy()
        assert policy.max_poll_interval_ms >= 1000 * (deadline + 240)
        assert policy.max_poll_interval_ms < 2**31, "what Kafka's protocol holds"
    assert HandlingPolicy().max_poll_interval_ms == 300_000
    for deadline in (most + 1, float("inf"), float("nan"), 0.0):
        with pytest.raises(ValidationError):
            ConsumerSettings(kafka_bootstrap_servers="x:1", s3_bucket="b", handler_deadline_seconds=deadline)


async def test_liveness_is_503_while_a_message_is_stuck_and_readiness_while_the_bus_is_out() -> None:
    now, bus_answers = [0.0], [True]
    progress = Progress(90.0, 3, now=lambda: now[0])

    async def is_ready() -> bool:
        return bus_answers[0]

    app = health_app(TELEMETRY, progress.is_alive, is_ready)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://consumer") as client:

        async def statuses() -> tuple[int, int]:
            live, ready = await client.get("/health/live"), await client.get("/health/ready")
            return live.status_code, ready.status_code

        held = progress.begin()
        assert await statuses() == (200, 200)
        now[0] = 91.0
        assert await statuses() == (503, 200)
        progress.end(held, has_succeeded=True)
        bus_answers[0] = False
        assert await statuses() == (200, 503)


def test_a_broker_holds_an_empty_answer_for_as_long_as_the_consumers_policy_says() -> None:
    settings = ConsumerSettings(kafka_bootstrap_servers="localhost:1", s3_bucket="b")
    for policy in (HandlingPolicy(), HandlingPolicy(fetch_wait_ms=2_000)):
        dispatcher: Dispatcher[None] = Dispatcher(
            "curation", {}, a_tenancy(RecordingPublisher()), None, TELEMETRY, policy
        )
        consumer = Consumer(dispatcher, [events.CURATION], "g", settings)
        assert consumer._subscriber._connection_args["fetch_max_wait_ms"] == policy.fetch_wait_ms


async def test_whether_the_bus_answers_is_asked_of_another_loop_and_not_waited_for_where_that_is_blocked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Broker:
        async def ping(self, timeout: float) -> bool:
            return threading.current_thread().name == "bus"

    consumer: Any = Consumer.__new__(Consumer)
    consumer.broker = Broker()
    assert not await consumer.is_ready(), "it does not run"
    async with own_loop("bus") as loop:
        consumer._loop = loop
        assert await consumer.is_ready()
        monkeypatch.setattr("consumers.runtime.service.PING_SECONDS", 0.01)
        may_go_on = threading.Event()
        loop.call_soon_threadsafe(may_go_on.wait, 10.0)
        assert not await consumer.is_ready()
        may_go_on.set()
    assert not await consumer.is_ready(), "it has ended"
