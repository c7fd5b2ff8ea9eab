"""Reads the keys that verify documents, from the commands' options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tenancy.evidence.signing import Verifier

KeyOption = Annotated[
    Path | None, typer.Option("--key", help="Public key, PEM; SANO_VERIFY_KEY_FILE if absent.", show_default=False)
]
SignerKeyOption = Annotated[
    Path | None,
    typer.Option("--signer-key", help="The signer's public key; SANO_VERIFY_KEY_FILE if absent.", show_default=False),
]


def all_trusted(keys: list[Path] | None) -> list[Verifier]:
    """The public keys that ``--key`` gives, or the present one and the earlier ones of the settings."""
    from producers.settings import VerificationSettings
    from tenancy.bootstrap import earlier_verifiers
    from tenancy.platform.settings import loaded

    if keys:
        return [trusted(key) for key in keys]
    return [trusted(None), *earlier_verifiers(loaded(VerificationSettings).earlier_verify_key_files)]


def trusted(key: Path | None, option: str = "--key") -> Verifier:
    """The public key that ``option`` gives, or the settings do. Raises :class:`Refused` where neither does."""
    from producers.settings import VerificationSettings
    from tenancy.errors import Refused
    from tenancy.evidence.signing import Verifier
    from tenancy.platform.settings import loaded

    path = key or loaded(VerificationSettings).verify_key_file
    if path is None:
        why = f"refused: without a public key no signature can be checked; give {option}, or set SANO_VERIFY_KEY_FILE"
        raise Refused("no-verify-key", why)
    return Verifier.read(path, f"{option} or SANO_VERIFY_KEY_FILE")
