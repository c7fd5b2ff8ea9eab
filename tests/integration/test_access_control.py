"""The brokers' access control on Apache Kafka with TLS, passwords and an authorizer: the lists, and everybody against
everything.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError
from aiokafka.protocol.commit import OffsetCommitRequest
from typer.testing import CliRunner

from producers.cli.main import app
from producers.cli.platform import Platform
from producers.connection import for_commands, for_reading
from producers.operations.access_admin import AccessReport, apply_access
from producers.operations.doctor import Check, diagnose
from producers.operations.principals import Principals
from producers.settings import OperatorSettings
from schemas.bus.access import PRINCIPALS, SERVICES, grants
from schemas.bus.asyncapi import consumer_group
from schemas.bus.topics import REPLICA_SERVICE, TOPICS
from tenancy.errors import BusUnavailable, Refused
from tests.fixtures.kafka_access import SUPER_USER
from tests.fixtures.platform import eventually
from tests.fixtures.walled import (
    ALL,
    ALLOW,
    DESCRIBE,
    GROUP,
    LITERAL,
    PREFIXED,
    READ,
    RIGHTS,
    STRANGER,
    TOPIC,
    TRANSACTION,
    WHO,
    WRITE,
    Walled,
    connected,
    readable,
    with_acls,
    without_acl,
)

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

BOUND_SECONDS = 60.0


# --- the lists themselves


async def test_what_is_missing_is_added_once_and_a_dry_run_only_says_it(walled_kafka: Walled) -> None:
    admin = walled_kafka.admin

    async def report(*, dry_run: bool = False) -> AccessReport:
        return await apply_access(admin, WHO, dry_run=dry_run)

    assert await report() == AccessReport(has_authorizer=True, rights=RIGHTS)
    lost = (GROUP, "inference.", PREFIXED, "User:sano-inference", "*", READ, ALLOW)
    async with without_acl(walled_kafka, lost):
        for _ in range(2):
            planned = await report(dry_run=True)
            assert [(right.principal, str(right)) for right in planned.added] == [
                ("User:sano-inference", "read group inference.*")
            ]
        assert (await report()).added == planned.added
        assert (await report()).added == ()


async def test_what_weakens_the_wall_is_said_and_left_and_what_does_not_is_nobodys_business(
    walled_kafka: Walled,
) -> None:
    admin = walled_kafka.admin
    wall = (
        (TOPIC, "*", LITERAL, "User:sano-curation", "*", WRITE, ALLOW),
        (TOPIC, "sano.ten", PREFIXED, "User:*", "10.0.0.1", ALL, ALLOW),
        (GROUP, "purge.v1", LITERAL, "User:sano-ehr", "*", READ, ALLOW),
        (TRANSACTION, "x", LITERAL, "User:sano-ledger", "*", WRITE, ALLOW),
    )
    harmless = (
        (TOPIC, "other.v1", LITERAL, "User:sano-ehr", "*", WRITE, ALLOW),
        (TOPIC, "*", LITERAL, "User:metrics", "*", DESCRIBE, ALLOW),
        (GROUP, "inference.replica-1", LITERAL, "User:sano-inference", "*", READ, ALLOW),
        (TRANSACTION, "x", LITERAL, "User:elsewhere", "*", WRITE, ALLOW),
    )
    async with with_acls(walled_kafka, *wall, *harmless):

        async def all_seen() -> AccessReport | None:
            report = await apply_access(admin, WHO)
            return report if len(report.surplus) == len(wall) else None

        report = await eventually(all_seen, "the entries are known", BOUND_SECONDS)
        assert await apply_access(admin, WHO) == report, "nothing of it was removed"
        assert {(found.principal, found.entry) for found in report.surplus} == {
            ("User:sano-curation", "write topic *"),
            ("User:*", "all topic sano.ten* from 10.0.0.1"),
            ("User:sano-ehr", "read group purge.v1"),
            ("User:sano-ledger", "write transactional-id x"),
        }
        trusted = Principals(WHO.names, administrators=("User:*",))
        assert len((await apply_access(admin, trusted)).surplus) == 3


async def test_only_a_super_user_may_change_the_lists_and_only_operators_see_them(
    walled_kafka: Walled,
) -> None:
    assert (await apply_access(walled_kafka.principal("operators"), WHO, dry_run=True)).added == ()
    others = {who: (*names, "User:more") for who, names in WHO.names.items()}
    with pytest.raises(Refused, match="does not let this principal add to the access control lists"):
        await apply_access(walled_kafka.principal("operators"), Principals(others))
    for user in (STRANGER, *(f"sano-{who}" for who in PRINCIPALS if who != "operators")):
        with pytest.raises(Refused, match="does not let this principal see the access control lists"):
            await apply_access(walled_kafka.user(user), WHO)
    with pytest.raises(BusUnavailable):
        await apply_access({**walled_kafka.admin, "sasl_plain_password": "wrong"}, WHO)


def test_the_doctor_and_topics_apply_say_whether_the_wall_stands(walled_kafka: Walled) -> None:
    def said(settings: OperatorSettings, part: str = "access control") -> Check:
        [check] = [check for check in asyncio.run(diagnose(lambda: settings)) if check.part == part]
        return check

    def sano(*arguments: str) -> Any:
        command = Platform(lambda: walled_kafka.settings(OperatorSettings, SUPER_USER), for_reading, for_commands)
        result = CliRunner().invoke(app, arguments, obj=command)
        assert result.exit_code == 0, result.output
        return result.stdout

    healthy = said(walled_kafka.settings(OperatorSettings, "sano-operators"))
    assert (healthy.ok, healthy.detail) == (True, f"all {RIGHTS} rights are as the contract says, and no others")
    assert said(walled_kafka.settings(OperatorSettings, "sano-operators"), "bus").ok, "they see the configurations"
    assert not said(walled_kafka.settings(OperatorSettings, "sano-curation")).ok, "who may not look does not know"
    moved = walled_kafka.settings(OperatorSettings, "sano-operators").model_copy(
        update={"kafka_principal_prefix": "User:other-"}
    )
    missing = said(moved)
    assert not missing.ok and f"{RIGHTS} rights missing" in missing.detail
    surplus = (TOPIC, "sano.", PREFIXED, "User:sano-export", "*", WRITE, ALLOW)

    async def weakened() -> None:
        async with with_acls(walled_kafka, surplus):

            async def seen() -> str | None:
                check = await asyncio.to_thread(said, walled_kafka.settings(OperatorSettings, "sano-operators"))
                return None if check.ok else check.detail

            assert "User:sano-export may write topic sano.*" in await eventually(seen, "seen", BOUND_SECONDS)
            shown = json.loads(await asyncio.to_thread(sano, "topics", "apply", "--json"))
            assert [found["entry"] for found in shown["access"]["surplus"]] == ["write topic sano.*"]
            assert "surplus, left as it is" in await asyncio.to_thread(sano, "topics", "apply", "--dry-run")

    asyncio.run(weakened())
    assert f"{RIGHTS} rights in the contract, 0 added" in sano("topics", "apply")


# --- everybody against everything


def given(who: str, resource: str, operation: str) -> set[str]:
    return {g.name for g in grants(who) if (g.resource, g.operation) == (resource, operation)}


@pytest.mark.parametrize("who", [*PRINCIPALS, STRANGER])
async def test_a_principal_writes_and_reads_exactly_the_topics_that_the_data_gives(
    who: str, walled_kafka: Walled
) -> None:
    settings = walled_kafka.principal(who)
    may_write, may_read = (given(who, "topic", op) if who != STRANGER else set() for op in ("write", "read"))
    assert await written(settings) == may_write
    assert await readable(settings) == may_read


async def written(settings: dict[str, Any]) -> set[str]:
    producer = AIOKafkaProducer(**settings, acks="all")
    await producer.start()
    taken = set()
    try:
        async with asyncio.timeout(BOUND_SECONDS):
            for topic in TOPICS:
                try:
                    await producer.send_and_wait(topic, b"of nobody", partition=0)
                    taken.add(topic)
                except TopicAuthorizationFailedError:
                    pass
    finally:
        await producer.stop()
    return taken


@pytest.mark.parametrize("who", [*PRINCIPALS, STRANGER])
async def test_a_principal_commits_in_no_group_but_its_own(who: str, walled_kafka: Walled) -> None:
    """Whoever commits for a group, or joins it, makes its consumer miss events: a purge among them."""
    shared = [consumer_group(service) for service in SERVICES if service != REPLICA_SERVICE]
    groups = [*shared, f"{REPLICA_SERVICE}.replica-1", "group-of-nobody"]
    own = given(who, "group", "read") if who != STRANGER else set()
    expected = {f"{name}replica-1" if name == f"{REPLICA_SERVICE}." else name for name in own}
    async with connected(walled_kafka.principal(who)) as client:
        codes = {}
        for group in groups:
            request = OffsetCommitRequest(group, -1, "", -1, [("of.nobody", [(0, 0, "")])])
            [(_, [(_, codes[group])])] = (await client.send(client.get_random_node(), request)).topics
    denied = {group for group, code in codes.items() if code == GroupAuthorizationFailedError.errno}
    assert set(groups) - denied == expected
