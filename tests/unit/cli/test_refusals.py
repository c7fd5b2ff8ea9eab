"""What is refused is one line that says what to do and quotes nothing, with the right exit status."""

from __future__ import annotations

import pytest

from producers.cli.errors import in_one_line
from tenancy.errors import BusUnavailable
from tests.unit.cli.command import Sano, error_line


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["tenant"],
        ["runs"],
        ["runs", "--tenant", "UPPER_CASE"],
        ["runs", "--nonsense", "--tenant", "t1"],
        ["import", "--tenant", "t1"],
        ["activate", "--tenant", "t1", "not-a-digest"],
        ["chat", "--tenant", "t1", "--model", "gpt", "question"],
        ["chat", "--tenant", "t1", "--max-tokens", "0", "question"],
        ["tenant", "token", "t1", "--days", "366"],
        ["tenant", "create", "t2", "--activation", "sometimes"],
        ["export", "--tenant", "t1"],
        ["demo", "--report", "."],
        ["demo", "--report", "missing/report.json"],
    ],
)
def test_wrong_usage_is_one_line_and_exit_status_2(sano: Sano, arguments: list[str]) -> None:
    assert "see --help" in error_line(sano(*arguments), 2)


@pytest.mark.parametrize("command", [["replay", "plan"], ["dlq", "list"]])
@pytest.mark.parametrize(
    ("option", "value", "line"),
    [
        ("--tenant", "UPPER", "'--tenant': a tenant id is 1 to 63 lower-case letters"),
        ("--event-id", "a b", "'--event-id': an id is up to 128 letters, digits"),
        ("--topic", "nonsense", "a replay can be of sano.tenants.v1, "),
    ],
)
def test_a_wrong_selection_is_told_by_its_option_and_in_words(
    sano: Sano, command: list[str], option: str, value: str, line: str
) -> None:
    assert line in error_line(sano(*command, option, value), 2)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["replay", "plan", "--type", "nonsense"], "'--type': a type is like example.approved"),
        (["replay", "plan", "--type", "a.b"], "sano.a.b is no event type"),
        (["replay", "plan", "--dead-letter-reason", "A B"], "a code is lower-case letters"),
        (["dlq", "list", "--reason", "A B"], "'--reason': a code is lower-case letters"),
        (["dlq", "redrive", "--consumer", "a b"], "'--consumer': an id is up to 128 letters"),
    ],
)
def test_a_criterion_that_one_command_has_is_told_in_words_too(sano: Sano, arguments: list[str], line: str) -> None:
    assert line in error_line(sano(*arguments), 2)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["tenant", "show", "t9"], "no such tenant is onboarded; `sano tenant list` shows the tenants"),
        (["train", "--tenant", "t9"], "no such tenant is onboarded; `sano tenant list` shows the tenants"),
        (["rollback", "--tenant", "t1"], "no active adapter to roll back from; `sano adapters --tenant T` shows"),
        (["lineage", "0123456789"], "no adapter of any tenant has a digest that begins so"),
        (["import", "missing.jsonl", "--tenant", "t1"], "missing.jsonl cannot be read (No such file or directory)"),
        (["export", "--tenant", "t1", "--to", "out"], "the tenant has no active adapter to export"),
        (["verify", "missing.json", "--key", "missing.pem"], "missing.pem cannot be read (No such file or directory)"),
        (["chat", "--tenant", "t1", "question"], "no inference URL is known; set SANO_INFERENCE_URL"),
        (["train", "--tenant", "t1", "--wait", "--timeout", "1"], "did not happen within 1 s; it goes on without us"),
    ],
)
def test_a_refusal_is_one_line_that_says_what_to_do_and_exit_status_1(
    sano: Sano, arguments: list[str], line: str
) -> None:
    assert line in error_line(sano(*arguments), 1)


def test_an_unexpected_error_says_where_and_quotes_nothing() -> None:
    try:
        raise ValueError("the patient's question")
    except ValueError as error:
        line = in_one_line(error)
    assert line.startswith("unexpected ValueError at ")
    assert "patient" not in line
    assert "`sano doctor`" in in_one_line(BusUnavailable("the bus is out of reach"))
