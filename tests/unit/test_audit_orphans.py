"""A checkpoint that is there and that no head names: gone on from where it follows, by whichever key of ours it is."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from producers.queries.audit_copy import read_copy
from schemas.base.canonical import canonical_json
from schemas.evidence.audit import CHECKPOINT_PREDICATE, Actor, CheckpointRef
from schemas.evidence.purposes import Purpose
from schemas.objects import object_keys
from tenancy.audit.checkpoints import Checkpointer
from tenancy.audit.log import AuditLog, AuditRecord
from tenancy.audit.verification import AuditVerdict, verify_copy
from tenancy.bootstrap import assemble
from tenancy.bus import RecordingPublisher
from tenancy.errors import AuditBroken, BadSignature, ObjectNotFound
from tenancy.evidence.keys import LocalKey
from tenancy.evidence.process_keys import ProcessKeys
from tenancy.evidence.signer import Signer
from tenancy.evidence.trust import Trust
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.tenant_id import TenantId
from tests.fixtures.all_keys import AllKeys, entry

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TENANT = TenantId("t1")
ENDED = NOW + timedelta(hours=1)
"""When the old key did: it may sign until then, and what it signs says when that was."""
OLD_KEY, NEW_KEY = LocalKey.generate(), LocalKey.generate()
TRUST = Trust.of(entry(OLD_KEY.public_key, Purpose.AUDIT, valid_until=ENDED), entry(NEW_KEY.public_key, Purpose.AUDIT))
OLD, NEW = (ProcessKeys(TRUST, {Purpose.AUDIT: Signer.of(Purpose.AUDIT, key)}) for key in (OLD_KEY, NEW_KEY))
FORGETFUL = ProcessKeys(Trust.of(entry(NEW_KEY.public_key, Purpose.AUDIT)), NEW.signers)


class Log:
    """One tenant's log, as long as tests make it."""

    def __init__(self) -> None:
        self.memory = MemoryObjectStore()
        self.now = NOW
        self.log = AuditLog(self.memory, lambda: self.now)
        self.length = 0

    async def enter(self, count: int = 2) -> None:
        for _ in range(count):
            self.length += 1
            record = AuditRecord(f"o{self.length}", "adapter.loaded", NOW, Actor(role="service", id="x"))
            await self.log.append(TENANT, record)

    async def seal(self, by: ProcessKeys) -> CheckpointRef:
        sealed = await Checkpointer(self.log, by).seal(TENANT)
        assert sealed is not None
        return sealed

    async def die_before_the_head_names_it(self, by: ProcessKeys) -> None:
        """Everything up to the checkpoint itself, and nothing after it."""
        try:
            before: bytes | None = (await self.memory.get(object_keys.audit_head(TENANT))).body
        except ObjectNotFound:
            before = None
        await self.seal(by)
        if before is not None:
            await self.memory.put(object_keys.audit_head(TENANT), before)

    async def verdict(self, trust: Trust = TRUST) -> AuditVerdict:
        tenancy = assemble(self.memory, KeyFileMasterKey(b"k" * 32), RecordingPublisher(), "/test", lambda: NOW)
        return verify_copy(await read_copy(tenancy, TENANT), trust)


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
    verdict = await log.verdict()
    assert (verdict.problems, verdict.signed_entries) == ((), log.length)
    assert [key.key_id for key in verdict.signed_by] == [key.public_key.key_id for key in (OLD_KEY, NEW_KEY)]


async def test_who_does_not_know_the_earlier_key_signs_nothing_and_says_why(log: Log) -> None:
    await log.die_before_the_head_names_it(OLD)
    await log.enter()
    for _ in range(2):
        with pytest.raises(BadSignature, match=r"checkpoint 1 .* no key of the trust file"):
            await log.seal(FORGETFUL)
    assert (await log.seal(NEW)).number == 2, "nothing is lost by that"


async def test_a_lost_head_is_found_again_over_a_change_of_the_key(log: Log) -> None:
    for by in (OLD, OLD, NEW, NEW):
        await log.seal(by)
        await log.enter()
    await log.memory.put(object_keys.audit_head(TENANT), b"nothing")
    assert (await log.seal(NEW)).number == 5
    assert (await log.verdict()).problems == ()


async def test_two_processes_may_sign_by_turns_with_both_keys_while_one_is_replaced(log: Log) -> None:
    for by in (OLD, NEW, OLD, NEW):
        await log.seal(by)
        await log.enter()
    assert (await log.seal(NEW)).number == 5
    assert (await log.verdict()).problems == ()


async def test_a_key_that_was_replaced_signs_nothing_afterwards_whenever_it_says_that_it_did(log: Log) -> None:
    await log.seal(OLD)
    await log.enter()
    log.now = ENDED + timedelta(hours=1)
    await log.seal(NEW)
    await log.enter()
    for said, why in ((log.now, "valid until"), (ENDED, "dated back")):
        now, log.now = log.now, said
        kept = dict(log.memory.current) if hasattr(log.memory, "current") else None
        await log.die_before_the_head_names_it(OLD)
        log.now = now
        await log.enter()
        with pytest.raises(BadSignature, match=why):
            await log.seal(NEW)
        assert any("checkpoint 3" in problem for problem in (await log.verdict()).problems), kept
        await log.memory.delete(object_keys.audit_checkpoint(TENANT, 3))


async def test_a_checkpoint_by_a_key_of_nobody_is_not_gone_on_from(log: Log) -> None:
    await log.die_before_the_head_names_it(AllKeys.made())
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
    log: Log, changed: dict[str, Any], by: ProcessKeys
) -> None:
    await log.seal(by)
    await log.enter()
    await log.die_before_the_head_names_it(by)
    key = object_keys.audit_checkpoint(TENANT, 2)
    statement = by.trust.verify(json.loads((await log.memory.get(key)).body), CHECKPOINT_PREDICATE)
    statement["predicate"] |= changed
    await log.memory.put(key, canonical_json(by.signer(Purpose.AUDIT).sign(statement)))
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
    assert NEW.trust.verify(envelope, CHECKPOINT_PREDICATE)["predicate"]["seq"] == sealed.seq
    for other in ({"sha256": "e" * 64}, {"seq": 1}, {"number": 2}):
        with pytest.raises(AuditBroken):
            await checkpointer.envelope(TENANT, sealed.evolve(**other))
