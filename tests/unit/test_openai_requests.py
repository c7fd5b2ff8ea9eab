from __future__ import annotations

from typing import Any

import pytest

from inference.engine.errors import EngineRefused
from inference.engine.field_checks import (
    MAX_CHOICES,
    MAX_INT64,
    MAX_LOGIT_BIASES,
    MAX_STOP_LENGTH,
    MAX_STOP_TOKEN_IDS,
    MAX_STOPS,
)
from inference.engine.request_fields import chat_fields, completion_fields, prompt_count

SERVER = {"model": "digest", "cache_salt": "5a17", "request_id": "r1"}
MESSAGES = [{"role": "user", "content": "Hello"}]


def chat(**fields: Any) -> dict[str, Any]:
    return chat_fields({"messages": MESSAGES, **fields}, **SERVER)


def test_openais_fields_pass_unchanged() -> None:
    fields = chat(temperature=0.2, top_p=0.9, stop=["\n"], seed=7, logit_bias={"7": -100})
    assert fields["messages"] == MESSAGES
    assert (fields["temperature"], fields["stop"], fields["seed"]) == (0.2, ["\n"], 7)
    assert fields["logit_bias"] == {"7": -100}


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": True}])
def test_a_stream_is_asked_for_the_usage_of_every_event_whatever_the_caller_wants(options: Any) -> None:
    fields = chat(stream=True, stream_options=options)
    assert fields["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert "stream_options" not in chat(stream=False)
    with pytest.raises(EngineRefused, match="requires stream to be true"):
        chat(stream_options={"include_usage": True})


def test_the_server_sets_model_salt_priority_and_id_whatever_the_caller_says() -> None:
    fields = chat(model="other", cache_salt="theirs", priority=-100)
    assert {name: fields[name] for name in SERVER} == SERVER
    assert fields["priority"] == 0


def test_the_label_for_the_end_user_is_accepted_and_goes_no_further() -> None:
    assert "user" not in chat(user="Jane Doe, MRN 12345")


@pytest.mark.parametrize(
    "field",
    [
        "allowed_token_ids",
        "chat_template",
        "chat_template_kwargs",
        "documents",
        "ec_transfer_params",
        "echo",
        "guided_json",
        "kv_transfer_params",
        "logits_processors",
        "lora_name",
        "lora_request",
        "media_io_kwargs",
        "mm_processor_kwargs",
        "prompt_embeds",
        "prompt_logprobs",
        "request_id",
        "return_token_ids",
        "session_id",
        "structured_outputs",
        "tools",
        "use_beam_search",
        "vllm_xargs",
    ],
)
def test_a_field_that_reaches_anything_but_the_requests_own_sampling_is_refused_by_name(field: str) -> None:
    with pytest.raises(EngineRefused) as refused:
        chat(**{field: "a secret"})
    assert (refused.value.status, refused.value.field) == (400, field)
    assert str(refused.value) == f"{field} is not supported here; leave it out"


def test_a_field_that_is_null_counts_as_not_sent() -> None:
    assert "tools" not in chat(tools=None, temperature=None)


@pytest.mark.parametrize("name", ["x" * 41, "patient Jane Doe", "naïve", ""])
def test_an_odd_field_name_is_not_repeated(name: str) -> None:
    with pytest.raises(EngineRefused) as refused:
        chat(**{name: 1})
    assert str(refused.value) == "a field is not supported here; leave it out"


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        7,
        {"type": "text", "text": "x"},
        [{"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}],
        [{"type": "digest", "text": "x"}],
        [{"type": "text", "text": "x", "uuid": "y"}],
        [{"type": "text", "text": 7}],
        ["text"],
    ],
)
def test_content_is_text_only(content: Any) -> None:
    if content == "":
        assert chat(messages=[{"role": "user", "content": ""}])["messages"][0]["content"] == ""
        return
    with pytest.raises(EngineRefused) as refused:
        chat(messages=[{"role": "user", "content": content}])
    assert refused.value.field == "messages[0].content"


def test_text_parts_become_one_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert chat(messages=[{"role": "user", "content": parts}])["messages"] == [{"role": "user", "content": "a\nb"}]


def test_an_earlier_answer_can_be_sent_back_with_its_empty_fields() -> None:
    earlier: dict[str, Any] = {"role": "assistant", "content": "Hi", "refusal": None, "tool_calls": [], "audio": None}
    assert chat(messages=[*MESSAGES, earlier])["messages"][1] == {"role": "assistant", "content": "Hi"}


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ("Hello", "messages"),
        ([], "messages"),
        (["Hello"], "messages[0]"),
        ([{"role": "tool", "content": "x"}], "messages[0].role"),
        ([{"role": ["user"], "content": "x"}], "messages[0].role"),
        ([{"role": "user", "content": "x", "tool_calls": [{"id": "1"}]}], "messages[0]"),
        ([{"role": "user", "content": "x", "name": {}}], "messages[0].name"),
    ],
)
def test_messages_that_are_not_plain_are_refused(messages: Any, field: str) -> None:
    with pytest.raises(EngineRefused) as refused:
        chat(messages=messages)
    assert refused.value.field == field


@pytest.mark.parametrize("n", [0, -1, True, "2", 2.0, MAX_CHOICES + 1])
def test_the_number_of_choices_is_bounded(n: Any) -> None:
    with pytest.raises(EngineRefused) as refused:
        chat(n=n)
    assert refused.value.field == "n"


def test_several_choices_of_a_greedy_answer_are_refused_since_they_would_be_the_same() -> None:
    with pytest.raises(EngineRefused, match="temperature above 0"):
        chat(n=2, temperature=0)


@pytest.mark.parametrize(("prompt", "count"), [("a", 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1], [2, 3]], 2)])
def test_a_prompt_is_counted_by_the_sequences_that_it_asks_for(prompt: Any, count: int) -> None:
    assert prompt_count(prompt) == count


def test_prompts_and_choices_are_bounded_together() -> None:
    assert completion_fields({"prompt": ["a"] * 4, "n": 2}, **SERVER)["n"] == 2
    with pytest.raises(EngineRefused, match="at most 8"):
        completion_fields({"prompt": ["a"] * 5, "n": 2}, **SERVER)


@pytest.mark.parametrize(
    "prompt",
    [None, "", [], {}, 7, ["a", 1], [1, "a"], [[1], "a"], ["a", [1]], [True], [[True]], [-1], [[2**31]], [1.0]],
)
def test_a_completion_needs_a_prompt(prompt: Any) -> None:
    with pytest.raises(EngineRefused, match="prompt"):
        completion_fields({"prompt": prompt}, **SERVER)


# --- what would raise only where it is too late to refuse it

BIG, HALF, NAN, INFINITE = 2**70, "\ud800", float("nan"), float("inf")
NO_NUMBERS = ["1", True, [], {}, NAN, INFINITE, -INFINITE, BIG, -BIG, 10**400]
NO_WHOLE_NUMBERS = ["1", True, [], {}, 1.0, 1e30, NAN, BIG, -BIG]
NO_FLAGS = ["true", "no", 0, 1, []]
BAD: dict[str, list[Any]] = {
    "frequency_penalty": [*NO_NUMBERS, 2.1],
    "ignore_eos": NO_FLAGS,
    "logit_bias": [
        [],
        {str(token): 1 for token in range(MAX_LOGIT_BIASES + 1)},
        *({token: 1} for token in (HALF, "", "a secret", "-1", "1.5", "1" * 5000, "\u0967")),
        *({"1": bias} for bias in (*NO_NUMBERS, 101)),
    ],
    "max_tokens": [*NO_WHOLE_NUMBERS, -1, 2**31],
    "min_p": [*NO_NUMBERS, -0.1],
    "min_tokens": [*NO_WHOLE_NUMBERS, -1, 2**31],
    "presence_penalty": [*NO_NUMBERS, -2.1],
    "repetition_penalty": [*NO_NUMBERS, 0, 1e-300, 101],
    "seed": [*NO_WHOLE_NUMBERS, 2**63],
    "stop": [HALF, [HALF], ["a", HALF], "", [""], 7, [7], {}, ["a"] * (MAX_STOPS + 1), "a" * (MAX_STOP_LENGTH + 1)],
    "stop_token_ids": [7, "7", {}, [True], ["7"], [-1], [2**31], [1.0], list(range(MAX_STOP_TOKEN_IDS + 1))],
    "stream": NO_FLAGS,
    "temperature": [*NO_NUMBERS, -0.1, 2.1],
    "top_k": [*NO_WHOLE_NUMBERS, -2, 2**31, 2**63, 2**64],
    "top_p": [*NO_NUMBERS, 0, 1e-300, 1.1],
}
BAD_IN_CHAT: dict[str, list[Any]] = {
    "logprobs": NO_FLAGS,
    "top_logprobs": [*NO_WHOLE_NUMBERS, -1, 21],
    "max_completion_tokens": [BIG, -1],
}
BAD_IN_COMPLETION: dict[str, list[Any]] = {"logprobs": [*NO_WHOLE_NUMBERS, -1, 21], "echo": NO_FLAGS}


@pytest.mark.parametrize("field", sorted(BAD.keys() | BAD_IN_CHAT))
def test_a_value_that_chat_cannot_take_is_refused_by_the_fields_name(field: str) -> None:
    for value in [*BAD.get(field, []), *BAD_IN_CHAT.get(field, [])]:
        with pytest.raises(EngineRefused) as refused:
            chat(**{field: value})
        assert (refused.value.status, refused.value.field) == (400, field)
        assert "secret" not in str(refused.value)


@pytest.mark.parametrize("field", sorted(BAD.keys() | BAD_IN_COMPLETION))
def test_a_value_that_a_completion_cannot_take_is_refused_by_the_fields_name(field: str) -> None:
    for value in [*BAD.get(field, []), *BAD_IN_COMPLETION.get(field, [])]:
        with pytest.raises(EngineRefused) as refused:
            completion_fields({"prompt": "x", field: value}, **SERVER)
        assert (refused.value.status, refused.value.field) == (400, field)


def test_every_field_that_is_allowed_has_values_here_that_it_refuses() -> None:
    from inference.engine import request_fields

    beside = {"messages", "stream_options", "n", "prompt"}  # which have tests of their own
    assert request_fields._CHAT.keys() - beside == BAD.keys() | BAD_IN_CHAT
    assert request_fields._COMPLETION.keys() - beside == BAD.keys() | BAD_IN_COMPLETION


def test_the_largest_values_pass() -> None:
    largest: dict[str, Any] = {
        "logit_bias": {str(token): 100 for token in range(MAX_LOGIT_BIASES)},
        "stop_token_ids": list(range(MAX_STOP_TOKEN_IDS)),
        "stop": ["a" * MAX_STOP_LENGTH] * MAX_STOPS,
        "seed": MAX_INT64,
        "top_k": 2**31 - 1,
        "min_tokens": 2**31 - 1,
    }
    assert largest.items() <= chat(**largest).items()


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"role": "user", "content": HALF}, "messages[0].content"),
        ({"role": "user", "content": [{"type": "text", "text": f"a{HALF}"}]}, "messages[0].content"),
        ({"role": "user", "content": "x", "name": HALF}, "messages[0].name"),
        ({"role": HALF, "content": "x"}, "messages[0].role"),
    ],
)
def test_text_that_has_no_bytes_is_refused_in_messages(message: Any, field: str) -> None:
    with pytest.raises(EngineRefused) as refused:
        chat(messages=[message])
    assert refused.value.field == field


@pytest.mark.parametrize("prompt", [HALF, [HALF], ["a", HALF]])
def test_text_that_has_no_bytes_is_refused_in_prompts(prompt: Any) -> None:
    with pytest.raises(EngineRefused) as refused:
        completion_fields({"prompt": prompt}, **SERVER)
    assert refused.value.field == "prompt"


@pytest.mark.parametrize("logprobs", [0, 1, 20])
@pytest.mark.parametrize("fields", [{}, {"n": 2}, {"stream": True}, {"max_tokens": 0}])
def test_an_echo_with_logprobs_of_any_number_is_refused(logprobs: int, fields: dict[str, Any]) -> None:
    with pytest.raises(EngineRefused) as refused:
        completion_fields({"prompt": ["a", "b"], "echo": True, "logprobs": logprobs, **fields}, **SERVER)
    assert (refused.value.status, refused.value.field) == (400, "logprobs")


@pytest.mark.parametrize("fields", [{"echo": True}, {"echo": True, "logprobs": None}, {"echo": False, "logprobs": 1}])
def test_an_echo_without_logprobs_and_logprobs_without_an_echo_pass(fields: dict[str, Any]) -> None:
    completion_fields({"prompt": "a", **fields}, **SERVER)
