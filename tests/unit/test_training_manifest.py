"""A training manifest opens if this installation signed it, and is refused in the same way whatever else it is."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from schemas.evidence.statements import TRAINING_PREDICATE
from tenancy.errors import BadSignature
from tenancy.evidence.training_manifest import open_training_manifest
from tests.fixtures.all_keys import AllKeys
from tests.unit.operator_parts import adapter_files, manifest, signed_manifest

OURS = AllKeys.numbered(1)
THEIRS = AllKeys.numbered(2)
HELD = manifest("t1", adapter_files())
STATEMENT = {"_type": "https://in-toto.io/Statement/v1", "predicateType": TRAINING_PREDICATE}


def test_what_was_signed_is_read_back() -> None:
    envelope = json.dumps(signed_manifest(OURS, HELD)).encode()
    assert open_training_manifest(OURS.trust, envelope) == HELD


REFUSED: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "no JSON": lambda: b"{",
    "not UTF-8": lambda: b"\xff",
    "too deep": lambda: b"[" * 100_000,
    "a list": lambda: b"[]",
    "another signer's": lambda: json.dumps(signed_manifest(THEIRS, HELD)).encode(),
    "no predicate": lambda: json.dumps(OURS.sign(STATEMENT)).encode(),
    "a predicate that is none": lambda: json.dumps(OURS.sign({**STATEMENT, "predicate": {"tenant": "t1"}})).encode(),
}


@pytest.mark.parametrize("envelope", REFUSED.values(), ids=REFUSED.keys())
def test_whatever_else_it_is_it_is_refused_as_badly_signed(envelope: Callable[[], bytes]) -> None:
    with pytest.raises(BadSignature):
        open_training_manifest(OURS.trust, envelope())
