"""A copy of one tenant's audit log, byte for byte: read from the bucket, or from a file that the tenant keeps.

The file is JSON Lines: a heading, then one object a line with its name in the log and its bytes as text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from producers.bounded import Progress, each, silent
from schemas import object_keys
from tenancy.bootstrap import Tenancy
from tenancy.errors import ObjectNotFound, Refused
from tenancy.tenant_id import TenantId

FORMAT = "sanolith.audit-copy.v1"


@dataclass(frozen=True)
class StoredBody:
    """An object of the log: ``entries/…`` or ``checkpoints/…``, and what is stored there."""

    name: str
    body: bytes


@dataclass(frozen=True)
class AuditCopy:
    """Everything that is evidence, in the order of the names, and the head, which is a hint of what else was there."""

    tenant: str
    entries: tuple[StoredBody, ...]
    checkpoints: tuple[StoredBody, ...]
    head: bytes | None = None


async def read_copy(tenancy: Tenancy, tenant: TenantId, *, progress: Progress = silent) -> AuditCopy:
    """Read the tenant's log. What is appended meanwhile may be in it or not, and never looks like a gap.

    The head is read first and the entries last: each reaches at least as far as what was read before it says.
    """
    prefix = object_keys.audit_prefix(tenant)
    try:
        head: bytes | None = (await tenancy.objects.get(object_keys.audit_head(tenant))).body
    except ObjectNotFound:
        head = None

    async def stored(key: str) -> StoredBody:
        return StoredBody(key.removeprefix(prefix), (await tenancy.objects.get(key)).body)

    async def under(folder: str) -> tuple[StoredBody, ...]:
        keys = [key async for key in tenancy.objects.keys(folder)]
        return tuple(await each(keys, stored, what=f"reading {tenant}", progress=progress))

    checkpoints = await under(object_keys.audit_checkpoints_prefix(tenant))
    return AuditCopy(tenant, await under(object_keys.audit_entries_prefix(tenant)), checkpoints, head)


def write_copy(copy: AuditCopy, path: Path) -> None:
    """Raises :class:`Refused` where the file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(line)}\n" for line in _lines(copy))
    except OSError as error:
        raise Refused("unwritable-file", f"refused: {path} cannot be written ({error.strerror})") from None


def _lines(copy: AuditCopy) -> Iterator[dict[str, str]]:
    yield {"format": FORMAT, "tenant": copy.tenant}
    head = () if copy.head is None else (StoredBody("head.json", copy.head),)
    for stored in (*head, *copy.checkpoints, *copy.entries):
        # Bytes that are no UTF-8 were not written by us, and are kept all the same: they are evidence.
        yield {"name": stored.name, "body": stored.body.decode("utf-8", "surrogateescape")}


def load_copy(path: Path) -> AuditCopy:
    """Read what :func:`write_copy` wrote. Raises :class:`Refused` for any other file."""
    try:
        heading, *lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if heading["format"] != FORMAT:
            raise ValueError
        stored = [StoredBody(line["name"], line["body"].encode("utf-8", "surrogateescape")) for line in lines]
        tenant = TenantId(heading["tenant"])
    except OSError as error:
        raise Refused("unreadable-file", f"refused: {path} cannot be read ({error.strerror}); give a file") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Refused("no-audit-copy", f"refused: {path} is no copy by `sano audit export`; export again") from None
    heads = [held.body for held in stored if held.name == "head.json"]
    return AuditCopy(
        tenant,
        tuple(held for held in stored if held.name.startswith("entries/")),
        tuple(held for held in stored if held.name.startswith("checkpoints/")),
        heads[0] if heads else None,
    )
