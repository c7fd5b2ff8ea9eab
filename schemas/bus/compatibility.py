"""Finds breaking changes between two versions of a JSON Schema, for readers and writers of the old one.

Topics are replayed, so today's consumer must read every message that was ever valid: the check compares what the old
schema accepts with what the new one accepts. A changed keyword that the check does not know is reported too, since
nobody has shown that it is harmless.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]

REMEDY = (
    "A published version never changes in these ways: messages of it are on topics and in other people's programs. "
    "Either make the change compatible (a new field gets a default, an old one stays), or add a new event type beside "
    "this one, publish both until every consumer reads the new one, and only then stop publishing the old one."
)

# A default is advice: our producers write every value, so no stored message changes its meaning with one.
_ANNOTATIONS = {"$schema", "$id", "$defs", "$comment", "title", "description", "examples", "deprecated", "default"}
_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_COMPARED = {
    "type",
    "const",
    "enum",
    "pattern",
    "format",
    "properties",
    "required",
    "items",
    "additionalProperties",
    "discriminator",
    "anyOf",
    "oneOf",
    "$ref",
    *_LOWER,
    *_UPPER,
}


def breaking_changes(old: Schema, new: Schema) -> list[str]:
    """Every breaking change from ``old`` to ``new``, in words; empty when there is none.

    Compatible are: a new optional property, a property that is required no more, and whatever accepts more than
    before. ``old`` and ``new`` are whole documents whose references point into their own ``$defs``.
    """
    return list(_Comparison(old, new).changes("", old, new))


@dataclass(frozen=True)
class _Comparison:
    old_root: Schema
    new_root: Schema

    def changes(self, path: str, old: Schema, new: Schema) -> Iterator[str]:
        where = path or "the data"
        old, new = _resolved(self.old_root, old), _resolved(self.new_root, new)
        yield from _discriminator_changes(where, old, new)
        old_choices, new_choices = _choices(self.old_root, old), _choices(self.new_root, new)
        if len(old_choices) == len(new_choices) == 1:
            yield from self._one(path, old_choices[0], new_choices[0])
            return
        for choice in old_choices:
            attempts = [list(self._one(path, choice, candidate)) for candidate in new_choices]
            if all(attempts):
                closest = min(attempts, key=len)
                yield f"{where}: {_describe(choice)} is accepted no more ({'; '.join(closest)})"

    def _one(self, path: str, old: Schema, new: Schema) -> Iterator[str]:
        where = path or "the data"
        yield from _type_changes(where, old, new)
        yield from _value_changes(where, old, new)
        yield from _bound_changes(where, old, new)
        yield from self._property_changes(path, old, new)
        for keyword in ("items", "additionalProperties"):
            yield from self._member_changes(path, keyword, old, new)
        for keyword in sorted((old.keys() | new.keys()) - _COMPARED - _ANNOTATIONS):
            if not _same(old.get(keyword), new.get(keyword)):
                yield f"{where}: {keyword!r} changed, which this check cannot judge"

    def _property_changes(self, path: str, old: Schema, new: Schema) -> Iterator[str]:
        where = path or "the data"
        before, after = old.get("properties", {}), new.get("properties", {})
        added = sorted(after.keys() - before.keys())
        for name in before:
            inner = f"{path}.{name}" if path else name
            if name in after:
                yield from self.changes(inner, before[name], after[name])
            else:
                renamed = f" (renamed to {' or '.join(added)}?)" if added else ""
                yield f"{inner}: the property was removed{renamed}"
        for name in sorted(set(new.get("required", ())) - set(old.get("required", ()))):
            kind = "became required" if name in before else "is new and required"
            yield f"{where}: the property {name!r} {kind}: messages that were written without it are refused"

    def _member_changes(self, path: str, keyword: str, old: Schema, new: Schema) -> Iterator[str]:
        before, after = old.get(keyword, True), new.get(keyword, True)
        inner = f"{path}[]" if keyword == "items" else f"{path}.*"
        if after is True or before is False:
            return
        if before is True or after is False:
            yield f"{inner}: {keyword} was narrowed"
        else:
            yield from self.changes(inner, before, after)


def _resolved(root: Schema, node: Schema) -> Schema:
    """``node`` with its reference, if it is one, replaced by what it refers to; its own keywords win."""
    while "$ref" in node:
        target = root
        for part in str(node["$ref"]).removeprefix("#/").split("/"):
            target = target[part]
        node = {**target, **{name: value for name, value in node.items() if name != "$ref"}}
    return node


def _choices(root: Schema, node: Schema) -> list[Schema]:
    """The alternatives of a union, flat; a schema without one is its only alternative."""
    options = node.get("anyOf") or node.get("oneOf")
    if options is None:
        return [node]
    shared = {name: value for name, value in node.items() if name not in {"anyOf", "oneOf", "discriminator", "default"}}
    return [choice for option in options for choice in _choices(root, {**shared, **_resolved(root, option)})]


def _discriminator_changes(where: str, old: Schema, new: Schema) -> Iterator[str]:
    before, after = old.get("discriminator"), new.get("discriminator")
    if before and after and before.get("propertyName") != after.get("propertyName"):
        yield f"{where}: the discriminator changed from {before['propertyName']!r} to {after['propertyName']!r}"


def _types(node: Schema) -> set[str] | None:
    declared = node.get("type")
    if declared is None:
        return None
    types = {declared} if isinstance(declared, str) else set(declared)
    return types | {"integer"} if "number" in types else types


def _type_changes(where: str, old: Schema, new: Schema) -> Iterator[str]:
    before, after = _types(old), _types(new)
    if after is None:
        return
    if before is None or before - after:
        spelled = ", ".join(sorted(before)) if before is not None else "anything"
        yield f"{where}: the type was narrowed from {spelled} to {', '.join(sorted(after))}"


def _values(node: Schema) -> list[Any] | None:
    if "const" in node:
        return [node["const"]]
    return list(node["enum"]) if "enum" in node else None


def _value_changes(where: str, old: Schema, new: Schema) -> Iterator[str]:
    before, after = _values(old), _values(new)
    if after is not None:
        if before is None:
            yield f"{where}: only {_show(after)} is accepted now, where any value was"
        elif gone := [value for value in before if not any(_same(value, kept) for kept in after)]:
            yield f"{where}: {_show(gone)} is accepted no more"
    for keyword in ("pattern", "format"):
        # Whether one pattern accepts all that another did cannot be decided here, so any other one is reported.
        if keyword in new and old.get(keyword) != new[keyword]:
            yield f"{where}: the {keyword} changed from {old.get(keyword)!r} to {new[keyword]!r}"


def _bound_changes(where: str, old: Schema, new: Schema) -> Iterator[str]:
    for keyword in (*_LOWER, *_UPPER):
        sign = 1 if keyword in _LOWER else -1
        if keyword not in new:
            continue
        if _implied(keyword, old, new[keyword], sign):
            continue
        yield f"{where}: {keyword} was narrowed from {old.get(keyword, 'none')} to {new[keyword]}"


def _implied(keyword: str, old: Schema, bound: float, sign: int) -> bool:
    """Whether everything that the old bounds let through also passes ``keyword: bound``."""
    if keyword in old and sign * old[keyword] >= sign * bound:
        return True
    inclusive, exclusive = _numeric(sign)
    if keyword == inclusive and exclusive in old:
        return bool(sign * old[exclusive] >= sign * bound)
    if keyword == exclusive and inclusive in old:
        return bool(sign * old[inclusive] > sign * bound)
    return False


def _numeric(sign: int) -> tuple[str, str]:
    return ("minimum", "exclusiveMinimum") if sign > 0 else ("maximum", "exclusiveMaximum")


def _same(one: Any, other: Any) -> bool:
    """Equality of JSON values: 1 and true differ, which Python does not see."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _show(value: Any) -> str:
    return json.dumps(value)


def _describe(choice: Schema) -> str:
    values = _values(choice)
    if values is not None:
        return _show(values)
    return str(choice.get("title") or choice.get("type") or "an alternative")
