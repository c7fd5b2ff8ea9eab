"""Settings of the FHIR source."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from producers.sources.settings import SourceSettings
from schemas.base.addresses import HttpUrl


class FhirSettings(SourceSettings):
    """One endpoint is one tenant's, and reads one server."""

    fhir_base_url: HttpUrl = Field(description="of the server that is read")
    fhir_token_file: Path = Field(description="32 bytes in base64: the bearer token that notifications carry")
    fhir_host: str = Field(default="127.0.0.1", description="address to listen on")
    fhir_port: int = Field(default=8070, ge=1, le=65535)
    fhir_client_id: str | None = Field(default=None, description="as the server registered this backend service")
    fhir_client_key_file: Path | None = Field(default=None, description="private JWK that signs its assertions")
    fhir_token_url: HttpUrl | None = Field(default=None, description="absent: what the server's configuration says")
    fhir_scope: str = Field(default="system/*.rs", min_length=1)
    fhir_mapping_file: Path | None = Field(default=None, description="which element is what; absent: the default")
    fhir_position_file: Path | None = Field(default=None, description="remembers the last event of a subscription")

    @model_validator(mode="after")
    def _client_is_whole(self) -> Self:
        if bool(self.fhir_client_id) != bool(self.fhir_client_key_file):
            names = "SANO_FHIR_CLIENT_ID and SANO_FHIR_CLIENT_KEY_FILE"
            raise PydanticCustomError("half_a_pair", f"{names} go together: set both or none")
        return self
