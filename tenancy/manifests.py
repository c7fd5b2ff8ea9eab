"""Signed training manifests, as they lie beside every adapter."""

from __future__ import annotations

import json

from schemas.base.contract import read_tolerant
from schemas.evidence.statements import TRAINING_PREDICATE, TrainingManifest
from tenancy.errors import BadSignature
from tenancy.signing import Verifier


def open_training_manifest(verifier: Verifier, envelope: bytes) -> TrainingManifest:
    """The manifest that a DSSE envelope in JSON holds.

    Raises :class:`BadSignature` for whatever is no training statement that the verifier's key signed.
    """
    try:
        statement = verifier.verify(json.loads(envelope), TRAINING_PREDICATE)
        return read_tolerant(TrainingManifest, statement["predicate"])
    except (ValueError, KeyError, RecursionError):
        raise BadSignature("the manifest is not a training statement") from None
