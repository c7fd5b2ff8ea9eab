"""The peer of ``curation_events``: aiokafka and boto3 in one loop, as short as it can be with the same guarantees.

It does the requests to S3 that an approval needs, with the same preconditions, in the same order and to objects of
the same fields, and publishes the same messages. There is no sealing (objects are plain JSON), no check of types or
of the commitment, no retry, no deadline, no log, no trace and no FastStream.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import signal
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from botocore.config import Config
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

NAMESPACE = uuid.UUID("6f0f3c0a-52b1-5b57-8d2e-9a4a3f8a6a11")
SOURCE = "/sanolith/curation"
Attributes = dict[str, str]


def approve(s3: S3Client, bucket: str, event: Attributes, data: dict[str, Any]) -> dict[str, Any] | None:
    """Handle one approval; the data of the training.requested event if it completed a batch."""
    tenant, example_id = event["ce_subject"], data["example_id"]
    state_key, prefix = f"registry/{tenant}/state.json", f"tenants/{tenant}"

    def get(key: str) -> tuple[Any, str]:
        answer = s3.get_object(Bucket=bucket, Key=key)
        return json.loads(answer["Body"].read()), answer["ETag"]

    def swap(etag: str) -> str:
        state.update(rev=state["rev"] + 1, nonce=secrets.token_hex(16))
        return s3.put_object(Bucket=bucket, Key=state_key, Body=json.dumps(state).encode(), IfMatch=etag)["ETag"]

    state, etag = get(state_key)
    get(f"registry/{tenant}/key.json")
    try:
        get(f"{prefix}/examples/{example_id}")
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchKey":
            raise
    else:
        raise RuntimeError("the benchmark approves each example once")
    get(f"{prefix}/contents/{example_id}/{data['version']}")
    consent, _ = get(f"{prefix}/consents/{data['consent_id']}")
    if state["status"] != "active" or not consent["granted"]:
        raise RuntimeError("the benchmark's tenants are active and have consented")
    curation = state["curation"]
    curation["fresh"].append({"example_id": example_id, "consent_id": data["consent_id"]})
    requested = None
    if len(curation["fresh"]) >= state["policy"]["min_new_examples"]:
        curation["recent"] = [held["example_id"] for held in curation["fresh"]]
        curation["fresh"] = []
        curation["batches"] += 1
        requested = {"run_id": f"batch-{curation['batches']}", "trigger": "policy", "hyperparameters": None}
        owed = {"event_type": "sano.training.requested", "data": requested, "causation_id": event["ce_id"]}
        state["outbox"] = [owed]
    etag = swap(etag)
    record = {
        "example_id": example_id,
        "version": data["version"],
        "status": "approved",
        "decided_at": event["ce_time"],
        "event_id": event["ce_id"],
        "reviewer_id": data["reviewer_id"],
        "consent_id": data["consent_id"],
        "commitment": data["content"]["commitment"],
        "reason_code": None,
    }
    s3.put_object(
        Bucket=bucket, Key=f"{prefix}/examples/{example_id}", Body=json.dumps(record).encode(), IfNoneMatch="*"
    )
    if requested is not None:
        # The bare loop publishes after striking out; the number of requests is the same.
        state["outbox"] = []
        swap(etag)
    return requested


def message(cause: Attributes, kind: str, natural_key: str, data: dict[str, Any]) -> dict[str, Any]:
    """Arguments of ``send_and_wait`` for an event of the contract."""
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


async def run(arguments: argparse.Namespace) -> None:
    s3 = boto3.client("s3", endpoint_url=arguments.endpoint, config=Config(s3={"addressing_style": "path"}))
    consumer = AIOKafkaConsumer(
        arguments.events,
        bootstrap_servers=arguments.bootstrap,
        group_id="bench-bare-loop",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    producer = AIOKafkaProducer(bootstrap_servers=arguments.bootstrap, acks="all", enable_idempotence=True)
    async with consumer, producer:
        async for record in consumer:
            event = {name: value.decode() for name, value in record.headers}
            # Without a thread: nothing else runs here, and this is the fastest way.
            requested = approve(s3, arguments.bucket, event, json.loads(record.value))
            if requested is not None:
                kind = "sano.training.requested"
                await producer.send_and_wait(arguments.training, **message(event, kind, requested["run_id"], requested))
            delivery = f"{record.topic}/{record.partition}/{record.offset}"
            outcome = {
                "event_id": event["ce_id"],
                "event_type": event["ce_type"],
                "consumer": "curation",
                "outcome": "EFFECT",
                "delivery": delivery,
                "replay_id": None,
            }
            natural_key = f"curation|{event['ce_id']}|{delivery}"
            await producer.send_and_wait(
                arguments.outcomes, **message(event, "sano.outcome.recorded", natural_key, outcome)
            )
            await consumer.commit()


def main() -> None:
    parser = argparse.ArgumentParser(description="the peer of the benchmark curation_events")
    for name in ("bootstrap", "endpoint", "bucket", "events", "training", "outcomes"):
        parser.add_argument(f"--{name}", required=True)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
