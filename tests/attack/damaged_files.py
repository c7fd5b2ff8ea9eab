"""Files that are nearly what they should be: bytes cut, changed and nested, and JSON that says something else."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.attack.fuzzed_events import Mutations, at, places, planted
from tests.attack.odd_values import written
from tests.fixtures.all_keys import AllKeys

DEEP = 100_000


@dataclass(frozen=True)
class Damage:
    """Makes other files of a sound one. ``signer``: whoever can sign may sign anything, so half of the statements that
    are changed get a good signature.
    """

    mutations: Mutations
    signer: AllKeys

    def of(self, body: bytes, rng: Random) -> bytes:
        kind = rng.random()
        if kind < 0.4:
            return self._bytes(body, rng)
        lines = body.splitlines()
        if len(lines) > 1 and (changed := self._lines(lines, rng)) is not None:
            return changed
        try:
            held = json.loads(body)
        except ValueError:
            return self._bytes(body, rng)
        if kind < 0.7 and isinstance(held, dict) and "payload" in held:
            return self._statement(held, rng)
        return self._json(held, rng)

    def _bytes(self, body: bytes, rng: Random) -> bytes:
        at_byte = rng.randrange(len(body) + 1)
        word = self.mutations.word.encode()
        return rng.choice(
            (
                *(b"", b"\n", b"\0" * 64, b"null", b"7", b'"x"', b"[]", b"{}", word, rng.randbytes(200), b"\xff\xfe"),
                *(body[:at_byte], body[at_byte:], body + body, body + word, word + body, b"\xef\xbb\xbf" + body),
                body[:at_byte] + bytes([rng.randrange(256)]) + body[at_byte + 1 :],
                *(b"[" * DEEP, b'{"a":' * DEEP, b"[" * DEEP + b"]" * DEEP, b"9" * 10_000, b"-" * 99),
                *(b'{"payload": "' + base64.b64encode(b"[" * DEEP) + b'"}', b'{"format": ' + b"[" * DEEP),
                body.decode("utf-8", "replace").encode("utf-16"),
                body.replace(b"\n", b"\r\n"),
            )
        )

    def _lines(self, lines: list[bytes], rng: Random) -> bytes | None:
        number = rng.randrange(len(lines))
        try:
            held = json.loads(lines[number])
        except ValueError:
            return None
        changed = (*lines[:number], self._json(held, rng), *lines[number + 1 :])
        return rng.choice(
            (
                b"\n".join(changed),
                b"\n".join(changed),
                b"\n".join(rng.sample(lines, len(lines))),
                b"\n".join([*lines, lines[number]]),
                b"\n".join(lines[:number]),
            )
        )

    def _json(self, held: Any, rng: Random) -> bytes:
        for _ in range(rng.randint(1, 2)):
            place = rng.choice(list(places(held)))
            held = planted(held, place, self.mutations.instead(at(held, place), rng))
        return written(held, rng)

    def _statement(self, envelope: dict[str, Any], rng: Random) -> bytes:
        said = json.loads(base64.b64decode(envelope["payload"]))
        place = rng.choice(list(places(said)))
        changed = planted(said, place, self.mutations.instead(at(said, place), rng))
        if rng.random() < 0.5:
            try:
                return json.dumps(self.signer.sign(changed)).encode()
            except (ValueError, TypeError, AttributeError):
                pass  # what has no canonical form nobody could sign
        return json.dumps({**envelope, "payload": base64.b64encode(written(changed, rng)).decode()}).encode()
