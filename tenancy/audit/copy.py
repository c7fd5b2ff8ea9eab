"""Reads and writes a byte-for-byte copy of one tenant's audit log, as a file that the tenant keeps.

The file is JSON Lines: a heading, then one object a line with its name in the log and its bytes as text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from schemas.base.json_text import parse_json
from schemas.base.timestamps import moment
from tenancy.errors import Refused
from tenancy.platform.given_files import read_given, writing
from tenancy.tenant_id import TenantId

FORMAT = "sanolith.audit-copy.v1"
HEAD = "head.json"
CERTIFICATE = "certificate.json"


@dataclass(frozen=True)
class StoredBody:
    """An object by its name, for those of the log ``entries/…`` or ``checkpoints/…``, and what is stored there. Of an
    object that holds a segment, each entry has the name that an object of its own would have.
    """

    name: str
    body: bytes


@dataclass(frozen=True)
class AuditCopy:
    """Everything that is evidence, in the order of the names, and the head, which is a hint of what else was there.

    ``certificate`` is the tenant's certificate of purge, whose checkpoint must be in the log. ``read_at`` is when all
    of this was read from the bucket.
    """

    tenant: str
    entries: tuple[StoredBody, ...]
    checkpoints: tuple[StoredBody, ...]
    read_at: datetime
    head: bytes | None = None
    certificate: bytes | None = None


def write_copy(copy: AuditCopy, path: Path) -> None:
    """Raises :class:`Refused` where the file cannot be written."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(line)}\n" for line in _lines(copy))


def _lines(copy: AuditCopy) -> Iterator[dict[str, str]]:
    yield {"format": FORMAT, "tenant": copy.tenant, "read_at": copy.read_at.isoformat()}
    single = ((HEAD, copy.head), (CERTIFICATE, copy.certificate))
    once = (StoredBody(name, body) for name, body in single if body is not None)
    for stored in (*once, *copy.checkpoints, *copy.entries):
        # Bytes that are no UTF-8 were not written by us, and are kept all the same: they are evidence.
        yield {"name": stored.name, "body": stored.body.decode("utf-8", "surrogateescape")}


def load_copy(path: Path) -> AuditCopy:
    """Read what :func:`write_copy` wrote. Raises :class:`Refused` for any other file."""
    body = read_given(path)
    try:
        heading, *lines = [parse_json(line) for line in body.decode().splitlines()]
        if heading["format"] != FORMAT:
            raise ValueError
        named = [(str(line["name"]), line["body"]) for line in lines]
        stored = [StoredBody(name, body.encode("utf-8", "surrogateescape")) for name, body in named]
        tenant = TenantId(heading["tenant"])
        read_at = moment(heading["read_at"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Refused("no-audit-copy", f"refused: {path} is no copy by `sano audit export`; export again") from None
    return AuditCopy(
        tenant,
        tuple(held for held in stored if held.name.startswith("entries/")),
        tuple(held for held in stored if held.name.startswith("checkpoints/")),
        read_at,
        next((held.body for held in stored if held.name == HEAD), None),
        next((held.body for held in stored if held.name == CERTIFICATE), None),
    )
