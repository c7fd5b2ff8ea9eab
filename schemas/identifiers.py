"""Shapes of the identifiers that appear in keys, names and labels. All are opaque: none may carry content."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

TENANT_ID_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"
OPAQUE_ID_PATTERN = r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$"
SHA256_PATTERN = r"^[0-9a-f]{64}$"
REASON_CODE_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$"

TenantName = Annotated[str, StringConstraints(pattern=TENANT_ID_PATTERN)]
OpaqueId = Annotated[str, StringConstraints(pattern=OPAQUE_ID_PATTERN)]
Sha256Hex = Annotated[str, StringConstraints(pattern=SHA256_PATTERN)]
ReasonCode = Annotated[str, StringConstraints(pattern=REASON_CODE_PATTERN)]
"""A code from a closed vocabulary. Free text is how content slips into a log, so there is none."""
