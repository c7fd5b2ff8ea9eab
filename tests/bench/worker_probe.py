"""Looks into vLLM's worker process for the benchmark of adapters."""

from __future__ import annotations

import time

from tests.integration.engine_probe import ProbingIsolation


class TimingIsolation(ProbingIsolation):
    """The production extension, with a clock beside the copy into a slot."""

    def probe_activation_ms(self, lora_id: int) -> float:
        """Take a loaded adapter out of its slot, if it has one, and time its copy from host memory into one."""
        manager = self._probe_manager()
        manager.deactivate_adapter(lora_id)
        started = time.perf_counter()
        manager.activate_adapter(lora_id)
        return (time.perf_counter() - started) * 1000
