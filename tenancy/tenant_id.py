"""Defines the tenant's identity, made from a verified token or a verified event, never from a caller's text."""

from __future__ import annotations

import re
import secrets

from schemas.base.identifiers import TENANT_ID_PATTERN
from tenancy.errors import Refused


class TenantId(str):
    """An opaque tenant id of the allowed shape."""

    __slots__ = ()

    def __new__(cls, text: str) -> TenantId:
        if re.fullmatch(TENANT_ID_PATTERN, text) is None:
            raise Refused(
                "bad-tenant-id",
                "refused: a tenant id is 1 to 63 lower-case letters, digits and inner hyphens",
            )
        return super().__new__(cls, text)

    @classmethod
    def random(cls) -> TenantId:
        """A new id that says nothing about the tenant."""
        return cls(f"t-{secrets.token_hex(8)}")
