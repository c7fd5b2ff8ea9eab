"""Rotation: what the old key signed stays good, processes take the new one up, and a thief gains nothing by waiting."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from producers.operations.trust_admin import TrustDesk, ensure_keys, unsound_keys, views, write_key, write_trust
from schemas.evidence.purposes import Purpose
from schemas.evidence.trust import DOCUMENTS, ROOT_FILE, SIGNS, TRUST_FILE, SpeaksFor, TrustFile, key_file
from tenancy.errors import BadSignature, Refused
from tenancy.evidence.jws import Jws, compact_jws
from tenancy.evidence.keys import LocalKey
from tenancy.evidence.signer import Signer, signed_envelope
from tenancy.evidence.trust import Trust
from tenancy.evidence.trust_source import KeyFileSource, TrustSource
from tenancy.tenant_id import TenantId
from tenancy.tokens import TokenIssuer, TokenVerifier

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
OF = {purpose: predicate for predicate, (purpose, _) in DOCUMENTS.items()}
PUBLISHER = {Purpose.EVENT: "inference"}


@dataclass
class Installation:
    """Keys in a folder, one process that signs and one that verifies, each with its own view of the files."""

    folder: Path
    now: datetime = NOW
    ticks: float = 0.0
    desk: TrustDesk = field(init=False)
    trust: Trust = field(init=False)

    def __post_init__(self) -> None:
        ensure_keys(self.folder, self.clock)
        root = LocalKey.read(self.folder / ROOT_FILE, "the test")
        self.desk = TrustDesk(self.folder / TRUST_FILE, root, self.clock)
        self.trust = self.process()

    def clock(self) -> datetime:
        return self.now

    def process(self) -> Trust:
        source = TrustSource(self.folder / TRUST_FILE, self.desk.root.public_key, 10.0, lambda: self.ticks)
        return Trust(source, self.clock)

    def path(self, purpose: Purpose) -> Path:
        return key_file(self.folder, purpose, PUBLISHER.get(purpose, ""))

    def signer(self, purpose: Purpose) -> Signer:
        return Signer(purpose, KeyFileSource(self.path(purpose), purpose, self.process(), "the test"))

    def rotate(self, purpose: Purpose, overlap: timedelta = HOUR) -> None:
        """As the command does: the trust file, then the key."""
        new = LocalKey.generate()
        self.desk.rotate(new, purpose, PUBLISHER.get(purpose), overlap)
        write_key(self.path(purpose), new)

    async def signed(self, signer: Signer) -> tuple[str, Any]:
        """Something of the signer's purpose, and the id of its key."""
        if signer.purpose in OF:
            predicate = {DOCUMENTS[OF[signer.purpose]].time: self.now.isoformat()}
            said = {"_type": "https://in-toto.io/Statement/v1", "predicateType": OF[signer.purpose], "subject": []}
            envelope = await signer.signed({**said, "predicate": predicate})
            return envelope["signatures"][0]["keyid"], envelope
        jws = compact_jws(signer.key, "sano+event", self.now.isoformat().encode())
        return Jws.parse(jws).header["kid"], jws

    def verify(self, purpose: Purpose, key_id: str, made: Any, at: datetime) -> None:
        if purpose in OF:
            self.trust.verify(made, OF[purpose])
        else:
            Jws.parse(made).verify("sano+event", self.trust.public_key(key_id, purpose, at))


@pytest.fixture
def here(tmp_path: Path) -> Installation:
    return Installation(tmp_path / "keys")


@pytest.mark.parametrize("purpose", Purpose)
async def test_under_load_each_signature_of_either_key_is_good_while_and_after_the_key_is_rotated(
    purpose: Purpose, here: Installation
) -> None:
    """Eight signers that never stop, two verifications of everything, three rotations amid them, and no restart."""
    made: list[tuple[str, Any, datetime]] = []
    stop = asyncio.Event()

    async def signing() -> None:
        signer = here.signer(purpose)
        while not stop.is_set():
            key_id, one = await here.signed(signer)
            here.verify(purpose, key_id, one, here.now)
            made.append((key_id, one, here.now))
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(8):
            tasks.create_task(signing())
        for turn in range(4):
            already = len(made)
            while len(made) < already + 24:
                await asyncio.sleep(0)
            here.now += timedelta(minutes=20)
            if turn < 3:
                here.rotate(purpose)
        stop.set()
    assert len({key_id for key_id, *_ in made}) == 4, "each of the keys has signed"
    here.now += timedelta(days=3650)
    here.ticks += 10.0
    for key_id, one, at in made:
        here.verify(purpose, key_id, one, at)


async def test_tokens_of_before_and_after_a_rotation_are_served_side_by_side(here: Installation) -> None:
    issuer = TokenIssuer(here.signer(Purpose.TOKEN), here.clock)
    verifier = TokenVerifier(here.trust, here.clock)
    tokens = [issuer.issue(TenantId("t1"))]
    here.rotate(Purpose.TOKEN)
    tokens.append(issuer.issue(TenantId("t1")))
    assert [verifier.tenant(token) for token in tokens] == ["t1", "t1"]
    here.desk.revoke(Jws.parse(tokens[0]).header["kid"], here.now)
    here.ticks += 10.0
    with pytest.raises(Refused):
        verifier.tenant(tokens[0])
    assert verifier.tenant(tokens[1]) == "t1"


async def test_a_signer_keeps_the_key_before_until_the_trust_file_has_the_new_one(
    here: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    signer = here.signer(Purpose.RECEIPT)
    before, _ = await here.signed(signer)
    new = LocalKey.generate()
    write_key(here.path(Purpose.RECEIPT), new)
    for _ in range(3):
        assert (await here.signed(signer))[0] == before
    assert [record.message for record in caplog.records] == ["signing key not taken"], "said once"
    here.desk.rotate(new, Purpose.RECEIPT, None)
    assert (await here.signed(signer))[0] == new.public_key.key_id


async def test_a_revocation_reaches_every_process_within_the_interval(here: Installation) -> None:
    key_id, made = await here.signed(here.signer(Purpose.MANIFEST))
    here.verify(Purpose.MANIFEST, key_id, made, here.now)
    here.desk.revoke(key_id, here.now - HOUR)
    here.verify(Purpose.MANIFEST, key_id, made, here.now)
    here.ticks += 10.0
    with pytest.raises(BadSignature, match="revoked"):
        here.verify(Purpose.MANIFEST, key_id, made, here.now)


def _of_another_root(here: Installation) -> None:
    write_trust(here.folder / TRUST_FILE, here.trust.file.model_copy(update={"version": 99}), LocalKey.generate())


def _older(here: Installation) -> None:
    write_trust(here.folder / TRUST_FILE, TrustFile(version=1, issued_at=NOW, keys=()), here.desk.root)


def _damaged(here: Installation) -> None:
    (here.folder / TRUST_FILE).write_text("{")


@pytest.mark.parametrize("change", [_of_another_root, _older, _damaged])
def test_a_trust_file_that_is_not_the_roots_or_older_changes_nothing_and_is_logged(
    change: Any, here: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    here.rotate(Purpose.AUDIT)
    here.ticks += 10.0
    held = here.trust.file
    assert held.version == 2
    change(here)
    here.ticks += 10.0
    with caplog.at_level(logging.ERROR):
        assert here.trust.file == held
        assert here.trust.file == held
    assert [record.message for record in caplog.records] == ["trust file refused"]


# --- the desk


def test_the_keys_are_made_once_and_what_lacks_is_added(here: Installation) -> None:
    before = {path.name: path.read_bytes() for path in here.folder.iterdir()}
    ensure_keys(here.folder, here.clock)
    assert {path.name: path.read_bytes() for path in here.folder.iterdir()} == before
    here.path(Purpose.AUDIT).unlink()
    ensure_keys(here.folder, here.clock)
    assert len([key for key in here.desk.file().keys if key.purpose is Purpose.AUDIT]) == 2
    speakers = {key.speaks_for.publisher for key in here.desk.file().keys if key.speaks_for}
    assert speakers == set(SIGNS)


def test_a_rotation_ends_the_key_before_of_its_purpose_and_publisher_only(here: Installation) -> None:
    here.rotate(Purpose.EVENT)
    ended = [key for key in here.desk.file().keys if key.valid_until is not None]
    assert [(key.speaks_for and key.speaks_for.publisher, key.valid_until) for key in ended] == [
        ("inference", NOW + HOUR)
    ]
    assert {view.state for view in views(here.desk.file(), NOW)} == {"in use", "being replaced"}
    assert {view.state for view in views(here.desk.file(), NOW + 2 * HOUR)} == {"in use", "replaced"}


def test_a_key_that_is_listed_already_is_given_no_second_purpose(here: Installation) -> None:
    token = LocalKey.read(here.path(Purpose.TOKEN), "the test")
    with pytest.raises(Refused, match="one key has one purpose"):
        here.desk.rotate(token, Purpose.CERTIFICATE, None)


def test_a_publisher_from_outside_is_registered_and_none_of_ours_is(here: Installation) -> None:
    outside = SpeaksFor(publisher="acme-ehr", tenants=("t1",), event_types=("sano.curation.consent_granted",))
    made = here.desk.register(LocalKey.generate().public_key, outside)
    assert here.desk.file().keys[-1] == made
    with pytest.raises(Refused, match="is ours"):
        here.desk.register(LocalKey.generate().public_key, SpeaksFor(publisher="purge"))


def test_a_revocation_is_never_taken_back_or_moved_later(here: Installation) -> None:
    key_id = here.desk.file().keys[0].key_id
    assert here.desk.revoke(key_id[:12], NOW).revoked_at == NOW
    assert here.desk.revoke(key_id, NOW + HOUR).revoked_at == NOW
    assert here.desk.revoke(key_id, NOW - HOUR).revoked_at == NOW - HOUR
    with pytest.raises(Refused, match="0 keys begin with"):
        here.desk.revoke("none", NOW)


def test_what_is_missing_revoked_or_about_to_end_is_said(here: Installation) -> None:
    file = here.desk.file()
    assert unsound_keys(file, NOW) == ([], [])
    audit = next(key for key in file.keys if key.purpose is Purpose.AUDIT)
    for change, said in (
        ({"revoked_at": NOW}, (["no key for audits is valid"], [])),
        ({"valid_until": NOW - HOUR}, (["no key for audits is valid"], [])),
        ({"valid_until": NOW + HOUR}, ([], ["no key for audits is valid for another 30 days"])),
    ):
        changed = tuple(key.model_copy(update=change) if key == audit else key for key in file.keys)
        assert unsound_keys(file.model_copy(update={"keys": changed}), NOW) == said
    of_purge = tuple(key for key in file.keys if not key.speaks_for or key.speaks_for.publisher != "purge")
    assert unsound_keys(file.model_copy(update={"keys": of_purge}), NOW)[0] == ["no key for purge events is valid"]


def test_the_file_on_disk_is_an_envelope_that_outsiders_can_check(here: Installation) -> None:
    envelope = json.loads((here.folder / TRUST_FILE).read_bytes())
    assert envelope["signatures"][0]["keyid"] == here.desk.root.public_key.key_id
    assert signed_envelope({"predicateType": "x"}, here.desk.root)["payloadType"] == envelope["payloadType"]
