"""Which entries of the brokers' lists are missing, and which weaken the wall."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from producers.operations import doctor
from producers.operations.access_admin import AccessReport, Found
from producers.operations.access_entries import EVERYBODY, Entry, missing, surplus
from producers.operations.principals import Principals, principals
from producers.settings import STACK_FILE, OperatorSettings
from schemas.bus import events
from schemas.bus.access import CLUSTER, PRINCIPALS, Right, grants
from tenancy.errors import Refused
from tests.unit.cli.command import UNUSED_PORT

WHO = Principals({who: (f"User:sano-{who}",) for who in PRINCIPALS})
RIGHTS = WHO.rights()
CURATION, PURGE, REPLICA = "User:sano-curation", "User:sano-purge", "User:sano-inference"


def entry_of(right: Right, **changed: Any) -> Entry:
    return Entry(**{**dict(right), **changed})


APPLIED = tuple(entry_of(right) for right in RIGHTS)


def judged(*more: Entry, administrators: tuple[str, ...] = ()) -> list[Entry]:
    return list(surplus(RIGHTS, (*APPLIED, *more), administrators))


def test_of_what_was_applied_nothing_is_missing_or_surplus() -> None:
    assert missing(RIGHTS, APPLIED) == ()
    assert judged() == []


@pytest.mark.parametrize("right", RIGHTS, ids=lambda right: f"{right.principal} {right}")
def test_each_right_that_no_entry_gives_is_missing(right: Right) -> None:
    others = [entry for entry in APPLIED if not entry.gives(right)]
    assert missing(RIGHTS, others) == (right,)
    wider = Entry(EVERYBODY, right.resource, "*", "all")
    assert missing(RIGHTS, [*others, wider]) == (right,), "a wider entry is to go, and then this one is needed"
    assert missing(RIGHTS, [*others, entry_of(right, host="10.0.0.1")]) == (), "whoever narrowed it meant that"
    assert missing(RIGHTS, [*others, entry_of(right, is_denial=True)]) == (right,)


@pytest.mark.parametrize(
    "entry",
    [
        Entry(CURATION, "topic", events.TENANTS, "write"),
        Entry(CURATION, "topic", events.TENANTS, "read"),
        Entry(CURATION, "topic", events.CURATION, "all"),
        Entry("User:elsewhere", "topic", "*", "write"),
        Entry("User:elsewhere", "topic", "sano.", "write", is_prefix=True),
        Entry("User:elsewhere", "topic", "sano.tenants.v1.dlq", "read"),
        Entry("User:elsewhere", "topic", events.USAGE, "alter-configs", host="10.0.0.1"),
        Entry("User:elsewhere", "topic", events.USAGE, "delete"),
        Entry(EVERYBODY, "topic", events.USAGE, "write"),
        Entry(CURATION, "group", "purge.v1", "read"),
        Entry(CURATION, "group", "curation", "read", is_prefix=True),
        Entry("User:elsewhere", "group", "*", "delete"),
        Entry("User:elsewhere", "group", "inference.replica-1", "read"),
        Entry("User:elsewhere", "group", "inf", "read", is_prefix=True),
        Entry(REPLICA, "group", "inference.replica-1", "all"),
        Entry("User:sano-operators", "cluster", CLUSTER, "alter"),
        Entry("User:elsewhere", "cluster", CLUSTER, "create"),
        Entry("User:elsewhere", "cluster", CLUSTER, "all"),
        Entry(PURGE, "transactional-id", "x", "write"),
        Entry(EVERYBODY, "transactional-id", "x", "write", is_prefix=True),
    ],
    ids=lambda entry: f"{entry.principal} {entry}",
)
def test_an_entry_that_weakens_the_wall_is_surplus_unless_an_administrators(entry: Entry) -> None:
    assert judged(entry) == [entry]
    assert judged(entry, administrators=(entry.principal,)) == []
    assert judged(entry_of_denial(entry)) == [], "a denial lets nobody in"


def entry_of_denial(entry: Entry) -> Entry:
    return Entry(entry.principal, entry.resource, entry.name, entry.operation, is_denial=True)


@pytest.mark.parametrize(
    "entry",
    [
        Entry("User:elsewhere", "topic", "other.v1", "all"),
        Entry("User:elsewhere", "topic", "other.", "write", is_prefix=True),
        Entry("User:elsewhere", "topic", "*", "describe"),
        Entry("User:elsewhere", "topic", events.USAGE, "describe-configs"),
        Entry("User:elsewhere", "group", "other.v1", "read"),
        Entry("User:elsewhere", "group", "*", "describe"),
        Entry("User:elsewhere", "cluster", CLUSTER, "idempotent-write"),
        Entry("User:elsewhere", "transactional-id", "x", "write"),
        Entry("User:elsewhere", "user", "x", "describe-tokens"),
        Entry(REPLICA, "group", "inference.replica-1", "read"),
        Entry(REPLICA, "group", "inference.replica-", "read", is_prefix=True),
        Entry(CURATION, "topic", events.CURATION, "read", host="10.0.0.1"),
    ],
    ids=lambda entry: f"{entry.principal} {entry}",
)
def test_an_entry_that_gives_nothing_beyond_the_contract_is_nobodys_business(entry: Entry) -> None:
    assert judged(entry) == []


# --- Kafka's names


def settings(tmp_path: Path, given: object = None, **changed: str) -> OperatorSettings:
    file = tmp_path / "principals.json"
    file.write_text(given if isinstance(given, str) else json.dumps(given))
    return OperatorSettings(
        kafka_bootstrap_servers=UNUSED_PORT,
        s3_bucket="bucket",
        kafka_principals_file=None if given is None else file,
        **changed,  # type: ignore[arg-type]
    )


def test_names_begin_with_the_prefix_unless_the_file_gives_others(tmp_path: Path) -> None:
    assert principals(settings(tmp_path)) == WHO
    given = {"ehr": ["User:CN=a,O=x", "User:CN=b,O=x"], "import": [], "administrators": ["User:root"]}
    found = principals(settings(tmp_path, given, kafka_principal_prefix="User:s-"))
    assert found.administrators == ("User:root",)
    assert (found.names["ehr"], found.names["import"]) == (("User:CN=a,O=x", "User:CN=b,O=x"), ())
    assert found.names["purge"] == ("User:s-purge",)
    of_ehr = [right for right in found.rights() if right.principal == "User:CN=b,O=x"]
    assert list(map(str, of_ehr)) == list(map(str, grants("ehr")))


def test_two_principals_under_one_name_have_the_rights_of_both_each_once(tmp_path: Path) -> None:
    rights = principals(settings(tmp_path, {"ehr": ["User:a"], "import": ["User:a"]})).rights()
    own = [right for right in rights if right.principal == "User:a"]
    assert {str(right) for right in own} == {str(grant) for grant in grants("ehr")}
    assert len(own) == len(set(own))


@pytest.mark.parametrize(
    "given",
    [{"ehr": ["User:*"]}, {"ehr": ["sano-ehr"]}, {"ehr": "User:a"}, {"nobody": ["User:a"]}, "{", [], {"ehr": [3]}],
    ids=str,
)
def test_a_file_that_names_everybody_or_nobody_we_know_is_refused(tmp_path: Path, given: object) -> None:
    with pytest.raises(Refused, match="SANO_KAFKA_PRINCIPALS_FILE"):
        principals(settings(tmp_path, given))


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    absent = settings(tmp_path).model_copy(update={"kafka_principals_file": tmp_path / "absent.json"})
    with pytest.raises(Refused, match="cannot be read"):
        principals(absent)


# --- what the doctor says


async def doctor_says(monkeypatch: pytest.MonkeyPatch, report: AccessReport, own: OperatorSettings) -> doctor.Check:
    async def found(*_: object, dry_run: bool) -> AccessReport:
        assert dry_run, "a look changes nothing"
        return report

    monkeypatch.setattr(doctor, "apply_access", found)
    checks = await doctor.diagnose(lambda: own)
    return next(check for check in checks if check.part == "access control")


async def test_brokers_without_an_authorizer_are_no_wall_but_on_the_local_stack_that_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    nothing, own = AccessReport(has_authorizer=False, rights=len(RIGHTS)), settings(tmp_path)
    check = await doctor_says(monkeypatch, nothing, own)
    assert not check.ok
    assert check.detail == ("refused: the brokers have no authorizer: whoever reaches them may speak for every tenant")
    STACK_FILE.parent.mkdir()
    STACK_FILE.write_text(json.dumps({"kafka_bootstrap_servers": UNUSED_PORT}))
    check = await doctor_says(monkeypatch, nothing, own)
    assert check.ok and "whoever reaches the bus may speak for every tenant" in check.detail
    remote = "broker-1:9092"
    STACK_FILE.write_text(json.dumps({"kafka_bootstrap_servers": remote}))
    elsewhere = own.model_copy(update={"kafka_bootstrap_servers": remote})
    assert not (await doctor_says(monkeypatch, nothing, elsewhere)).ok, (
        "`sano up` also uses a bus that is there already"
    )


async def test_what_is_missing_or_surplus_fails_the_check_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = Found(principal="User:x", entry="write topic *")
    for report, said in (
        (
            AccessReport(has_authorizer=True, rights=9, added=RIGHTS[:1]),
            "1 rights missing, 0 surplus",
        ),
        (
            AccessReport(has_authorizer=True, rights=9, surplus=(found,)),
            "0 rights missing, 1 surplus: User:x may write topic *",
        ),
        (AccessReport(has_authorizer=True, rights=9, added=RIGHTS[:4]), "; …"),
    ):
        check = await doctor_says(monkeypatch, report, settings(tmp_path))
        assert not check.ok and said in check.detail
        assert check.remedy is not None and "`sano topics apply`" in check.remedy
    assert (await doctor_says(monkeypatch, AccessReport(has_authorizer=True, rights=9), settings(tmp_path))).ok
