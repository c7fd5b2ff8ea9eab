"""Settings of the curation tools' source."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from producers.sources.settings import SourceSettings
from schemas.base.addresses import HttpUrl
from tenancy.platform.settings import DAY_SECONDS


class CurationToolSettings(SourceSettings):
    """One process is one tenant's project of one tool."""

    curation_tool: Literal["label-studio", "argilla"] = Field(description="which tool")
    curation_url: HttpUrl = Field(description="its base URL")
    curation_token_file: Path = Field(description="its API token, which may read the project")
    curation_project: str = Field(pattern=r"^[0-9A-Za-z-]{1,64}$", description="id of the project or dataset")
    curation_secret_file: Path = Field(description="32 bytes in base64: the webhook's secret")
    curation_position_file: Path = Field(description="since when to look, kept over restarts: a time")
    curation_reconcile_seconds: float = Field(default=300.0, gt=0.0, le=DAY_SECONDS)
    curation_host: str = Field(default="127.0.0.1", description="address that webhooks are sent to")
    curation_port: int = Field(default=8090, ge=1, le=65535)
    curation_question_field: str = Field(default="question", min_length=1)
    curation_answer_field: str = Field(default="answer", min_length=1)
    curation_author_field: str = Field(default="author", min_length=1)
    curation_consent_field: str = Field(default="consent", min_length=1)
    curation_verdict_field: str = Field(default="verdict", min_length=1)
    curation_reason_field: str = Field(default="reason", min_length=1)
    curation_approve_value: str = Field(default="approve", min_length=1)
    curation_reject_value: str = Field(default="reject", min_length=1)
