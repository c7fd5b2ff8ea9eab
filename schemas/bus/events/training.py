"""Defines the events of training: commands and their results."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.base.identifiers import OpaqueId, ReasonCode, Sha256Hex
from schemas.base.integers import Ordinal
from schemas.bus.events.base import TRAINING, EventData
from schemas.tenant.hyperparameters import Hyperparameters

Trigger = Literal["policy", "operator"]
"""Who requests a training run."""


class TrainingRequested(EventData):
    """Command: train an adapter from the tenant's eligible examples."""

    type = "sano.training.requested"
    topic = TRAINING
    identified_by = ("run_id",)

    run_id: OpaqueId
    trigger: Trigger
    hyperparameters: Hyperparameters | None = Field(default=None, description="absent: those of the tenant's policy")
    requested_by: OpaqueId | None = Field(default=None, description="operator id; absent if automatic")


class TrainingStarted(EventData):
    """A worker holds the run's lease under this fencing number."""

    type = "sano.training.started"
    topic = TRAINING
    identified_by = ("run_id", "fence")

    run_id: OpaqueId
    fence: Ordinal


class TrainingCompleted(EventData):
    """The run's adapter is published."""

    type = "sano.training.completed"
    topic = TRAINING
    identified_by = ("run_id",)

    run_id: OpaqueId
    fence: Ordinal
    training_set_id: Sha256Hex
    adapter_digest: Sha256Hex


class TrainingRejected(EventData):
    """The run cannot be done as requested; a retry would not help."""

    type = "sano.training.rejected"
    topic = TRAINING
    identified_by = ("run_id",)

    run_id: OpaqueId
    reason_code: ReasonCode


class TrainingFailed(EventData):
    """Every allowed attempt failed."""

    type = "sano.training.failed"
    topic = TRAINING
    identified_by = ("run_id",)

    run_id: OpaqueId
    attempts: Ordinal
    reason_code: ReasonCode
