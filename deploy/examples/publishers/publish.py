"""Publishes one redacted conversation to Sanolith: its consent, then the example as a proposal.

What the messages look like (topic, headers, schema) is read from the AsyncAPI document. Needs aiokafka, cryptography,
httpx, joserfc, jsonschema and pyyaml, and nothing of Sanolith. The file is a JSON object of `example_id`, `version`,
`consent_id`, `messages` and `redaction` (the gate's name and version, and counts by kind, as `sano redact` gives them).
"""

import argparse
import asyncio
import base64
import hashlib
import hmac
import json
import sys
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import yaml
from aiokafka import AIOKafkaProducer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc import jwe
from joserfc.jwk import OKPKey
from jsonschema import Draft202012Validator

NAMESPACE = uuid.UUID("6f0f3c0a-52b1-5b57-8d2e-9a4a3f8a6a11")
Message = tuple[str, bytes, list[tuple[str, bytes]]]
"""Topic, value and headers."""


def canonical(value: Any) -> bytes:
    """RFC 8785, for what has no numbers other than integers."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def b64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Contract:
    """The AsyncAPI document."""

    def __init__(self, path: Path) -> None:
        self.document = yaml.safe_load(path.read_text(encoding="utf-8"))

    def topic(self, message: str) -> str:
        channels: dict[str, Any] = self.document["channels"]
        return next(name for name, channel in channels.items() if message in channel["messages"])

    def headers(self, message: str) -> dict[str, str]:
        """The headers whose value the document fixes."""
        fixed: dict[str, str] = {}
        for part in (self.document["components"]["schemas"]["Headers"], self._message(message)["headers"]):
            for name, schema in part["properties"].items():
                if "const" in schema:
                    fixed[name] = schema["const"]
        return fixed

    def require(self, message: str, data: dict[str, Any]) -> None:
        schema = {**self._message(message)["payload"], "components": self.document["components"]}
        Draft202012Validator(schema).validate(data)

    def _message(self, message: str) -> dict[str, Any]:
        found: dict[str, Any] = self.document["components"]["messages"][message]
        return found


def tenant_key(jwks_url: str, thumbprint: str) -> OKPKey:
    """The key to encrypt to. The thumbprint came from the operator, by another way than this one."""
    answer = httpx.get(jwks_url).raise_for_status()
    for jwk in answer.json()["keys"]:
        key = OKPKey.import_key(jwk)
        if hmac.compare_digest(key.thumbprint(), thumbprint):
            return key
    raise SystemExit("the tenant's key is not the one that the operator named: nothing was published")


def sealed(key: OKPKey, messages: list[dict[str, str]], salt: bytes) -> dict[str, Any]:
    """The content as a JWE, and the commitment to it."""
    content = canonical({"messages": messages, "salt": salt.hex()})
    header = {"alg": "ECDH-ES+A256KW", "enc": "A256GCM"}
    token = jwe.encrypt_compact(header, content, key, algorithms=list(header.values()))
    commitment = hmac.new(salt, canonical(messages), "sha256").hexdigest()
    return {"reference": {"kind": "jwe", "jwe": token}, "commitment": commitment}


def signature(topic: str, value: bytes, attributes: dict[str, str], private_key: Ed25519PrivateKey, kid: str) -> str:
    covered = {"attributes": attributes, "topic": topic, "value_sha256": hashlib.sha256(value).hexdigest()}
    protected = {"alg": "Ed25519", "iat": int(time.time()), "kid": kid, "typ": "sano-event+jws"}
    first, second = b64url(canonical(protected)), b64url(canonical(covered))
    return f"{first}..{b64url(private_key.sign(f'{first}.{second}'.encode()))}"


def message_of(
    contract: Contract,
    message: str,
    tenant: str,
    source: str,
    data: dict[str, Any],
    natural_key: str,
    private_key: Ed25519PrivateKey,
    kid: str,
) -> Message:
    """Topic, value and headers of one event."""
    contract.require(message, data)
    topic, fixed = contract.topic(message), contract.headers(message)
    attributes = {
        **fixed,
        "ce_specversion": "1.0",
        "ce_id": str(uuid.uuid5(NAMESPACE, f"{fixed['ce_type']}|{tenant}|{natural_key}")),
        "ce_source": source,
        "ce_subject": tenant,
        "ce_time": datetime.now(UTC).isoformat(),
        "content-type": "application/json",
    }
    value = canonical(data)
    headers = {**attributes, "sano_signature": signature(topic, value, attributes, private_key, kid)}
    return topic, value, [(name, text.encode()) for name, text in headers.items()]


async def publish(bootstrap: str, tenant: str, messages: list[Message]) -> None:
    """In order, each acknowledged by all replicas before the next one."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    async with producer:
        for topic, value, headers in messages:
            await producer.send_and_wait(topic, value, key=tenant.encode(), headers=headers)


OPTIONS = ("asyncapi", "bootstrap", "jwks-url", "thumbprint", "tenant", "source", "key", "kid", "salt-key")


def joined(arguments: list[str]) -> list[str]:
    """``--name value`` as ``--name=value``: one thumbprint in 64 begins with a dash, and looks like an option."""
    words = iter(arguments)
    return [f"{word}={next(words, '')}" if word[2:] in OPTIONS else word for word in words]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option in OPTIONS:
        parser.add_argument(f"--{option}", required=True)
    parser.add_argument("file")
    given = parser.parse_args(joined(sys.argv[1:]))

    example = json.loads(Path(given.file).read_text(encoding="utf-8"))
    contract = Contract(Path(given.asyncapi))
    private_key = load_pem_private_key(Path(given.key).read_bytes(), None)
    if not isinstance(private_key, Ed25519PrivateKey):
        raise SystemExit("the event key is not an Ed25519 key")
    key = tenant_key(given.jwks_url, given.thumbprint)
    # The same example has the same salt whenever it is published: under a secret key, so that nobody else can tell it.
    name = canonical([given.tenant, example["example_id"], example["version"], example["messages"]])
    salt = hmac.new(Path(given.salt_key).read_bytes(), name, "sha256").digest()

    consent = {"consent_id": example["consent_id"], "version": 1}
    proposal = {
        "example_id": example["example_id"],
        "version": example["version"],
        "source": "publisher",
        "consent_id": example["consent_id"],
        "redaction": example["redaction"],
        "content": sealed(key, example["messages"], salt),
    }
    messages = [
        message_of(
            contract,
            "consent.granted",
            given.tenant,
            given.source,
            consent,
            f"{consent['consent_id']}|1",
            private_key,
            given.kid,
        ),
        message_of(
            contract,
            "example.proposed",
            given.tenant,
            given.source,
            proposal,
            f"{proposal['example_id']}|{proposal['version']}",
            private_key,
            given.kid,
        ),
    ]
    asyncio.run(publish(given.bootstrap, given.tenant, messages))
    print(f"published {len(messages)} events for {given.tenant}")


if __name__ == "__main__":
    main()
