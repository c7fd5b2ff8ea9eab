"""Makes vLLM's scheduler drop compiled grammars where it drops cached blocks.

A schema can hold a tenant's words, in names and enumerations, and vLLM keeps the grammars that it compiled. Removing a
tenant resets the prefix cache: what was compiled goes with it. Named by the engine's settings, and imported in the
engine's process only.
"""

from __future__ import annotations

from typing import Any

from inference.engine import quiet


def forgetting_scheduler(**parts: Any) -> Any:
    """The scheduler that vLLM would make itself, with that change. ``parts`` are vLLM's own arguments."""
    from vllm.v1.core.sched.async_scheduler import AsyncScheduler
    from vllm.v1.core.sched.scheduler import Scheduler

    quiet.silence()
    base: Any = AsyncScheduler if parts["vllm_config"].scheduler_config.async_scheduling else Scheduler

    class ForgettingScheduler(base):  # type: ignore[misc]
        def reset_prefix_cache(self, *arguments: Any, **named: Any) -> bool:
            backend = self.structured_output_manager.backend
            if backend is not None:
                backend.compiler.clear_cache()
            return bool(super().reset_prefix_cache(*arguments, **named))

    return ForgettingScheduler(**parts)
