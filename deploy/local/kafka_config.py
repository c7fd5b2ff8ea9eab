"""Builds ``server.properties`` of one local broker, also a KRaft controller, and the arguments that format its disk."""

from __future__ import annotations

import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local.ports import LOOPBACK


@dataclass(frozen=True)
class BrokerAddress:
    """``node_id`` counts from 1; both ports are on 127.0.0.1."""

    node_id: int
    client_port: int
    controller_port: int


def server_properties(broker: BrokerAddress, quorum: list[BrokerAddress], data: Path, extra: Mapping[str, str]) -> str:
    """The text of the file. ``extra`` wins over everything here."""
    replicas = min(3, len(quorum))
    in_sync = max(1, replicas - 1)  # acks=all survives the loss of one broker of three
    client, controller = f"PLAINTEXT://{LOOPBACK}:{broker.client_port}", f"{LOOPBACK}:{broker.controller_port}"
    properties = {
        "node.id": broker.node_id,
        "process.roles": "broker,controller",
        "listeners": f"{client},CONTROLLER://{controller}",
        "advertised.listeners": client,
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.quorum.voters": ",".join(f"{b.node_id}@{LOOPBACK}:{b.controller_port}" for b in quorum),
        "log.dirs": data,
        "auto.create.topics.enable": "false",
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "group.initial.rebalance.delay.ms": 0,
        # The internal topics' defaults are 50 partitions and three replicas: seconds of start-up for nothing here.
        "offsets.topic.num.partitions": 4,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.num.partitions": 4,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        **extra,
    }
    return "".join(f"{key}={value}\n" for key, value in properties.items())


def random_cluster_id() -> str:
    return urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def format_arguments(cluster_id: str, properties: Path) -> list[str]:
    """Builds the command that formats a broker's storage.

    The id is joined to its option: one random id in 64 begins with a hyphen and would be read as an option itself.
    """
    return ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", f"--config={properties}"]
