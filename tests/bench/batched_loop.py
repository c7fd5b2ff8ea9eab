"""The peer of ``curation_events``: the best loop of aiokafka and boto3 that we know, with the same effects.

It polls batches, handles the tenants of a batch side by side and each tenant's events in their order: state, key and
consents are read once, examples and contents side by side, then one swap of the state, then the records side by side;
then all outcomes are published, and the batch is committed. The objects are sealed as ours are, the preconditions and
messages are the same. There is no check of types or of the commitment, no retry, no deadline, no log, no trace, no
FastStream, and a batch waits for the slowest of its tenants.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import secrets
import signal
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from botocore.config import Config
from botocore.exceptions import ClientError

from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.sealing import open_sealed, seal

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

NAMESPACE = uuid.UUID("6f0f3c0a-52b1-5b57-8d2e-9a4a3f8a6a11")
SOURCE = "/sanolith/curation"
POLLED = 512
THREADS = 64
Attributes = dict[str, str]
T = TypeVar("T")


@dataclass(frozen=True)
class Approval:
    """One record, taken apart."""

    event: Attributes
    data: dict[str, Any]
    delivery: str


class Loop:
    consumer = "curation"

    def __init__(self, s3: S3Client, bucket: str, master: KeyFileMasterKey) -> None:
        self.s3 = s3
        self.bucket = bucket
        self.master = master
        self.threads = ThreadPoolExecutor(THREADS)

    async def run(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.threads, call)

    async def get(self, key: str) -> tuple[bytes, str]:
        def get() -> tuple[bytes, str]:
            answer = self.s3.get_object(Bucket=self.bucket, Key=key)
            return answer["Body"].read(), answer["ETag"]

        return await self.run(get)

    async def put(self, key: str, body: bytes, **condition: str) -> str:
        return await self.run(
            lambda: self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, **condition)["ETag"]  # type: ignore[arg-type]
        )

    async def absent(self, key: str) -> None:
        try:
            await self.get(key)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchKey":
                raise
        else:
            raise RuntimeError("the benchmark approves each example once")

    async def handle(self, tenant: str, approvals: list[Approval]) -> list[tuple[Attributes, dict[str, Any]]]:
        """Handle one tenant's approvals of a batch; the events of the trainings that they ask for."""
        state_key, prefix = f"registry/{tenant}/state.json", f"tenants/{tenant}"
        (body, etag), (key_body, _) = await asyncio.gather(self.get(state_key), self.get(f"registry/{tenant}/key.json"))
        state, key_record = json.loads(body), json.loads(key_body)
        data_key = self.master.unwrap(tenant, base64.b64decode(key_record["wrapped_data_key"]))

        async def opened(relative: str) -> Any:
            key = f"{prefix}/{relative}"
            return json.loads(open_sealed(data_key, key, (await self.get(key))[0]))

        consents = sorted({approval.data["consent_id"] for approval in approvals})
        read = [opened(f"consents/{consent}") for consent in consents]
        for approval in approvals:
            example = approval.data["example_id"]
            read += [
                self.absent(f"{prefix}/examples/{example}"),
                opened(f"contents/{example}/{approval.data['version']}"),
            ]
        found = await asyncio.gather(*read)
        if state["status"] != "active" or not all(consent["granted"] for consent in found[: len(consents)]):
            raise RuntimeError("the benchmark's tenants are active and have consented")
        curation, requested = state["curation"], []
        for approval in approvals:
            counted = {
                "example_id": approval.data["example_id"],
                "version": approval.data["version"],
                "consent_id": approval.data["consent_id"],
            }
            curation["fresh"].append(counted)
            if len(curation["fresh"]) >= state["policy"]["min_new_examples"]:
                curation.update(recent=curation["fresh"], fresh=[], batches=curation["batches"] + 1)
                asked = {"run_id": f"batch-{curation['batches']}", "trigger": "policy", "hyperparameters": None}
                requested.append((approval.event, asked))
        etag = await self._swapped(state_key, state, etag)
        await asyncio.gather(*(self._recorded(prefix, data_key, approval) for approval in approvals))
        if requested:
            await self._swapped(state_key, state, etag)  # as striking out what the state owed
        return requested

    async def _swapped(self, key: str, state: dict[str, Any], etag: str) -> str:
        state.update(rev=state["rev"] + 1, nonce=secrets.token_hex(16))
        return await self.put(key, json.dumps(state).encode(), IfMatch=etag)

    async def _recorded(self, prefix: str, data_key: bytes, approval: Approval) -> None:
        data, event = approval.data, approval.event
        record = {
            "example_id": data["example_id"],
            "version": data["version"],
            "status": "approved",
            "decided_at": event["ce_time"],
            "event_id": event["ce_id"],
            "reviewer_id": data["reviewer_id"],
            "consent_id": data["consent_id"],
            "commitment": data["content"]["commitment"],
            "reason_code": None,
        }
        key = f"{prefix}/examples/{data['example_id']}"
        await self.put(key, seal(data_key, key, json.dumps(record).encode()), IfNoneMatch="*")


def message(cause: Attributes, kind: str, natural_key: str, data: dict[str, Any]) -> dict[str, Any]:
    """Arguments of ``send`` for an event of the contract."""
    tenant = cause["ce_subject"]
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": str(uuid.uuid5(NAMESPACE, f"{kind}|{tenant}|{natural_key}")),
        "ce_type": kind,
        "ce_source": SOURCE,
        "ce_subject": tenant,
        "ce_time": datetime.now(UTC).isoformat(),
        "ce_dataschema": f"urn:sanolith:schema:{kind.removeprefix('sano.')}:v1",
        "content-type": "application/json",
        "ce_causationid": cause["ce_id"],
        "traceparent": f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01",
    }
    headers = [(name, value.encode()) for name, value in attributes.items()]
    return {"key": tenant.encode(), "value": json.dumps(data).encode(), "headers": headers}


def outcome(approval: Approval, consumer: str) -> dict[str, Any]:
    event = approval.event
    told = {
        "event_id": event["ce_id"],
        "event_type": event["ce_type"],
        "consumer": consumer,
        "outcome": "EFFECT",
        "delivery": approval.delivery,
        "replay_id": None,
    }
    natural_key = f"{consumer}|{event['ce_id']}|{approval.delivery}"
    return message(event, "sano.outcome.recorded", natural_key, told)


async def run(arguments: argparse.Namespace, kind: type[Loop]) -> None:
    config = Config(s3={"addressing_style": "path"}, max_pool_connections=THREADS)
    s3 = boto3.client("s3", endpoint_url=arguments.endpoint, config=config)
    loop = kind(s3, arguments.bucket, KeyFileMasterKey.read(Path(arguments.master_key)))
    consumer = AIOKafkaConsumer(
        arguments.events,
        bootstrap_servers=arguments.bootstrap,
        group_id="bench-batched-loop",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    producer = AIOKafkaProducer(bootstrap_servers=arguments.bootstrap, acks="all", enable_idempotence=True)
    async with consumer, producer:
        while True:
            polled = await consumer.getmany(timeout_ms=200, max_records=POLLED)
            tenants: dict[str, list[Approval]] = {}
            for records in polled.values():
                for record in records:
                    event = {name: value.decode() for name, value in record.headers}
                    delivery = f"{record.topic}/{record.partition}/{record.offset}"
                    approval = Approval(event, json.loads(record.value), delivery)
                    tenants.setdefault(event["ce_subject"], []).append(approval)
            if not tenants:
                continue
            requested = await asyncio.gather(*(loop.handle(*one) for one in tenants.items()))
            sent = []
            for event, asked in itertools.chain(*requested):
                asking = message(event, "sano.training.requested", asked["run_id"], asked)
                sent.append(await producer.send(arguments.training, **asking))
            for approvals in tenants.values():
                sent += [
                    await producer.send(arguments.outcomes, **outcome(approval, loop.consumer))
                    for approval in approvals
                ]
            await asyncio.gather(*sent)
            await consumer.commit()


def main(kind: type[Loop] = Loop) -> None:
    parser = argparse.ArgumentParser(description="the peer of a benchmark of events")
    for name in ("bootstrap", "endpoint", "bucket", "events", "training", "outcomes", "master-key"):
        parser.add_argument(f"--{name}", required=True)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    asyncio.run(run(parser.parse_args(), kind))


if __name__ == "__main__":
    main()
