"""A log over a change of the signing key: each checkpoint holds under one of the keys, and it is said which signed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from producers.cli.main import app
from producers.queries.audit_copy import read_copy
from schemas.evidence.audit import Actor
from tenancy.audit.checkpoints import Checkpointer
from tenancy.audit.copy import AuditCopy, write_copy
from tenancy.audit.log import AuditLog, AuditRecord
from tenancy.audit.verification import AuditVerdict, verify_copy
from tenancy.bootstrap import assemble
from tenancy.bus import RecordingPublisher
from tenancy.errors import BadSignature
from tenancy.evidence.given_keys import GivenKeys
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.tenant_id import TenantId
from tests.fixtures.all_keys import AllKeys

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TENANT = TenantId("t1")
OLD, NEW, STRANGER = (AllKeys.made() for _ in range(3))


def signed_in_turn(*signers: AllKeys) -> AuditCopy:
    """Two entries under each checkpoint."""

    async def made() -> AuditCopy:
        memory = MemoryObjectStore()
        log = AuditLog(memory, lambda: NOW)
        for number, signer in enumerate(signers):
            for part in range(2):
                actor = Actor(role="service", id="x")
                await log.append(TENANT, AuditRecord(f"o{number}-{part}", "adapter.loaded", NOW, actor))
            await Checkpointer(log, signer).seal(TENANT)
        tenancy = assemble(memory, KeyFileMasterKey(b"k" * 32), RecordingPublisher(), "/test", lambda: NOW)
        return await read_copy(tenancy, TENANT)

    return asyncio.run(made())


def given(*signers: AllKeys) -> GivenKeys:
    """As an outsider has them: public keys, and no word of when each ended."""
    return GivenKeys(tuple(signer.audit.key.public_key for signer in signers))


def verdict(copy: AuditCopy, *signers: AllKeys) -> AuditVerdict:
    return verify_copy(copy, given(*signers))


def turns(told: AuditVerdict) -> Sequence[tuple[str, int, int, int]]:
    return [(key.key_id, key.first_checkpoint, key.last_checkpoint, key.signed_entries) for key in told.signed_by]


@pytest.mark.parametrize("keys", [(OLD, NEW), (NEW, OLD), (STRANGER, NEW, OLD, OLD)])
def test_a_log_with_checkpoints_by_two_keys_holds_under_both_and_says_which_signed_from_where(
    keys: tuple[AllKeys, ...],
) -> None:
    told = verdict(signed_in_turn(OLD, OLD, NEW), *keys)
    assert told.problems == ()
    assert turns(told) == [(OLD.audit.key_id, 1, 2, 4), (NEW.audit.key_id, 3, 3, 6)]
    assert told.signed_entries == 6


def test_without_the_earlier_key_its_checkpoints_do_not_hold() -> None:
    copy = signed_in_turn(OLD, OLD, NEW)
    told = verdict(copy, NEW)
    assert [problem.partition(":")[0] for problem in told.problems] == [
        "checkpoint 1 does not hold",
        "checkpoint 2 does not hold",
    ]
    assert turns(told) == [(NEW.audit.key_id, 3, 3, 6)]
    assert verdict(copy).problems[0] == "checkpoint 1 does not hold: no key is trusted"


def test_a_key_that_was_replaced_and_signs_again_is_found() -> None:
    told = verdict(signed_in_turn(OLD, NEW, OLD), OLD, NEW)
    assert told.problems == ("checkpoint 3 is signed with a key that had been replaced before it",)
    assert [key for key, *_ in turns(told)] == [OLD.audit.key_id, NEW.audit.key_id, OLD.audit.key_id]


def test_a_checkpoint_by_a_key_that_nobody_gave_does_not_hold_among_those_that_do() -> None:
    told = verdict(signed_in_turn(OLD, STRANGER, NEW), OLD, NEW)
    assert len(told.problems) == 1
    assert told.problems[0].startswith("checkpoint 2 does not hold")


def test_a_checkpoint_that_somebody_holds_may_be_by_any_of_the_keys() -> None:
    copy = signed_in_turn(OLD, NEW)
    held = [json.loads(stored.body) for stored in copy.checkpoints]
    assert verify_copy(copy, given(NEW, OLD), held).problems == ()
    cut = replace(copy, checkpoints=copy.checkpoints[:1], entries=copy.entries[:2], head=None)
    assert any("which you hold" in problem for problem in verify_copy(cut, given(NEW, OLD), held).problems)
    with pytest.raises(BadSignature):
        verify_copy(copy, NEW.trust, held)


def test_the_command_takes_the_key_several_times_and_names_the_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    copy = signed_in_turn(OLD, NEW)
    write_copy(copy, tmp_path / "t1.jsonl")
    keys = []
    for name, signer in (("old", OLD), ("new", NEW)):
        path = tmp_path / f"{name}.pub.pem"
        path.write_bytes(signer.audit.key.public_key.pem())
        keys.append(str(path))

    def verify(*files: str, json: bool = False) -> Result:
        options = [part for file in files for part in ("--key", file)] + ["--json"] * json
        return CliRunner().invoke(app, ["audit", "verify", "--copy", str(tmp_path / "t1.jsonl"), *options])

    text = verify(*keys).stdout
    assert f"{OLD.audit.key_id[:12]}, from checkpoint 1 through 1" in text
    assert f"{NEW.audit.key_id[:12]}, from checkpoint 2 through 2" in text
    [told] = json.loads(verify(*keys, json=True).stdout)
    assert [key["key_id"] for key in told["signed_by"]] == [OLD.audit.key_id, NEW.audit.key_id]
    assert verify(keys[1]).exit_code == 1
