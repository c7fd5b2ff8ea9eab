"""Events that are nearly right: one of each type, changed in a place or two, as whoever may write to a topic can."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from aiokafka import ConsumerRecord
from pydantic import ValidationError

from schemas.base.contract import read_tolerant
from schemas.bus.envelope import Event, MalformedEvent, encode
from tests.attack.odd_values import odd, written
from tests.fixtures.records import raw_record

Path = tuple[str | int, ...]

_MOMENTS = (
    *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "1969-12-31T23:59:59Z", "2026-01-01T00:00:00+14:00"),
    *("2026-02-30T00:00:00Z", "2026-01-01T00:00:00", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "now"),
)
_NUMBERS = (-1, 0, 1, 2, 50, 2**31, 2**53, 2**53 + 1, 2**63, 10**40, 1.0, 1.5, True, "1")
_IDS = ("", ".", "..", "a/b", "A", "a" * 128, "a" * 129, "\0", "\ud800", "état", "-", "_")
_HEADERS = (
    *("ce_specversion", "ce_id", "ce_type", "ce_source", "ce_subject", "ce_time", "ce_dataschema", "content-type"),
    *("ce_causationid", "ce_replayid", "traceparent", "sano_only_for", "ce_originaltopic", "ce_originaloffset"),
)


@dataclass(frozen=True)
class Mutations:
    """Changes events of a tenant. ``ids`` and ``digests`` are such as occur; ``word`` is a text that no id may be."""

    ids: Sequence[str]
    digests: Sequence[str]
    marker: str

    @property
    def word(self) -> str:
        return f"Frau {self.marker}"

    def record(self, event: Event, rng: Random) -> ConsumerRecord[Any, Any]:
        """The event as a record, after one to three changes of its data, or one of its headers or key."""
        kind = rng.random()
        if kind < 0.75:
            return self._with_data(event, rng)
        message = encode(event)
        if kind < 0.9:
            return raw_record(message.topic, message.key, message.value, self._headers(message.headers, rng))
        if kind < 0.93:
            key = rng.choice((b"", b"tenant-one", self.word.encode(), b"\xff"))
            return raw_record(message.topic, key, message.value, message.headers)
        value = rng.choice(self._values(message.value, rng))
        return raw_record(message.topic, message.key, value, message.headers)

    def _with_data(self, event: Event, rng: Random) -> ConsumerRecord[Any, Any]:
        data = json.loads(event.data.model_dump_json())
        for _ in range(rng.randint(1, 3)):
            place = rng.choice([path for path in places(data) if path])
            data = planted(data, place, self.instead(at(data, place), rng))
        body = written(data, rng)
        message = encode(event)
        try:  # as a publisher would who knows the contract: with the id that the changed data determine
            changed = Event(event.subject, read_tolerant(type(event.data), body), event.time, event.source)
            headers: Sequence[tuple[str, bytes | None]] = encode(changed).headers
        except (ValidationError, MalformedEvent, ValueError):
            headers = message.headers
        return raw_record(message.topic, message.key, body, headers)

    def instead(self, value: Any, rng: Random) -> Any:
        if rng.random() < 0.15:
            return odd(rng, self.word)
        if isinstance(value, bool):
            return rng.choice((not value, None, 1, "true"))
        if isinstance(value, int | float):
            return rng.choice(_NUMBERS)
        if isinstance(value, str):
            if re.fullmatch("[0-9a-f]{64}", value):
                return rng.choice((*self.digests, "0" * 64, "A" * 64, "a" * 63, ""))
            if re.match(r"\d{4}-\d\d-\d\dT", value):
                return rng.choice(_MOMENTS)
            return rng.choice((*self.ids, *_IDS, self.marker, self.word))
        if isinstance(value, list):
            return rng.choice(([], value * 2, value * 500, [None], [self.word]))
        if isinstance(value, dict):
            return rng.choice(({}, {**value, self.word: self.word}, [value], None))
        return rng.choice((self.marker, 7, *self.digests))

    def _headers(self, headers: Sequence[tuple[str, bytes]], rng: Random) -> list[tuple[str, bytes | None]]:
        changed: list[tuple[str, bytes | None]] = list(headers)
        name = rng.choice(_HEADERS)
        moments = tuple(moment.encode() for moment in _MOMENTS)
        value = rng.choice((None, b"", b"\xff\xfe", self.word.encode(), b"a" * 9_000, b"inference.replica-0", *moments))
        match rng.randrange(3):
            case 0:
                changed = [pair for pair in changed if pair[0] != name]
            case 1:
                changed = [(held, value if held == name else old) for held, old in changed]
            case _:
                changed.append((name, value))
        return changed

    def _values(self, value: bytes, rng: Random) -> tuple[bytes | None, ...]:
        return (
            *(None, b"", b"null", b"[]", value[: rng.randrange(len(value))], value + value, b"[" * 100_000),
            *(
                json.dumps(self.word).encode(),
                value.decode().encode("utf-16"),
                b"\xef\xbb\xbf" + value,
                rng.randbytes(99),
            ),
            value.replace(b"{", b'{"x": ' + b"9" * 5_000 + b", ", 1),
        )


def places(node: Any, path: Path = ()) -> Iterator[Path]:
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, value in items:
        yield from places(value, (*path, name))


def at(node: Any, path: Path) -> Any:
    for part in path:
        node = node[part]
    return node


def planted(node: Any, path: Path, value: Any) -> Any:
    """The node with ``value`` in a place; what lies beside the way to it is shared."""
    if not path:
        return value
    first, *rest = path
    inner = planted(node[first], tuple(rest), value)
    if isinstance(node, dict):
        return {**node, first: inner}
    return [inner if number == first else held for number, held in enumerate(node)]
