"""Opens and checks the signed training manifest beside each adapter."""

from __future__ import annotations

from schemas.base.canonical import adapter_digest
from schemas.base.contract import read_tolerant
from schemas.base.json_text import parse_json
from schemas.evidence.statements import TRAINING_PREDICATE, TrainingManifest
from tenancy.errors import BadSignature
from tenancy.evidence.trust import Verifier


def open_training_manifest(verifier: Verifier, envelope: bytes) -> TrainingManifest:
    """The manifest that a DSSE envelope in JSON holds.

    Raises :class:`BadSignature` for whatever is no training statement that the verifier's key signed.
    """
    try:
        statement = verifier.verify(parse_json(envelope), TRAINING_PREDICATE)
        return read_tolerant(TrainingManifest, statement["predicate"])
    except (ValueError, KeyError):
        raise BadSignature("the manifest is not a training statement") from None


def require_own(manifest: TrainingManifest, tenant: str, digest: str) -> None:
    """Raises :class:`BadSignature` unless the manifest is this tenant's, of this digest, and agrees with itself."""
    if (manifest.tenant, manifest.adapter_digest) != (tenant, digest):
        raise BadSignature("the manifest is of another tenant or adapter")
    require_consistent(manifest)


def require_consistent(manifest: TrainingManifest) -> None:
    """Raises :class:`BadSignature` unless the digest is the one that the manifest's parts determine."""
    determined = adapter_digest(
        tenant=manifest.tenant,
        base_model_digest=manifest.base_model_digest,
        config_sha256=manifest.config_sha256,
        weights_sha256=manifest.weights_sha256,
    )
    if manifest.adapter_digest != determined:
        raise BadSignature("the manifest's adapter digest is not the one that its parts determine")
