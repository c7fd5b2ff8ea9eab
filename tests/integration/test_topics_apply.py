"""``sano topics apply`` on Apache Kafka and on the embedded bus: created, aligned, left alone where it must be.

Three brokers take long to start, so what their deaths cost is tried here too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.protocol.metadata import MetadataRequest

from deploy.local.embedded import start_bus
from deploy.local.kafka import KafkaCluster
from deploy.local.services import PROJECT_ROOT
from deploy.local.settings import inherited_environment
from producers.operations.access_admin import apply_access
from producers.operations.principals import Principals
from producers.operations.topics import TopicReport, apply_topics
from schemas.bus.access import PRINCIPALS
from schemas.bus.envelope import Event
from schemas.bus.events import CURATION, TENANTS, TenantChurned
from schemas.bus.retention import kept
from schemas.bus.topics import TOPICS
from tenancy.errors import BusUnavailable
from tenancy.kafka_publisher import KafkaPublisher
from tenancy.platform.clock import utc_now
from tests.integration.test_kafka_cluster import create_topic, produce, read_all

BOUND_SECONDS = 60.0
BROKERS = 3


@pytest.fixture(scope="module")
def cluster(kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """One of its own: the contract's topics are deleted and made wrong here, and brokers die."""
    with KafkaCluster(kafka_jars, tmp_path_factory.mktemp("kafka"), BROKERS) as started:
        yield started


@pytest.fixture
def three_brokers(cluster: KafkaCluster) -> str:
    return cluster.bootstrap_servers


@pytest.fixture(scope="module")
def embedded_bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("bus")
    env = {**inherited_environment(), "PYTHONPATH": str(PROJECT_ROOT), "TMPDIR": str(home)}
    bus = start_bus(home, home / "bus.log", env, tie_to_parent=True)
    yield bus.bootstrap_servers
    bus.process.stop()


@pytest.fixture(params=[pytest.param("three_brokers", marks=pytest.mark.kafka), "embedded_bus"])
def servers(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


@asynccontextmanager
async def administration(servers: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Brokers learn of a change one after another, and the admin client asks any of them."""
    async with asyncio.timeout(BOUND_SECONDS):
        while not await holds():
            await asyncio.sleep(0.1)


async def remove_topics(admin: AIOKafkaAdminClient) -> None:
    """Leave none of the contract's topics on any broker."""

    async def are_gone() -> bool:
        left = {name for known in await known_topics(admin) for name in known if name in TOPICS}
        if left:
            await admin.delete_topics(list(left))
        return not left

    await eventually(are_gone)


async def known_topics(admin: AIOKafkaAdminClient) -> list[set[str]]:
    """What each broker knows. The public methods ask one of them, nobody knows which."""
    brokers = (await admin.describe_cluster())["brokers"]
    answers = [await admin._send_request(MetadataRequest(None), broker["node_id"]) for broker in brokers]
    return [{topic["topic"] for topic in answer.to_object()["topics"]} for answer in answers]


async def all_know_all(admin: AIOKafkaAdminClient) -> bool:
    return all(known >= TOPICS.keys() for known in await known_topics(admin))


async def partitions(admin: AIOKafkaAdminClient, name: str) -> list[dict[str, Any]]:
    [found] = [topic["partitions"] for topic in await admin.describe_topics() if topic["topic"] == name]
    return list(found)


async def config(admin: AIOKafkaAdminClient, name: str) -> dict[str, str]:
    [answer] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    [(_, _, _, _, entries)] = answer.resources
    return {key: value for key, value, *_ in entries}


async def apply(servers: str, *, dry_run: bool = False) -> dict[str, TopicReport]:
    reports = await apply_topics({"bootstrap_servers": servers}, dry_run=dry_run)
    assert [report.topic for report in reports] == list(TOPICS)
    return {report.topic: report for report in reports}


async def test_every_topic_of_the_contract_is_created_as_it_says_and_a_second_time_nothing_changes(
    servers: str,
) -> None:
    async with administration(servers) as admin:
        await remove_topics(admin)
        brokers = len((await admin.describe_cluster())["brokers"])
        assert {report.action for report in (await apply(servers)).values()} == {"created"}
        await eventually(lambda: all_know_all(admin))
        for topic in TOPICS.values():
            made = await partitions(admin, topic.name)
            assert len(made) == topic.partitions
            assert {len(partition["replicas"]) for partition in made} == {topic.replication_factor(brokers)}
            in_force = await config(admin, topic.name)
            assert {name: in_force[name] for name in topic.config(brokers)} == topic.config(brokers)
        again = await apply(servers)
        assert {(report.action, report.changes, report.kept) for report in again.values()} == {("unchanged", (), ())}
    churned = Event(subject="t1", data=TenantChurned(requested_by="operator"), time=utc_now(), source="/test")
    async with KafkaPublisher({"bootstrap_servers": servers}) as publisher:
        await publisher.publish(churned)


async def test_a_configuration_that_drifted_is_aligned_and_what_others_set_is_kept(servers: str) -> None:
    drifted = {"retention.ms": "31536000000", "message.timestamp.type": "CreateTime", "retention.bytes": "2000000"}
    wanted = {"retention.ms": str(TOPICS[CURATION].retention_ms), "message.timestamp.type": "LogAppendTime"}
    async with administration(servers) as admin:
        await apply(servers)
        await eventually(lambda: all_know_all(admin))
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, CURATION, drifted)])

        async def is_planned() -> bool:
            planned = await apply(servers, dry_run=True)
            return [name for name, report in planned.items() if report.action == "aligned"] == [CURATION]

        async def has(expected: dict[str, str]) -> bool:
            return (await config(admin, CURATION)).items() >= expected.items()

        async def is_aligning() -> bool:
            changes = (await apply(servers))[CURATION].changes
            return f"retention.ms: {drifted['retention.ms']} → {wanted['retention.ms']}" in changes

        await eventually(is_planned)
        await eventually(lambda: has(drifted))
        await eventually(is_aligning)
        await eventually(lambda: has({**drifted, **wanted}))


async def test_a_topic_is_kept_without_end_as_wished_and_shortened_only_when_that_is_said(servers: str) -> None:
    client = {"bootstrap_servers": servers}
    async with administration(servers) as admin:
        await apply(servers)
        await eventually(lambda: all_know_all(admin))

        async def is_in_force(retention: str) -> bool:
            return (await config(admin, TENANTS))["retention.ms"] == retention

        async def is_left() -> bool:
            [left] = [report for report in await apply_topics(client, shorten=False) if report.topic == TENANTS]
            return left.keeps_longer and any("retention.ms: -1, not 604800000" in line for line in left.kept)

        async def is_shortened() -> bool:
            return "retention.ms: -1 → 604800000" in (await apply(servers))[TENANTS].changes

        # Each question goes to any of the brokers, which hear of a change one after another.
        await apply_topics(client, kept({TENANTS: "unlimited"}))
        await eventually(is_left)
        await eventually(lambda: is_in_force("-1"))
        await eventually(is_shortened)
        await eventually(lambda: is_in_force("604800000"))


async def test_partitions_and_replicas_of_an_existing_topic_are_reported_and_left(servers: str) -> None:
    async with administration(servers) as admin:
        await remove_topics(admin)
        await admin.create_topics([NewTopic(TENANTS, 2, 1)])
        reports = await apply(servers)
        assert {name for name, report in reports.items() if report.action == "created"} == TOPICS.keys() - {TENANTS}
        assert any("2 partitions, not 6" in line for line in reports[TENANTS].kept)
        await eventually(lambda: all_know_all(admin))
        assert len(await partitions(admin, TENANTS)) == 2
        brokers = len((await admin.describe_cluster())["brokers"])
        assert any("1 replicas, not 3" in line for line in reports[TENANTS].kept) == (brokers == BROKERS)

        async def takes_writes() -> bool:
            # Two in-sync replicas of one copy would refuse every write.
            return (await config(admin, TENANTS))["min.insync.replicas"] == "1"

        await eventually(takes_writes)


async def test_a_dry_run_creates_nothing(servers: str) -> None:
    async with administration(servers) as admin:
        await remove_topics(admin)
        assert {report.action for report in (await apply(servers, dry_run=True)).values()} == {"created"}
        assert not any(known & TOPICS.keys() for known in await known_topics(admin))


async def test_brokers_without_an_authorizer_are_said_to_have_none_and_are_given_no_rights(servers: str) -> None:
    nobody = Principals(dict.fromkeys(PRINCIPALS, ("User:nobody",)))
    report = await apply_access({"bootstrap_servers": servers}, nobody)
    assert (report.has_authorizer, report.added) == (False, ())


async def test_a_bus_that_does_not_answer_is_said_to_be_out_of_reach() -> None:
    with pytest.raises(BusUnavailable, match="the bus did not answer: KafkaConnectionError"):
        await apply_topics({"bootstrap_servers": "127.0.0.1:1"})


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(300)  # aiokafka's stop() waits without a bound for what it could not send
async def test_three_brokers_lose_no_acknowledged_message_when_one_is_killed(cluster: KafkaCluster) -> None:
    servers = cluster.bootstrap_servers
    topic = await create_topic(servers, replicas=BROKERS)
    before = [f"before-{i}".encode() for i in range(20)]
    after = [f"after-{i}".encode() for i in range(20)]
    await produce(servers, topic, before)
    await asyncio.to_thread(cluster.kill_broker, 0)
    await produce(servers, topic, after)
    assert await read_all(servers, topic, 40) == before + after
    await asyncio.to_thread(cluster.start_broker, 0)
    assert await read_all(servers, topic, 40) == before + after


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_broker_that_comes_back_has_kept_its_data_and_address(cluster: KafkaCluster) -> None:
    """Of a topic that only it has a copy of. It is stopped politely, then killed."""
    servers = cluster.bootstrap_servers
    topic = await create_topic(servers)
    async with administration(servers) as admin:
        [place] = await partitions(admin, topic)
    index = place["leader"] - 1  # brokers are numbered from 1
    await produce(servers, topic, [b"first"])
    await asyncio.to_thread(cluster.restart_broker, index)
    await produce(servers, topic, [b"second"])
    assert await read_all(servers, topic, 2) == [b"first", b"second"]
    await asyncio.to_thread(cluster.kill_broker, index)
    await asyncio.to_thread(cluster.start_broker, index)
    await produce(servers, topic, [b"third"])
    assert await read_all(servers, topic, 3) == [b"first", b"second", b"third"]
