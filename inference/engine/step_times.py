"""Counts the tokens of each request, step by step, and shares the engine's time out by them: each step's to the owners
of what it computed.

A step computes one or more new tokens of each running request and, in the step of a request's first token, what was
left of its prompt. Its time runs from the end of the step before, or from when the engine got something to do, until
its output was made; both clocks are the machine's monotonic one. What no output tells of (steps that only read a part
of a long prompt, and requests that are aborted) is shared out with the step that comes next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

_CHAT = "chatcmpl-"
Stepped = Callable[[str, float, int], None]
"""Takes an owner, its seconds of the device, and its prompt tokens that were cached."""


class Counted(Protocol):
    """A running request."""

    owner: str

    def computed(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Take the tokens of a step."""


def _named(sequence: str) -> tuple[str, bool]:
    """The request of a sequence, by vLLM's id of it, and whether it is the first of its prompt.

    The id says which of n it is, the route, our request's id, for completions which of the prompts, and what vLLM
    appends.
    """
    if sequence.startswith(_CHAT):  # nearly each, and each with every token of it
        return sequence[len(_CHAT) : sequence.rindex("-")], True
    before, _, rest = sequence.partition("cmpl-")
    request = rest.rpartition("-")[0]
    if not before.endswith("chat"):
        request = request.rpartition("-")[0]
    return request, before.removesuffix("chat") in ("", "0_")


@dataclass
class StepTimes:
    """``running``: a running request, by its id."""

    stepped: Stepped
    running: Callable[[str], Counted | None]
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
            name, is_first = _named(output.request_id)
            request = self.running(name)
            if request is None:
                continue
            owner, prompt = request.owner, 0
            made = tokens = len(output.new_token_ids)
            if output.prefill_stats is not None:
                tokens += output.prefill_stats.num_computed_tokens
                if is_first:  # the others of n find the prompt that the first one read
                    prompt = output.prefill_stats.num_prompt_tokens
                    cached = output.prefill_stats.num_cached_tokens
                    self._cached[owner] = self._cached.get(owner, 0) + cached
            request.computed(prompt, made)
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
