"""Validates the fields of a request by exact JSON type and bounds.

vLLM's request models are lenient: they accept ``"9"`` or ``1e30`` as an integer, and numbers of any length. A value
that passes them can still raise too late to be refused: while the request is packed for the engine's process, when
vLLM has registered it already, or in the worker, where it ends the engine for every tenant. So every value that
reaches vLLM is bounded by these checks. ``tests/integration/test_vllm_contract.py`` compares the bounds with its.

Each check raises :class:`EngineRefused` (400), which names the field and never the value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Set
from typing import Any

from inference.engine.errors import EngineRefused

Check = Callable[[str, Any], None]

MAX_INT32 = 2**31 - 1  # the workers keep counts and token ids in arrays of int32
MAX_INT64 = 2**63 - 1
MAX_LOGIT_BIASES = 300  # OpenAI's own limit; vLLM's workers raise above 1,024
MAX_STOP_TOKEN_IDS = 64  # vLLM's workers raise above 128, to which they add the model's end tokens
# Every token of an answer is searched for each of them, on the event loop of all tenants.
MAX_STOPS = 4  # OpenAI's own limit, and vLLM's
MAX_STOP_LENGTH = 256
MAX_LOGPROBS = 20
MAX_CHOICES = 8  # prompts times n: each is a sequence of its own in the batch that all tenants share

_STREAM_OPTIONS = frozenset({"include_usage", "continuous_usage_stats"})


def refused(field: str, message: str) -> EngineRefused:
    return EngineRefused(400, f"{field} {message}", field=field)


def require_known(sent: Iterable[str], known: Set[str]) -> None:
    """Refuse what is not among these fields: it would otherwise be ignored in silence."""
    if unknown := set(sent) - known:
        name = min(unknown)
        # The name too is the caller's text: a long or odd one is not repeated.
        shown = name if len(name) <= 40 and name.isascii() and name.isidentifier() else "a field"
        raise EngineRefused(400, f"{shown} is not supported here; leave it out", field=shown)


def flag(field: str, value: Any) -> None:
    if type(value) is not bool:
        raise refused(field, "must be true or false")


def whole(lowest: int, highest: int) -> Check:
    """A whole number from ``lowest`` to ``highest``."""

    def check(field: str, value: Any) -> None:
        if not _is_whole(value, lowest, highest):
            raise refused(field, f"must be a whole number from {lowest} to {highest}")

    return check


def number(lowest: float, highest: float) -> Check:
    """A number from ``lowest`` to ``highest``."""

    def check(field: str, value: Any) -> None:
        if not _is_number(value, lowest, highest):
            raise refused(field, f"must be a number from {lowest:g} to {highest:g}")

    return check


def text(field: str, value: Any) -> None:
    """Text that has bytes: JSON can hold half of a surrogate pair, which has none."""
    if not isinstance(value, str):
        raise refused(field, "must be a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise refused(field, "contains an unpaired surrogate, which is not valid text") from None


def stops(field: str, value: Any) -> None:
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or len(found) > MAX_STOPS:
        raise refused(field, f"must be a string, or a list of at most {MAX_STOPS} strings")
    for stop in found:
        text(field, stop)
        if not 0 < len(stop) <= MAX_STOP_LENGTH:
            raise refused(field, f"must be 1 to {MAX_STOP_LENGTH} characters each")


def token_ids(field: str, value: Any) -> None:
    if not isinstance(value, list) or not all(_is_whole(token, 0, MAX_INT32) for token in value):
        raise refused(field, "must be a list of token ids")


def stop_token_ids(field: str, value: Any) -> None:
    if isinstance(value, list) and len(value) > MAX_STOP_TOKEN_IDS:
        raise refused(field, f"may have at most {MAX_STOP_TOKEN_IDS} entries")
    token_ids(field, value)


def logit_biases(field: str, value: Any) -> None:
    if not isinstance(value, dict) or len(value) > MAX_LOGIT_BIASES:
        raise refused(field, f"must be an object of at most {MAX_LOGIT_BIASES} entries")
    for token, bias in value.items():
        if not (token.isascii() and token.isdigit() and len(token) <= len(str(MAX_INT32))):
            raise refused(field, "must have token ids as its keys")
        if not _is_number(bias, -100, 100):
            raise refused(field, "must have numbers from -100 to 100 as its values")


def stream_options(field: str, value: Any) -> None:
    if not isinstance(value, dict) or value.keys() - _STREAM_OPTIONS:
        raise refused(field, f"must be an object, and may have {' and '.join(sorted(_STREAM_OPTIONS))} only")
    for name, option in value.items():
        if option is not None:
            flag(f"{field}.{name}", option)


def one_of(*values: str) -> Check:
    """One of these words."""

    def check(field: str, value: Any) -> None:
        if not isinstance(value, str) or value not in values:
            raise refused(field, f"must be one of {', '.join(values)}")

    return check


def anything(field: str, value: Any) -> None:
    """Whatever it is, it goes no further."""


def labels(field: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise refused(field, "must be an object")


def text_only(field: str, value: Any) -> None:
    if value != ["text"]:
        raise refused(field, "may be text only")


def not_stored(field: str, value: Any) -> None:
    if value is not False:
        raise refused(field, "must be false: answers are not stored here")


def prompt(field: str, value: Any) -> None:
    """Text, token ids, or a list of either."""
    if not value or not isinstance(value, str | list):
        raise refused(field, "must be a string, token ids, or a list of either, and must not be empty")
    if isinstance(value, list) and isinstance(value[0], str | list):
        if len(value) > MAX_CHOICES:
            raise refused(field, f"may have at most {MAX_CHOICES} entries, each of which is a prompt of its own")
        check = text if isinstance(value[0], str) else token_ids
        for one in value:
            check(field, one)
        return
    check = text if isinstance(value, str) else token_ids
    check(field, value)


def _is_whole(value: Any, lowest: int, highest: int) -> bool:
    return type(value) is int and lowest <= value <= highest


def _is_number(value: Any, lowest: float, highest: float) -> bool:
    # Compared before it is made a float, which a long whole number is too large for.
    return type(value) in (int, float) and lowest <= value <= highest and math.isfinite(value)
