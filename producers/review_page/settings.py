"""Settings of the review page."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from schemas.base.addresses import HttpUrl
from tenancy.platform.settings import DAY_SECONDS, PlatformSettings


class ReviewPageSettings(PlatformSettings):
    """What the page needs beyond the platform. Several processes of one page share the address and the source key."""

    review_url: HttpUrl = Field(description="the page's address, as browsers see it")
    review_host: str = Field(default="127.0.0.1", description="address to listen on")
    review_port: int = Field(default=8085, ge=1, le=65535)
    health_host: str = "127.0.0.1"
    health_port: int = Field(default=8080, ge=1, le=65535)
    source_key_file: Path = Field(description="32 bytes in base64: sessions, reviewers' ids, salts of edits")
    review_links: Literal["refused", "allowed"] = Field(
        default="refused", description="whether one-time links by `sano review link` sign in"
    )
    review_oidc_issuer: HttpUrl | None = Field(default=None, description="the identity provider; absent: none")
    review_oidc_client_id: str | None = None
    review_oidc_client_secret: SecretStr | None = None
    review_oidc_tenant_claim: str = Field(default="sano_tenant", min_length=1, description="claim: one tenant's id")
    review_oidc_role_claim: str = Field(default="sano_role", min_length=1, description="claim: one role")
    review_oidc_author_claim: str = Field(
        default="fhirUser", min_length=1, description="claim: who the person is to FHIR or HL7, and so wrote"
    )
    review_oidc_scope: str = Field(default="openid", pattern=r"\bopenid\b", description="what is asked for at sign-in")
    review_idle_seconds: float = Field(default=1800.0, ge=60, le=DAY_SECONDS, description="a session unused for this")
    review_session_seconds: float = Field(default=28_800.0, ge=60, le=DAY_SECONDS, description="a session's whole life")

    @model_validator(mode="after")
    def _provider_is_whole(self) -> Self:
        given = [self.review_oidc_issuer, self.review_oidc_client_id, self.review_oidc_client_secret]
        if any(given) and not all(given):
            names = "SANO_REVIEW_OIDC_ISSUER, SANO_REVIEW_OIDC_CLIENT_ID and SANO_REVIEW_OIDC_CLIENT_SECRET"
            raise PydanticCustomError("half_a_pair", f"{names} go together: set all or none")
        return self
