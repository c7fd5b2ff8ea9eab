"""A checkpoint that is there and that no head names: gone on from where it follows, by whichever key of ours it is."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consumers.ledger.settings import LedgerSettings
from producers.queries.audit_copy import read_copy
from schemas.base.canonical import canonical_json
from schemas.evidence.audit import CHECKPOINT_PREDICATE, Actor, CheckpointRef
from schemas.objects import object_keys
from tenancy.audit.checkpoints import Checkpointer
from tenancy.audit.log import AuditLog, AuditRecord
from tenancy.audit.verification import AuditVerdict, verify_copy
from tenancy.bootstrap import assemble, signer
from tenancy.bus import RecordingPublisher
from tenancy.errors import AuditBroken, BadSignature, ObjectNotFound
from tenancy.evidence.signing import Signer
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.tenant_id import TenantId

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TENANT = TenantId("t1")
OLD, STRANGER = (Signer(Ed25519PrivateKey.generate()) for _ in range(2))
NEW = Signer(Ed25519PrivateKey.generate(), earlier=(STRANGER.verifier, OLD.verifier))
FORGETFUL = Signer(NEW.private_key)


class Log:
    """One tenant's log, as long as tests make it."""

    def __init__(self) -> None:
        self.memory = MemoryObjectStore()
        self.log = AuditLog(self.memory, lambda: NOW)
        self.length = 0

    async def enter(self, count: int = 2) -> None:
        for _ in range(count):
            self.length += 1
            record = AuditRecord(f"o{self.length}", "adapter.loaded", NOW, Actor(role="service", id="x"))
            await self.log.append(TENANT, record)

    async def seal(self, by: Signer) -> CheckpointRef:
        sealed = await Checkpointer(self.log, by).seal(TENANT)
        assert sealed is not None
        return sealed

    async def die_before_the_head_names_it(self, by: Signer) -> None:
        """Everything up to the checkpoint itself, and nothing after it."""
        try:
            before: bytes | None = (await self.memory.get(object_keys.audit_head(TENANT))).body
        except ObjectNotFound:
            before = None
        await self.seal(by)
        if before is not None:
            await self.memory.put(object_keys.audit_head(TENANT), before)

    async def verdict(self, *signers: Signer) -> AuditVerdict:
        tenancy = assemble(self.memory, KeyFileMasterKey(b"k" * 32), RecordingPublisher(), "/test", lambda: NOW)
        return verify_copy(await read_copy(tenancy, TENANT), [one.verifier for one in signers])


@pytest.fixture
async def log() -> Log:
    made = Log()
    await made.enter()
    return made


@pytest.mark.parametrize("signed_before", [0, 2])
async def test_a_signer_that_died_right_before_the_change_of_the_key_is_gone_on_from(
    log: Log, signed_before: int
) -> None:
    for _ in range(signed_before):
        await log.seal(OLD)
        await log.enter()
    await log.die_before_the_head_names_it(OLD)
    assert (await log.seal(NEW)).number == signed_before + 1, "that one covers everything"
    await log.enter()
    sealed = await log.seal(NEW)
    assert (sealed.number, sealed.seq) == (signed_before + 2, log.length)
    head = await log.log.head(TENANT)
    assert head is not None
    assert head.checkpoint == sealed
    verdict = await log.verdict(OLD, NEW)
    assert (verdict.problems, verdict.signed_entries) == ((), log.length)
    assert [key.key_id for key in verdict.signed_by] == [OLD.verifier.key_id, NEW.verifier.key_id]


async def test_who_does_not_know_the_earlier_key_signs_nothing_and_says_where_to_name_it(log: Log) -> None:
    await log.die_before_the_head_names_it(OLD)
    await log.enter()
    for _ in range(2):
        with pytest.raises(BadSignature, match=r"checkpoint 1 .* SANO_EARLIER_VERIFY_KEY_FILES"):
            await log.seal(FORGETFUL)
    assert (await log.seal(NEW)).number == 2, "nothing is lost by that"


async def test_a_lost_head_is_found_again_over_a_change_of_the_key(log: Log) -> None:
    for by in (OLD, OLD, NEW, NEW):
        await log.seal(by)
        await log.enter()
    await log.memory.put(object_keys.audit_head(TENANT), b"nothing")
    assert (await log.seal(NEW)).number == 5
    assert (await log.verdict(OLD, NEW)).problems == ()


async def test_a_checkpoint_by_a_key_that_was_replaced_before_is_not_gone_on_from(log: Log) -> None:
    await log.seal(OLD)
    await log.enter()
    await log.seal(NEW)
    await log.enter()
    await log.die_before_the_head_names_it(OLD)
    await log.enter()
    with pytest.raises(BadSignature, match="replaced before"):
        await log.seal(NEW)


async def test_a_checkpoint_by_a_key_of_nobody_is_not_gone_on_from(log: Log) -> None:
    await log.die_before_the_head_names_it(Signer(Ed25519PrivateKey.generate()))
    await log.enter()
    with pytest.raises(BadSignature):
        await log.seal(NEW)


@pytest.mark.parametrize(
    "changed",
    [{"number": 3}, {"number": 1}, {"previous": "e" * 64}, {"seq": 2}, {"seq": 1}, {"tenant": "t10"}],
    ids=lambda changed: f"{changed}",
)
@pytest.mark.parametrize("by", [NEW, OLD])
async def test_a_checkpoint_that_does_not_follow_is_not_gone_on_from_whoever_signed_it(
    log: Log, changed: dict[str, Any], by: Signer
) -> None:
    await log.seal(by)
    await log.enter()
    await log.die_before_the_head_names_it(by)
    key = object_keys.audit_checkpoint(TENANT, 2)
    statement = by.verifier.verify(json.loads((await log.memory.get(key)).body), CHECKPOINT_PREDICATE)
    statement["predicate"] |= changed
    await log.memory.put(key, canonical_json(by.sign(statement)))
    with pytest.raises(AuditBroken, match="checkpoint 2 "):
        await log.seal(NEW)
    head = await log.log.head(TENANT)
    assert head is not None
    assert head.checkpoint is not None
    assert head.checkpoint.number == 1


async def test_the_checkpoint_that_is_given_out_is_the_one_that_the_head_names(log: Log) -> None:
    checkpointer = Checkpointer(log.log, NEW)
    assert await checkpointer.latest(TENANT) is None
    sealed = await log.seal(NEW)
    envelope = await checkpointer.envelope(TENANT, sealed)
    assert envelope == await checkpointer.latest(TENANT)
    assert NEW.verifier.verify(envelope, CHECKPOINT_PREDICATE)["predicate"]["seq"] == sealed.seq
    for other in ({"sha256": "e" * 64}, {"seq": 1}, {"number": 2}):
        with pytest.raises(AuditBroken):
            await checkpointer.envelope(TENANT, sealed.evolve(**other))


def test_a_service_takes_the_earlier_keys_from_its_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "S3_BUCKET": "bucket"}.items():
        monkeypatch.setenv(f"SANO_{name}", value)
    private = tmp_path / "signing.pem"
    private.write_bytes(
        NEW.private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    files = []
    for number, earlier in enumerate(NEW.earlier):
        files.append(tmp_path / f"{number}.pub.pem")
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        files[-1].write_bytes(earlier.public_key.public_bytes(serialization.Encoding.PEM, form))
    monkeypatch.setenv("SANO_SIGNING_KEY_FILE", str(private))
    assert signer(LedgerSettings()).earlier == ()
    monkeypatch.setenv("SANO_EARLIER_VERIFY_KEY_FILES", f"{files[0]}, {files[1]}")
    made = signer(LedgerSettings())
    assert made.verifier.key_id == NEW.verifier.key_id
    assert [one.key_id for one in made.earlier] == [one.key_id for one in NEW.earlier]
    assert replace(made, earlier=()).verifier.key_id == NEW.verifier.key_id
