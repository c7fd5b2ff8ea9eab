"""The stored example messages of every event type and version."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.bus.envelope import Event, decode

EXAMPLES = Path(__file__).parents[2] / "schemas" / "examples"


@dataclass(frozen=True)
class StoredExample:
    """One message as a producer of its day sent it. It is never edited: messages like it are on topics."""

    path: Path
    key: str
    headers: dict[str, str]
    value: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> StoredExample:
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls(path, content["key"], content["headers"], content["value"])

    def decode(self) -> Event:
        headers = [(name, value.encode()) for name, value in self.headers.items()]
        return decode(self.key.encode(), json.dumps(self.value).encode(), headers)

    def __str__(self) -> str:
        return str(self.path.relative_to(EXAMPLES))


def stored_examples() -> list[StoredExample]:
    return [StoredExample.read(path) for path in sorted(EXAMPLES.rglob("*.json"))]
