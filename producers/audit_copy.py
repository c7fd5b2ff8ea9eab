"""A copy of one tenant's audit log, byte for byte: read from the bucket, or from a file that the tenant keeps.

The file is JSON Lines: a heading, then one object a line with its name in the log and its bytes as text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from producers.progress import Progress, each, silent
from schemas import object_keys
from schemas.moments import moment
from tenancy.bootstrap import Tenancy
from tenancy.errors import ObjectNotFound, Refused, UnknownTenant
from tenancy.tenant_id import TenantId

FORMAT = "sanolith.audit-copy.v1"
HEAD = "head.json"
CERTIFICATE = "certificate.json"


@dataclass(frozen=True)
class StoredBody:
    """An object by its name, for those of the log ``entries/…`` or ``checkpoints/…``, and what is stored there."""

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


async def read_copy(tenancy: Tenancy, tenant: TenantId, *, progress: Progress = silent) -> AuditCopy:
    """Read the tenant's log. What is appended meanwhile may be in it or not, and never looks like a gap.

    Certificate and head are read first and the entries last: each reaches at least as far as what was read before it
    says.
    """
    read_at = tenancy.clock()
    prefix = object_keys.audit_prefix(tenant)
    certificate = await _certificate(tenancy, tenant)
    head = await _body(tenancy, object_keys.audit_head(tenant))

    async def stored(key: str) -> StoredBody:
        return StoredBody(key.removeprefix(prefix), (await tenancy.objects.get(key)).body)

    async def under(folder: str) -> tuple[StoredBody, ...]:
        keys = [key async for key in tenancy.objects.keys(folder)]
        return tuple(await each(keys, stored, what=f"reading {tenant}", progress=progress))

    checkpoints = await under(object_keys.audit_checkpoints_prefix(tenant))
    entries = await under(object_keys.audit_entries_prefix(tenant))
    return AuditCopy(tenant, entries, checkpoints, read_at, head, certificate)


async def _certificate(tenancy: Tenancy, tenant: TenantId) -> bytes | None:
    try:
        purge = (await tenancy.states.read(tenant)).state.purge
    except UnknownTenant:
        return None
    return None if purge is None else await _body(tenancy, object_keys.certificate_key(purge.purge_id))


async def _body(tenancy: Tenancy, key: str) -> bytes | None:
    try:
        return (await tenancy.objects.get(key)).body
    except ObjectNotFound:
        return None


def write_copy(copy: AuditCopy, path: Path) -> None:
    """Raises :class:`Refused` where the file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(line)}\n" for line in _lines(copy))
    except OSError as error:
        raise Refused("unwritable-file", f"refused: {path} cannot be written ({error.strerror})") from None


def _lines(copy: AuditCopy) -> Iterator[dict[str, str]]:
    yield {"format": FORMAT, "tenant": copy.tenant, "read_at": copy.read_at.isoformat()}
    single = ((HEAD, copy.head), (CERTIFICATE, copy.certificate))
    once = (StoredBody(name, body) for name, body in single if body is not None)
    for stored in (*once, *copy.checkpoints, *copy.entries):
        # Bytes that are no UTF-8 were not written by us, and are kept all the same: they are evidence.
        yield {"name": stored.name, "body": stored.body.decode("utf-8", "surrogateescape")}


def load_copy(path: Path) -> AuditCopy:
    """Read what :func:`write_copy` wrote. Raises :class:`Refused` for any other file."""
    try:
        heading, *lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if heading["format"] != FORMAT:
            raise ValueError
        named = [(str(line["name"]), line["body"]) for line in lines]
        stored = [StoredBody(name, body.encode("utf-8", "surrogateescape")) for name, body in named]
        tenant = TenantId(heading["tenant"])
        read_at = moment(heading["read_at"])
    except OSError as error:
        raise Refused("unreadable-file", f"refused: {path} cannot be read ({error.strerror}); give a file") from None
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
