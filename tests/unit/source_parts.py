"""Parts of the tests of sources that are services: a bus, Kafka's publisher replaced by it, and what each is told."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any, ClassVar

from joserfc.jwk import OKPKey

from producers.operations.trust_admin import ensure_keys
from schemas.bus.envelope import Event
from schemas.evidence.purposes import Purpose
from schemas.evidence.trust import ROOT_PUBLIC_FILE, TRUST_FILE, key_file
from tenancy.bus import RecordingPublisher
from tenancy.errors import BusUnavailable
from tenancy.evidence.event_signatures import EventSigner
from tenancy.evidence.keys import LocalKey


class Bus(RecordingPublisher):
    """Waits, or is broken, when a test says so."""

    gate: asyncio.Event | None = None
    is_broken = False

    async def publish(self, event: Event) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.is_broken:
            raise BusUnavailable("the bus does not answer")
        await super().publish(event)


class Noting(Bus):
    """In the place of Kafka's publisher: remembers who signs."""

    given: ClassVar[list[EventSigner | None]] = []
    does_answer = True

    def __init__(self, _: object, signer: EventSigner | None = None) -> None:
        super().__init__()
        self.given.append(signer)

    async def __aenter__(self) -> Noting:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def answers(self) -> bool:
        return self.does_answer


def secret_file(path: Path) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(base64.b64encode(bytes(32)))
    return path


def told(folder: Path) -> dict[str, Any]:
    """What every source is told, of files in ``folder``."""
    (folder / "jwk.json").write_text(json.dumps(OKPKey.generate_key("X25519", private=False).as_dict()))
    return {
        "kafka_bootstrap_servers": "k:1",
        "source_tenant": "t1",
        "source_jwk_file": folder / "jwk.json",
        "source_key_file": secret_file(folder / "source.key"),
    }


def signing(folder: Path) -> tuple[str, dict[str, Any]]:
    """The id of a key for events, and how a source is told to sign with it."""
    ensure_keys(folder)
    key = key_file(folder, Purpose.EVENT, "operators")
    trusted = {"trust_file": folder / TRUST_FILE, "trust_root_file": folder / ROOT_PUBLIC_FILE}
    return LocalKey.read(key, "the test").public_key.key_id, {**trusted, "event_key": str(key)}
