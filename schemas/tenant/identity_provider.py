"""Defines the identity provider of a tenant, whose tokens its applications may send instead of the installation's.

It lies in the tenant's state beside its API keys, not in the policy: a policy may come by an event, and whoever may
write to a topic must not be able to name who signs a tenant's tokens.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, StringConstraints

from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId
from schemas.base.timestamps import Timestamp
from schemas.tenant.api_keys import Scope

MAX_REQUIRED_CLAIMS = 8

_TENANT = re.compile(r"(?:.*[:/])?sanolith[:/]([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)")

Audience = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,255}$")]
ClaimName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:/-]{1,128}$")]
ClaimValue = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,255}$")]


class IdentityProvider(Contract):
    """Whose tokens are taken for the tenant, and what they are good for."""

    issuer: str = Field(max_length=512, description="as its tokens and its discovery document say it")
    audience: Audience = Field(description="ends in sanolith: and the tenant's id, so no two tenants share one")
    required_claims: dict[ClaimName, ClaimValue] = Field(default_factory=dict, max_length=MAX_REQUIRED_CLAIMS)
    scopes: tuple[Scope, ...] = Field(default=("chat",), min_length=1)
    set_at: Timestamp
    set_by: OpaqueId | None = Field(default=None, description="operator id")


def tenant_of(audience: str) -> str | None:
    """The tenant that an audience is of: ``sanolith:t1``, ``api://<id>/sanolith/t1``; None for one of no tenant."""
    found = _TENANT.fullmatch(audience)
    return None if found is None else found[1]
