"""Adapters of rank 16 with random weights, made with peft and written as the trainer writes them.

In a process of its own, since it needs torch: ``python -m tests.bench.random_adapters --base-model DIR --to DIR
--count N`` makes the folders ``0`` … ``N-1``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

RANK = 16
NAME = "bench-base"
SPREAD = 0.003  # small enough that the answers stay text, so that the first token has something to stream


def make(base_model: Path, to: Path, count: int) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from consumers.training.adapter_output import save_adapter

    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    base = AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.bfloat16)
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=targets, task_type="CAUSAL_LM")
    model = get_peft_model(base, config, autocast_adapter_dtype=False)
    generator = torch.Generator()
    generator.seed()
    for number in range(count):
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "lora_" in name:
                    weight.normal_(std=SPREAD, generator=generator)
        save_adapter(model, to / str(number), base_model, NAME, f"random-{number}")


def main() -> None:
    parser = argparse.ArgumentParser(description="random adapters for benchmarks")
    parser.add_argument("--base-model", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--count", type=int, required=True)
    arguments = parser.parse_args()
    make(arguments.base_model, arguments.to, arguments.count)


if __name__ == "__main__":
    main()
