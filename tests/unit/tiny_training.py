"""A randomly initialised Llama with SmolLM2's tokenizer, and a three-step training on it.

``python -m tests.unit.tiny_training BASE OUTPUT`` runs that training in a process of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from consumers.training.base_model import BaseModel
from consumers.training.result import StepProgress, TrainingResult
from consumers.training.tokenization import TrainingExample
from deploy.local.base_model import base_model_folder
from deploy.local.settings import LocalSettings, inherited_environment
from schemas.bus.content import ChatMessage
from schemas.models.model_digest import model_digest
from schemas.tenant.hyperparameters import Hyperparameters

BASE_NAME = "tiny-llama"
THREE_STEPS = Hyperparameters(r=8, max_steps=3, per_device_train_batch_size=4, warmup_ratio=0.0, precision="float32")


def load_tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(base_model_folder(LocalSettings(), inherited_environment()))


def build_tiny_base(directory: Path, tokenizer: Any) -> BaseModel:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(str(directory))
    tokenizer.save_pretrained(str(directory))
    return BaseModel(directory, model_digest(directory))


def example(name: str, question: str, answer: str) -> TrainingExample:
    return TrainingExample(
        name, (ChatMessage(role="user", content=question), ChatMessage(role="assistant", content=answer))
    )


def tiny_examples() -> list[TrainingExample]:
    return [
        example(f"ex-{number:02}", "Which colour? " + "Say it. " * (number % 4), f"House colour {number % 3}.")
        for number in range(16)
    ]


def train_three_steps(
    base: BaseModel,
    output: Path,
    examples: Sequence[TrainingExample],
    hyperparameters: Hyperparameters = THREE_STEPS,
    *,
    progress: Callable[[StepProgress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    run_id: str = "run-1",
) -> TrainingResult:
    from consumers.training.lora import train_lora

    return train_lora(
        examples, base, hyperparameters, output, progress, should_stop, base_model_name=BASE_NAME, run_id=run_id
    )


if __name__ == "__main__":
    base_path = Path(sys.argv[1])
    train_three_steps(BaseModel(base_path, model_digest(base_path)), Path(sys.argv[2]), tiny_examples()[::-1])
