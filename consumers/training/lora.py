"""Trains one LoRA adapter on one tenant's examples.

The same inputs give the same bytes on the same kind of CPU with the same libraries. PyTorch promises no more than
that, and on CUDA attention's backward pass may not keep even this: no claim is made there.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from consumers.training.adapter_output import save_adapter
from consumers.training.base_model import BaseModel
from consumers.training.batches import epoch_batches, split_heldout
from consumers.training.beside_passages import beside_passages
from consumers.training.loss import answer_loss, collate, heldout_loss
from consumers.training.processor import Processor, select_processor
from consumers.training.result import (
    NothingToTrain,
    StepProgress,
    TrainingDiverged,
    TrainingResult,
    TrainingStopped,
    UnknownModules,
)
from consumers.training.tokenization import (
    ExampleTooLong,
    TokenizedExample,
    TrainingExample,
    refusals,
    tokenize_example,
    tokenize_examples,
)
from schemas.models.adapter_files import check_base_model_name, linear_shapes
from schemas.tenant.hyperparameters import Hyperparameters

_LIBRARIES = ("numpy", "peft", "safetensors", "tokenizers", "torch", "transformers")


def refused_examples(
    examples: Sequence[TrainingExample], base: BaseModel, hyperparameters: Hyperparameters
) -> dict[str, str]:
    """By id, why each example that :func:`train_lora` would refuse cannot be trained on, as a code."""
    return refusals(_tokenizer(base), examples, _token_limit(base, hyperparameters))


def train_lora(
    examples: Sequence[TrainingExample],
    base: BaseModel,
    hyperparameters: Hyperparameters,
    output_dir: Path,
    progress: Callable[[StepProgress], None],
    should_stop: Callable[[], bool],
    *,
    base_model_name: str,
    run_id: str,
) -> TrainingResult:
    """Train and save ``adapter_model.safetensors`` and ``adapter_config.json`` into ``output_dir``.

    The order of ``examples`` does not matter. ``progress`` is called after each optimizer step, and ``should_stop``
    before each batch, held-out ones too. ``base_model_name`` is what the configuration names as its base, the same on
    every machine; ``run_id`` is named there too and has no part in the weights.
    Seeds the global generators of ``random``, numpy and torch, so it belongs into a process of its own.

    Raises :class:`NothingToTrain`, :class:`UnknownModules`,
    :class:`~consumers.training.tokenization.ExampleRefused`, :class:`TrainingStopped` when ``should_stop`` says so,
    :class:`TrainingDiverged`, and :class:`~schemas.models.adapter_files.AdapterRefused` when ``base_model_name`` is a
    path.
    """
    started = time.perf_counter()
    check_base_model_name(base_model_name)
    processor = select_processor(hyperparameters.precision)
    tokenizer = _tokenizer(base)
    limit = _token_limit(base, hyperparameters)
    tokenized = tokenize_examples(tokenizer, examples, limit)
    if not tokenized:
        raise NothingToTrain
    split = split_heldout(list(tokenized), hyperparameters.heldout_fraction, hyperparameters.seed)
    by_id = {example.example_id: example for example in examples}
    trained = {name: by_id[name] for name in split.trained}
    plan = list(_plan(_shown(tokenized, trained, tokenizer, limit, hyperparameters), hyperparameters))

    model = _adapted_model(base, hyperparameters, processor)
    pad_token_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    held_out = [tokenized[name] for name in split.heldout]
    batch_size = hyperparameters.per_device_train_batch_size
    before = heldout_loss(model, held_out, batch_size, pad_token_id, processor, should_stop)
    _optimize(model, plan, hyperparameters, processor, pad_token_id, progress, should_stop)
    _round_adapter(model, processor)
    after = heldout_loss(model, held_out, batch_size, pad_token_id, processor, should_stop)
    if should_stop():
        raise TrainingStopped
    saved = save_adapter(model, output_dir, base.path, base_model_name, run_id)

    seen = [example for batch in plan for example in batch]
    return TrainingResult(
        output_dir=output_dir,
        config_sha256=saved.config_sha256,
        weights_sha256=saved.weights_sha256,
        trained_ids=tuple(sorted({example.example_id for example in seen})),
        heldout_ids=split.heldout,
        heldout_loss_before=before,
        heldout_loss_after=after,
        tokens=sum(len(example.input_ids) for example in seen),
        seconds=time.perf_counter() - started,
        processor=processor,
        library_versions={name: version(name) for name in _LIBRARIES},
    )


def learning_rate_factor(step: int, total_steps: int, warmup_steps: int) -> float:
    """The share of the peak learning rate at ``step`` (from 0): linear up over the warm-up, then linear to zero.

    The first step is not spent at zero, unlike transformers' ``get_linear_schedule_with_warmup``.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    return (total_steps - step) / (total_steps - warmup_steps)


def _tokenizer(base: BaseModel) -> Any:
    return AutoTokenizer.from_pretrained(str(base.path), local_files_only=True)


def _token_limit(base: BaseModel, hyperparameters: Hyperparameters) -> int:
    """The tokens that an example may have: ``max_length``, and no more than the model's context."""
    config = AutoConfig.from_pretrained(str(base.path), local_files_only=True).get_text_config()
    context = getattr(config, "max_position_embeddings", None) or hyperparameters.max_length
    return min(hyperparameters.max_length, context)


def _shown(
    tokenized: Mapping[str, TokenizedExample],
    trained: Mapping[str, TrainingExample],
    tokenizer: Any,
    limit: int,
    hyperparameters: Hyperparameters,
) -> dict[str, TokenizedExample]:
    """The trained examples and their copies with passages, by name. An epoch shows each once."""

    def copy(example: TrainingExample) -> TokenizedExample | None:
        try:
            return tokenize_example(tokenizer, example, limit)
        except ExampleTooLong:
            return None

    copies = beside_passages(trained, hyperparameters, copy)
    return {name: tokenized[name] for name in trained} | {f"{one.example_id} beside passages": one for one in copies}


def _plan(shown: Mapping[str, TokenizedExample], hyperparameters: Hyperparameters) -> Iterator[list[TokenizedExample]]:
    batch_size, steps = hyperparameters.per_device_train_batch_size, 0
    for epoch in range(hyperparameters.num_train_epochs):
        for batch in epoch_batches(shown, list(shown), batch_size, epoch, hyperparameters.seed):
            if steps == hyperparameters.max_steps:
                return
            steps += 1
            yield batch


def _adapted_model(base: BaseModel, hyperparameters: Hyperparameters, processor: Processor) -> Any:
    disable_progress_bar()  # it would stand between the lines of the log
    model = AutoModelForCausalLM.from_pretrained(
        str(base.path), dtype=processor.base_dtype, local_files_only=True, use_safetensors=True
    ).to(processor.device)
    if not set(hyperparameters.target_modules) <= _linear_layers(model, base):
        raise UnknownModules
    # get_peft_model draws the initial lora_A from the global generator, so seeding it later would be too late.
    random.seed(hyperparameters.seed)
    numpy.random.seed(hyperparameters.seed)
    torch.manual_seed(hyperparameters.seed)
    return get_peft_model(
        model,
        LoraConfig(
            task_type="CAUSAL_LM",
            r=hyperparameters.r,
            lora_alpha=hyperparameters.lora_alpha,
            lora_dropout=hyperparameters.lora_dropout,
            target_modules=sorted(hyperparameters.target_modules),
            bias="none",
        ),
    )


def _linear_layers(model: Any, base: BaseModel) -> set[str]:
    """The last part of the names of those that an adapter may change. ``linear_shapes`` leaves the vocabulary out."""
    layers = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    return {name.rpartition(".")[2] for name in layers & linear_shapes(base.path).keys()}


def _round_adapter(model: Any, processor: Processor) -> None:
    """Give the adapter the base's dtype, in which it is served: half the bytes to store, fetch and check.

    The optimizer needed float32, since its smallest updates are lost in bfloat16's 8 bits of precision. What is
    measured and saved from here on is what will answer.
    """
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(processor.base_dtype)


def _optimize(
    model: Any,
    plan: Sequence[list[TokenizedExample]],
    hyperparameters: Hyperparameters,
    processor: Processor,
    pad_token_id: int,
    progress: Callable[[StepProgress], None],
    should_stop: Callable[[], bool],
) -> None:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, weight_decay=hyperparameters.weight_decay)
    warmup_steps = math.floor(hyperparameters.warmup_ratio * len(plan))
    model.train()
    for index, batch in enumerate(plan):
        if should_stop():
            raise TrainingStopped
        learning_rate = hyperparameters.learning_rate * learning_rate_factor(index, len(plan), warmup_steps)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        loss = answer_loss(model, collate(batch, pad_token_id, processor.device), processor, "mean")
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, hyperparameters.max_grad_norm))
        step_loss = float(loss.detach())
        if not (math.isfinite(step_loss) and math.isfinite(norm)):
            raise TrainingDiverged(index + 1)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        progress(
            StepProgress(
                step=index + 1,
                total_steps=len(plan),
                loss=step_loss,
                learning_rate=learning_rate,
                tokens=sum(len(example.input_ids) for example in batch),
            )
        )
