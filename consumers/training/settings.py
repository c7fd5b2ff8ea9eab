"""Defines the settings of the training consumer, of its worker, and of a second training."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from consumers.runtime.settings import ConsumerSettings
from schemas.base.addresses import HttpUrl
from tenancy.platform.settings import DAY_SECONDS, KeyReference, PlatformSettings


class TrainingSettings(ConsumerSettings):
    """What training needs beyond the platform."""

    base_model: str = Field(description="directory, or hub id, of the frozen base model")
    base_model_name: str = Field(default="", description="the name that adapters carry; absent: derived")
    manifest_key: KeyReference | None = Field(
        default=None, description="signs training manifests: a PEM file, or kms: and a key's id"
    )
    max_concurrent_runs: int = Field(
        default=1, ge=1, description="workers at once: of this runner, or of the namespace"
    )
    worker_job_file: Path | None = Field(
        default=None, description="the Kubernetes Job that workers are made from; absent: they are child processes"
    )
    kubernetes_url: HttpUrl = Field(default="https://kubernetes.default.svc", description="the API server")
    kubernetes_account_dir: Path = Field(
        default=Path("/var/run/secrets/kubernetes.io/serviceaccount"), description="token, ca.crt and namespace"
    )
    retry_backoff_seconds: float = Field(default=10.0, ge=0, le=DAY_SECONDS, description="pause after a failed attempt")

    def model_name(self) -> str:
        """The base model's public name, never a local path."""
        return self.base_model_name or self.base_model.rstrip("/").rsplit("/", 1)[-1]


class ReproductionSettings(PlatformSettings):
    """What a second training needs: the bucket, its keys, and the base model."""

    base_model: str = Field(description="directory, or hub id, of the frozen base model")
