"""Defines ``demo-report.json``: what the demo did, measured and checked."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class _Report(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Score(_Report):
    """Share of the held-out questions that are answered by the tenant's house rule."""

    base: float
    own: float
    other: float = Field(description="with the other tenant's adapter, by an internal harness: the API refuses it")


class TenantReport(_Report):
    """One tenant of the demo. Losses are nats per answer token on the run's own held-out split."""

    id: str
    examples: int
    adapter_digest: str
    adapter_bytes: int
    train_seconds: float
    heldout_loss_before: float | None
    heldout_loss_after: float | None
    heldout_questions: int
    score: Score
    usage: dict[str, float]


class Check(_Report):
    """One thing that must hold between tenants."""

    name: str
    held: bool


class OpeningReport(_Report):
    """Raw conversations of the ward's systems, which were redacted in the sources and approved on the review page."""

    fhir: int
    hl7: int
    redacted: int
    approved: int
    identifiers: int = Field(description="names, numbers, dates and addresses that were looked for everywhere")
    places: int = Field(default=0, description="objects, messages, files, pages and answers that were looked at")


class IsolationReport(_Report):
    checks: list[Check] = Field(default_factory=list)

    @property
    def failures(self) -> list[str]:
        return [check.name for check in self.checks if not check.held]


class ExportReport(_Report):
    """The exported adapter, loaded back by ``PeftModel.from_pretrained`` and asked the held-out questions."""

    directory: str
    examples: int
    answers: int
    same_answers: int = Field(
        description="answers that equal, token for token, those of the tenant's adapter as it lay in the bucket, "
        "loaded by the same program: all of them"
    )
    same_as_served: int = Field(
        description="answers that equal, token for token, those that the engine served: not all, since peft and the "
        "engine round differently in bfloat16, and a near tie between two tokens can then flip"
    )
    near_ties: int = Field(
        description="answers that part from the served ones at a token that the adapter scores nearly as its own"
    )


class PurgeReport(_Report):
    objects: int
    versions: int
    residual: int
    certificate: str
    redelivered_events: int
    redelivery_effects: int


class DemoReport(_Report):
    """The whole report. ``timings`` are seconds per step; memory is that of all processes of the demo together."""

    tenants: list[TenantReport] = Field(default_factory=list)
    opening: OpeningReport | None = None
    isolation: dict[str, object] = Field(default_factory=dict)
    export: ExportReport | None = None
    purge: PurgeReport | None = None
    timings: dict[str, float] = Field(default_factory=dict)
    peak_memory_gib: float = 0.0
    versions: dict[str, str] = Field(default_factory=dict)
