"""Defines the settings of the local stack. The one place of ``deploy.local`` that reads the environment."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from deploy.local.errors import WrongSettings
from schemas.base.addresses import Brokers, BucketName, S3Endpoint


class LocalSettings(BaseSettings):
    """``SANO_*``: what is set here is used as it is instead of being started or made."""

    model_config = SettingsConfigDict(
        env_prefix="SANO_", env_ignore_empty=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True
    )

    kafka_bootstrap_servers: Brokers | None = Field(None, description="An existing Kafka: no local bus is started.")
    s3_endpoint_url: S3Endpoint | None = Field(None, description="An existing S3: no local object store is started.")
    s3_bucket: BucketName = Field("sanolith", description="Made in the local object store; must exist in any other.")
    master_key_file: Path | None = Field(None, description="32 bytes in base64; default .sano/keys/master.key.")
    base_model: str | None = Field(None, description="Folder or hub id; default: what `make setup` prepared.")
    cache_dir: Path = Field(
        default_factory=lambda: Path.home() / ".cache" / "sanolith", description="What set-up fetched and prepared."
    )


def local_settings() -> LocalSettings:
    """Raises :class:`~deploy.local.errors.WrongSettings`."""
    try:
        return LocalSettings()
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False, include_input=False)
        raise WrongSettings([f"SANO_{item['loc'][0]}".upper() + f": {item['msg']}" for item in wrong]) from None


# torch sets these in the environment of whoever compiles with it; to a child they name a folder outside its TMPDIR.
_SET_BY_TORCH = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")


def inherited_environment() -> dict[str, str]:
    """This process's environment, which child processes start from (PATH, proxies, SASL and TLS settings)."""
    return {name: value for name, value in os.environ.items() if name not in _SET_BY_TORCH}
