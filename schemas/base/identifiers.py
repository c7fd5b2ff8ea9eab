"""Defines the shapes of identifiers in keys, names and labels. All are opaque: none may carry content."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

TENANT_ID_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"
OPAQUE_ID_PATTERN = r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$"
PURGE_ID_PATTERN = r"^[A-Za-z0-9](?:[A-Za-z0-9_-]{0,126}[A-Za-z0-9])?$"
OPAQUE_ID_IN_WORDS = "up to 128 letters, digits, dots, dashes and underscores, with a letter or digit at both ends"
SHA256_PATTERN = r"^[0-9a-f]{64}$"
REASON_CODE_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$"
EVENT_TYPE_PATTERN = r"^sano\.[a-z]+\.[a-z_]+$"
DELIVERY_PATTERN = r"^[a-z0-9.]{1,128}/[0-9]{1,10}/[0-9]{1,19}$"
THUMBPRINT_PATTERN = r"^[A-Za-z0-9_-]{43}$"
COMPACT_JWE_PATTERN = r"^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*){4}$"
TRACEPARENT_PATTERN = r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"
MODULE_NAME_PATTERN = r"^[A-Za-z0-9_]{1,64}$"
MAX_JWE_CHARACTERS = 262_144
"""The longest inline content, far below what a bus takes in one message."""

TenantName = Annotated[str, StringConstraints(pattern=TENANT_ID_PATTERN)]
OpaqueId = Annotated[str, StringConstraints(pattern=OPAQUE_ID_PATTERN)]
PurgeId = Annotated[str, StringConstraints(pattern=PURGE_ID_PATTERN)]
"""An opaque id without dots: the record of a purge "p.certificate" would lie where the certificate of "p" lies."""
Sha256Hex = Annotated[str, StringConstraints(pattern=SHA256_PATTERN)]
ReasonCode = Annotated[str, StringConstraints(pattern=REASON_CODE_PATTERN)]
"""A code, not a sentence: its shape excludes blanks and punctuation. Its author must keep it free of content, since it
appears in logs, audit logs and certificates."""
EventTypeName = Annotated[str, StringConstraints(pattern=EVENT_TYPE_PATTERN)]
SubcontractorName = Annotated[str, StringConstraints(pattern=REASON_CODE_PATTERN)]
"""A code that the operator chooses for a subcontractor, such as ``aws-s3``."""
Delivery = Annotated[str, StringConstraints(pattern=DELIVERY_PATTERN)]
KeyThumbprint = Annotated[str, StringConstraints(pattern=THUMBPRINT_PATTERN)]
Traceparent = Annotated[str, StringConstraints(pattern=TRACEPARENT_PATTERN)]
CompactJwe = Annotated[
    str, StringConstraints(pattern=COMPACT_JWE_PATTERN, min_length=32, max_length=MAX_JWE_CHARACTERS)
]
ModuleName = Annotated[str, StringConstraints(pattern=MODULE_NAME_PATTERN)]
