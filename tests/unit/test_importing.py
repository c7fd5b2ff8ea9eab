"""``sano import``: a whole file or nothing, nothing quoted, and the same end however often it is done."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, get_args

import pytest

from consumers.curation import handlers as curation
from consumers.purge.handlers import on_purge_requested
from producers.commands.onboarding import onboard
from producers.commands.terms import add_terms
from producers.sources.approvals_file import _RULES, ApprovalLine, RawLine
from producers.sources.importing import import_approvals
from schemas.base.redaction import IdentifierType
from schemas.bus.content import ChatMessage, ExampleContent
from schemas.bus.envelope import Event
from schemas.bus.events import ConsentGranted, ExampleApproved, ExampleWithdrawn, PurgeRequested
from schemas.bus.outcome import Outcome
from schemas.objects import object_keys
from schemas.objects.curation import ExampleRecord
from schemas.objects.terms import Term
from schemas.tenant.policy import TenantPolicy
from tenancy.bus import RecordingPublisher
from tenancy.errors import BusUnavailable, Refused, TenantFenced
from tenancy.platform.threads import REQUESTS
from tenancy.redaction.gate import UnionGate
from tenancy.storage.memory import MemoryObjectStore
from tenancy.tenant_id import TenantId
from tests.fixtures.gates import GATE, NAME, gate_of_tests
from tests.unit.damaged_json import damaged
from tests.unit.operator_parts import NOW, Parts, onboarded_parts, purge_ports

TENANT = TenantId("t1")
SECRET = "Mrs Example of ward 7"


def line(number: int = 0, **changes: Any) -> dict[str, Any]:
    made = {
        "example_id": f"example-{number}",
        "messages": [
            {"role": "user", "content": f"question {number} {SECRET}?"},
            {"role": "assistant", "content": f"answer {number}"},
        ],
        "reviewer": "reviewer-1",
        "consent": f"consent-{number % 2}",
        **changes,
    }
    return {name: value for name, value in made.items() if value is not None}


def write(tmp_path: Path, *lines: dict[str, Any] | str) -> Path:
    path = tmp_path / "approvals.jsonl"
    path.write_text("".join(f"{entry if isinstance(entry, str) else json.dumps(entry)}\n" for entry in lines))
    return path


@pytest.fixture
async def parts() -> Parts:
    return await onboarded_parts(TENANT)


async def curate(parts: Parts) -> list[Outcome]:
    """What the curation consumer makes of everything that was published."""
    outcomes = []
    for event in list(parts.publisher.events):
        if isinstance(event.data, ConsentGranted):
            outcomes.append(await curation.on_consent_granted(event, parts.tenancy))
        elif isinstance(event.data, ExampleApproved):
            outcomes.append(await curation.on_example_approved(event, parts.tenancy))
    return outcomes


async def test_every_line_becomes_an_approval_that_curation_accepts_after_its_consent(
    parts: Parts, tmp_path: Path
) -> None:
    imported = await import_approvals(
        write(tmp_path, *(line(n) for n in range(5))), TENANT, parts.tenancy, gate_of_tests
    )
    assert parts.types() == ["consent.granted"] * 2 + ["example.approved"] * 5
    assert (imported.count("new"), imported.consents) == (5, ("consent-0", "consent-1"))
    assert await curate(parts) == [Outcome.EFFECT] * 7
    assert len((await parts.tenancy.states.read(TENANT)).state.curation.fresh) == 5


async def test_what_the_gate_finds_is_replaced_before_anything_is_written_and_the_statement_is_recorded(
    parts: Parts, tmp_path: Path
) -> None:
    await add_terms(parts.tenancy, TENANT, [Term(text="ward 7", kind=IdentifierType.PLACE)], changed_by="op-1")
    parts.publisher.events.clear()
    path = write(tmp_path, line(1))
    imported = await import_approvals(path, TENANT, parts.tenancy, gate_of_tests, stated_by="op-7")
    assert imported.redacted == 2
    [_, approved] = [event.data for event in parts.publisher.events]
    assert isinstance(approved, ExampleApproved)
    store = await parts.tenancy.store(TENANT)
    content, _ = await store.get_record(object_keys.content("example-1", 1), ExampleContent)
    assert content.messages[0].content == "question 1 [PATIENT-1] of [PLACE-1]?"
    assert (approved.content.commitment, approved.stated_by) == (content.commitment(), "op-7")
    assert approved.gate is not None
    assert (approved.gate.gate, approved.gate.verdict) == (GATE.name, "clean")
    assert await curate(parts) == [Outcome.EFFECT] * 2
    record, _ = await store.get_record(object_keys.example("example-1"), ExampleRecord)
    assert (record.gate, record.stated_by) == (approved.gate, "op-7")


async def test_a_file_that_a_later_gate_redacts_otherwise_is_known_by_the_ids_that_were_derived(
    parts: Parts, tmp_path: Path
) -> None:
    derived, named = (write(tmp_path, line(0, example_id=name)).rename(tmp_path / str(name)) for name in (None, "e1"))
    for path in (derived, named):
        await import_approvals(path, TENANT, parts.tenancy, gate_of_tests)
    before = parts.stored_keys()
    blind = UnionGate("test-gate", "0", [])
    assert (await import_approvals(derived, TENANT, parts.tenancy, lambda: blind)).count("known") == 1
    with pytest.raises(Refused, match="redacted otherwise; give these a higher version"):
        await import_approvals(named, TENANT, parts.tenancy, lambda: blind)
    assert parts.stored_keys() == before


async def test_no_event_and_no_key_and_no_stored_byte_holds_the_text(parts: Parts, tmp_path: Path) -> None:
    await import_approvals(write(tmp_path, line(example_id=None)), TENANT, parts.tenancy, gate_of_tests)
    published = "".join(event.data.model_dump_json() for event in parts.publisher.events)
    stored = b"".join(version.body or b"" for history in parts.objects.objects.values() for version in history)
    text_hash = hashlib.sha256(line()["messages"][0]["content"].encode()).hexdigest()
    for trace in (SECRET, text_hash[:32]):
        assert trace not in published
        assert trace not in "".join(parts.stored_keys())
        assert trace.encode() not in stored


async def test_a_link_to_another_tenants_approvals_is_not_followed(parts: Parts, tmp_path: Path) -> None:
    link = tmp_path / "inbox.jsonl"
    link.symlink_to(write(tmp_path, line()))
    with pytest.raises(Refused, match="it is a link"):
        await import_approvals(link, TENANT, parts.tenancy, gate_of_tests)
    assert parts.publisher.events == []


async def test_importing_the_same_file_again_changes_nothing(parts: Parts, tmp_path: Path) -> None:
    path = write(tmp_path, line(0), line(1, example_id=None))
    await import_approvals(path, TENANT, parts.tenancy, gate_of_tests)
    first, objects = list(parts.publisher.events), parts.stored_keys()
    parts.publisher.events.clear()
    again = await import_approvals(path, TENANT, parts.tenancy, gate_of_tests)
    assert again.count("known") == 2
    assert parts.stored_keys() == objects
    assert [(event.id, event.data) for event in parts.publisher.events] == [(event.id, event.data) for event in first]
    await curate(parts)
    parts.publisher.events.clear()
    await import_approvals(path, TENANT, parts.tenancy, gate_of_tests)
    assert await curate(parts) == [Outcome.NOOP_DUPLICATE] * len(first)


JSON_VALUES: tuple[Any, ...] = (
    None,
    True,
    1.5,
    -1,
    0,
    10**400,
    float("nan"),
    float("inf"),
    "",
    SECRET,
    SECRET * 2000,
    [],
    {},
    [SECRET],
)
WORDS = re.compile(r"must be |is missing; it must be |messages must hold a user turn|the line is not JSON")


@pytest.mark.parametrize("value", JSON_VALUES, ids=range(len(JSON_VALUES)))
async def test_whatever_is_in_a_field_what_is_said_of_it_is_the_rule_in_words(
    parts: Parts, tmp_path: Path, value: object
) -> None:
    good = line(0)
    bad = [{**good, name: value} for name in ApprovalLine.model_fields]
    bad += [{**good, "messages": [{**turn, name: value} for turn in good["messages"]]} for name in ("role", "content")]
    for changed in bad:
        try:
            await import_approvals(write(tmp_path, changed), TENANT, parts.tenancy, gate_of_tests)
        except Refused as refusal:
            said = str(refusal).split(": refused: ")[1]
            assert WORDS.search(said) or "consent is missing" in said
            assert not re.search(r"Input|String|Tuple|\^|\\$", said), "the words are ours, and no patterns"
            assert SECRET not in said


def test_the_rules_in_words_are_those_of_the_fields() -> None:
    assert set(_RULES) == {*ApprovalLine.model_fields, *RawLine.model_fields, *ChatMessage.model_fields}
    for model, name in ((ExampleContent, "messages"), (ChatMessage, "content")):
        bounds = [
            getattr(bound, "min_length", None) or getattr(bound, "max_length", None)
            for bound in model.model_fields[name].metadata
        ]
        assert f"{bounds[0]} to {bounds[1]} " in _RULES[name]
    assert (
        ", ".join(get_args(ChatMessage.model_fields["role"].annotation)).replace(", assistant", " or assistant")
        in (_RULES["role"])
    )


_HALF = r"the line is not JSON at byte 148: a \u escape is cut off or is half a character, a lone surrogate; write"


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("{", "the line is not JSON at byte 1: it ends inside an object; write one JSON object on each line"),
        (f'"{SECRET}"', "the line must be a JSON object; write one JSON object on each line"),
        (line(1, reviewer=None), "reviewer is missing; it must be text that is an opaque id: up to 128 letters"),
        (line(1, reviewer=SECRET), "reviewer must be text that is an opaque id: up to 128 letters, digits, dots"),
        (line(1, messages=[]), "messages must be a list of 2 to 64 messages"),
        (line(1, messages=[{"role": "user"}] * 2), "messages[0].content is missing; it must be text of 1 to 32768"),
        (line(1, messages=[SECRET] * 2), "messages[0] must be a JSON object"),
        (
            line(1, messages=[{"role": "user", "content": SECRET}] * 2),
            "messages must hold a user turn and end with an assistant",
        ),
        (
            line(1, messages=[{"role": SECRET, "content": "x"}] * 2),
            "messages[0].role must be system, user or assistant",
        ),
        (json.dumps(line(1)).replace("answer 1", "\\ud800"), _HALF),
        *(
            (line(1, version=version), "version must be a whole number from 1 to 9007199254740991")
            for version in (0, True, "2", 3.0)
        ),
        (
            {**line(1), SECRET: 1},
            "the line holds a field that is not one of messages, reviewer, consent, example_id, version; leave it out",
        ),
        (
            line(1, messages=[{"role": "user", "content": "x", SECRET: 1}] * 2),
            "messages[0] holds a field that is not one of role, content; leave it out",
        ),
        (
            line(1, messages=[{"role": "user", "content": SECRET}, {"role": "assistant", "content": " \n"}]),
            "the answer is blank",
        ),
        (line(1, consent=None), "consent is missing, and this tenant's policy requires it"),
        (line(0), "it is the example of line 1 again"),
    ],
)
async def test_one_bad_line_gets_one_line_that_quotes_nothing_and_nothing_is_sent(
    parts: Parts, tmp_path: Path, bad: dict[str, Any] | str, why: str
) -> None:
    before, path = parts.stored_keys(), write(tmp_path, line(0), bad, line(2))
    with pytest.raises(Refused) as refusal:
        await import_approvals(path, TENANT, parts.tenancy, gate_of_tests)
    message = str(refusal.value)
    assert message.startswith(f"{path}:2: refused: {why}")
    assert SECRET not in message
    assert "\n" not in message
    assert (parts.publisher.events, parts.stored_keys()) == ([], before)


async def test_five_hundred_malformed_files_are_refused_in_words_that_quote_nothing_and_nothing_is_sent(
    parts: Parts, tmp_path: Path
) -> None:
    draw, good, refused = Random(29), json.dumps(line(1)).encode(), 0
    path = tmp_path / "approvals.jsonl"
    for number in range(500):
        path.write_bytes(b"\n".join([json.dumps(line(0)).encode(), damaged(draw, good)]))
        try:
            await import_approvals(path, TENANT, parts.tenancy, gate_of_tests)
        except Refused as refusal:
            refused += 1
            assert re.match(rf"{path}:\d: refused: ", str(refusal)), number
            assert NAME not in str(refusal), number
            assert (parts.publisher.events, parts.stored_keys("tenants/t1/contents/")) == ([], []), number
        else:  # the damage was inside a text, and it is a text still
            parts.publisher.events.clear()
            parts.objects.objects = {
                key: held for key, held in parts.objects.objects.items() if not key.startswith("tenants/t1/contents/")
            }
    assert refused > 400
    await import_approvals(write(tmp_path, line(0)), TENANT, parts.tenancy, gate_of_tests)
    assert parts.types() == ["consent.granted", "example.approved"]


async def test_bytes_that_are_not_utf8_are_refused_by_line(parts: Parts, tmp_path: Path) -> None:
    path = write(tmp_path, line(0))
    path.write_bytes(path.read_bytes() + b'{"messages": "\xff"}\n')
    with pytest.raises(Refused, match=r":2: refused: the line is not UTF-8"):
        await import_approvals(path, TENANT, parts.tenancy, gate_of_tests)


async def test_other_messages_under_a_known_version_are_refused_and_nothing_of_the_file_is_sent(
    parts: Parts, tmp_path: Path
) -> None:
    await import_approvals(write(tmp_path, line(0)), TENANT, parts.tenancy, gate_of_tests)
    before, events = parts.stored_keys(), len(parts.publisher.events)
    other = line(0, messages=line(9)["messages"])
    with pytest.raises(Refused, match=r":2: refused: version 1 of this example has other messages"):
        await import_approvals(write(tmp_path, line(5), other), TENANT, parts.tenancy, gate_of_tests)
    assert (parts.stored_keys(), len(parts.publisher.events)) == (before, events)
    await import_approvals(write(tmp_path, line(5), {**other, "version": 2}), TENANT, parts.tenancy, gate_of_tests)
    assert "tenants/t1/contents/example-0/2" in parts.stored_keys()


async def test_another_reviewer_for_an_approved_version_is_refused(parts: Parts, tmp_path: Path) -> None:
    await import_approvals(write(tmp_path, line(0)), TENANT, parts.tenancy, gate_of_tests)
    await curate(parts)
    with pytest.raises(Refused, match=r":1: refused: version 1 has another reviewer or consent"):
        await import_approvals(write(tmp_path, line(0, reviewer="reviewer-2")), TENANT, parts.tenancy, gate_of_tests)


async def test_a_withdrawn_example_is_not_uploaded_again(parts: Parts, tmp_path: Path) -> None:
    path = write(tmp_path, line(0), line(1))
    await import_approvals(path, TENANT, parts.tenancy, gate_of_tests)
    await curate(parts)
    withdrawn = ExampleWithdrawn(example_id="example-0", reason_code="patient-request")
    event = Event(subject=TENANT, data=withdrawn, time=NOW, source="/test")
    await curation.on_example_withdrawn(event, parts.tenancy)
    parts.publisher.events.clear()
    imported = await import_approvals(path, TENANT, parts.tenancy, gate_of_tests)
    assert [example.status for example in imported.examples] == ["already_decided", "known"]
    assert parts.stored_keys("tenants/t1/contents/example-0/") == []
    approved = [event.data for event in parts.publisher.events if isinstance(event.data, ExampleApproved)]
    assert [data.example_id for data in approved] == ["example-1"]


async def test_an_id_that_is_derived_is_the_tenants_own_and_the_same_each_time(parts: Parts, tmp_path: Path) -> None:
    other = TenantId("t2")
    await onboard(parts.tenancy, other)
    path = write(tmp_path, line(0, example_id=None))
    ids = [
        (await import_approvals(path, tenant, parts.tenancy, gate_of_tests)).examples[0].example_id
        for tenant in (TENANT, TENANT, other)
    ]
    assert ids[0] == ids[1] != ids[2]


async def test_consent_is_not_asked_of_a_tenant_whose_policy_does_not_require_it(parts: Parts, tmp_path: Path) -> None:
    free = TenantId("t3")
    await onboard(parts.tenancy, free, TenantPolicy(require_consent=False))
    parts.publisher.events.clear()
    await import_approvals(write(tmp_path, line(0, consent=None)), free, parts.tenancy, gate_of_tests)
    assert parts.types() == ["example.approved"]


async def test_a_purge_that_begins_while_an_import_checks_its_lines_stops_it_before_it_writes(
    parts: Parts, tmp_path: Path
) -> None:
    path = write(tmp_path, *(line(n) for n in range(3)))
    data = PurgeRequested(purge_id="purge-1", reason_code="test", requested_by="operator")
    event = Event(subject=TENANT, data=data, time=NOW, source="/test")
    purged: list[asyncio.Task[Outcome]] = []

    def progress(what: str, done: int, total: int) -> None:
        if (what, done) == ("checking", total):
            purged.append(asyncio.create_task(on_purge_requested(event, purge_ports(parts))))  # and is faster

    with pytest.raises(TenantFenced):
        await import_approvals(path, TENANT, parts.tenancy, gate_of_tests, progress=progress)
    assert await purged[0] is Outcome.EFFECT
    assert parts.stored_keys("tenants/") == []
    with pytest.raises(TenantFenced):
        await import_approvals(path, TENANT, parts.tenancy, gate_of_tests)


@dataclass
class FailsOnce(RecordingPublisher):
    """Loses the bus in the middle of an import."""

    has_failed: bool = False

    async def publish(self, event: Event) -> None:
        if len(self.events) == 3 and not self.has_failed:
            self.has_failed = True
            raise BusUnavailable("the bus did not acknowledge")
        await super().publish(event)


async def test_an_import_that_was_interrupted_is_finished_by_the_same_command(tmp_path: Path) -> None:
    parts = Parts(publisher=FailsOnce())
    await onboard(parts.tenancy, TENANT)
    parts.publisher.events.clear()
    path = write(tmp_path, *(line(n) for n in range(3)))
    with pytest.raises(BusUnavailable):
        await import_approvals(path, TENANT, parts.tenancy, gate_of_tests)
    contents = parts.stored_keys("tenants/t1/contents/")
    parts.publisher.events.clear()
    await import_approvals(path, TENANT, parts.tenancy, gate_of_tests)
    assert parts.stored_keys("tenants/t1/contents/") == contents
    assert await curate(parts) == [Outcome.EFFECT] * 5


@dataclass
class CrowdedStore(MemoryObjectStore):
    """Counts how many writes of contents are under way at once."""

    inside: int = 0
    most: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        if "/contents/" not in key:
            return await super().put(key, body, if_absent=if_absent, if_match=if_match)
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(0.001)
        self.inside -= 1
        return await super().put(key, body, if_absent=if_absent, if_match=if_match)


async def test_uploads_are_many_at_once_but_never_more_than_the_bound(tmp_path: Path) -> None:
    store = CrowdedStore()
    parts = Parts(objects=store)
    await onboard(parts.tenancy, TENANT)
    seen: list[tuple[str, int, int]] = []
    path = write(tmp_path, *(line(n) for n in range(100)))
    await import_approvals(path, TENANT, parts.tenancy, gate_of_tests, progress=lambda *step: seen.append(step))
    assert store.most == REQUESTS
    assert seen[-1] == ("publishing approvals", 100, 100)
