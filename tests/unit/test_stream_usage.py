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


def test_the_latest_figures_count_before_the_stream_has_ended() -> None:
    usage = StreamUsage({})
    assert taken(usage) == (0, 0)
    for count in (0, 1, 2):
        usage.read(event(usage=(9, count)))
    assert taken(usage) == (9, 2)
    usage.read(event(index=None, usage=(9, 3)))
    assert taken(usage) == (9, 3)


def test_figures_are_added_up_over_choices_and_prompts() -> None:
    """Two prompts of two choices each: every event speaks of its own choice and prompt."""
    usage = StreamUsage({"n": 2})
    for index, prompt, completion in ((0, 5, 1), (1, 5, 1), (0, 5, 2), (2, 7, 1), (3, 7, 4)):
        usage.read(event(index=index, usage=(prompt, completion)))
    assert taken(usage) == (12, 8)
    usage.read(event(index=None, usage=(12, 9)))
    assert taken(usage) == (12, 9), "the closing figures are sums already"


@pytest.mark.parametrize("text", ["x", '","usage":{"prompt_tokens":900}', "naïve 漢字 \u2028 \\", '"choices":[]'])
@pytest.mark.parametrize(
    ("options", "shows_each", "shows_closing"),
    [
        (None, False, False),
        ({}, False, False),
        ({"include_usage": False}, False, False),
        ({"include_usage": None, "continuous_usage_stats": True}, False, False),
        ({"include_usage": True}, False, True),
        ({"include_usage": True, "continuous_usage_stats": True}, True, True),
    ],
)
def test_the_caller_sees_what_it_asked_for(
    options: dict[str, Any] | None, shows_each: bool, shows_closing: bool, text: str
) -> None:
    usage = StreamUsage({"stream_options": options})
    made = event(text=text, usage=(9, 1))
    assert usage.read(made) == (made if shows_each else event(text=text))
    closing = event(index=None, usage=(9, 1))
    assert usage.read(closing) == (closing if shows_closing else None)
    assert taken(usage) == (9, 1)


@pytest.mark.parametrize("made", [DONE, event(), *error_events(AdapterWithdrawn())])
def test_an_event_without_figures_passes_and_changes_none(made: bytes) -> None:
    usage = StreamUsage({})
    usage.read(event(usage=(9, 4)))
    assert usage.read(made) == made
    assert taken(usage) == (9, 4)


def as_vllm_writes_it(text: str, usage: str) -> bytes:
    """One event of vLLM 0.32: figures in its order, right before the end."""
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None}
    chunk = json.dumps({"id": "r", "choices": [choice]}, ensure_ascii=False, separators=(",", ":"))
    return f"data: {chunk[:-1]}{usage}}}\n\n".encode()


FIGURES = ',"usage":{"prompt_tokens":9,"total_tokens":13,"completion_tokens":4'
OTHERS = ',"usage":{"prompt_tokens":900,"total_tokens":900,"completion_tokens":900}}\n\n'


@pytest.mark.parametrize("end", ["}", ',"completion_tokens_details":null}', ',"completion_tokens_details":{"n":1}}'])
@pytest.mark.parametrize(
    "text", ["x", OTHERS, '"' + OTHERS, "\\" + OTHERS, '"choices":[{' + OTHERS, "naïve 漢字 \u2028"]
)
def test_figures_are_read_where_vllm_writes_them_without_parsing_the_event(
    text: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the text says: its quotes are escaped."""
    made, bare = as_vllm_writes_it(text, FIGURES + end), as_vllm_writes_it(text, "")
    parsed = StreamUsage({"n": 2})  # of several choices each event is parsed
    assert (parsed.read(made), taken(parsed)) == (bare, (9, 4))

    monkeypatch.setattr(json, "loads", None)
    usage = StreamUsage({})
    assert (usage.read(made), taken(usage)) == (bare, (9, 4))
    shown = StreamUsage({"stream_options": {"include_usage": True, "continuous_usage_stats": True}})
    assert (shown.read(made), taken(shown)) == (made, (9, 4))


@pytest.mark.parametrize("prompt", [["a", "b"], [[1], [2]]])
def test_of_several_prompts_each_event_is_parsed(prompt: list[Any]) -> None:
    usage = StreamUsage({"prompt": prompt})
    for index in (0, 1):
        usage.read(event(index=index, usage=(5, 1)))
    assert taken(usage) == (10, 2)


def test_a_closing_event_is_none_of_a_choice() -> None:
    usage = StreamUsage({})
    assert usage.read(b'data: {"id":"r","choices":[]' + FIGURES.encode() + b"}}\n\n") is None
    usage.read(as_vllm_writes_it("late", ',"usage":{"prompt_tokens":1,"total_tokens":1,"completion_tokens":1}'))
    assert taken(usage) == (9, 4)
