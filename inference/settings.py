"""Defines the settings of a serving replica."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from consumers.runtime.settings import ConsumerSettings
from schemas.base.identifiers import TenantName
from tenancy.embedding.settings import EmbedderSettings
from tenancy.knowledge.database.settings import DatabaseSettings
from tenancy.platform.settings import DAY_SECONDS, KeyReference


def _default_replica() -> str:
    name = "".join(c if c.isalnum() else "-" for c in socket.gethostname().lower()).strip("-")
    return f"replica-{name}"[:63].strip("-")


class InferenceSettings(ConsumerSettings, EmbedderSettings, DatabaseSettings):
    """What a replica needs beyond the platform. Numbers of adapters are the engine's capacity on one GPU."""

    inference_host: str = "127.0.0.1"
    inference_port: int = Field(default=8000, ge=1, le=65535)
    replica_id: TenantName = Field(default_factory=_default_replica, description="stable across restarts, unique")
    receipt_key: KeyReference | None = Field(
        default=None, description="signs eviction receipts: a PEM file, or kms: and a key's id"
    )
    base_model: str = Field(description="directory, or hub id, of the frozen base model")
    adapter_dir: Path = Field(default=Path("/dev/shm/sanolith"), description="memory-backed")  # noqa: S108
    max_loras: int = Field(default=8, ge=1, description="adapters in one batch")
    max_cpu_loras: int = Field(default=32, ge=1, description="adapters loaded")
    # The environment holds text, which a literal of numbers would refuse.
    max_lora_rank: Annotated[Literal[8, 16, 32, 64], BeforeValidator(int)] = Field(
        default=64, description="the largest r that a policy may ask for"
    )
    max_model_len: int = Field(default=2048, ge=128)
    max_num_seqs: int = Field(default=16, ge=1)
    kv_cache_gib: float | None = Field(default=None, gt=0, description="required on CPU; absent: vLLM decides")
    tool_call_parser: str = Field(
        default="hermes", description="vLLM's name for how the base model writes calls of tools"
    )
    reasoning_parser: str | None = Field(
        default=None, description="vLLM's name for how the base model writes its reasoning; absent: it has none"
    )
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1, description="absent: vLLM decides")
    knowledge_mib: int = Field(
        default=1024, ge=16, description="memory for the indexes of tenants' documents; of one tenant too"
    )
    max_connections: int = Field(default=1024, ge=16, description="connections to the API that are open at once")
    max_tenant_requests: int = Field(default=256, ge=1, description="requests of one tenant that are answered at once")
    engine_answer_seconds: float = Field(
        default=300.0,
        gt=0,
        le=DAY_SECONDS,
        description="an engine that leaves a call unanswered for this long counts as dead",
    )
    idle_seconds: float = Field(
        default=900.0, gt=0, le=7 * DAY_SECONDS, description="an adapter not asked for this long is unloaded"
    )
    warm_seconds: float = Field(
        default=20.0,
        ge=0,
        le=DAY_SECONDS,
        description="a replica that starts loads adapters that were used last for so long before it is ready",
    )
    drain_seconds: float = Field(
        default=10.0, ge=0, le=DAY_SECONDS, description="running requests get this long before they end"
    )
    state_ttl_seconds: float = Field(
        default=1.0, ge=0, le=DAY_SECONDS, description="how old a tenant's state may be at admission"
    )
    usage_seconds: float = Field(default=10.0, gt=0, le=DAY_SECONDS, description="pause between two reports of usage")
