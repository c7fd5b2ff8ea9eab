"""Signed training manifests, as they lie beside every adapter."""

from __future__ import annotations

from schemas.json_text import parse_json
from schemas.manifests import TRAINING_PREDICATE, TrainingManifest
from schemas.model import read_tolerant
from tenancy.errors import BadSignature
from tenancy.signing import Verifier


def open_training_manifest(verifier: Verifier, envelope: bytes) -> TrainingManifest:
    """The manifest that a DSSE envelope in JSON holds.

    Raises :class:`BadSignature` for whatever is no training statement that the verifier's key signed.
    """
    try:
        statement = verifier.verify(parse_json(envelope), TRAINING_PREDICATE)
        return read_tolerant(TrainingManifest, statement["predicate"])
    except (ValueError, KeyError):
        raise BadSignature("the manifest is not a training statement") from None
