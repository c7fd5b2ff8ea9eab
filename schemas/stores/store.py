"""Defines an entry of the registry of stores: one place that can hold tenant data (DESIGN section 3, invariant 6)."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, Literal

from pydantic import Field, PrivateAttr, model_validator

from schemas.base.contract import Contract
from schemas.base.identifiers import TENANT_ID_PATTERN

Medium = Literal[
    "object-store",
    "key-material",
    "database",
    "bus",
    "bus-metadata",
    "engine",
    "process-memory",
    "replica-files",
    "worker-scratch",
    "telemetry",
    "package-cache",
    "local-stack",
    "operator-files",
    "outside",
]
IN_BUCKET: tuple[Medium, ...] = ("object-store", "key-material")
LISTED: tuple[Medium, ...] = (*IN_BUCKET, "database")
"""What a purge empties and lists itself."""
Protection = Literal[
    "tenant-key",  # sealed by us under the tenant's data key: noise once that is destroyed
    "provider-key",  # encrypted by the object store, under the tenant's KMS key where there is one
    "references",  # opaque ids, codes, counts, salted commitments and digests; no content
    "references-or-ciphertext",  # and JWEs to the tenant's public key, whose private half dies with the data key
    "as-sent",  # bytes as received, whatever they were
    "clear",
    "no-tenant-data",
]
Method = Literal[
    "delete-versions",  # every version, delete marker and open upload
    "cryptographic-erase",
    "drop",  # of a schema, with all its tables
    "evict",  # the replica's agent, with a signed receipt
    "unlink",
    "end-of-process",
    "retention",
    "operator",  # outside this system: stated here, done by the operator
    "none",  # kept, or never there
]
Evidence = Literal[
    "listing",  # the purge lists it, twice, and finds nothing
    "receipt",  # a replica signs for it
    "retention",  # the medium drops it by a computed time
    "scan",  # a test searches its raw bytes for planted markers
    "operator",
]

StoreOutcome = Literal[
    "empty",  # listed twice, and nothing was there
    "receipts",  # every replica signed for it, or its lease is over
    "ended",  # with the processes that the fence stopped
    "expires",  # what was published before completed_at, by retention, at the latest at gone_by
    "unreadable",  # stays on a topic whose retention is unlimited; what could open it is destroyed: see retained
    "kept",  # on purpose: see retained
    "none-held",  # nothing of a tenant is written there, which tests look for
    "operator",  # outside this system: the operator is responsible
]
"""The outcome that a certificate states for a tenant's data in a store."""


class Purger(Contract):
    """Who empties the store of a tenant's data, and how."""

    who: str
    method: Method
    how: str


class Probe(Contract):
    """How to verify that the store holds nothing of a purged tenant."""

    evidence: Evidence
    how: str


class Store(Contract):
    """One place that can hold tenant data, or is verified to hold none."""

    name: str = Field(pattern=r"^[a-z0-9]+(?:[.-][a-z0-9]+)*$")
    medium: Medium
    where: str = Field(
        description="an object key or, ending in /, a prefix, with {tenant} and other parts in braces; a topic; "
        "a directory's role; a setting"
    )
    versions: Literal["all", "current", "superseded"] = Field(
        default="all", description="which versions of its objects; other media have no versions"
    )
    holds: str
    protection: Protection
    purger: Purger
    probe: Probe
    survives: timedelta | Literal["until-purge", "kept"] = Field(
        description="worst-case time after the write or after the fence, whichever ends sooner"
    )
    survives_settings: tuple[str, ...] = Field(default=(), description="settings, in seconds, that are added to it")
    kept_because: str | None = None
    _covered: re.Pattern[str] = PrivateAttr()
    """What keys of its objects look like."""

    @model_validator(mode="after")
    def _kept_for_a_reason(self) -> Store:
        if (self.survives == "kept") != (self.kept_because is not None):
            raise ValueError(f"{self.name}: what is kept says why, and nothing else does")
        if self.survives == "kept" and self.protection not in ("references", "no-tenant-data"):
            raise ValueError(f"{self.name}: only what is free of content may be kept")
        if self.survives_settings and not isinstance(self.survives, timedelta):
            raise ValueError(f"{self.name}: settings add to a time only")
        return self

    def prefix(self, tenant: str) -> str:
        """The listing prefix of a tenant's objects in this store, which :meth:`covers` then sorts out."""
        if self.medium not in IN_BUCKET:
            raise ValueError(f"{self.name} is not in the bucket")
        return self.where.replace("{tenant}", tenant).partition("{")[0]

    def covers(self, key: str) -> bool:
        """Whether an object's key lies in this store."""
        return self.medium in IN_BUCKET and self._covered.match(key) is not None

    def model_post_init(self, context: Any) -> None:
        """A purge asks every store about each object that it finds."""
        self._covered = _covered_by(self.where)


def _covered_by(where: str) -> re.Pattern[str]:
    parts = re.split(r"(\{[a-z_]+\})", where)
    tenant = TENANT_ID_PATTERN.strip("^$")
    made = "".join(
        tenant if part == "{tenant}" else "[^/]+" if part.startswith("{") else re.escape(part) for part in parts
    )
    return re.compile(made if where.endswith("/") else f"{made}$")


KEPT = Purger(who="nobody", method="none", how="kept on purpose")
ABSENT = Purger(who="nobody", method="none", how="nothing of any tenant is written there")
SCANNED = Probe(evidence="scan", how="tests plant markers in every input and search its raw bytes for them")


def kept(*, kept_because: str, purger: Purger = KEPT, probe: Probe = SCANNED, **fields: Any) -> Store:
    """A store that no purge empties."""
    return Store(survives="kept", kept_because=kept_because, purger=purger, probe=probe, **fields)
