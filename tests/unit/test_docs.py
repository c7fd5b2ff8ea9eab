"""The documentation says what the code does: settings, commands, events, codes, files. Prose is left to readers."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import pytest
import typer.main
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from consumers.runtime.poison import REFUSED_US
from deploy.local.services import LOCAL_PROFILE
from inference.api import responses_asked
from inference.engine import request_fields
from inference.knowledge import retrieval
from producers.cli.main import app
from producers.sources.approvals_file import ApprovalLine
from schemas.bus.envelope import EVENT_NAMESPACE, event_id
from schemas.bus.events import EVENT_TYPES, EventData
from schemas.bus.topics import LIVE_TOPICS
from schemas.objects.object_keys import TENANT_AREAS
from schemas.objects.purges import PurgeRecord
from tenancy.evidence.event_signatures import NOT_BELIEVED
from tenancy.service import metrics

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")))
HOUSE = ("producers", "consumers", "inference", "tenancy", "schemas", "deploy", "tests", "docs")

# Read by the set-up script and by `sano down`, before and beside every settings class.
BESIDE_SETTINGS = {"SANO_PYTHON", "SANO_STACK_MEMBER"}

MADE_DEFAULTS = {"replica_id": "`replica-` and the host name", "cache_dir": "`.cache/sanolith` in the home folder"}
"""Defaults that a function makes on each machine, in words."""

Row = tuple[str, ...]


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """What stands under a heading, down to the next one of its level or above."""
    level = len(heading) - len(heading.lstrip("#"))
    start = re.search(rf"^{re.escape(heading)}$", text, re.MULTILINE)
    assert start is not None, f"there is no heading {heading!r}"
    rest = text[start.end() :]
    end = re.search(rf"^#{{1,{level}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def rows(text: str) -> list[Row]:
    """The cells of every table row, without headings. ``\\|`` is a bar inside a cell."""
    found: list[Row] = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        is_heading = lines[number + 1 : number + 2] and re.fullmatch(r"\|[-:| ]+\|", lines[number + 1])
        if line.startswith("|") and not is_heading and not re.fullmatch(r"\|[-:| ]+\|", line):
            cells = re.split(r"(?<!\\)\|", line.strip())[1:-1]
            found.append(tuple(cell.strip().replace("\\|", "|") for cell in cells))
    return found


def ticked(text: str) -> list[str]:
    """The inline code of a text."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def code(text: str) -> Iterator[str]:
    """Every piece of code: inline, and the lines of blocks, continued lines joined."""
    yield from ticked(text)
    for block in re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield from block.replace("\\\n", " ").splitlines()


# --- settings


def settings_classes() -> list[type[BaseSettings]]:
    """Every settings class of the house that adds fields of its own."""
    found: list[type[BaseSettings]] = []
    for path in sorted(path for part in HOUSE for path in (ROOT / part).rglob("settings.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        declared = [held for held in vars(importlib.import_module(name)).values() if isinstance(held, type)]
        found += [h for h in declared if issubclass(h, BaseSettings) and h.__module__ == name and own(h)]
    return found


def own(settings: type[BaseSettings]) -> dict[str, FieldInfo]:
    declared = vars(settings).get("__annotations__", {})
    return {name: field for name, field in settings.model_fields.items() if name in declared}


def variable(settings: type[BaseSettings], name: str) -> str:
    return f"{settings.model_config['env_prefix']}{name}".upper()


def type_in_words(field: FieldInfo) -> str:
    parts = [part for part in _alternatives(field.annotation) if part is not NoneType]
    assert len(parts) == 1, "one kind of value, or nothing"
    if get_origin(parts[0]) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(parts[0]))
    words = {str: "text", int: "integer", float: "number", Path: "path", SecretStr: "secret"}[parts[0]]
    bounds = {type(bound): bound for bound in field.metadata}
    ge, gt, le = (bounds.get(kind) for kind in (annotated_types.Ge, annotated_types.Gt, annotated_types.Le))
    if ge and le:
        return f"{words}, {ge.ge} to {le.le}"
    given = ((ge and f"≥ {ge.ge:g}"), (gt and f"> {gt.gt:g}"), (le and f"up to {le.le:g}"))
    return " ".join([words, *(bound for bound in given if bound)])


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    parts = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return tuple(get_args(part)[0] if get_origin(part) is Annotated else part for part in parts)


def default_in_words(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default_factory is not None:
        return MADE_DEFAULTS[name]
    return "none" if field.default in (None, "") else f"`{field.default}`"


def test_every_setting_is_documented_with_its_name_type_and_default() -> None:
    text = page("docs/settings.md")
    classes = settings_classes()
    assert {f"{held.__module__}.{held.__name__}" for held in classes} == {
        heading.strip("`") for heading in re.findall(r"^### (`[a-z_.]+\.[A-Za-z]+`)$", text, re.MULTILINE)
    }
    for held in classes:
        heading = f"### `{held.__module__}.{held.__name__}`"
        documented = [row[:3] for row in rows(section(text, heading))]
        expected = [
            (f"`{variable(held, name)}`", type_in_words(field), default_in_words(name, field))
            for name, field in own(held).items()
        ]
        assert documented == expected, heading
        assert all(len(row) == 4 and row[3] for row in rows(section(text, heading))), "each has a meaning"


def test_the_values_of_the_local_stack_are_documented() -> None:
    documented = rows(section(page("docs/settings.md"), "## What the local stack sets"))
    assert {row[0].strip("`"): row[1].strip("`") for row in documented} == LOCAL_PROFILE


def variables(text: str) -> set[str]:
    """Every whole ``SANO_*`` name; ``SANO_KAFKA_…`` stands for several and is none."""
    return set(re.findall(r"SANO_[A-Z0-9_]*[A-Z0-9](?![A-Z0-9_])", text))


def test_no_page_mentions_a_setting_that_does_not_exist() -> None:
    known = {variable(held, name) for held in settings_classes() for name in own(held)}
    setup = page("deploy/local/setup.sh") + page("deploy/local/services.py")
    assert all(name in setup for name in BESIDE_SETTINGS)
    assert variables(page("docs/settings.md")) == known
    for path in PAGES:
        assert variables(path.read_text(encoding="utf-8")) <= known | BESIDE_SETTINGS, path.name


# --- commands


@cache
def commands() -> dict[str, Any]:
    """Every command by its words: ``tenant create``, ``purge`` …"""

    def walk(command: Any, words: str) -> Iterator[tuple[str, Any]]:
        if not hasattr(command, "list_commands"):
            yield words, command
            return
        for name in command.list_commands(None):  # some are made only when they are asked for
            yield from walk(command.get_command(None, name), f"{words} {name}".strip())

    return dict(walk(typer.main.get_command(app), ""))


def invocations(text: str) -> Iterator[str]:
    for piece in code(text):
        for match in re.finditer(r"(?:^|[\s;&(])(?:bin/)?sano (?=[a-z])([^;&#]*)", piece):
            yield match[1].strip()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_command_and_option_that_is_mentioned_exists(path: Path) -> None:
    for invocation in invocations(path.read_text(encoding="utf-8")):
        words = invocation.split()
        name = next((name for n in (3, 2, 1) if (name := " ".join(words[:n])) in commands()), None)
        is_group = any(known.startswith(f"{words[0]} ") for known in commands()) and len(words) == 1
        assert name or is_group, f"sano {invocation}"
        known_options = {option for held in (commands()[name].params if name else ()) for option in _options(held)}
        for option in re.findall(r"(?:^|\s|\[)(--[a-z0-9-]+)", invocation):
            assert option in known_options | {"--help"}, f"sano {invocation}"


def _options(parameter: Any) -> list[str]:
    return [*parameter.opts, *parameter.secondary_opts]


def test_the_readme_or_a_page_mentions_every_command() -> None:
    """What nobody can find in the documentation might as well not be there."""
    mentioned = [invocation for path in PAGES for invocation in invocations(path.read_text(encoding="utf-8"))]
    for name in commands():
        assert any(f"{given} ".startswith(f"{name} ") for given in mentioned), f"sano {name}"


def test_every_make_target_that_is_mentioned_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", page("Makefile"), re.MULTILINE))
    for path in PAGES:
        for piece in code(path.read_text(encoding="utf-8")):
            for target in re.findall(r"(?:^|\s)make ([a-z]+)", piece):
                assert target in targets, f"{path.name}: make {target}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_inline_code_is_broken_over_two_lines(path: Path) -> None:
    """The checks here would not see it."""
    for line in re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL).split(
        "\n"
    ):
        assert line.count("`") % 2 == 0, f"{path.name}: {line}"


# --- files and links


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(#[^)\s]*)?\)", path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        led_to = (path.parent / target).resolve() if target else path
        assert led_to.exists(), f"{path.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", led_to.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor[1:] in {_anchor(heading) for heading in headings}, f"{path.name}: {target}{anchor}"


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_file_of_the_house_that_is_cited_exists(path: Path) -> None:
    for piece in ticked(path.read_text(encoding="utf-8")):
        is_path = re.fullmatch(r"[\w./-]+", piece) and piece.split("/")[0] in HOUSE and "/" in piece
        if is_path and not piece.startswith("tests/bench/"):
            assert (ROOT / piece).exists(), f"{path.name}: {piece}"


def test_every_test_that_is_cited_by_name_exists() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for path in PAGES:
        for name in ticked(path.read_text(encoding="utf-8")):
            if re.fullmatch(r"test_\w+", name):
                assert f"def {name}(" in source, f"{path.name}: {name}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_page_holds_a_path_of_somebodys_machine(path: Path) -> None:
    assert not re.findall(r"(?<![\w.])/(?:root|work|tmp|home|Users)\b", path.read_text(encoding="utf-8"))


def test_the_readme_cites_tests_for_each_of_the_ten_invariants() -> None:
    found = rows(section(page("README.md"), "## What is guaranteed, and how that is tested"))
    assert [row[0].split(".")[0].strip("* ") for row in found] == [str(number) for number in range(1, 11)]
    for row in found:
        assert re.search(r"tests/[a-z0-9_]+/test_[a-z0-9_]+\.py", row[-1]), row[0]


def test_the_readme_names_every_topic_and_every_area_of_a_tenants_prefix() -> None:
    text = section(page("README.md"), "## Where the data lives")
    assert set(LIVE_TOPICS) <= set(ticked(text))
    assert {f"{area}/" for area in TENANT_AREAS} <= set(ticked(text))


# --- what integrators rely on


def natural_key_in_words(model: type[EventData]) -> str:
    """The key with ``<field>`` where a field's value goes."""
    words: dict[str, Any] = {name: f"<{name}>" for name in model.model_fields}
    return model.model_construct(**words).natural_key()


def test_the_table_of_natural_keys_is_the_contracts() -> None:
    documented = rows(section(page("docs/integrators.md"), "### Natural keys"))
    assert {tuple(cell.strip("`") for cell in row[:3]) for row in documented} == {
        (model.type, model.topic, natural_key_in_words(model)) for model in EVENT_TYPES.values()
    }


def test_the_worked_example_of_an_id_is_right() -> None:
    text = section(page("docs/integrators.md"), "### Deterministic id")
    assert str(EVENT_NAMESPACE) in text
    found = re.search(r"`([a-z.]+\|[a-z0-9-]+\|[^`]+)` → `([0-9a-f-]{36})`", text)
    assert found is not None
    assert event_id(*found[1].split("|", 2)) == found[2]


def test_the_fields_of_an_import_line_are_documented() -> None:
    documented = rows(section(page("docs/integrators.md"), "## Import file"))
    assert {row[0].strip("`") for row in documented} == set(ApprovalLine.model_fields)


def test_the_request_fields_are_those_that_the_server_allows() -> None:
    documented = rows(section(page("docs/integrators.md"), "### Request fields"))
    by_route = {"chat": set[str](), "completion": set[str]()}
    for names, chat, completion, _ in documented:
        for route, mark in (("chat", chat), ("completion", completion)):
            by_route[route] |= set(ticked(names)) if mark == "yes" else set()
    beside = request_fields._SET_BY_SERVER | request_fields._IGNORED
    assert by_route["chat"] - beside == request_fields._CHAT.keys() | {retrieval.FIELD}
    assert by_route["completion"] - beside == request_fields._COMPLETION.keys()
    assert beside <= by_route["chat"] & by_route["completion"]


def test_the_fields_of_a_response_are_those_that_the_server_allows() -> None:
    documented = rows(section(page("docs/integrators.md"), "### Responses"))
    assert {name for row in documented for name in ticked(row[0])} == responses_asked.FIELDS


def test_every_error_code_of_the_api_is_documented() -> None:
    source = "".join(path.read_text() for path in (ROOT / "inference").rglob("*.py"))
    raised = set(re.findall(r'RequestRefused\((\d{3}), "([a-z_]+)"', source))
    raised |= set(re.findall(r'_error\((\d{3}), "([a-z_]+)"', source))
    documented = rows(section(page("docs/integrators.md"), "### Errors"))
    assert {(status.strip(), row[1].strip("`")) for row in documented for status in row[0].split(",")} >= raised
    assert {row[1].strip("`") for row in documented} == {code for _, code in raised} | {"engine_refused"}


# --- what operators rely on


def test_every_metric_is_documented_under_the_name_that_is_scraped() -> None:
    made = [metric for metric in vars(metrics).values() if isinstance(metric, metrics.Metric)]
    scraped = [f"{one.name}_total" if isinstance(one, metrics.Counter) else one.name for one in made]
    table = [row[0].strip("`") for row in rows(section(page("docs/operations.md"), "### Metrics"))]
    assert sorted(scraped) == sorted(table)


def test_every_metric_is_defined_in_one_file_under_the_name_of_its_subsystem() -> None:
    files = (path for part in HOUSE[:5] for path in (ROOT / part).rglob("*.py"))
    creating = r"\.create_(?:observable_)?(?:counter|histogram|up_down_counter|gauge)\("
    assert {path.relative_to(ROOT).as_posix() for path in files if re.search(creating, path.read_text())} == {
        "tenancy/service/metrics.py"
    }
    made = [metric.name for metric in vars(metrics).values() if isinstance(metric, metrics.Metric)]
    assert [name for name in made if not name.startswith(tuple(f"sano_{one}_" for one in metrics.SUBSYSTEMS))] == []


def test_every_reason_of_a_dead_letter_is_documented() -> None:
    envelope = page("schemas/bus/envelope.py") + page("consumers/runtime/dispatch.py")
    raised = set(re.findall(r'MalformedEvent\(\s*"([a-z0-9-]+)"', envelope)) | {
        "bad-key",
        "handler-error",
        "keeps-failing",
        "ends-its-process",
        "unknown-reader",
        "too-large",
    }
    handlers = "".join(path.read_text() for path in (ROOT / "consumers").glob("*/handlers.py"))
    handlers += page("consumers/purge/onboarding.py")
    boundary = (
        page("tenancy/errors.py")
        + page("tenancy/storage/keys.py")
        + page("tenancy/evidence/eviction_receipts.py")
        + page("tenancy/knowledge/database/settings.py")
        + page("tenancy/lifecycle/contents.py")
        + page("tenancy/redaction/judging.py")
        + page("tenancy/redaction/gate.py")
    )
    raised |= set(re.findall(r'Refused\(\s*"([a-z0-9-]+)"', handlers))
    raised |= set(re.findall(r'(?:Refused|__init__)\(\s*"([a-z0-9-]+)"', boundary))
    raised -= {"tenant-purged", "key-destroyed"}  # an outcome, REFUSED_PURGED, and no dead letter
    raised |= REFUSED_US | NOT_BELIEVED
    documented = rows(section(page("docs/operations.md"), "### Reasons"))
    assert {reason for row in documented for reason in ticked(row[0])} == raised


def test_every_step_of_a_purge_is_documented() -> None:
    steps = get_args(PurgeRecord.model_fields["step"].annotation)
    documented = rows(section(page("docs/operations.md"), "### Steps"))
    assert [row[0].strip("`") for row in documented] == list(steps)


def test_the_region_that_the_benchmarks_fill_is_there() -> None:
    text = page("docs/benchmarks.md")
    assert text.count("<!-- results:begin -->") == text.count("<!-- results:end -->") == 1
    assert text.index("<!-- results:begin -->") < text.index("<!-- results:end -->")


# --- the checks themselves


def test_the_checks_see_what_they_look_for() -> None:
    text = "# a\n## b\n| h | i |\n|---|---|\n| `x\\|y` | 2 |\n### c\n| k | l |\n## d\n`sano no-such --x`\n"
    assert rows(section(text, "## b")) == [("`x|y`", "2"), ("k", "l")]
    assert list(invocations(text)) == ["no-such --x"]
    assert list(invocations("```sh\nmake up && bin/sano tenant \\\n  list # all\n```\n")) == ["tenant    list"]
    assert {"up", "tenant create", "topics apply"} <= commands().keys()
    assert variables("`SANO_KAFKA_…` and SANO_S3_BUCKET=x") == {"SANO_S3_BUCKET"}
