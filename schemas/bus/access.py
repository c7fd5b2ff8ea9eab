"""Declares the brokers' access control: what each principal may do, given what it publishes and which topics it reads.

A principal that is not named here may do nothing. None of those named may create, alter or delete a topic, change a
right, or write in a transaction: that is for the cluster's administrators. So no credential of a service or an operator
can lengthen a topic's retention or widen its own rights.
"""

from __future__ import annotations

from typing import Literal

from schemas.base.contract import Contract
from schemas.bus.asyncapi import consumer_group
from schemas.bus.publishers import OPERATORS, PUBLISHES
from schemas.bus.topics import LIVE_TOPICS, REPLICA_SERVICE, TOPICS

Operation = Literal["read", "write", "describe", "describe-configs"]

CLUSTER = "kafka-cluster"
"""Kafka's name of the one resource of type cluster."""

PRINCIPALS: tuple[str, ...] = tuple(PUBLISHES)
SERVICES: tuple[str, ...] = tuple(sorted({who for name in LIVE_TOPICS for who in TOPICS[name].consumers}))


class Grant(Contract):
    """One right: an access control list entry without its principal. ``name`` is a prefix where ``is_prefix``."""

    resource: Literal["topic", "group", "cluster"]
    name: str
    operation: Operation
    is_prefix: bool = False

    def __str__(self) -> str:
        return f"{self.operation} {self.resource} {self.name}{'*' if self.is_prefix else ''}"


class Right(Grant):
    """A grant to somebody, by Kafka's name for it."""

    principal: str


def grants(who: str) -> tuple[Grant, ...]:
    """Everything that a principal may do. Kafka takes Describe to be part of Read and of Write."""
    return (*_writes(who), *_reads(who), *(_looks() if who == OPERATORS else ()))


def _writes(who: str) -> tuple[Grant, ...]:
    """Live topics, and the dead letters of what it reads."""
    return tuple(_topic(name, "write") for name, topic in TOPICS.items() if who in topic.producers)


def _reads(who: str) -> tuple[Grant, ...]:
    """A service reads in a group. Operators read everything, dead letters too, and commit nothing anywhere."""
    if who == OPERATORS:
        return tuple(_topic(name, "read") for name in TOPICS)
    if who not in SERVICES:
        return ()
    return (*(_topic(name, "read") for name in LIVE_TOPICS if who in TOPICS[name].consumers), _group(who, "read"))


def _looks() -> tuple[Grant, ...]:
    """For `sano doctor`, and to see how far each group is."""
    configs = (_topic(name, "describe-configs") for name in TOPICS)
    groups = (_group(service, "describe") for service in SERVICES)
    return (*configs, *groups, Grant(resource="cluster", name=CLUSTER, operation="describe"))


def _topic(name: str, operation: Operation) -> Grant:
    return Grant(resource="topic", name=name, operation=operation)


def _group(service: str, operation: Operation) -> Grant:
    """Each replica reads in a group of its own, and nobody can know all their names: theirs is a prefix."""
    is_prefix = service == REPLICA_SERVICE
    name = f"{service}." if is_prefix else consumer_group(service)
    return Grant(resource="group", name=name, operation=operation, is_prefix=is_prefix)
