"""Selects the processor of a run and its arithmetic. Both are part of the run's record.

torch is imported by what computes: who reads a record does without.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Any, Literal

from schemas.tenant.hyperparameters import Precision


@dataclass(frozen=True)
class Processor:
    """Where a run computes: torch promises equal results only on the same kind of processor."""

    device: Literal["cpu", "cuda"]
    description: str
    precision: Precision

    def autocast(self) -> Any:
        """The autocast context of this precision. It changes nothing in float32."""
        import torch

        return torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.precision == "bfloat16-autocast")

    @property
    def base_dtype(self) -> Any:
        """The dtype that the frozen base is held in. The adapter is trained in float32 and then given it too."""
        import torch

        return torch.bfloat16 if self.precision == "bfloat16-autocast" else torch.float32


def select_processor(precision: Literal["auto"] | Precision) -> Processor:
    """CUDA where there is a device, else the CPU.

    ``auto`` is bfloat16 autocast where the processor has bfloat16 arithmetic, and float32 where it would be emulated.
    """
    import torch

    device: Literal["cpu", "cuda"] = "cuda" if torch.cuda.is_available() else "cpu"
    best: Precision = "bfloat16-autocast" if _has_bfloat16(device) else "float32"
    chosen = best if precision == "auto" else precision
    return Processor(device, _description(device), chosen)


def _has_bfloat16(device: Literal["cpu", "cuda"]) -> bool:
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _description(device: Literal["cpu", "cuda"]) -> str:
    import torch

    if device == "cuda":
        major, minor = torch.cuda.get_device_capability()
        return f"{torch.cuda.get_device_name()}, compute {major}.{minor}, CUDA {torch.version.cuda}"
    capabilities = torch.cpu.get_capabilities()
    name = capabilities.get("cpu_name") or platform.processor() or platform.machine()
    # A sum is added up in as many parts as there are threads, so that their number is part of the arithmetic.
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
