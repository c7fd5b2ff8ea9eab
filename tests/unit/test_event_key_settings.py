"""Which key a process signs its events with, and what its consumers verify them by, follows from its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from consumers.runtime.settings import ConsumerSettings
from consumers.runtime.signatures import Signatures
from producers.operations.trust_admin import ensure_keys
from schemas.bus.envelope import encode
from schemas.bus.publishers import PUBLISHES
from schemas.evidence.purposes import Purpose
from schemas.evidence.trust import ROOT_PUBLIC_FILE, SIGNS, TRUST_FILE, key_file
from tenancy.bootstrap import event_signer
from tenancy.errors import Refused
from tenancy.evidence.event_signatures import NotBelieved
from tests.fixtures.event_keys import signature_header
from tests.unit.event_strategies import approved


def settings(folder: Path, **given: Any) -> ConsumerSettings:
    trust = {"trust_file": folder / TRUST_FILE, "trust_root_file": folder / ROOT_PUBLIC_FILE}
    return ConsumerSettings(kafka_bootstrap_servers="127.0.0.1:9", s3_bucket="bucket", **{**trust, **given})


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    ensure_keys(tmp_path)
    return tmp_path


def test_each_of_our_publishers_has_an_event_key_of_its_own() -> None:
    assert all(Purpose.EVENT in purposes for purposes in SIGNS.values())
    assert set(SIGNS) == set(PUBLISHES) - {"import", "ehr", "curation-tools"}


def test_a_process_without_an_event_key_signs_nothing(keys: Path) -> None:
    assert event_signer(settings(keys)) is None


@pytest.mark.parametrize(("who", "is_believed"), [("operators", True), ("training", False), ("inference", False)])
def test_what_a_process_signs_is_believed_for_what_it_publishes(keys: Path, who: str, is_believed: bool) -> None:
    signer = event_signer(settings(keys, event_key=str(key_file(keys, Purpose.EVENT, who))))
    assert signer is not None
    event = approved()
    headers = [*encode(event).headers, signature_header(event, signer)]
    verifier = Signatures.of(settings(keys)).verifier
    if is_believed:
        found = verifier.publisher(event, encode(event).value, headers, appended_at=None)
        assert found is not None
        assert found.publisher == who
    else:
        with pytest.raises(NotBelieved):
            verifier.publisher(event, encode(event).value, headers, appended_at=None)


def test_a_key_of_another_purpose_signs_no_event(keys: Path) -> None:
    with pytest.raises(Refused, match="SANO_EVENT_KEY"):
        event_signer(settings(keys, event_key=str(key_file(keys, Purpose.TOKEN, "operators"))))


def test_unsigned_events_are_refused_unless_the_settings_say_otherwise(keys: Path) -> None:
    assert Signatures.of(settings(keys)).are_required
    assert not Signatures.of(settings(keys, unsigned_events="counted")).are_required


def test_no_consumer_starts_without_a_trust_file(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="SANO_TRUST_FILE"):
        Signatures.of(settings(tmp_path, trust_file=None))
