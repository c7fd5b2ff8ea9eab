"""Reads the keys that verify documents, from the commands' options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tenancy.evidence.trust import Verifier

KeyOption = Annotated[Path | None, typer.Option("--key", help="Its public key, PEM, in place of a trust file.")]
SignerKeyOption = Annotated[
    Path | None, typer.Option("--signer-key", help="The signer's public key, in place of a trust file.")
]
TrustFileOption = Annotated[Path | None, typer.Option("--trust", help="The trust file; SANO_TRUST_FILE if absent.")]
RootOption = Annotated[
    Path | None, typer.Option("--root", help="Public root key, PEM; SANO_TRUST_ROOT_FILE if absent.")
]


def trusted(keys: list[Path] | None, trust_file: Path | None, root: Path | None, option: str = "--key") -> Verifier:
    """The public keys that ``option`` gives, or those of the trust file that the options or the settings give.

    Raises :class:`Refused` where nothing does.
    """
    from producers.settings import VerificationSettings
    from tenancy.errors import Refused
    from tenancy.evidence.given_keys import GivenKeys, read_public_key
    from tenancy.evidence.trust import Trust
    from tenancy.evidence.trust_source import read_trust
    from tenancy.platform.settings import loaded

    if keys and (trust_file or root):
        raise typer.BadParameter("a key is in place of a trust file; give one of them", param_hint=option)
    if keys:
        return GivenKeys(tuple(read_public_key(key, option) for key in keys))
    settings = loaded(VerificationSettings)
    trust_file, root = trust_file or settings.trust_file, root or settings.trust_root_file
    if trust_file is None or root is None:
        why = f"refused: without a public key no signature can be checked; give {option}, or --trust and --root"
        raise Refused("no-verify-key", why)
    file = read_trust(trust_file, read_public_key(root, "--root or SANO_TRUST_ROOT_FILE"))
    return Trust(lambda _: file)
