"""Checks what constrains an answer's shape: ``response_format``, ``structured_outputs``, ``tools`` and ``tool_choice``.

All of it becomes grammars that vLLM compiles, on the event loop and in the engine that all tenants share, so each
schema is bounded here in size, depth, and length of its patterns. What a compiler makes of it is tried out elsewhere
before vLLM sees it: :mod:`inference.engine.grammars`. The backend is always xgrammar.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from inference.engine import field_checks
from inference.engine.errors import EngineRefused
from inference.engine.field_checks import refused
from inference.engine.pattern_weight import MAX_WEIGHT, weight

MAX_SCHEMA_BYTES = 32_768
MAX_SCHEMA_DEPTH = 24  # of JSON; OpenAI allows 10 levels of objects, each of which is two of these
MAX_SCHEMA_NODES = 4096
MAX_PATTERN = 512
MAX_CHOICE_ENTRIES = 256
MAX_CHOICE_LENGTH = 256
MAX_TOOLS = 128  # OpenAI's own limit
MAX_TOOLS_BYTES = 131_072
MAX_DESCRIPTION = 4096

NO_PARAMETERS = {"type": "object", "properties": {}, "additionalProperties": False}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FORMATS = ("text", "json_object", "json_schema")
_STRUCTURED = ("json", "regex", "choice", "json_object")
# With a grammar only its end may end an answer: with these, a token could be asked for that the grammar does not have.
_NOT_WITH_GRAMMAR = ("ignore_eos", "min_tokens", "stop_token_ids")

Kind = Literal["json", "regex"]


@dataclass(frozen=True)
class Constraint:
    """One grammar that vLLM will compile: a JSON schema or a regular expression, as text.

    ``field`` is the caller's field that it comes from.
    """

    field: str
    kind: Kind
    text: str


def response_format(field: str, value: Any) -> None:
    if not isinstance(value, dict) or value.get("type") not in _FORMATS:
        raise refused(field, f"must be an object with a type of {', '.join(_FORMATS)}")
    if value["type"] == "json_schema":
        given = _only(f"{field}.json_schema", value.get("json_schema"), "name", "description", "schema", "strict")
        _name(f"{field}.json_schema.name", given.get("name"))
        _strict(f"{field}.json_schema.strict", given.get("strict"))
        _description(f"{field}.json_schema.description", given.get("description"))
        schema(f"{field}.json_schema.schema", given.get("schema"))
    _only(field, value, "type", *(["json_schema"] if value["type"] == "json_schema" else []))


def structured_outputs(field: str, value: Any) -> None:
    """vLLM's own field, without EBNF grammars, which can make each token dearer than the last: exactly one of these."""
    given = {name: each for name, each in _only(field, value, *_STRUCTURED).items() if each is not None}
    if len(given) != 1:
        raise refused(field, f"must have exactly one of {', '.join(_STRUCTURED)}")
    (name, constraint), where = next(iter(given.items())), f"{field}.{next(iter(given))}"
    if name == "json":
        schema(where, constraint)
    elif name == "json_object":
        if constraint is not True:
            raise refused(where, "must be true")
    elif name == "choice":
        _choices(where, constraint)
    else:
        field_checks.text(where, constraint)
        if not constraint or "\0" in constraint:
            raise refused(where, "must not be empty, and hold no NUL")
        _pattern(where, constraint)


def tools(field: str, value: Any) -> None:
    if not isinstance(value, list) or len(value) > MAX_TOOLS:
        raise refused(field, f"must be a list of at most {MAX_TOOLS} tools")
    names, characters = set(), 0
    for index, tool in enumerate(value):
        where = f"{field}[{index}]"
        if not isinstance(tool, dict) or tool.get("type") != "function":
            raise refused(where, "must be an object of type function")
        function = _only(f"{where}.function", tool.get("function"), "name", "description", "parameters", "strict")
        _only(where, tool, "type", "function")
        _name(f"{where}.function.name", function.get("name"))
        _description(f"{where}.function.description", function.get("description"))
        _strict(f"{where}.function.strict", function.get("strict"))
        if function.get("parameters"):
            characters += schema(f"{where}.function.parameters", function["parameters"])
        if characters > MAX_TOOLS_BYTES:
            raise _too_long(field)
        names.add(function["name"])
    if len(names) != len(value):
        raise refused(field, "must have names that differ")
    if len(json.dumps(value)) > MAX_TOOLS_BYTES:
        raise _too_long(field)


def _too_long(field: str) -> EngineRefused:
    return refused(field, f"may be {MAX_TOOLS_BYTES} bytes long in all")


def tool_choice(field: str, value: Any) -> None:
    if value in ("none", "auto", "required"):
        return
    if not isinstance(value, dict) or value.get("type") != "function":
        raise refused(field, "must be none, auto, required, or an object of type function")
    _only(field, value, "type", "function")
    _name(f"{field}.function.name", _only(f"{field}.function", value.get("function"), "name").get("name"))


def schema(field: str, value: Any) -> int:
    """A JSON schema of bounded size, depth and patterns; its length in characters. Patterns are looked at last, since
    they cost the most, on the event loop of all tenants.
    """
    if not isinstance(value, dict):
        raise refused(field, "must be a JSON schema, as an object")
    nodes, waiting, patterns = 0, [(value, 1)], list[str]()
    while waiting:
        node, depth = waiting.pop()
        nodes += 1
        if depth > MAX_SCHEMA_DEPTH:
            raise refused(field, f"may nest at most {MAX_SCHEMA_DEPTH} objects and lists")
        if nodes > MAX_SCHEMA_NODES:
            raise refused(field, f"may have at most {MAX_SCHEMA_NODES} parts")
        if isinstance(node, dict):
            patterns += _patterns(node)
            _own_reference(field, node)
            waiting += [(each, depth + 1) for each in node.values()]
        elif isinstance(node, list):
            waiting += [(each, depth + 1) for each in node]
    try:
        written = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise refused(field, "has a number that is none") from None
    field_checks.text(field, written)
    if len(written.encode()) > MAX_SCHEMA_BYTES:
        raise refused(field, f"may be at most {MAX_SCHEMA_BYTES} bytes long")
    for pattern in patterns:
        _pattern(field, pattern)
    return len(written)


def constrained(fields: dict[str, Any]) -> dict[str, Any]:
    """The checked fields as vLLM is to get them: without what has no effect, and refused where two contradict."""
    given = dict(fields)
    if given.get("response_format", {}).get("type") == "text":
        del given["response_format"]
    if not given.get("tools"):
        choice = given.pop("tool_choice", "none")
        given.pop("tools", None)
        given.pop("parallel_tool_calls", None)
        if choice == "required" or isinstance(choice, dict):
            raise refused("tool_choice", "asks for a tool, and there are no tools")
    else:
        given["tools"] = [_with_parameters(tool) for tool in given["tools"]]
    if isinstance(given.get("tool_choice"), dict):
        named = given["tool_choice"]["function"]["name"]
        given.pop("parallel_tool_calls", None)  # one function is one call; vLLM would not find it in its own grammar
        if named not in [tool["function"]["name"] for tool in given["tools"]]:
            raise refused("tool_choice", "names a function that is not in tools")
    shapes = [name for name in ("response_format", "structured_outputs") if name in given]
    is_forced = given.get("tool_choice", "none") not in ("none", "auto")
    if len(shapes) > 1 or (shapes and is_forced):
        raise refused(shapes[0], "cannot be combined with another field that constrains the answer")
    if (constraints := constraints_of(given)) and (wrong := [name for name in _NOT_WITH_GRAMMAR if given.get(name)]):
        raise refused(wrong[0], f"cannot be combined with {constraints[0].field}")
    return given


def _with_parameters(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A function that names no parameters has none; left to the model, their text would be of any shape."""
    function = tool["function"]
    return {**tool, "function": {**function, "parameters": function.get("parameters") or NO_PARAMETERS}}


def constraints_of(fields: Mapping[str, Any]) -> list[Constraint]:
    """Every grammar that vLLM may make of these checked fields."""
    found: list[Constraint] = []
    form = fields.get("response_format") or {}
    if form.get("type") == "json_schema":
        found.append(Constraint("response_format", "json", json.dumps(form["json_schema"]["schema"])))
    structured = fields.get("structured_outputs") or {}
    if structured.get("json") is not None:
        found.append(Constraint("structured_outputs", "json", json.dumps(structured["json"])))
    if structured.get("regex") is not None:
        found.append(Constraint("structured_outputs", "regex", structured["regex"]))
    if form.get("type") == "json_object" or structured.get("json_object"):
        found.append(Constraint("response_format" if form else "structured_outputs", "json", '{"type": "object"}'))
    if structured.get("choice") is not None:
        found.append(Constraint("structured_outputs", "json", json.dumps({"enum": structured["choice"]})))
    if fields.get("tools") and (choice := fields.get("tool_choice", "auto")) != "none":
        named = choice["function"]["name"] if isinstance(choice, dict) else None
        functions = [tool["function"] for tool in fields["tools"] if named in (None, tool["function"]["name"])]
        schemas = [function["parameters"] for function in functions if function.get("parameters")]
        found.extend(Constraint("tools", "json", json.dumps(parameters)) for parameters in schemas)
    return found


def _only(field: str, value: Any, *names: str) -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() - set(names):
        raise refused(field, f"must be an object, and may have {', '.join(names)} only")
    return value


def _name(field: str, value: Any) -> None:
    if not isinstance(value, str) or _NAME.fullmatch(value) is None:
        raise refused(field, "must be 1 to 64 letters, digits, underscores and hyphens")


def _description(field: str, value: Any) -> None:
    if value is not None:
        field_checks.text(field, value)
        if len(value) > MAX_DESCRIPTION:
            raise refused(field, f"may have at most {MAX_DESCRIPTION} characters")


def _strict(field: str, value: Any) -> None:
    if value is not None:
        field_checks.flag(field, value)


def _choices(field: str, value: Any) -> None:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_CHOICE_ENTRIES:
        raise refused(field, f"must be a list of 1 to {MAX_CHOICE_ENTRIES} strings")
    for choice in value:
        field_checks.text(field, choice)
        if not 0 < len(choice) <= MAX_CHOICE_LENGTH:
            raise refused(field, f"must be 1 to {MAX_CHOICE_LENGTH} characters each")


def _patterns(node: Mapping[str, Any]) -> list[str]:
    found = [node.get("pattern"), *(node["patternProperties"] if _has_patterns(node) else ())]
    return [pattern for pattern in found if isinstance(pattern, str)]


def _own_reference(field: str, node: Mapping[str, Any]) -> None:
    """The compiler fetches nothing, and writes an address that it is given to standard error, where the log is."""
    reference = node.get("$ref")
    if isinstance(reference, str) and reference != "#" and not reference.startswith("#/"):
        raise refused(field, "may have references within itself only: # or #/…")


def _pattern(field: str, pattern: str) -> None:
    if len(pattern) > MAX_PATTERN:
        raise refused(field, f"may have patterns of at most {MAX_PATTERN} characters")
    if weight(pattern) > MAX_WEIGHT:
        raise refused(field, f"may have repetitions of which the product is {MAX_WEIGHT} where they are nested")


def _has_patterns(node: Mapping[str, Any]) -> bool:
    return isinstance(node.get("patternProperties"), dict)


def unfit(constraint: Constraint) -> EngineRefused:
    """For a grammar that does not compile, or not within its bounds."""
    return refused(constraint.field, "is no grammar that can be compiled here; see the bounds in the documentation")
