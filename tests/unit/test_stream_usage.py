from __future__ import annotations

import json
from typing import Any

import pytest

from inference.engine.errors import AdapterWithdrawn
from inference.engine.stream_usage import StreamUsage
from inference.engine.vllm_errors import error_events

DONE = b"data: [DONE]\n\n"


def event(*, index: int | None = 0, text: str = "x", usage: tuple[int, int] | None = None) -> bytes:
    """One event as vLLM makes it; without an ``index`` the closing one."""
    choices = [] if index is None else [{"index": index, "delta": {"content": text}, "logprobs": None}]
    chunk: dict[str, Any] = {"id": "r", "choices": choices}
    if usage is not None:
        chunk["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return b"data: " + json.dumps(chunk, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def taken(usage: StreamUsage) -> tuple[int, int]:
    return usage.prompt_tokens, usage.completion_tokens


def test_the_tokens_of_steps_count_before_the_stream_has_ended_and_its_closing_figures_then() -> None:
    usage = StreamUsage({})
    assert taken(usage) == (0, 0)
    usage.computed(9, 1)
    usage.computed(0, 2)
    assert taken(usage) == (9, 3)
    usage.read(event(index=None, usage=(9, 4)))
    usage.computed(0, 1)
    assert taken(usage) == (9, 4)


@pytest.mark.parametrize("text", ["x", '","usage":{"prompt_tokens":900}', "naïve 漢字 \u2028 \\", '"choices":[]'])
@pytest.mark.parametrize("each", [None, (9, 1)])
@pytest.mark.parametrize(
    ("options", "shows_closing"),
    [(None, False), ({}, False), ({"include_usage": False}, False), ({"include_usage": True}, True)],
)
def test_the_caller_sees_what_it_asked_for(
    options: dict[str, Any] | None, shows_closing: bool, each: tuple[int, int] | None, text: str
) -> None:
    """The engine writes usage into each event only where the caller wants to see that."""
    usage = StreamUsage({"stream_options": options})
    made = event(text=text, usage=each)
    assert usage.read(made) == made
    closing = event(index=None, usage=(9, 1))
    assert usage.read(closing) == (closing if shows_closing else None)
    assert taken(usage) == (9, 1)


@pytest.mark.parametrize("made", [DONE, event(), event(usage=(1, 1)), *error_events(AdapterWithdrawn())])
def test_an_event_that_does_not_close_the_stream_passes_and_changes_no_figures(made: bytes) -> None:
    usage = StreamUsage({})
    usage.computed(9, 4)
    assert usage.read(made) == made
    assert taken(usage) == (9, 4)


def test_an_event_of_text_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json, "loads", None)
    made = event(text='"choices":[]')
    assert StreamUsage({}).read(made) == made
