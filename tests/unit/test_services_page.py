"""Who reads and writes which topic: the topics as data, the table for operators and the code say the same."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from consumers.adapters import app as adapters
from consumers.curation import app as curation
from consumers.export import app as export
from consumers.knowledge import app as knowledge
from consumers.ledger import app as ledger
from consumers.purge import app as purge
from consumers.runtime.requeue import MUST_HAPPEN
from consumers.training import app as training
from inference import wiring as inference
from producers.replay.selection import REPLAYABLE
from schemas.bus import events
from schemas.bus.asyncapi import consumer_group
from schemas.bus.events import EVENT_TYPES, OUTCOMES, EventData, OutcomeRecorded
from schemas.bus.publishers import OPERATORS, OWED, PUBLISHES, REQUEUES
from schemas.bus.topics import LIVE_TOPICS, TOPICS
from tests.unit.test_docs import page, rows, section, ticked

ROOT = Path(__file__).parents[2]
HANDLERS: dict[str, Mapping[type[EventData], object]] = {
    "curation": curation.HANDLERS,
    "training": training.HANDLERS,
    "adapters": adapters.HANDLERS,
    "export": export.HANDLERS,
    "knowledge": knowledge.HANDLERS,
    "purge": purge.HANDLERS,
    "ledger": ledger.HANDLERS,
    "inference": inference.HANDLERS,
}
SERVICES = tuple(HANDLERS)
TYPES = {model.__name__: model for model in EVENT_TYPES.values()}
IMPORT = ("sources/importing.py", "sources/proposing.py")
NO_COMMANDS = ("cli", "demo", "replay")
AT_ONCE: dict[str, set[type[EventData]]] = {
    "curation": {events.ExampleApproved, events.ExampleRejected, events.ExampleWithdrawn},
    "training": {events.ExampleReturned},
}
"""What a service that pays debts publishes itself and never owes: another record than the state decides it."""
DOCUMENTED_AS = {**{service: service for service in SERVICES}, "inference": "serving replica"}


def folder(service: str) -> Path:
    return ROOT / service if service == "inference" else ROOT / "consumers" / service


def wiring_of(service: str) -> Path:
    return folder(service) / ("wiring.py" if service == "inference" else "app.py")


def sources(service: str) -> Iterator[str]:
    """The service's modules, and those of the tenant boundary that make events for it."""
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(folder(service).rglob("*.py")))
    yield text
    if re.search(
        r"^from tenancy\.state(\.activation)? import (.*\b)?(activation|activated|retired)\b", text, re.MULTILINE
    ):
        yield (ROOT / "tenancy" / "state" / "activation.py").read_text(encoding="utf-8")


def subscribed(service: str) -> set[str]:
    """The topics that the service's wiring subscribes to."""
    found: list[ast.expr] = []
    for call in ast.walk(ast.parse(wiring_of(service).read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            if call.func.id == "serve":
                assert ast.literal_eval(call.args[0]) == service
                found += [keyword.value for keyword in call.keywords if keyword.arg == "topics"]
            elif call.func.id == "Consumer":
                found.append(call.args[1])
    [topics] = found
    if isinstance(topics, ast.Name):
        assert topics.id == "LIVE_TOPICS"
        return set(LIVE_TOPICS)
    assert isinstance(topics, ast.Tuple)
    return {getattr(events, name.attr) for name in topics.elts if isinstance(name, ast.Attribute)}


def events_made_in(modules: Iterable[str]) -> set[type[EventData]]:
    """The types of event that some source makes."""
    names = {
        call.func.id if isinstance(call.func, ast.Name) else call.func.attr
        for source in modules
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name | ast.Attribute)
    }
    return {TYPES[name] for name in names & TYPES.keys()}


def made(service: str) -> set[type[EventData]]:
    """The types of event that the service makes."""
    return events_made_in(sources(service))


def pays(service: str) -> bool:
    """Whether it publishes what states owe, whoever's swap it was. At the fence nothing is owed any more."""
    return service != "purge" and any(
        re.search(r"outbox\.(flush|swap)\(|work\.flush\(", source) for source in sources(service)
    )


def owed() -> set[type[EventData]]:
    """What states may owe, whoever pays it."""
    return {model for payer in SERVICES if pays(payer) for model in made(payer) - AT_ONCE.get(payer, set())}


def sent_back(service: str) -> set[type[EventData]]:
    """The types that the service sends to the back of their topics where they keep failing: those of removals."""
    return {model for model in MUST_HAPPEN if model in HANDLERS[service]}


def published(service: str) -> set[type[EventData]]:
    return made(service) | (owed() if pays(service) else set()) | {OutcomeRecorded}


def must_write(service: str) -> set[str]:
    return {model.topic for model in published(service) | sent_back(service)}


def documented() -> dict[str, tuple[str, ...]]:
    return {row[0]: row for row in rows(section(page("docs/operations.md"), "## The processes"))}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_subscribes_to_the_topics_whose_consumer_it_is(service: str) -> None:
    assert subscribed(service) == {name for name in LIVE_TOPICS if service in TOPICS[name].consumers}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_may_write_where_it_makes_events_pays_debts_or_sends_back(service: str) -> None:
    assert must_write(service) == {name for name in LIVE_TOPICS if service in TOPICS[name].producers}


@pytest.mark.parametrize("service", SERVICES)
def test_the_types_that_a_service_publishes_are_those_that_the_data_names(service: str) -> None:
    assert published(service) == set(PUBLISHES[service])
    assert sent_back(service) == set(REQUEUES.get(service, ()))


def test_what_states_may_owe_is_what_the_data_says() -> None:
    assert owed() == set(OWED)


def commanded(module: str) -> set[type[EventData]]:
    """The types of event that an operators' command makes."""
    return events_made_in([(ROOT / "producers" / module).read_text(encoding="utf-8")])


def operators_publish() -> set[type[EventData]]:
    """What they command, what states owe where they swap them, and whatever they may send again."""
    root = ROOT / "producers"
    modules = [path.relative_to(root) for path in root.rglob("*.py")]
    commands = {str(module) for module in modules if module.parts[0] not in NO_COMMANDS} - set(IMPORT)
    sent_again = {model for model in EVENT_TYPES.values() if model.topic in REPLAYABLE}
    return {model for module in commands for model in commanded(module)} | owed() | sent_again


def operators_must_write() -> set[str]:
    return {model.topic for model in operators_publish()}


def test_operators_publish_what_they_command_what_states_owe_and_what_they_send_again() -> None:
    assert operators_publish() == set(PUBLISHES[OPERATORS])
    assert set().union(*map(commanded, IMPORT)) == set(PUBLISHES["import"])


@pytest.mark.parametrize("service", SERVICES)
def test_the_table_of_processes_says_what_each_is_called_reads_and_writes(service: str) -> None:
    _, started, group, reads, writes, _ = documented()[DOCUMENTED_AS[service]]
    module = "inference.app" if service == "inference" else f"consumers.{service}.app"
    assert ticked(started) == [f"python -m {module}"]
    assert ticked(group) == ["inference.<replica id>" if service == "inference" else consumer_group(service)]
    assert subscribed(service) == (set(LIVE_TOPICS) if reads == "all" else set(ticked(reads)))
    assert must_write(service) - {OUTCOMES} == set(ticked(writes))


def test_the_table_of_processes_has_every_service_and_the_worker() -> None:
    assert documented().keys() == {*DOCUMENTED_AS.values(), "training worker", "review page"}
    assert documented()["training worker"][4] == "as training"


def test_the_review_page_writes_what_its_reviewers_say_and_propose() -> None:
    assert set(PUBLISHES["review"]) == {events.ExampleReviewed, events.ExampleProposed}
    _, started, _, reads, writes, _ = documented()["review page"]
    assert (ticked(started), reads) == (["python -m producers.review_page.app"], "")
    assert ticked(writes) == list({model.topic for model in PUBLISHES["review"]})


@pytest.mark.parametrize("service", SERVICES)
def test_the_table_of_processes_names_the_work_beside_the_events(service: str) -> None:
    """Each ``Periodic`` of the wiring, by a word of its name."""
    source = wiring_of(service).read_text(encoding="utf-8")
    beside = documented()[DOCUMENTED_AS[service]][5]
    for name in re.findall(r'Periodic\(\s*"([a-z ]+)"', source):
        assert name.split()[-1] in beside, f"{service}: {name}"
