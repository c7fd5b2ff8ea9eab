"""The commands that take a policy's fields have one option for each, as the field has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from producers.cli.policies import made_commands
from producers.cli.policy_options import FIELDS
from schemas.tenant.hyperparameters import Hyperparameters
from schemas.tenant.policy import TenantPolicy
from tests.unit.cli.command import Sano, error_line, shape

VALUES: dict[str, tuple[str, Any]] = {
    "baa_reference": ("baa-2027", "baa-2027"),
    "target_modules": ("q_proj", ["q_proj"]),
    "on_gate_hit": ("fail", "fail"),
    "on_withdrawal": ("stop", "stop"),
    "activation": ("manual", "manual"),
    "canary_decision": ("metrics", "metrics"),
    "canary_error_points": ("2.5", 2.5),
    "canary_refusal_points": ("2.5", 2.5),
    "canary_down_points": ("2.5", 2.5),
    "canary_slower": ("2.0", 2.0),
    "monthly_budget": ("100.0", 100.0),
    "on_budget": ("stop", "stop"),
    "unsupported_answers": ("declined", "declined"),
    "retrieval_min_similarity": ("0.5", 0.5),
    "knowledge_index": ("postgres", "postgres"),
    "precision": ("float32", "float32"),
    "r": ("8", 8),
    "learning_rate": ("0.002", 0.002),
    "max_steps": ("5", 5),
}
"""Values other than the default, where one more than the default is none."""
DATABASE = {"knowledge_database_url": SecretStr("postgresql://sano@127.0.0.1/indexes")}


def options(name: str) -> dict[str, Any]:
    commands = made_commands()
    command = commands["create"] if name == "create" else commands["policy"].commands[name]
    return {parameter.name: parameter for parameter in command.params}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("of", ["create", "set"])
def test_each_field_of_a_policy_has_an_option_that_says_what_it_is(of: str, name: str) -> None:
    option = options(of)[name]
    assert option.help and option.help[0].isupper() and option.help.endswith(".")


def test_the_fields_are_those_of_the_policy_and_of_its_hyperparameters() -> None:
    assert FIELDS.keys() == TenantPolicy.model_fields.keys() - {"hyperparameters"} | Hyperparameters.model_fields.keys()


def given(name: str) -> tuple[list[str], Any]:
    """The option with another value than the default, and that value in JSON."""
    flag, default = f"--{name.replace('_', '-')}", FIELDS[name].default
    if isinstance(default, bool):
        return [f"--no-{flag[2:]}" if default else flag], not default
    if default is None and name not in VALUES:
        return [flag], True
    if name in VALUES:
        text, value = VALUES[name]
        return [flag, text], value
    value = 0.25 if isinstance(default, float) else default + 1
    return [flag, str(value)], value


@pytest.mark.parametrize("name", FIELDS)
def test_each_field_can_be_set_and_is_shown(sano: Sano, name: str) -> None:
    words, value = given(name)
    changed = shape(sano("tenant", "policy", "set", "t1", *words, "--json", **DATABASE))
    assert (changed["version"], changed["changed"]) == (2, True)
    policy = shape(sano("tenant", "policy", "show", "t1", "--json"))["policy"]
    assert {**policy, **policy["hyperparameters"]}[name] == value
    assert shape(sano("tenant", "policy", "set", "t1", *words, "--json", **DATABASE))["changed"] is False


@pytest.mark.parametrize("words", [("policy", "show"), ("show",)], ids=["policy show", "show"])
def test_a_fraction_is_shown_as_it_was_given(sano: Sano, words: tuple[str, ...]) -> None:
    sano("tenant", "policy", "set", "t1", "--learning-rate", "0.00023", "--monthly-budget", "1234.56")
    shown = dict(line.split(":", 1) for line in sano("tenant", *words, "t1").output.splitlines())
    found = {name.removeprefix("policy."): value.strip() for name, value in shown.items()}
    assert (found["learning_rate"], found["monthly_budget"], found["canary_slower"]) == ("0.00023", "1234.56", "1.25")


def test_a_field_without_a_default_names_none(sano: Sano) -> None:
    assert "None" not in sano("tenant", "create", "--help").output


def test_a_field_that_may_be_absent_can_be_taken_back(sano: Sano) -> None:
    sano("tenant", "policy", "set", "t1", "--monthly-budget", "1234.56", "--require-signed-publishers")
    words = ("--unset", "monthly-budget", "--unset", "require_signed_publishers", "--json")
    changed = shape(sano("tenant", "policy", "set", "t1", *words))["policy"]
    assert (changed["monthly_budget"], changed["require_signed_publishers"]) == (None, None)
    for wrong in (("--unset", "r"), ("--unset", "nothing"), ("--unset", "monthly-budget", "--monthly-budget", "9")):
        assert sano("tenant", "policy", "set", "t1", *wrong).exit_code == 2


@pytest.mark.parametrize("words", [("create", "t2"), ("policy", "set", "t1")], ids=["create", "set"])
def test_an_index_in_a_database_is_refused_where_the_installation_has_none(sano: Sano, words: tuple[str, ...]) -> None:
    given = ("tenant", *words, "--knowledge-index", "postgres")
    assert "set SANO_KNOWLEDGE_DATABASE_URL" in error_line(sano(*given), 1)
    assert sano(*given, **DATABASE).exit_code == 0


@pytest.mark.parametrize(
    "name", [name for name, field in FIELDS.items() if any(hasattr(m, "ge") for m in field.metadata)]
)
def test_a_value_below_a_field_s_bound_is_a_usage_error(sano: Sano, name: str) -> None:
    [least] = [each.ge for each in FIELDS[name].metadata if hasattr(each, "ge")]
    refused = sano("tenant", "policy", "set", "t1", f"--{name.replace('_', '-')}={least - 1}")
    assert f"--{name.replace('_', '-')}" in error_line(refused, 2)


def test_a_file_sets_several_fields_and_an_option_wins(sano: Sano, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("deletion_sla_days: 60\nlearning_rate: 0.001\nhyperparameters:\n  num_train_epochs: 9\n")
    changed = shape(sano("tenant", "policy", "set", "t1", "--file", str(file), "--deletion-sla-days", "45", "--json"))
    assert changed["policy"]["deletion_sla_days"] == 45
    assert changed["policy"]["hyperparameters"]["num_train_epochs"] == 9
    assert changed["version"] == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no_such_field: 1", "no_such_field: Extra inputs are not permitted"),
        ("deletion_sla_days: 3", "deletion_sla_days: Input should be greater than or equal to 8"),
        ("hyperparameters: 7", "hyperparameters: a mapping of names to values is expected"),
        ("- 1", "holds no mapping"),
        ("[" * 100_000, "is not YAML"),
        ("{", "is not YAML"),
    ],
)
def test_a_file_that_is_no_policy_is_a_usage_error(sano: Sano, tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    assert reason in error_line(sano("tenant", "policy", "set", "t1", "--file", str(file)), 2)
    assert shape(sano("tenant", "policy", "show", "t1", "--json"))["version"] == 1


def test_a_policy_that_would_contradict_itself_is_refused_and_nothing_changes(sano: Sano) -> None:
    shape(sano("tenant", "policy", "set", "t1", "--right-of-export", "--export-wait-days", "20", "--json"))
    refused = sano("tenant", "policy", "set", "t1", "--deletion-sla-days", "15")
    assert "export_wait_days must be less than deletion_sla_days" in error_line(refused, 1)
    assert shape(sano("tenant", "policy", "show", "t1", "--json"))["version"] == 2


def test_setting_nothing_is_a_usage_error(sano: Sano) -> None:
    assert "nothing to change" in error_line(sano("tenant", "policy", "set", "t1"), 2)


def test_a_shown_policy_is_what_a_file_takes(sano: Sano, tmp_path: Path) -> None:
    sano("tenant", "policy", "set", "t1", "--max-length", "256")
    file = tmp_path / "policy.yaml"
    file.write_text(json.dumps(shape(sano("tenant", "policy", "show", "t1", "--json"))["policy"]))
    assert shape(sano("tenant", "policy", "set", "t1", "--file", str(file), "--json"))["changed"] is False


def test_a_tenant_is_created_with_the_policy_of_a_file(sano: Sano, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("learning_rate: 0.002\nactivation: manual\n")
    made = shape(sano("tenant", "create", "t9", "--file", str(file), "--r", "8", "--json"))
    assert (made["policy"]["activation"], made["policy"]["hyperparameters"]["r"]) == ("manual", 8)
