"""Counts what a canary and the active adapter answer, so that the ledger can compare them: sums, and nothing of a text.

Only requests that were shared out between the two count: one that names a digest or the base model says nothing of
either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from inference.engine.errors import EngineRefused
from inference.errors import RequestRefused
from schemas.objects.state import TenantState

Role = Literal["candidate", "active"]

_REFUSING = (
    "i'm sorry",
    "i am sorry",
    "sorry,",
    "i apologize",
    "i cannot",
    "i can't",
    "i can not",
    "i am unable",
    "i'm unable",
    "i am not able",
    "i'm not able",
    "i won't",
    "as an ai",
    "as a language model",
    "unfortunately, i can",
)
"""How refusals of English models begin: after the list of Zou et al., Universal and Transferable Adversarial Attacks on
Aligned Language Models (2023), appendix B. Both versions are judged by it, so what it misses it misses in both.
"""


@dataclass(frozen=True)
class Version:
    """One side of a comparison: of the canary that began with this change of adapter."""

    activation: int
    role: Role


@dataclass
class Counts:
    """Sums of one version since the last report."""

    answers: int = 0
    errors: int = 0
    refusals: int = 0
    rated_down: int = 0
    seconds: float = 0.0

    def answered(self, seconds: float, opening: str) -> None:
        self.answers += 1
        self.seconds += seconds
        self.refusals += is_refusal(opening)

    def failed(self) -> None:
        self.answers += 1
        self.errors += 1


def version_of(state: TenantState, adapter: str | None) -> Version | None:
    """Which side of its tenant's comparison an adapter is, None for the base model; None if it is on none."""
    if state.canary is None:
        return None
    if adapter == state.canary.adapter_digest:
        return Version(state.canary.activation, "candidate")
    return Version(state.canary.activation, "active") if adapter == state.active_adapter else None


def is_refusal(opening: str) -> bool:
    """Whether an answer that begins so is a model's refusal."""
    return opening.lstrip().replace("\u2019", "'").casefold().startswith(_REFUSING)


def is_failure(error: BaseException) -> bool:
    """Whether the answer failed on this side, and not because of what was asked."""
    return isinstance(error, RequestRefused | EngineRefused) and error.status >= 500
