"""Settings that every source has which is a service."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from schemas.base.addresses import HttpUrl
from schemas.base.identifiers import TenantName
from tenancy.platform.settings import BusSettings


class SourceSettings(BusSettings):
    """One process is one tenant's."""

    source_tenant: TenantName = Field(description="the tenant that everything is proposed for")
    source_jwk_file: Path = Field(description="the tenant's public key, a JWK")
    source_key_file: Path = Field(description="32 bytes in base64: ids and salts")
    source_dates: Literal["removed", "shifted"] = "removed"
    health_host: str = "127.0.0.1"
    health_port: int = Field(default=8080, ge=1, le=65535)
    otlp_endpoint: HttpUrl | None = Field(default=None, description="OTLP/HTTP collector; absent: no export")
