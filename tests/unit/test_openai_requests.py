from __future__ import annotations

import json
import re
from typing import Any

import pytest

from inference.engine import constrained_fields
from inference.engine.constrained_fields import (
    MAX_PATTERN,
    MAX_SCHEMA_BYTES,
    MAX_SCHEMA_DEPTH,
    MAX_SCHEMA_NODES,
    MAX_TOOLS,
    MAX_TOOLS_BYTES,
    NO_PARAMETERS,
    Constraint,
)
from inference.engine.errors import EngineRefused
from inference.engine.field_checks import (
    MAX_CHOICES,
    MAX_INT64,
    MAX_LOGIT_BIASES,
    MAX_STOP_LENGTH,
    MAX_STOP_TOKEN_IDS,
    MAX_STOPS,
)
from inference.engine.request_fields import chat_constraints, chat_fields, completion_fields, prompt_count

SERVER: dict[str, Any] = {"model": "digest", "cache_salt": "5a17", "request_id": "r1"}
MESSAGES = [{"role": "user", "content": "Hello"}]


def chat(**fields: Any) -> dict[str, Any]:
    return chat_fields({"messages": MESSAGES, **fields}, **SERVER)


def test_openais_fields_pass_unchanged() -> None:
    fields = chat(temperature=0.2, top_p=0.9, stop=["\n"], seed=7, logit_bias={"7": -100})
    assert fields["messages"] == MESSAGES
    assert (fields["temperature"], fields["stop"], fields["seed"]) == (0.2, ["\n"], 7)
    assert fields["logit_bias"] == {"7": -100}


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": True}])
@pytest.mark.parametrize("each", [False, True])
def test_a_stream_is_asked_for_its_usage_whatever_the_caller_wants_and_for_that_of_each_event_if_it_does(
    options: Any, each: bool
) -> None:
    if each and options:
        options = {**options, "continuous_usage_stats": True}
    fields = chat(stream=True, stream_options=options)
    shows_each = each and options == {"include_usage": True, "continuous_usage_stats": True}
    assert fields["stream_options"] == {"include_usage": True, "continuous_usage_stats": shows_each}
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
        "functions",
        "prediction",
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


def test_an_answer_that_was_cut_off_while_the_model_reasoned_can_be_sent_back() -> None:
    earlier = {"role": "assistant", "content": None, "reasoning": "So the question is"}
    assert chat(messages=[*MESSAGES, earlier])["messages"][1] == {"role": "assistant", "content": ""}


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ("Hello", "messages"),
        ([], "messages"),
        (["Hello"], "messages[0]"),
        ([{"role": "tool", "content": "x"}], "messages[0].tool_call_id"),
        ([{"role": "function", "content": "x"}], "messages[0].role"),
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
NO_NUMBERS = ["1", True, [1], {"a": 1}, NAN, INFINITE, -INFINITE, BIG, -BIG, 10**400]
NO_WHOLE_NUMBERS = ["1", True, [1], {"a": 1}, 1.0, 1e30, NAN, BIG, -BIG]
NO_FLAGS = ["true", "no", 0, 1, [1]]
BAD: dict[str, list[Any]] = {
    "frequency_penalty": [*NO_NUMBERS, 2.1],
    "ignore_eos": NO_FLAGS,
    "logit_bias": [
        [1],
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
    "stop": [
        HALF,
        [HALF],
        ["a", HALF],
        "",
        [""],
        7,
        [7],
        {"a": 1},
        ["a"] * (MAX_STOPS + 1),
        "a" * (MAX_STOP_LENGTH + 1),
    ],
    "stop_token_ids": [7, "7", {"a": 1}, [True], ["7"], [-1], [2**31], [1.0], list(range(MAX_STOP_TOKEN_IDS + 1))],
    "stream": NO_FLAGS,
    "temperature": [*NO_NUMBERS, -0.1, 2.1],
    "top_k": [*NO_WHOLE_NUMBERS, -2, 2**31, 2**63, 2**64],
    "top_p": [*NO_NUMBERS, 0, 1e-300, 1.1],
}
NO_NAMES = ["", "a b", "a" * 65, HALF, 7, None]
OPEN = {"type": "object"}


def nested(depth: int) -> dict[str, Any]:
    return {"items": nested(depth - 1)} if depth else {}


NO_SCHEMAS: list[Any] = [
    7,
    [OPEN],
    nested(MAX_SCHEMA_DEPTH),
    {"enum": list(range(MAX_SCHEMA_NODES))},
    {"pattern": "a" * (MAX_PATTERN + 1)},
    {"properties": {"a": {"pattern": "a" * (MAX_PATTERN + 1)}}},
    {"patternProperties": {"a" * (MAX_PATTERN + 1): {}}},
    {"description": "a" * MAX_SCHEMA_BYTES},
    {"const": HALF},
    {"maximum": float("inf")},
]


def function(**fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", **fields}}


BAD_IN_CHAT: dict[str, list[Any]] = {
    "parallel_tool_calls": NO_FLAGS,
    "reasoning_effort": ["secret", 7, ["low"], True],
    "response_format": [
        "json",
        {"type": "secret"},
        {"type": "json_object", "secret": 1},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": OPEN},
        *[{"type": "json_schema", "json_schema": {"name": name, "schema": OPEN}} for name in NO_NAMES],
        *[{"type": "json_schema", "json_schema": {"name": "n", "schema": schema}} for schema in NO_SCHEMAS],
        {"type": "json_schema", "json_schema": {"name": "n", "schema": OPEN, "strict": "yes"}},
    ],
    "structured_outputs": [
        7,
        {"secret": 1},
        {"structural_tag": "secret"},
        {"regex": "a", "json": OPEN},
        {"json_object": False},
        {"json": None},
        *[{"json": schema} for schema in NO_SCHEMAS],
        *[{"regex": regex} for regex in ("", 7, HALF, "a\0", "a" * (MAX_PATTERN + 1))],
        *[{"choice": choice} for choice in ([], "a", [7], [""], ["a" * 257], ["a"] * 257)],
        {"grammar": 'root ::= "a"'},
        {"regex": "(a{1,40}){1,40}"},
        {"json": {"pattern": "((a*)*)*"}},
    ],
    "tool_choice": ["secret", 7, ["auto"], {"type": "secret"}, {"type": "function"}, "required", function()],
    "tools": [
        "f",
        ["f"],
        [{"type": "secret"}],
        [{"type": "function"}],
        [function(secret=1)],
        [function(strict=1)],
        [function(description=7)],
        [function(description="a" * 4097)],
        [function(), function()],
        *[[function(name=name)] for name in NO_NAMES],
        *[[function(parameters=schema)] for schema in NO_SCHEMAS],
        [function(name=f"f{number}") for number in range(MAX_TOOLS + 1)],
        [function(name=f"f{number}", description="a" * 4096) for number in range(MAX_TOOLS)],
    ],
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
        assert refused.value.status == 400
        assert re.match(rf"{field}($|[.\[])", str(refused.value.field))
        assert "secret" not in str(refused.value)


def test_no_more_of_patterns_is_looked_at_than_may_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the event loop of all tenants; a body has room for thirty times as much."""
    looked_at: list[str] = []

    def looked(pattern: str) -> int:
        looked_at.append(pattern)
        return 1

    monkeypatch.setattr(constrained_fields, "weight", looked)
    few, many = ({"anyOf": [{"pattern": "a" * MAX_PATTERN}] * count} for count in (50, 1_500))
    for sent in (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": many}}},
        {"tools": [function(parameters=few, name=f"f{number}") for number in range(30)]},
    ):
        with pytest.raises(EngineRefused, match="bytes long"):
            chat(**sent)
    assert 0 < sum(map(len, looked_at)) < MAX_TOOLS_BYTES + MAX_SCHEMA_BYTES


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


SCHEMA = {"type": "object", "properties": {"dose": {"type": "integer"}}, "required": ["dose"]}
TOOLS = [function(name="dose", parameters=SCHEMA), function(name="now")]
FORMAT = {"type": "json_schema", "json_schema": {"name": "dose", "schema": SCHEMA, "strict": True}}


@pytest.mark.parametrize("empty", [None, [], {}])
def test_what_is_empty_counts_as_not_sent_whatever_field_it_is(empty: Any) -> None:
    plain = chat()
    for field in ("tools", "tool_choice", "response_format", "stop", "metadata", "functions", "anything"):
        assert chat(**{field: empty}) == plain
    assert chat(tools=[], tool_choice="auto", parallel_tool_calls=True) == plain


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": {"ward": "secret"}},
        {"store": False},
        {"service_tier": "auto"},
        {"service_tier": "priority"},
        {"safety_identifier": "secret"},
        {"prompt_cache_key": "secret"},
        {"prompt_cache_retention": "24h"},
        {"modalities": ["text"]},
        {"response_format": {"type": "text"}},
    ],
)
def test_what_changes_no_answer_is_accepted_and_goes_no_further(fields: dict[str, Any]) -> None:
    assert chat(**fields) == chat()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("store", True),
        ("store", "false"),
        ("metadata", "secret"),
        ("service_tier", "secret"),
        ("modalities", ["audio"]),
    ],
)
def test_what_would_be_expected_to_have_an_effect_is_refused(field: str, value: Any) -> None:
    with pytest.raises(EngineRefused) as refused:
        chat(**{field: value})
    assert (refused.value.status, refused.value.field) == (400, field)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("fields", "constraints"),
    [
        ({}, []),
        ({"response_format": {"type": "text"}}, []),
        ({"response_format": {"type": "json_object"}}, [("response_format", "json", OPEN)]),
        ({"response_format": FORMAT}, [("response_format", "json", SCHEMA)]),
        ({"structured_outputs": {"json": SCHEMA}}, [("structured_outputs", "json", SCHEMA)]),
        ({"structured_outputs": {"choice": ["a", "b"]}}, [("structured_outputs", "json", {"enum": ["a", "b"]})]),
        ({"structured_outputs": {"regex": "a+"}}, [("structured_outputs", "regex", "a+")]),
        ({"tools": TOOLS}, [("tools", "json", SCHEMA), ("tools", "json", NO_PARAMETERS)]),
        (
            {"tools": TOOLS, "tool_choice": "required"},
            [("tools", "json", SCHEMA), ("tools", "json", NO_PARAMETERS)],
        ),
        ({"tools": TOOLS, "tool_choice": "none"}, []),
        ({"tools": TOOLS, "tool_choice": function(name="dose")}, [("tools", "json", SCHEMA)]),
        ({"tools": TOOLS, "tool_choice": function(name="now")}, [("tools", "json", NO_PARAMETERS)]),
        (
            {"tools": TOOLS[:1], "response_format": {"type": "json_object"}},
            [("response_format", "json", OPEN), ("tools", "json", SCHEMA)],
        ),
    ],
)
def test_every_grammar_that_is_asked_for_is_known(fields: dict[str, Any], constraints: list[Any]) -> None:
    expected = [
        Constraint(field, kind, text if kind != "json" else json.dumps(text)) for field, kind, text in constraints
    ]
    assert chat_constraints({"messages": MESSAGES, **fields}) == expected


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"response_format": FORMAT, "structured_outputs": {"regex": "a"}}, "response_format"),
        ({"response_format": FORMAT, "tools": TOOLS, "tool_choice": "required"}, "response_format"),
        ({"tools": TOOLS, "tool_choice": function(name="other")}, "tool_choice"),
        ({"tools": [], "tool_choice": "required"}, "tool_choice"),
        ({"response_format": FORMAT, "ignore_eos": True}, "ignore_eos"),
        ({"tools": TOOLS, "min_tokens": 1}, "min_tokens"),
        ({"response_format": FORMAT, "stop_token_ids": [1]}, "stop_token_ids"),
    ],
)
def test_what_contradicts_what_constrains_an_answer_is_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(EngineRefused) as refused:
        chat(**fields)
    assert refused.value.field == field


def test_a_call_of_a_tool_and_its_result_can_be_sent_back() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "dose", "arguments": '{"dose": 5}'}}
    answer = {
        "role": "assistant",
        "content": None,
        "tool_calls": [call],
        "refusal": None,
        "reasoning": "secret",
        "provider_specific_fields": {"reasoning": "secret"},  # LiteLLM's
    }
    result = {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "5 mg"}]}
    assert chat(messages=[*MESSAGES, answer, result])["messages"][1:] == [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "5 mg"},
    ]


@pytest.mark.parametrize(
    "call",
    [
        "secret",
        {"id": "1"},
        {"id": "se cret", "function": {"name": "f", "arguments": "{}"}},
        {"id": "1", "type": "secret", "function": {"name": "f", "arguments": "{}"}},
        {"id": "1", "function": {"name": "se cret", "arguments": "{}"}},
        {"id": "1", "function": {"name": "f", "arguments": "secret"}},
        {"id": "1", "function": {"name": "f", "arguments": "[]"}},
        {"id": "1", "function": {"name": "f", "arguments": "[" * 100_000}},
        {"id": "1", "function": {"name": "f", "arguments": {}}},
        {"id": "1", "function": {"name": "f", "arguments": HALF}},
        {"id": "1", "function": {"name": "f", "secret": 1}},
    ],
)
def test_a_call_that_vllm_could_not_read_is_refused(call: Any) -> None:
    with pytest.raises(EngineRefused) as refused:
        chat(messages=[{"role": "assistant", "tool_calls": [call]}])
    assert str(refused.value.field).startswith("messages[0].tool_calls[0]")
    assert "secret" not in str(refused.value)


def test_a_schema_refers_to_nothing_outside_itself_since_the_compiler_would_write_that_to_the_log() -> None:
    def asked(reference: str) -> Any:
        schema = {"type": "object", "properties": {"a": {"$ref": reference}}, "$defs": {"b": {"type": "string"}}}
        return chat(response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}})

    asked("#/$defs/b")
    with pytest.raises(EngineRefused) as refused:
        asked("http://127.0.0.1/secret")
    assert (refused.value.field, "secret" in str(refused.value)) == ("response_format.json_schema.schema", False)
