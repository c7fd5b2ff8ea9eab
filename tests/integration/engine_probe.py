"""Looks into vLLM's worker process for the engine tests."""

from __future__ import annotations

from typing import Any

from inference.engine.worker_extension import AdapterIsolation, _copy_tensors, _slot_has_values


class ProbingIsolation(AdapterIsolation):
    """The production extension, with methods to see what it left behind."""

    def probe_slots(self) -> list[tuple[int | None, bool]]:
        """For each slot: the engine id of its adapter or ``None``, and whether it holds any value but zero."""
        manager = self._probe_manager()
        return [(held_by, _slot_has_values(manager, index)) for index, held_by in enumerate(manager.lora_index_to_id)]

    def probe_keep_copy(self, lora_id: int) -> bool:
        """Keep a reference to an adapter's copy in host memory; returns whether it holds values now."""
        self._probe_kept = list(_copy_tensors(self._probe_manager().list_adapters()[lora_id]))
        return self.probe_kept_copy_has_values()

    def probe_kept_copy_has_values(self) -> bool:
        return any(bool(tensor.any()) for tensor in self._probe_kept)

    def _probe_manager(self) -> Any:
        return self.model_runner.lora_manager._adapter_manager
