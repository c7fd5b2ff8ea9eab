"""Declares the worker's port to what trains: torch in production, a stand-in in unit tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from consumers.training.base_model import BaseModel, prepare_base_model
from consumers.training.result import StepProgress, TrainingResult
from consumers.training.tokenization import TrainingExample
from schemas.tenant.hyperparameters import Hyperparameters


def import_tensor_libraries() -> None:
    """Import what :class:`LoraTrainer` needs. It holds the interpreter for seconds, in which no lease is renewed."""
    import consumers.training.lora  # noqa: F401


class Trainer(Protocol):
    """Trains one adapter. Its methods block and run off the event loop."""

    @property
    def model_name(self) -> str:
        """The base model's public name."""
        ...

    def base_model(self) -> BaseModel: ...

    def refused(
        self, examples: Sequence[TrainingExample], base: BaseModel, hyperparameters: Hyperparameters
    ) -> Mapping[str, str]:
        """By id, why each example that :meth:`train` would refuse cannot be trained on, as a code."""
        ...

    def train(
        self,
        examples: Sequence[TrainingExample],
        base: BaseModel,
        hyperparameters: Hyperparameters,
        run_id: str,
        output_dir: Path,
        progress: Callable[[StepProgress], None],
        should_stop: Callable[[], bool],
    ) -> TrainingResult:
        """The configuration names ``run_id``. Raises :class:`TrainingStopped` when ``should_stop`` says so."""
        ...


@dataclass(frozen=True)
class LoraTrainer:
    """LoRA with peft on the base model that ``source`` names.

    Tensor libraries are imported by its methods: they take seconds and most of a gigabyte, which nobody else pays.
    """

    source: str
    model_name: str
    cache_dir: Path

    def base_model(self) -> BaseModel:
        return prepare_base_model(self.source, self.cache_dir)

    def refused(
        self, examples: Sequence[TrainingExample], base: BaseModel, hyperparameters: Hyperparameters
    ) -> Mapping[str, str]:
        from consumers.training.lora import refused_examples

        return refused_examples(examples, base, hyperparameters)

    def train(
        self,
        examples: Sequence[TrainingExample],
        base: BaseModel,
        hyperparameters: Hyperparameters,
        run_id: str,
        output_dir: Path,
        progress: Callable[[StepProgress], None],
        should_stop: Callable[[], bool],
    ) -> TrainingResult:
        from consumers.training.lora import train_lora

        return train_lora(
            examples,
            base,
            hyperparameters,
            output_dir,
            progress,
            should_stop,
            base_model_name=self.model_name,
            run_id=run_id,
        )
