"""Defines the event that reports a tenant's usage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId, ReasonCode, Sha256Hex
from schemas.base.integers import Amount, Count, Ordinal
from schemas.bus.events.base import USAGE, EventData

CANARIES = 8
"""Comparisons that one report holds at most."""

RATED_ADAPTERS = 64
"""Adapters of which one report holds ratings at most: more than a tenant's state has."""

UsageSource = Literal["inference", "training", "storage", "knowledge"]


class StoredBytes(Contract):
    """What lies in one area of the tenant's prefix or in its audit log, all versions of all objects, or in the database
    of indexes.
    """

    area: ReasonCode
    bytes: Count


class AnswersCounted(Contract):
    """Answers of one version of what answers a tenant: an adapter, or the base model."""

    answers: Count = 0
    errors: Count = Field(default=0, description="of the answers, those that failed on this side")
    refusals: Count = Field(default=0, description="of the answers, those that began as a model's refusal does")
    rated_down: Count = Field(default=0, description="feedback that called an answer bad")
    seconds: Amount = Field(default=0.0, description="time that the engine took for the answers that did not fail")


class CanaryAnswers(Contract):
    """What a canary and what it is to replace answered, of the requests that were shared out between them."""

    activation: Ordinal = Field(description="the tenant's change of adapter by which the canary began")
    candidate: AnswersCounted = AnswersCounted()
    active: AnswersCounted = AnswersCounted()


class AnswersRated(Contract):
    """How answers of one adapter were rated through ``POST /v1/feedback``, each once."""

    adapter_digest: Sha256Hex
    up: Count = 0
    down: Count = 0


class UsageRecorded(EventData):
    """Reports what a tenant used: the basis of its cost."""

    type = "sano.usage.recorded"
    topic = USAGE
    identified_by = ("usage_id",)

    usage_id: OpaqueId
    source: UsageSource
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    training_tokens: Count = 0
    cached_tokens: Count = Field(default=0, description="of the prompt tokens, those that the engine had cached")
    embedding_tokens: Count = Field(
        default=0,
        description="tokens that the embedder read: of texts to embed, of documents, and of questions to them",
    )
    retrievals: Count = Field(default=0, description="questions that were searched for in the tenant's documents")
    engine_seconds: Amount = Field(default=0.0, description="time in which requests ran, shared out by requests")
    gpu_seconds: Amount = Field(
        default=0.0,
        description="time of the device, shared out by tokens step by step; of a training the whole; where there is no "
        "GPU the CPU stands in",
    )
    queue_seconds: Amount = Field(default=0.0, description="time that requests waited before the engine had them")
    stored: tuple[StoredBytes, ...] = Field(
        default=(), max_length=32, description="by area, as a day's inventory found it; it stands for that day"
    )
    canaries: tuple[CanaryAnswers, ...] = Field(
        default=(), max_length=CANARIES, description="comparisons of a canary with the active adapter"
    )
    ratings: tuple[AnswersRated, ...] = Field(
        default=(), max_length=RATED_ADAPTERS, description="of answers, by the adapter that gave them"
    )
    bytes_stored: Count = Field(
        default=0, description="bytes written by this use; no event subtracts them when they are erased"
    )
