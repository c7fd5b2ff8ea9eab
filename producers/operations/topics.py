"""Creates missing topics on a cluster, and aligns the configuration of others with ``schemas.bus.topics``.

What cannot be changed without harm is reported and left: more partitions would move tenants' keys to other
partitions and so break their order, and replicas are moved by the cluster's own tools.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeVar

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code
from pydantic import Field

from schemas.base.contract import Contract
from schemas.bus.topics import TOPICS, Topic
from tenancy.errors import BusUnavailable, Refused

REQUEST_TIMEOUT_MS = 20_000
PROPAGATION_SECONDS = 30.0
RETENTION = "retention.ms"
SHORTER = "a shorter one deletes events for good; set SANO_TOPIC_RETENTION, or say --shorten"
DYNAMIC_TOPIC_CONFIG = 1  # KIP-226: set on this topic, as against a broker's default

Partitions = Mapping[str, list[dict[str, Any]]]
TopicConfig = tuple[dict[str, str], dict[str, str]]
T = TypeVar("T")


class TopicReport(Contract):
    """What was found and done. ``kept``: what differs from the contract and was left as it is, with the reason."""

    topic: str
    action: Literal["created", "aligned", "unchanged"]
    changes: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    keeps_longer: bool = Field(default=False, description="than the installation says, and so than certificates say")


async def apply_topics(
    client_settings: Mapping[str, Any],
    topics: Mapping[str, Topic] = TOPICS,
    *,
    dry_run: bool = False,
    shorten: bool = True,
) -> list[TopicReport]:
    """Create and align every topic of the contract; with ``dry_run`` only say what would be done.

    ``topics``: as the installation keeps them (:func:`schemas.bus.retention.kept`). Without ``shorten`` a retention
    that is longer than it should be is reported and left: the brokers would delete at once, and for good.
    ``client_settings`` as of ``PlatformSettings.kafka_client``. A cluster that refuses to alter configurations is
    no error: the difference is reported as kept. Raises :class:`BusUnavailable`, and :class:`Refused` when the
    cluster refuses to create a topic.
    """
    async with _admin(client_settings) as admin:
        brokers = len((await admin.describe_cluster())["brokers"])
        found = await _found(admin)
        missing = [topic for topic in topics.values() if topic.name not in found]
        created = {topic.name for topic in missing}
        if missing and not dry_run:
            created, found = await _create(admin, missing, brokers)
        reports = {name: TopicReport(topic=name, action="created") for name in created}
        existing = [topic for topic in topics.values() if topic.name not in created]
        if existing:
            reports |= await _aligned(admin, existing, found, brokers, dry_run=dry_run, shorten=shorten)
        return [reports[name] for name in TOPICS]


@asynccontextmanager
async def _admin(client_settings: Mapping[str, Any]) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**client_settings, request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        await admin.start()
        yield admin
    except (KafkaError, TimeoutError) as error:
        raise BusUnavailable(f"the bus did not answer: {type(error).__name__}") from None
    finally:
        await admin.close()


async def _found(admin: AIOKafkaAdminClient) -> Partitions:
    """The partitions of every topic. All are asked for: asking by name creates a missing one on the embedded bus."""
    return {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics()}


async def _create(admin: AIOKafkaAdminClient, missing: list[Topic], brokers: int) -> tuple[set[str], Partitions]:
    """The names of those that were created by us and not by somebody else meanwhile, and the partitions of all."""
    answer = await admin.create_topics(
        [
            NewTopic(t.name, t.partitions, t.replication_factor(brokers), topic_configs=t.config(brokers))
            for t in missing
        ]
    )
    created = set()
    for name, code, *_ in answer.topic_errors:
        error = for_code(code)
        if not code:
            created.add(name)
        elif error is not TopicAlreadyExistsError:
            raise Refused("topic-refused", f"refused: the bus does not create {name}: {error.__name__}")
    expected = {topic.name: topic.partitions if topic.name in created else 1 for topic in missing}

    async def look() -> Partitions | None:
        found = await _found(admin)
        return found if all(_has_leaders(found.get(name, []), count) for name, count in expected.items()) else None

    return created, await within_bound(look)


def _has_leaders(partitions: list[dict[str, Any]], expected: int) -> bool:
    return len(partitions) >= expected and all(partition["leader"] >= 0 for partition in partitions)


async def within_bound(look: Callable[[], Awaitable[T | None]], what: str = "new topics") -> T:
    """Look until there is something: a broker may not know yet what another has just done."""
    try:
        async with asyncio.timeout(PROPAGATION_SECONDS):
            while True:
                found = await look()
                if found is not None:
                    return found
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise BusUnavailable(f"{what} were not known to all brokers within {PROPAGATION_SECONDS:g} s") from None


async def _aligned(
    admin: AIOKafkaAdminClient,
    topics: list[Topic],
    found: Partitions,
    brokers: int,
    *,
    dry_run: bool,
    shorten: bool,
) -> dict[str, TopicReport]:
    configs = await within_bound(lambda: _configs(admin, topics))
    reports = {}
    for topic in topics:
        partitions = found[topic.name]
        copies = len(partitions[0]["replicas"]) if partitions else topic.replication_factor(brokers)
        # Two in-sync replicas of a topic that has one would refuse every write.
        wanted = topic.config(min(brokers, copies))
        is_set, in_force = configs[topic.name]
        differs = {name: value for name, value in wanted.items() if in_force.get(name) != value}
        kept = _unalterable(topic, len(partitions), copies, brokers)
        keeps_longer = _is_longer(in_force.get(RETENTION), wanted[RETENTION])
        if keeps_longer and not shorten:
            kept = (*kept, f"{RETENTION}: {in_force.get(RETENTION)}, not {differs.pop(RETENTION)}: {SHORTER}")
            wanted[RETENTION] = str(in_force.get(RETENTION))
        if not differs:
            reports[topic.name] = TopicReport(
                topic=topic.name, action="unchanged", kept=kept, keeps_longer=keeps_longer
            )
            continue
        changes = tuple(f"{name}: {in_force.get(name)} → {value}" for name, value in sorted(differs.items()))
        refusal = None if dry_run else await _alter(admin, topic.name, {**is_set, **wanted})
        reports[topic.name] = (
            TopicReport(
                topic=topic.name,
                action="aligned",
                changes=changes,
                kept=kept,
                keeps_longer=keeps_longer and not (shorten and not dry_run),
            )
            if refusal is None
            else TopicReport(
                topic=topic.name,
                action="unchanged",
                kept=(*kept, *(f"{c} ({refusal})" for c in changes)),
                keeps_longer=keeps_longer,
            )
        )
    return reports


def _is_longer(in_force: str | None, wanted: str) -> bool:
    """Whether events are kept for longer than they should be. -1 is without end."""
    if in_force is None or in_force == wanted or wanted == "-1":
        return False
    return in_force == "-1" or int(in_force) > int(wanted)


def _unalterable(topic: Topic, partitions: int, copies: int, brokers: int) -> tuple[str, ...]:
    kept = []
    if partitions != topic.partitions:
        kept.append(f"{partitions} partitions, not {topic.partitions}: a change would break the order of tenants' keys")
    if copies < topic.replication_factor(brokers):
        kept.append(f"{copies} replicas, not {topic.replication_factor(brokers)}: use kafka-reassign-partitions")
    return tuple(kept)


async def _configs(admin: AIOKafkaAdminClient, topics: list[Topic]) -> dict[str, TopicConfig] | None:
    """By topic: what is set on the topic itself, and what is in force. None when a broker does not know one yet."""
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic.name) for topic in topics])
    configs = {}
    for answer in answers:
        for code, _, _, name, entries in answer.resources:
            if for_code(code) is UnknownTopicOrPartitionError:
                return None
            if code:
                raise for_code(code)
            in_force = {key: value for key, value, *_ in entries}
            is_set = {key: value for key, value, _, source, *_ in entries if source == DYNAMIC_TOPIC_CONFIG}
            configs[name] = (is_set, in_force)
    return configs


async def _alter(admin: AIOKafkaAdminClient, name: str, config: dict[str, str]) -> str | None:
    """Set the topic's whole configuration; why not, if the bus refuses.

    aiokafka has no IncrementalAlterConfigs; AlterConfigs resets what it does not name, so that everything that was
    set on the topic is named again.
    """
    try:
        answers = await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, config)])
    except KafkaError as error:
        return type(error).__name__
    codes = [code for answer in answers for code, *_ in answer.resources if code]
    return for_code(codes[0]).__name__ if codes else None
