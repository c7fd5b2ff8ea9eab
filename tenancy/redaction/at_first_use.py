"""Makes the redaction gate when the first text needs it: its models take seconds to read, and memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from tenancy.redaction.port import RedactionGate

GateSource = Callable[[], RedactionGate]
"""Gives the gate. Called in a thread, and by several at once."""


@dataclass
class AtFirstUse:
    """One gate for the whole process. While one thread makes it the others wait for it."""

    make: GateSource
    _gate: RedactionGate | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __call__(self) -> RedactionGate:
        with self._lock:
            if self._gate is None:
                self._gate = self.make()
            return self._gate
