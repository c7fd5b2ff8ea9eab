"""Turns every error of every command into one line on stderr and an exit status: 2 for usage, 1 for failure."""

from __future__ import annotations

import asyncio
import errno
import io
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

_REMEDIES = {
    "unknown-tenant": "`sano tenant list` shows the tenants",
    "tenant-purged": "`sano purges` shows how far it is",
    "tenant-exists": "leave the policy's options out, or choose another id",
    "key-destroyed": "`sano purges` shows whether it was purged",
    "unknown-adapter": "`sano adapters --tenant T` shows them",
    "nothing-ready": "`sano train` makes one, and `sano adapters --tenant T` shows what there is",
    "nothing-active": "`sano adapters --tenant T` shows what there is",
    "bad-signature": "ask for the original document, and check that --key is its signer's",
    "object-store-refused": "`sano doctor` says what to check",
    "kms-refused": "check the rights to the key of SANO_KMS_KEY_ID, and whether it is enabled",
}
_DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
INTERRUPTED = 130
_TRANSIENT_REMEDY = "try again; `sano doctor` says what is out of reach"


class Interrupted(Exception):
    """Ctrl-C amid a wait. The message says what goes on all the same, and where to look."""


@contextmanager
def if_interrupted(goes_on: str) -> Iterator[None]:
    """Say so where the wait inside is interrupted: what was asked for by then is not taken back."""
    try:
        yield
    except asyncio.CancelledError:
        raise Interrupted(goes_on) from None


class SanoGroup(TyperGroup):
    """A group whose errors are one line and whose unexpected errors quote nothing: a value might be content."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        if sys.stdout is None:  # closed by the caller, who wants none
            sys.stdout = io.StringIO()
        try:
            status = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except typer.TyperException as error:
            _exit(f"{_one_line(error.format_message()).rstrip('.')}; see --help", error.exit_code)
        except typer.Abort:
            _exit("interrupted", INTERRUPTED)
        except Interrupted as interrupted:
            _exit(f"interrupted; {interrupted}", INTERRUPTED)
        except Exception as error:
            _exit(in_one_line(error), 1)
        if status == INTERRUPTED:
            _exit("interrupted", INTERRUPTED)
        sys.exit(status if isinstance(status, int) else 0)


def in_one_line(error: Exception) -> str:
    """What was refused, why, and what to do."""
    from deploy.local.errors import LocalStackError
    from schemas.models.adapter_files import AdapterRefused
    from tenancy.errors import Refused, Transient

    if isinstance(error, Refused):
        return _with_remedy(str(error), _REMEDIES.get(error.code))
    if isinstance(error, Transient):
        return _with_remedy(str(error), _TRANSIENT_REMEDY)
    if isinstance(error, LocalStackError | AdapterRefused):
        return _one_line(str(error))
    if isinstance(error, OSError) and error.errno in _DISK_TROUBLE:
        return f"what was to be written could not be ({error.strerror}); make room, and try again"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"unexpected {type(error).__name__} at {frame.filename}:{frame.lineno}; please report this line"


def _with_remedy(message: str, remedy: str | None) -> str:
    line = _one_line(message)
    return line if remedy is None or "; " in line else f"{line}; {remedy}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _exit(line: str, status: int) -> None:
    typer.echo(f"error: {line}", err=True)
    sys.exit(status)
