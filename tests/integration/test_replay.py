"""Replays on real Kafka: into the system where the events come from, after a purge, and into an empty installation."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from consumers.ledger.inventory import Inventory
from deploy.local.kafka import KafkaCluster
from producers.cli.main import app
from producers.commands import requests
from producers.commands.onboarding import onboard
from producers.replay.handling import Handling
from producers.replay.kafka_log import kafka_log
from producers.replay.outcomes import Outcomes
from producers.replay.selection import REPLAYABLE
from schemas.bus import events
from schemas.bus.envelope import Event
from schemas.bus.outcome import Outcome
from schemas.objects import object_keys
from schemas.objects.curation import ConsentRecord, ExampleRecord
from schemas.objects.purges import PurgeRecord
from schemas.objects.state import TenantState
from schemas.tenant.hyperparameters import Hyperparameters
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import Tenancy
from tenancy.bus import RawMessage
from tenancy.errors import KeyDestroyed, ObjectNotFound
from tenancy.lifecycle.exports import EXAMPLES_FILE, export_decision
from tenancy.platform.clock import utc_now
from tenancy.tenant_id import TenantId
from tests.fixtures.history import approvals
from tests.fixtures.platform import Platform, eventually, running
from tests.fixtures.seaweedfs import SeaweedFS
from tests.fixtures.services import new_bucket

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ONE_STEP = Hyperparameters(r=8, max_steps=1, per_device_train_batch_size=2, heldout_fraction=0.0)
POLICY = TenantPolicy(min_new_examples=3, min_training_examples=2, hyperparameters=ONE_STEP)
NO_TRAINING = TenantPolicy(min_new_examples=1000)
FAST = ("--rate", "500", "--timeout", "120")


@pytest.fixture
async def tenancy(platform: Platform) -> AsyncIterator[Tenancy]:
    async with platform.tenancy() as connected:
        yield connected


async def sano(platform: Platform, *arguments: str) -> Any:
    """The command; what it prints as JSON. In this process, which has imported what a command takes a second to."""

    def run() -> Result:
        with contextlib.chdir(platform.home):
            return CliRunner(env=platform.environment).invoke(app, [*arguments, "--json"])

    done = await asyncio.to_thread(run)
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


async def replayed(platform: Platform, *criteria: str, run: tuple[str, ...] = ()) -> tuple[Any, Any]:
    """Plan and run; the plan and its report."""
    made = await sano(platform, "replay", "plan", *criteria)
    done = await sano(platform, "replay", "run", made["file"], made["sha256"], "--execute", *FAST, *run)
    return made["plan"], done


async def _state(tenancy: Tenancy, tenant: TenantId) -> TenantState:
    return (await tenancy.states.read(tenant)).state


async def _activated(tenancy: Tenancy, tenant: TenantId, activations: int) -> TenantState:
    async def look() -> TenantState | None:
        state = await _state(tenancy, tenant)
        return state if state.activations == activations and not state.outbox else None

    return await eventually(look, f"activation {activations}")


async def publish_because(tenancy: Tenancy, tenant: TenantId, data: events.EventData, *, cause: str) -> None:
    """Publish as an integration does that names what its event follows from."""
    made = Event(subject=tenant, data=data, time=tenancy.clock(), source="/ehr", causation_id=cause)
    await tenancy.publisher.publish(made)


async def _lived(tenancy: Tenancy, tenant: TenantId) -> TenantState:
    """A tenant with everything: a withdrawal, a batch, a revocation, an export, usage, a removal of a document, a
    rollback, an activation, an inventory.
    """
    await onboard(tenancy, tenant, POLICY)
    await tenancy.outbox.publish(tenant, events.ExportRequested(export_id="x-early", requested_by="op"))
    store = await tenancy.store(tenant)

    async def is_refused() -> bool | None:
        return await export_decision(store, "x-early") is not None or None

    await eventually(is_refused, "there is nothing to export yet")
    await tenancy.outbox.publish(tenant, events.ConsentGranted(consent_id="c-1", version=1))
    [withdrawn] = await approvals(tenancy, tenant, 1)
    await tenancy.outbox.publish(tenant, withdrawn)
    await tenancy.outbox.publish(tenant, events.ExampleWithdrawn(example_id="example-0", reason_code="patient-request"))
    for approval in await approvals(tenancy, tenant, 3, start=1):
        await tenancy.outbox.publish(tenant, approval)
    digest = (await _activated(tenancy, tenant, 1)).active_adapter
    assert digest is not None
    # Approved after the set was frozen: a rebuilt set that has these two did not wait for the training.
    await publish_because(tenancy, tenant, events.ConsentGranted(consent_id="c-2", version=1), cause="visit-3")
    for approval in await approvals(tenancy, tenant, 2, start=4, consent="c-2"):
        await tenancy.outbox.publish(tenant, approval)
    await tenancy.outbox.publish(tenant, events.ConsentRevoked(consent_id="c-2", version=2))
    for approval in await approvals(tenancy, tenant, 2, start=6):
        await tenancy.outbox.publish(tenant, approval)
    await tenancy.outbox.publish(tenant, events.UsageRecorded(usage_id="u-1", source="inference", prompt_tokens=7))
    await tenancy.outbox.publish(tenant, events.DocumentRemoved(document_id="d-1", version=1))
    await tenancy.outbox.publish(tenant, events.ExportRequested(export_id="x-1", requested_by="op"))

    async def is_exported() -> bool | None:
        return await store.exists(object_keys.export("x-1", EXAMPLES_FILE)) or None

    await eventually(is_exported, "the export is there")
    await requests.rollback(tenancy, tenant, requested_by="op")
    await requests.activate(tenancy, tenant, digest, requested_by="op")
    await _activated(tenancy, tenant, 3)

    async def are_closed() -> bool | None:
        return not [relative async for relative in store.list("withdrawals", "open")] or None

    await eventually(are_closed, "the withdrawals are closed")
    # Else the ledger may take it while a test looks at whether anything was written.
    await Inventory(tenancy).take_of(tenant)

    async def are_noted() -> TenantState | None:
        noted = await _state(tenancy, tenant)
        days = [relative async for relative in store.list("usage", "days")]
        return noted if noted.knowledge is not None and days else None

    return await eventually(are_noted, "the removal of a document and the inventory are noted")


@pytest.fixture(scope="module")
def lived(platform: Platform) -> TenantId:
    tenant = TenantId("replay-lived")

    async def live() -> None:
        async with platform.tenancy() as tenancy:
            await _lived(tenancy, tenant)

    asyncio.run(live())
    return tenant


async def _everything(tenancy: Tenancy, tenant: TenantId) -> list[tuple[str, str]]:
    """Every version of every object of the tenant: one more, and somebody wrote."""
    prefixes = (object_keys.tenant_prefix(tenant), object_keys.registry_prefix(tenant))
    return [(v.key, v.version_id) for prefix in prefixes for v in [v async for v in tenancy.objects.versions(prefix)]]


async def test_a_full_replay_from_offset_0_has_no_effect_on_the_system_that_it_is_from(
    platform: Platform, tenancy: Tenancy, lived: TenantId
) -> None:
    before = await _everything(tenancy, lived)
    own = await sano(platform, "replay", "plan", "--tenant", lived)
    # Other tests of this session may have left events that can only be dead-lettered again.
    plan, done = await replayed(platform, run=("--max-dead-letters", "100000"))
    assert plan["types"]["sano.tenant.onboarded"] >= 1
    assert {"sano.adapter.ready", "sano.adapter.rolledback", "sano.training.completed"} <= set(plan["types"])
    assert (done["status"], done["sent"], done["effects"]) == ("finished", plan["messages"], 0)
    assert done["no_ops"] >= 15
    assert set(done["consumers"]) == {"adapters", "curation", "export", "knowledge", "ledger", "purge", "training"}
    assert await _everything(tenancy, lived) == before
    again = await sano(platform, "replay", "plan", "--tenant", lived)
    # A service that says again what it said before signs it anew: that is a message of its own, a copy is not.
    assert again["plan"]["repeated"] >= own["plan"]["messages"], "copies are no events of their own"


async def test_an_offset_of_a_live_group_is_never_moved_back(
    platform: Platform, tenancy: Tenancy, lived: TenantId
) -> None:
    async with kafka_log(platform.settings.kafka_client()) as log:
        await Handling(log, tenancy, 120.0).of(REPLAYABLE)
        before = await log.committed("curation.v1")
        await sano(platform, "replay", "plan", "--tenant", lived)
        assert await log.committed("curation.v1") == before
        plan, _ = await replayed(platform, "--tenant", lived, "--topic", events.CURATION)
        after = await log.committed("curation.v1")
        assert sum(after.values()) == sum(before.values()) + plan["messages"]
        assert all(after[at] >= offset for at, offset in before.items())


@pytest.fixture
def empty(
    kafka_jars: Path,
    seaweedfs: SeaweedFS,
    platform: Platform,
    tiny_base: Path,
    tmp_path: Path,
) -> Iterator[Platform]:
    """Another cluster, another bucket, consumers that have seen nothing; the same keys."""
    config = {"group.min.session.timeout.ms": "1000"}
    bucket = new_bucket(seaweedfs, f"empty-{secrets.token_hex(4)}")
    with (
        KafkaCluster(kafka_jars, tmp_path / "kafka", config=config) as kafka,
        running(
            tmp_path / "home",
            kafka,
            seaweedfs,
            bucket,
            platform.home,
            platform.telemetry,
            SANO_BASE_MODEL=str(tiny_base),
            SANO_TEST_TRAINER="stand-in",
        ) as held,
    ):
        yield held


def _described(platform: Platform) -> str:
    """The file that `--to` takes."""
    settings = platform.settings
    path = platform.home / "installation.json"
    secret = settings.aws_secret_access_key
    path.write_text(
        json.dumps(
            {
                "kafka_bootstrap_servers": settings.kafka_bootstrap_servers,
                "s3_endpoint_url": settings.s3_endpoint_url,
                "s3_bucket": settings.s3_bucket,
                "aws_access_key_id": settings.aws_access_key_id,
                "aws_secret_access_key": secret.get_secret_value() if secret else None,
                "master_key_file": str(settings.master_key_file),
            }
        )
    )
    return str(path)


async def _copied(source: Tenancy, target: Tenancy, tenant: TenantId) -> None:
    """What events refer to and do not hold: the tenant's key, and the texts that are claim-checked."""
    await target.objects.put(object_keys.key_key(tenant), (await source.objects.get(object_keys.key_key(tenant))).body)
    async for key in source.objects.keys(object_keys.tenant_area(tenant, "contents")):
        await target.objects.put(key, (await source.objects.get(key)).body)


def _comparable(state: TenantState) -> dict[str, Any]:
    """Without what another run of the same history has of its own: revisions, fences, and when and how long."""
    made = state.model_dump(mode="json", exclude={"rev", "nonce", "fence"})
    for run in made["runs"].values():
        for name in ("attempts", "fence", "requested_at", "taken_at", "train_seconds"):
            run.pop(name)
    for adapter in made["adapters"].values():
        for name in ("fence", "published_at"):
            adapter.pop(name)
    withdrawal = made["curation"]["eligibility_version"]  # and the revision at which it was entered
    made["curation"]["eligibility_version"] = withdrawal and withdrawal.rpartition(".")[0]
    return made


async def _records(tenancy: Tenancy, tenant: TenantId) -> dict[str, Any]:
    store = await tenancy.store(tenant)
    records: dict[str, Any] = {}
    async for relative in store.list("examples"):
        example, _ = await store.get_record(relative, ExampleRecord)
        if example.status == "withdrawn":
            # Its approval is not sent again, since its text is gone: only that it is withdrawn is known there.
            example = ExampleRecord(
                example_id=example.example_id,
                version=0,
                status="withdrawn",
                decided_at=example.decided_at,
                event_id=example.event_id,
                reason_code=example.reason_code,
            )
        records[relative] = example
    async for relative in store.list("consents"):
        records[relative], _ = await store.get_record(relative, ConsentRecord)
    return records


async def _derived(tenancy: Tenancy, tenant: TenantId) -> set[str]:
    store = await tenancy.store(tenant)
    areas = (
        "examples",
        "contents",
        "consents",
        "training-sets",
        "adapters",
        "exports",
        "usage",
        "knowledge",
        "staging",
    )
    return {relative for area in areas for relative in [r async for r in store.list(area)]}


async def test_a_replay_into_an_empty_installation_rebuilds_the_same_state(
    platform: Platform, tenancy: Tenancy, lived: TenantId, empty: Platform
) -> None:
    async with empty.tenancy() as rebuilt:
        await _copied(tenancy, rebuilt, lived)
        to = _described(empty)
        made = await sano(platform, "replay", "plan", "--tenant", lived)
        preview = await sano(platform, "replay", "run", made["file"], made["sha256"], "--to", to)
        assert preview["messages"] == made["plan"]["messages"]
        done = await sano(
            platform, "replay", "run", made["file"], made["sha256"], "--to", to, "--execute", "--timeout", "180"
        )
        assert (done["status"], done["dead_letters"]) == ("finished", 0)
        assert [held["type"] for held in done["noted"] if held["outcome"].startswith("REFUSED")] == [
            "sano.export.requested"
        ], "the one that came too early"
        assert done["effects"] > 0
        left = dict(done["left_out"])
        assert left.pop("approvals and documents whose text is not there") == 1, "the withdrawn one's"
        assert {what.partition(":")[0] for what in left} == {"left to the installation to conclude"}, "nothing missed"
        # Curation may have published it twice: a message of its own each time, since it is signed anew.
        requested = made["plan"]["types"]["sano.training.requested"]
        assert left["left to the installation to conclude: sano.training.requested"] == requested >= 1
        assert done["sent"] + 1 + sum(left.values()) == made["plan"]["messages"]
        old, new = await _state(tenancy, lived), await _state(rebuilt, lived)
        assert _comparable(new) == _comparable(old)
        assert new.active_adapter == old.active_adapter
        assert len(new.adapters) == 1
        assert (new.activations, len(new.curation.fresh)) == (3, 2)
        assert await _records(rebuilt, lived) == await _records(tenancy, lived)
        assert await _derived(rebuilt, lived) == await _derived(tenancy, lived)
        one, other = await tenancy.store(lived), await rebuilt.store(lived)
        for export_id in ("x-early", "x-1"):
            assert await export_decision(other, export_id) == await export_decision(one, export_id) is not None
        for digest in old.adapters:
            weights = object_keys.adapter(digest, object_keys.ADAPTER_WEIGHTS)
            assert (await one.get(weights))[0] == (await other.get(weights))[0]
        # Sent once more, it has no effect there either.
        later = await sano(platform, "replay", "plan", "--tenant", lived)
        twice = await sano(
            platform, "replay", "run", later["file"], later["sha256"], "--to", to, "--execute", "--max-effects", "0"
        )
        assert (twice["effects"], twice["dead_letters"]) == (0, 0)


async def _certified(tenancy: Tenancy, tenant: TenantId) -> PurgeRecord:
    async def look() -> PurgeRecord | None:
        state = await _state(tenancy, tenant)
        if state.purge is None or state.status != "purged":
            return None
        try:
            stored = await tenancy.objects.get(object_keys.purge_key(tenant, state.purge.purge_id))
        except ObjectNotFound:
            return None
        record = PurgeRecord.model_validate_json(stored.body)
        return record if record.step == "certified" else None

    return await eventually(look, "the purge was certified")


async def test_after_a_purge_a_full_replay_has_no_effect_and_the_tenants_prefix_stays_empty(
    platform: Platform, tenancy: Tenancy
) -> None:
    tenant = TenantId("replay-purged")
    await onboard(tenancy, tenant, NO_TRAINING)
    await tenancy.outbox.publish(tenant, events.ConsentGranted(consent_id="c-1", version=1))
    for approval in await approvals(tenancy, tenant, 3):
        await tenancy.outbox.publish(tenant, approval)
    await tenancy.outbox.publish(tenant, events.UsageRecorded(usage_id="u-1", source="inference", prompt_tokens=7))
    planned_before = await sano(platform, "replay", "plan", "--tenant", tenant)
    await tenancy.outbox.publish(tenant, events.TenantChurned(requested_by="op"))
    await _certified(tenancy, tenant)

    plan, done = await replayed(platform, run=("--max-dead-letters", "100000"))
    assert [held for held in plan["excluded"] if held["tenant"] == tenant and held["status"] == "purged"]
    assert (done["status"], done["effects"]) == ("finished", 0)
    held = await sano(platform, "replay", "run", planned_before["file"], planned_before["sha256"], "--execute", *FAST)
    assert (held["sent"], held["left_out"]) == (0, {"tenant purged": planned_before["plan"]["messages"]})

    # And what no plan lets through is refused by every consumer: all events of the tenant, sent past the plans.
    async with kafka_log(platform.settings.kafka_client()) as log:
        since = utc_now()
        ranges = await log.ranges(REPLAYABLE)
        messages = [message async for message in log.messages(ranges) if message.key == tenant.encode()]
        for message in messages:
            headers = [*message.headers, ("ce_replayid", b"past-the-plans")]
            await tenancy.publisher.publish_raw(RawMessage(message.place.topic, message.key, message.value, headers))
        await Handling(log, tenancy, 120.0).of(REPLAYABLE)
        outcomes = Outcomes(log, "past-the-plans", since)
        await outcomes.look()
    came = outcomes.counts()
    assert came[Outcome.EFFECT] == 0
    assert came[Outcome.REFUSED_PURGED] >= 6
    types = {told.event_type for told in outcomes.told.values() if told.outcome == Outcome.REFUSED_PURGED}
    assert {"sano.tenant.onboarded", "sano.example.approved", "sano.consent.granted"} <= types
    assert [v async for v in tenancy.objects.versions(object_keys.tenant_prefix(tenant))] == []
    with pytest.raises(KeyDestroyed):
        await tenancy.store(tenant)


async def test_a_dead_letter_is_redriven_once_after_the_fix(platform: Platform, tenancy: Tenancy) -> None:
    tenant = TenantId("replay-letters")
    await onboard(tenancy, tenant, NO_TRAINING)
    await tenancy.outbox.publish(tenant, events.ConsentGranted(consent_id="c-1", version=1))
    [approval] = await approvals(tenancy, tenant, 1)
    store = await tenancy.store(tenant)
    content = object_keys.content("example-0", 1)
    body, _ = await store.get(content)
    await store.erase(content)
    await tenancy.outbox.publish(tenant, approval)

    async def letters() -> list[Any] | None:
        return await sano(platform, "dlq", "list", "--tenant", tenant) or None

    [letter] = await eventually(letters, "the approval without content is a dead letter")
    assert (letter["reason"], letter["status"], letter["consumer"]) == ("no-content", "waiting", "curation")
    selection = ("--tenant", str(tenant), "--reason", "no-content")
    assert (await sano(platform, "dlq", "redrive", *selection))["messages"] == 1
    await store.put(content, body)  # the fix
    done = await sano(platform, "dlq", "redrive", *selection, "--execute")
    assert (done["sent"], done["effects"], done["dead_letters"]) == (1, 1, 0)
    again = await sano(platform, "dlq", "redrive", *selection, "--execute")
    assert again["sent"] == 0
    [letter] = await sano(platform, "dlq", "list", "--tenant", tenant)
    assert letter["status"] == "redriven"
    assert len((await _state(tenancy, tenant)).curation.fresh) == 1
