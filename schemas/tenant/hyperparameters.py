"""Defines LoRA training hyperparameters under the field names of peft and transformers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue
from pydantic_core import PydanticCustomError

from schemas.base.contract import Contract
from schemas.base.identifiers import ModuleName
from schemas.base.integers import Ordinal

VOCABULARY = frozenset(
    {
        "embed_in",
        "embed_out",
        "embed_tokens",
        "lm_head",
        "output_layer",
        "tok_embeddings",
        "word_embeddings",
        "wpe",
        "wte",
    }
)
"""Names of the modules between tokens and hidden states, in the model families that vLLM adapts. No adapter may change
one. Logits are computed for the rows of prompts too, and vLLM has no map from those rows to adapters: it would use
that of the sampled rows, which ends the engine or gives a row the change of another tenant.
"""


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):  # equal to 1 in Python, and so one of the choices
        raise PydanticCustomError("int_type", "Input should be a valid integer")
    return value


def _no_vocabulary(name: str) -> str:
    if name in VOCABULARY:
        message = "Adapters of the embedding or the head of the vocabulary are not served"
        raise PydanticCustomError("vocabulary_module", message)
    return name


AdaptedModule = Annotated[
    ModuleName,
    AfterValidator(_no_vocabulary),
    Field(json_schema_extra={"not": {"enum": list[JsonValue](sorted(VOCABULARY))}}),
]
Rank = Annotated[Literal[1, 8, 16, 32, 64], BeforeValidator(_no_boolean)]
Precision = Literal["float32", "bfloat16-autocast"]


class Hyperparameters(Contract):
    """Hyperparameters of one training run. All are part of the signed manifest."""

    r: Rank = Field(default=16, description="LoRA rank: 1, 8, 16, 32 or 64")
    lora_alpha: int = Field(default=32, ge=1, le=512, description="the update is scaled by lora_alpha / r")
    lora_dropout: float = Field(default=0.0, ge=0.0, lt=1.0, description="dropout on the adapter's input")
    target_modules: tuple[AdaptedModule, ...] = Field(
        default=("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"),
        min_length=1,
        description="linear layers of the base model to adapt",
    )
    learning_rate: float = Field(default=1e-3, gt=0.0, le=1e-2, description="peak learning rate, after the warm-up")
    num_train_epochs: int = Field(default=3, ge=1, le=50, description="passes over the training set")
    max_steps: Ordinal | None = Field(default=None, description="stop after this many optimizer steps")
    per_device_train_batch_size: int = Field(default=4, ge=1, le=256, description="examples per step")
    warmup_ratio: float = Field(default=0.1, ge=0.0, le=1.0, description="share of the steps used for warm-up")
    weight_decay: float = Field(default=0.0, ge=0.0, le=1.0, description="weight decay of the optimizer")
    max_grad_norm: float = Field(default=1.0, gt=0.0, description="gradients with a larger norm are clipped")
    max_length: int = Field(default=512, ge=16, le=8192, description="maximum tokens per example, prompt plus answer")
    heldout_fraction: float = Field(
        default=0.1, ge=0.0, le=0.5, description="share of the set held out: never trained on"
    )
    passages_share: float = Field(
        default=0.0,
        ge=0.0,
        le=1.0,
        description="share of the trained examples that are also shown with passages in the prompt",
    )
    seed: int = Field(default=17, ge=0, lt=2**32, description="seed of initialization, order and split")
    precision: Literal["auto"] | Precision = Field(
        default="auto", description="auto: bfloat16 autocast where the processor supports it, else float32"
    )
