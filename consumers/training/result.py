"""Defines what a training run reports: at each step, and at its end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from consumers.training.processor import Processor
from tenancy.errors import Refused


@dataclass(frozen=True)
class StepProgress:
    """One optimizer step. ``loss`` is the batch's mean NLL per answer token, in nats."""

    step: int
    total_steps: int
    loss: float
    learning_rate: float
    tokens: int


@dataclass(frozen=True)
class TrainingResult:
    """A finished run and the two files that it left in ``output_dir``.

    Losses are the mean NLL per answer token in nats. The held-out ones are ``None`` where nothing was held out.
    ``tokens`` counts prompt and answer tokens that were trained on, once per epoch, without padding.
    ``seconds`` runs from loading the base model to the written files.
    """

    output_dir: Path
    config_sha256: str
    weights_sha256: str
    trained_ids: tuple[str, ...]
    heldout_ids: tuple[str, ...]
    heldout_loss_before: float | None
    heldout_loss_after: float | None
    tokens: int
    seconds: float
    processor: Processor
    library_versions: dict[str, str]


class TrainingStopped(Exception):
    """The caller asked to stop: the run's lease is lost, or the worker is to end. Nothing was saved."""


class TrainingDiverged(Refused):
    """The loss or the gradient of a step is not finite, nor would it be in another attempt. Nothing was saved."""

    def __init__(self, step: int) -> None:
        why = f"refused: the loss or gradient of step {step} is not finite; lower learning_rate"
        super().__init__("training-diverged", why)


class UnknownModules(Refused):
    """The base model has no linear layer of some name in ``target_modules``."""

    def __init__(self) -> None:
        why = "refused: target_modules names what is no linear layer of the base model"
        super().__init__("unknown-target-modules", why)


class NothingToTrain(Refused):
    """The training set is empty."""

    def __init__(self) -> None:
        why = "refused: the training set is empty; approve examples before asking for a training"
        super().__init__("nothing-to-train", why)
