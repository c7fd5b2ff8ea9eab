"""Extends vLLM's worker processes: keeps adapters apart, and removes one without a trace.

vLLM's ``remove_lora`` frees the adapter's slot without overwriting it: the weights stay until the next adapter that
gets the slot. The class is mixed into vLLM's worker (``worker_extension_cls``) and called by ``collective_rpc``. Such
a call runs between two steps of the worker, so no batch reads a slot while it is written, and it writes only slots
that vLLM has assigned to no adapter, so those that are decoding are not touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class AdapterIsolation:
    """Mixed into the worker: the names must not clash with the worker's own, or vLLM refuses to start."""

    model_runner: Any

    def keep_adapters_off_base_requests(self) -> bool:
        """To be called once, before the first request: see :mod:`inference.engine.cpu_lora_patch`.

        Returns whether this worker's kernels are known to skip requests without an adapter.
        """
        from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

        from inference.engine import cpu_lora_patch

        manager = self.model_runner.lora_manager._adapter_manager
        kernels = {type(wrapper) for wrapper in manager.punica_wrapper_mapping.values()}
        if kernels == {PunicaWrapperCPU}:
            cpu_lora_patch.install()
            return True
        return {kernel.__name__ for kernel in kernels} == {"PunicaWrapperGPU"}

    def adapts_no_vocabulary(self) -> bool:
        """Whether neither the embedding nor the logits take adapters; ``MapMismatch`` says why they must not."""
        from vllm.lora.layers import LogitsProcessorWithLoRA, VocabParallelEmbeddingWithLoRA

        modules = self.model_runner.lora_manager._adapter_manager.modules.values()
        return not any(isinstance(each, LogitsProcessorWithLoRA | VocabParallelEmbeddingWithLoRA) for each in modules)

    def compile_nothing_on_a_processor(self) -> None:
        """vLLM compiles some small operations when a request first needs them, as one for log probabilities does: on a
        processor that takes ten seconds, in which all tenants wait, and gains nothing.
        """
        import torch
        from vllm.platforms import current_platform

        if current_platform.is_cpu():
            torch.compiler.set_stance("force_eager")

    def forget_lora_and_overwrite(self, lora_id: int) -> dict[str, bool]:
        """Remove the adapter, then write zeros over its loaded copy and over every slot that no adapter holds.

        One call, because between two an ``add_lora`` could take the slot. Idempotent: for an adapter that is not
        there it overwrites the free slots again. Returns plain values, which is what crosses the process boundary:
        ``removed`` (it was loaded), ``slots_clear`` (no slot is assigned to it, and all free slots were read back as
        zero).
        """
        manager = self.model_runner.lora_manager._adapter_manager
        copy = manager.list_adapters().get(lora_id)
        removed = bool(self.model_runner.remove_lora(lora_id))
        # Only after removal, so that no step can be given zeros in place of the adapter.
        for tensor in _copy_tensors(copy):
            tensor.zero_()
        free = [index for index, held_by in enumerate(manager.lora_index_to_id) if held_by is None]
        for module in manager.modules.values():
            for index in free:
                module.reset_lora(index)
        clear = lora_id not in manager.lora_index_to_id and not any(_slot_has_values(manager, index) for index in free)
        return {"removed": removed, "slots_clear": clear}


def _slot_has_values(manager: Any, index: int) -> bool:
    return any(bool(tensor[index].any()) for module in manager.modules.values() for tensor in _slot_tensors(module))


def _slot_tensors(module: Any) -> Iterator[Any]:
    """The module's adapter tensors whose first dimension is the slot.

    A mixture-of-experts layer keeps them as ``w13_…`` and ``w2_…``; its ``lora_a_stacked`` is a flat list of views of
    the same memory, one for each slot and expert, and so not indexed by slot.
    """
    names = [name for name in vars(module) if name.endswith(("_lora_a_stacked", "_lora_b_stacked"))]
    for name in names or ["lora_a_stacked", "lora_b_stacked"]:
        held = getattr(module, name)
        yield from held if isinstance(held, tuple | list) else (held,)


def _copy_tensors(copy: Any) -> Iterator[Any]:
    """The tensors of the adapter's loaded copy in host memory; a packed layer holds lists with gaps."""
    for layer in () if copy is None else copy.loras.values():
        for held in (layer.lora_a, layer.lora_b):
            for tensor in held if isinstance(held, tuple | list) else (held,):
                if tensor is not None:
                    yield tensor
