"""Remembers the number of the last event of each subscription, so that a gap is seen.

It is a bookmark: where it is lost, everything that the server still has is read again, and is the same events again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from schemas.base.integers import Count
from tenancy.errors import Refused

_NUMBERS = TypeAdapter(dict[str, Count])


@dataclass
class Positions:
    """``path``: None keeps it in memory only."""

    path: Path | None = None
    _numbers: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path is None or not self.path.exists():
            return
        try:
            self._numbers = _NUMBERS.validate_json(self.path.read_bytes())
        except (OSError, ValidationError):
            why = f"refused: {self.path} holds no positions; remove it, and all that the server has is read again"
            raise Refused("bad-positions", why) from None

    def get(self, subscription: str) -> int | None:
        return self._numbers.get(subscription)

    def put(self, subscription: str, number: int) -> None:
        """Only once the bus has everything up to this event."""
        if self._numbers.get(subscription) == number:
            return
        self._numbers[subscription] = number
        if self.path is not None:
            beside = self.path.with_name(f"{self.path.name}.new")
            beside.write_bytes(_NUMBERS.dump_json(self._numbers))
            beside.replace(self.path)
