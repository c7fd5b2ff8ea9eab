"""Settings of the HL7 v2 source."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from producers.sources.settings import SourceSettings


class MllpSettings(SourceSettings):
    """One listener is one tenant's: what connects to it speaks for that tenant."""

    hl7_host: str = Field(default="127.0.0.1", description="address to listen on")
    hl7_port: int = Field(default=2575, ge=0, le=65535)
    hl7_question_code: str = Field(default="QUESTION", min_length=1, description="of OBX-3")
    hl7_answer_code: str = Field(default="ANSWER", min_length=1, description="of OBX-3")
    hl7_tls_certificate_file: Path | None = None
    hl7_tls_key_file: Path | None = None
    hl7_tls_client_ca_file: Path | None = None

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        given = [self.hl7_tls_certificate_file, self.hl7_tls_key_file, self.hl7_tls_client_ca_file]
        if any(given) and not all(given):
            names = "SANO_HL7_TLS_CERTIFICATE_FILE, SANO_HL7_TLS_KEY_FILE and SANO_HL7_TLS_CLIENT_CA_FILE"
            raise PydanticCustomError("half_a_pair", f"{names} go together: set all or none")
        return self
