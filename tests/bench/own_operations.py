"""Gives vLLM's own server the operations by which a replica on a CPU applies adapters: then only the servers differ.

Named by the settings of that server's engine, and imported in its worker only.
"""

from __future__ import annotations

from inference.engine import cpu_lora_patch
from inference.engine.worker_extension import AdapterIsolation

cpu_lora_patch.install()


class OwnOperations(AdapterIsolation):
    """The production extension; the operations are in place since this module was imported."""
