"""A refusal of the bus is the refusal of one message: whoever else publishes at that moment is at most told to wait.

aiokafka's producer is played here, with what it does after a refusal; what Kafka does is in the contract tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    OutOfOrderSequenceNumber,
    ProducerClosed,
    TopicAuthorizationFailedError,
)

from tenancy import kafka_publisher
from tenancy.bus import RawMessage
from tenancy.errors import BusUnavailable, Refused
from tenancy.kafka_publisher import KafkaPublisher

BOUND_SECONDS = 30


class Broker:
    """Remembers the producers of a publisher; ``held`` and ``starting`` hold up what is sent and started meanwhile."""

    def __init__(self) -> None:
        self.producers: list[Producer] = []
        self.took: list[str] = []
        self.held = asyncio.Event()
        self.starting = asyncio.Event()
        self.held.set()
        self.starting.set()
        self.start_error: BaseException | None = None

    def open(self) -> list[Producer]:
        return [producer for producer in self.producers if not producer.is_closed]


class Producer:
    """Refuses ``forbidden``; after a refusal it has a gap, and every later message is out of order."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.is_closed = False
        self.has_gap = False
        broker.producers.append(self)

    async def start(self) -> None:
        await self.broker.starting.wait()
        if self.broker.start_error is not None:
            raise self.broker.start_error

    async def stop(self) -> None:
        self.is_closed = True

    @property
    def client(self) -> Producer:
        return self

    async def fetch_all_metadata(self) -> None:
        """The brokers answer, whatever becomes of what is published."""

    async def send(self, topic: str, **_: Any) -> Awaitable[None]:
        if topic in ("fresh", "lost"):
            await self.broker.held.wait()  # its metadata
        if self.is_closed:
            raise ProducerClosed
        if topic == "lost":
            raise KafkaTimeoutError
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        error: KafkaError | None = None
        if topic == "forbidden":
            self.has_gap, error = True, TopicAuthorizationFailedError(topic)
        elif self.has_gap:
            error = OutOfOrderSequenceNumber()
        if error is None:
            self.broker.took.append(topic)
            sent.set_result(None)
        else:
            sent.set_exception(error)
        return sent


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    made = Broker()
    monkeypatch.setattr(kafka_publisher, "AIOKafkaProducer", lambda **_: Producer(made))
    return made


def message(topic: str) -> RawMessage:
    return RawMessage(topic, b"k", b"v", [])


async def bounded(*work: Awaitable[None]) -> list[BaseException | None]:
    async with asyncio.timeout(BOUND_SECONDS):
        return await asyncio.gather(*work, return_exceptions=True)


async def test_a_publication_that_is_under_way_when_another_is_refused_arrives(broker: Broker) -> None:
    broker.held.clear()
    async with KafkaPublisher({}) as publisher:
        innocent = asyncio.create_task(publisher.publish_raw(message("fresh")))
        await asyncio.sleep(0)
        [refused] = await bounded(publisher.publish_raw(message("forbidden")))
        assert isinstance(refused, Refused)
        await asyncio.sleep(0)
        assert not broker.producers[0].is_closed, "somebody waits for it"
        broker.producers[0].has_gap = False  # the other message goes to another partition
        broker.held.set()
        assert await bounded(innocent) == [None]
    assert broker.took == ["fresh"]
    assert broker.open() == []


@pytest.mark.parametrize("error", [ProducerClosed, OutOfOrderSequenceNumber])
async def test_what_a_producer_takes_no_more_is_for_later_and_then_arrives(
    broker: Broker, error: type[KafkaError]
) -> None:
    broker.held.clear()
    async with KafkaPublisher({}) as publisher:
        innocent = asyncio.create_task(publisher.publish_raw(message("fresh")))
        await asyncio.sleep(0)
        await bounded(publisher.publish_raw(message("forbidden")))
        broker.producers[0].is_closed = error is ProducerClosed
        broker.held.set()
        [failure] = await bounded(innocent)
        assert isinstance(failure, BusUnavailable)
        assert await bounded(publisher.publish_raw(message("fresh"))) == [None]


async def test_out_of_order_makes_a_new_producer_also_where_no_refusal_was_seen(broker: Broker) -> None:
    async with KafkaPublisher({}) as publisher:
        broker.producers[0].has_gap = True  # whoever was refused was cancelled at that moment
        [failure] = await bounded(publisher.publish_raw(message("known")))
        assert isinstance(failure, BusUnavailable)
        assert await bounded(publisher.publish_raw(message("known"))) == [None]


async def test_refusals_at_the_same_time_make_one_new_producer(broker: Broker) -> None:
    async with KafkaPublisher({}) as publisher:
        broker.starting.clear()
        several = asyncio.gather(
            *(publisher.publish_raw(message("forbidden")) for _ in range(5)), return_exceptions=True
        )
        await asyncio.sleep(0.01)
        broker.starting.set()
        async with asyncio.timeout(BOUND_SECONDS):
            assert [type(refused) for refused in await several] == [Refused] * 5
        assert len(broker.producers) == 2
    assert broker.open() == []


async def test_a_publisher_that_is_stopped_while_it_renews_leaves_no_producer(broker: Broker) -> None:
    publisher = KafkaPublisher({})
    await publisher.start()
    broker.starting.clear()
    refused = asyncio.create_task(publisher.publish_raw(message("forbidden")))
    await asyncio.sleep(0.01)
    await bounded(publisher.stop())
    broker.starting.set()
    await bounded(refused)
    assert (len(broker.producers), broker.open()) == (2, [])


async def test_a_stop_does_not_wait_for_ever_for_a_producer_that_somebody_waits_for(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_publisher, "STOP_SECONDS", 0.01)
    broker.held.clear()
    publisher = KafkaPublisher({})
    await publisher.start()
    waiting = asyncio.create_task(publisher.publish_raw(message("fresh")))
    await asyncio.sleep(0)
    await bounded(publisher.publish_raw(message("forbidden")))
    assert await bounded(publisher.stop()) == [None]
    await asyncio.sleep(0)
    assert broker.open() == []
    broker.held.set()
    [failure] = await bounded(waiting)
    assert isinstance(failure, BusUnavailable)


@pytest.mark.parametrize("how", ["cancelled", "out of reach", "defect"])
async def test_a_start_that_comes_to_nothing_leaves_no_producer(broker: Broker, how: str) -> None:
    if how == "cancelled":
        broker.starting.clear()
    else:
        broker.start_error = KafkaConnectionError("x") if how == "out of reach" else ValueError("x")
    start = asyncio.create_task(KafkaPublisher({}).start())
    await asyncio.sleep(0)
    if how == "cancelled":
        start.cancel()
    [failure] = await bounded(start)
    expected = {"cancelled": asyncio.CancelledError, "out of reach": BusUnavailable, "defect": ValueError}
    assert type(failure) is expected[how]
    assert (len(broker.producers), broker.open()) == (1, [])


async def test_the_bus_answers_while_a_publication_is_under_way(broker: Broker) -> None:
    """A failing event is counted by whether the bus answers: a periodic's publication must not look like an outage."""
    broker.held.clear()
    async with KafkaPublisher({}) as publisher:
        under_way = asyncio.create_task(publisher.publish_raw(message("fresh")))
        await asyncio.sleep(0)
        assert await publisher.answers()
        broker.held.set()
        assert await bounded(under_way) == [None]
        assert await publisher.answers()


@pytest.mark.parametrize("how", ["cancelled", "lost"])
async def test_the_publication_that_ended_last_says_whether_the_bus_answers(broker: Broker, how: str) -> None:
    async with KafkaPublisher({}) as publisher:
        broker.held.clear()
        cut_off = asyncio.create_task(publisher.publish_raw(message("lost")))
        await asyncio.sleep(0)
        assert await bounded(publisher.publish_raw(message("known"))) == [None]
        if how == "cancelled":
            cut_off.cancel()
        broker.held.set()
        [failure] = await bounded(cut_off)
        assert isinstance(failure, asyncio.CancelledError if how == "cancelled" else BusUnavailable)
        assert not await publisher.answers()
        assert await bounded(publisher.publish_raw(message("known"))) == [None]
        assert await publisher.answers()


async def test_a_refusal_is_an_answer(broker: Broker) -> None:
    async with KafkaPublisher({}) as publisher:
        await bounded(publisher.publish_raw(message("lost")))
        [refused] = await bounded(publisher.publish_raw(message("forbidden")))
        assert isinstance(refused, Refused)
        assert await publisher.answers()
