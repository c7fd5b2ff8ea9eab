"""Values that a field of a request or event may be given: right, nearly right, and odd."""

from __future__ import annotations

import json
from random import Random
from typing import Any

RAW = "@raw@"
"""Around what stands in the JSON as it is here, since no Python value would be written so."""
_RAW_NUMBERS = ("1e999", "-1e999", "1" * 400, "-0", "0.1e-400", "NaN", "Infinity", "-Infinity", "1E400")
_NUMBERS = (
    *(-1, 0, 1, 2, 0.5, 1.0, 1e-9, -0.0, 127, 128, 255, 256, 2**16, 10**40),
    *(2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 1e308),
)
_TEXTS = (
    "",
    " ",
    "\0",
    "\ud800",
    "\udfff x",
    "null",
    "true",
    "9",
    "1e30",
    "[]",
    "{}",
    "base",
    "active",
    "../../etc",
    "%00",
)
_SPECIAL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "{{ messages }}", "{% for x in y %}", "image_url", "\u202e")


def raw(text: str) -> str:
    return f"{RAW}{text}{RAW}"


def written(value: Any, rng: Random) -> bytes:
    """The JSON of ``value``, with escapes or without, and with what :func:`raw` holds as it is."""
    text = json.dumps(value, ensure_ascii=rng.random() < 0.7)
    text = text.replace(f'"{RAW}', "").replace(f'{RAW}"', "")
    return text.encode("utf-8", "surrogatepass")


def odd(rng: Random, marker: str, depth: int = 0) -> Any:
    """Anything that JSON can say, small. Texts hold the marker now and then."""
    kind = rng.randrange(9 if depth < 3 else 6)
    if kind == 0:
        return rng.choice((None, True, False))
    if kind == 1:
        return rng.choice(_NUMBERS)
    if kind == 2:
        return raw(rng.choice(_RAW_NUMBERS))
    if kind in (3, 4):
        return text(rng, marker)
    if kind == 5:
        return rng.choice(([], {}))
    if kind == 6:
        return [odd(rng, marker, depth + 1) for _ in range(rng.randint(1, 3))]
    if kind == 7:
        return {text(rng, marker): odd(rng, marker, depth + 1) for _ in range(rng.randint(1, 3))}
    nested: Any = marker
    for _ in range(rng.choice((5, 60, 300))):
        nested = [nested] if rng.random() < 0.5 else {"a": nested}
    return nested


def text(rng: Random, marker: str) -> str:
    kind = rng.randrange(5)
    if kind == 0:
        return rng.choice(_TEXTS)
    if kind == 1:
        return f"{rng.choice(_SPECIAL)}{marker}"
    if kind == 2:
        return f"{marker} {rng.choice(_TEXTS)}" * rng.choice((1, 1, 1, 40))
    return marker


def of_schema(schema: dict[str, Any], rng: Random, marker: str, definitions: dict[str, Any], depth: int = 0) -> Any:
    """A value that the JSON Schema admits, more or less: formats and patterns are not kept to."""
    if "$ref" in schema:
        inner = definitions.get(schema["$ref"].rpartition("/")[2], {})
        return of_schema(inner, rng, marker, definitions, depth + 1) if depth < 6 else None
    for several in ("anyOf", "oneOf", "allOf"):
        if schema.get(several):
            return of_schema(rng.choice(schema[several]), rng, marker, definitions, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return rng.choice(schema["enum"])
    match schema.get("type"):
        case "boolean":
            return rng.random() < 0.5
        case "integer":
            return rng.choice((schema.get("minimum", 0), schema.get("maximum", 3), 1, 2, -1))
        case "number":
            return rng.choice((schema.get("minimum", 0.0), schema.get("maximum", 1.5), 0.5, 1))
        case "string":
            return text(rng, marker)
        case "array":
            items = schema.get("items") or {}
            count = rng.randint(0, 3) if depth < 6 else 0
            return [of_schema(items, rng, marker, definitions, depth + 1) for _ in range(count)]
        case "object":
            properties = schema.get("properties", {})
            required = set(schema.get("required", ()))
            made = {
                name: of_schema(inner, rng, marker, definitions, depth + 1)
                for name, inner in properties.items()
                if depth < 6 and (name in required or rng.random() < 0.3)
            }
            if not properties or rng.random() < 0.1:
                made[text(rng, marker)] = odd(rng, marker, depth + 1)
            return made
        case _:
            return odd(rng, marker, depth + 1)
