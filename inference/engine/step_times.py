"""Shares the engine's time out by tokens, step by step: each step's to the owners of what it computed.

A step computes one or more new tokens of each running request and, in the step of a request's first token, what was
left of its prompt. Its time runs from the end of the step before, or from when the engine got something to do, until
its output was made; both clocks are the machine's monotonic one. What no output tells of (steps that only read a part
of a long prompt, and requests that are aborted) is shared out with the step that comes next.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Stepped = Callable[[str, float, int], None]
"""Takes an owner, its seconds of the device, and its prompt tokens that were cached."""

# vLLM's id of a sequence: which of n it is, the route, our request's id, and what vLLM appends.
_SEQUENCE = re.compile(r"(?:(?P<index>\d+)_)?(?:chat)?cmpl-(?P<request>[^-]+)-")


@dataclass
class StepTimes:
    """``owner_of``: of a running request, by its id."""

    stepped: Stepped
    owner_of: Callable[[str], str | None]
    now: Callable[[], float] = time.monotonic
    _since: float = 0.0
    _at: float = 0.0
    _tokens: dict[str, int] = field(default_factory=dict)
    _cached: dict[str, int] = field(default_factory=dict)

    def busy(self) -> None:
        """The engine had nothing to do, and has from now on."""
        self._settle()
        self._since = self.now()

    def step(self, outputs: Sequence[Any], at: float | None) -> None:
        """Outputs of vLLM's engine core, and when they were made. A large step comes in pieces of the same time."""
        if at is None or not outputs:
            return
        if at != self._at:
            self._settle()
            self._at = at
        for output in outputs:
            named = _SEQUENCE.match(output.request_id)
            owner = self.owner_of(named["request"]) if named else None
            if named is None or owner is None:
                continue
            tokens = len(output.new_token_ids)
            if output.prefill_stats is not None:
                tokens += output.prefill_stats.num_computed_tokens
                if named["index"] in (None, "0"):  # the others of n find the prompt that the first one read
                    cached = output.prefill_stats.num_cached_tokens
                    self._cached[owner] = self._cached.get(owner, 0) + cached
            self._tokens[owner] = self._tokens.get(owner, 0) + tokens

    def _settle(self) -> None:
        total = sum(self._tokens.values())
        if total:
            elapsed = max(0.0, self._at - self._since)
            for owner, tokens in self._tokens.items():
                self.stepped(owner, elapsed * tokens / total, self._cached.get(owner, 0))
            self._since = max(self._since, self._at)
        self._tokens, self._cached = {}, {}

    def idle(self) -> None:
        """Nothing runs any more: the last step is shared out."""
        self._settle()
