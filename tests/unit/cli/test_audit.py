"""``sano audit``: what it shows, what it finds, and that a copy can be checked without the installation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from producers.cli.main import app
from producers.cli.platform import Platform
from producers.settings import OperatorSettings
from schemas.bus import events
from schemas.bus.envelope import Event
from schemas.objects import object_keys
from tenancy.bootstrap import Tenancy
from tests.fixtures.all_keys import AllKeys
from tests.unit.cli.command import TENANT, UNUSED_PORT, Sano, shape
from tests.world.world import POLICY, World


@dataclass(frozen=True)
class Lived:
    """A world with one tenant that has a served adapter, and its digest."""

    world: World
    adapter: str


async def _lived(world: World) -> str:
    await world.onboard(TENANT, POLICY.evolve(on_withdrawal="flag"))
    await world.publish(TENANT, events.ConsentGranted(consent_id="consent-1", version=1))
    for number in range(3):
        await world.publish(TENANT, await world.approval(TENANT, f"e{number}"))
    await world.settle()
    active = await world.served(TENANT)
    await world.publish(TENANT, events.ExportRequested(export_id="x1", requested_by="op-7"))
    await world.publish(TENANT, events.ExampleWithdrawn(example_id="e1", reason_code="patient-request"))
    await world.settle()
    return active


@pytest.fixture
def lived(tmp_path: Path) -> Lived:
    world = World(tmp_path / "scratch")
    return Lived(world, asyncio.run(_lived(world)))


@pytest.fixture
def key_file(lived: Lived, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lived.world.keys.write(tmp_path)
    return tmp_path / "audit.pub.pem"


@pytest.fixture
def sano(lived: Lived, key_file: Path) -> Sano:
    settings = OperatorSettings(
        kafka_bootstrap_servers=UNUSED_PORT, s3_bucket="bucket", **lived.world.keys.write(key_file.parent)
    )

    @asynccontextmanager
    async def commanding(_: OperatorSettings) -> AsyncIterator[Tenancy]:
        yield lived.world.outside

    def run(*arguments: str, offline: bool = False) -> Result:
        here = Platform(lambda: settings, lambda _: nullcontext(lived.world.outside), commanding)
        return CliRunner().invoke(app, ["audit", *arguments], obj=None if offline else here)

    return run


def rows(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def test_verify_says_what_holds_and_what_that_proves(sano: Sano, key_file: Path) -> None:
    for arguments in (("verify",), ("verify", "--tenant", TENANT)):
        text = "\n".join(rows(sano(*arguments, "--key", str(key_file))))
        assert "holds" in text
        assert "It proves:" in text
        assert "--expect-checkpoint" in text
    (verdict,) = shape(sano("verify", "--tenant", TENANT, "--key", str(key_file), "--json"))
    assert verdict["problems"] == []
    assert verdict["entries"] == verdict["signed_entries"] > 10


def test_verify_names_the_entry_that_was_changed_and_ends_with_one(sano: Sano, lived: Lived, key_file: Path) -> None:
    place = object_keys.audit_entry(TENANT, 3)
    stored = lived.world.memory.objects[place][0]
    changed = stored.body.replace(b'"recorded_while":"active"', b'"recorded_while":"purged"')  # type: ignore[union-attr]
    assert changed != stored.body
    asyncio.run(lived.world.memory.put(place, changed))
    result = sano("verify", "--tenant", TENANT, "--key", str(key_file))
    assert result.exit_code == 1
    assert "BROKEN" in result.stdout
    assert "entry 4 does not follow entry 3" in result.stdout
    assert "It proves" not in result.stdout
    assert result.stderr.startswith("error: refused: the audit log of t1 does not hold")


def cut_back(lived: Lived) -> None:
    """To its first entry, with nothing that was signed."""
    memory = lived.world.memory
    for key in list(memory.objects):
        is_entry = key.startswith(object_keys.audit_entries_prefix(TENANT))
        if key != object_keys.audit_entry(TENANT, 1) and (is_entry or "/checkpoints/" in key or "/head" in key):
            del memory.objects[key]


def test_a_copy_is_checked_without_the_installation_and_is_a_witness(
    sano: Sano, lived: Lived, key_file: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "t1.audit.jsonl"
    assert shape(sano("export", "--tenant", TENANT, "--to", str(copy), "--json"))["entries"] > 10
    offline = ("verify", "--copy", str(copy), "--key", str(key_file))
    assert "holds" in sano(*offline, offline=True).stdout
    refused = sano(*offline, "--tenant", "t2", offline=True)
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    witness = ("verify", "--tenant", TENANT, "--key", str(key_file), "--expect-checkpoint", str(copy))
    assert sano(*witness).exit_code == 0
    # Somebody cuts the log back to nothing but its first entry and signs nothing: all that is left is whole.
    cut_back(lived)
    young = sano("verify", "--tenant", TENANT, "--key", str(key_file))
    assert (young.exit_code, "not signed yet" in young.stdout) == (0, True)
    assert "checkpoint no entry was changed" not in young.stdout
    lived.world.now += timedelta(hours=1)
    result = sano("verify", "--tenant", TENANT, "--key", str(key_file))
    assert (result.exit_code, "UNSIGNED" in result.stdout) == (1, True)
    assert "It proves" not in result.stdout
    assert result.stderr.startswith("error: refused: the audit log of t1 is not signed")
    result = sano(*witness)
    assert result.exit_code == 1
    assert "which you hold" in result.stdout


def test_a_purged_tenants_log_must_reach_as_far_as_the_certificate_in_the_bucket(
    sano: Sano, lived: Lived, key_file: Path
) -> None:
    async def churned() -> None:
        await lived.world.publish(TENANT, events.TenantChurned(requested_by="op-7"))
        await lived.world.settle()

    asyncio.run(churned())
    command = ("verify", "--tenant", TENANT, "--key", str(key_file))
    assert sano(*command).exit_code == 0
    cut_back(lived)
    result = sano(*command)
    assert (result.exit_code, "BROKEN" in result.stdout) == (1, True)
    assert "which the certificate of purge beside the log carries" in result.stdout


def test_verify_takes_the_ledgers_bounds_and_the_earlier_keys_from_the_settings(
    sano: Sano, lived: Lived, key_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def entered() -> None:
        granted = events.ConsentGranted(consent_id="c-9", version=1)
        ledger = next(service for service in lived.world.services if service.name == "ledger")
        await lived.world.handle(ledger, Event(subject=TENANT, data=granted, time=lived.world.now, source="/test"))

    asyncio.run(entered())
    lived.world.now += timedelta(hours=1)
    assert sano("verify", "--key", str(key_file)).exit_code == 1
    monkeypatch.setenv("SANO_AUDIT_CHECKPOINT_SECONDS", "7200")
    assert sano("verify", "--key", str(key_file)).exit_code == 0
    (tmp_path / "other").mkdir()
    for folder, status in ((AllKeys.made().write(tmp_path / "other"), 1), (lived.world.keys.write(tmp_path), 0)):
        monkeypatch.setenv("SANO_TRUST_FILE", str(folder["trust_file"]))
        monkeypatch.setenv("SANO_TRUST_ROOT_FILE", str(folder["trust_root_file"]))
        assert sano("verify").exit_code == status


def test_a_checkpoint_to_expect_needs_its_tenant(sano: Sano, key_file: Path) -> None:
    result = sano("verify", "--key", str(key_file), "--expect-checkpoint", str(key_file))
    assert (result.exit_code, result.stdout) == (2, "")


def test_verify_needs_a_public_key(sano: Sano) -> None:
    result = sano("verify", "--tenant", TENANT)
    assert result.exit_code == 1
    assert "give --key" in result.stderr


def test_show_names_who_did_what(sano: Sano) -> None:
    table = rows(sano("show", "--tenant", TENANT))
    assert any("example.approved" in row and "reviewer rev-1" in row and "example=e0" in row for row in table)
    assert any("export.requested" in row and "operator op-7" in row for row in table)
    assert any("adapter.loaded" in row and "replica replica-0" in row for row in table)


def test_show_of_an_adapter_has_its_examples_and_who_approved_them(sano: Sano, lived: Lived) -> None:
    found = shape(sano("show", "--tenant", TENANT, "--adapter", lived.adapter[:8], "--json"))
    assert {"training_set.frozen", "adapter.loaded", "adapter.activated"} <= {row["kind"] for row in found["entries"]}
    assert [(row["example_id"], row["reviewer_id"]) for row in found["examples"]] == [
        (f"e{number}", "rev-1") for number in range(3)
    ]
    assert any("e1" in row for row in rows(sano("show", "--tenant", TENANT, "--adapter", lived.adapter)))
    refused = sano("show", "--tenant", TENANT, "--adapter", "f" * 64)
    assert (refused.exit_code, refused.stdout) == (1, "")


def test_show_takes_a_person_a_kind_a_time_and_withdrawals(sano: Sano, lived: Lived) -> None:
    def kinds(*arguments: str) -> set[str]:
        return {row["kind"] for row in shape(sano("show", "--tenant", TENANT, *arguments, "--json"))["entries"]}

    assert kinds("--person", "rev-1") == {"example.approved"}
    assert kinds("--person", "op-7") == {"export.requested"}
    assert kinds("--kind", "export") == {"export.requested", "export.ready"}
    assert kinds("--kind", "export.ready") == {"export.ready"}
    assert kinds("--since", "2099-01-01") == set()
    assert "adapter.loaded" in kinds("--since", "2026-01-01")
    found = shape(sano("show", "--tenant", TENANT, "--withdrawn", "--json"))
    assert [(row["name"], row["adapters"], row["active"]) for row in found["withdrawals"]] == [
        ("e1", [lived.adapter], True)
    ]
    assert any("e1" in row and "yes" in row for row in rows(sano("show", "--tenant", TENANT, "--withdrawn")))


def test_what_else_is_asked_for_chooses_among_the_withdrawals_too(sano: Sano, lived: Lived) -> None:
    command = ("show", "--tenant", TENANT, "--withdrawn")
    for chosen in (("--adapter", lived.adapter), ("--kind", "example"), ("--since", "2026-01-01")):
        assert [row["name"] for row in shape(sano(*command, *chosen, "--json"))["withdrawals"]] == ["e1"]
        assert any("e1" in row for row in rows(sano(*command, *chosen)))
    for nothing in (("--person", "rev-1"), ("--kind", "purge"), ("--since", "2099-01-01")):
        assert shape(sano(*command, *nothing, "--json"))["withdrawals"] == []
        assert not any("e1" in row for row in rows(sano(*command, *nothing)))


def test_after_the_purge_everything_is_shown_without_names(sano: Sano, lived: Lived, key_file: Path) -> None:
    async def churned() -> None:
        await lived.world.publish(TENANT, events.TenantChurned(requested_by="op-7"))
        await lived.world.settle()

    asyncio.run(churned())
    text = "\n".join(rows(sano("show", "--tenant", TENANT)))
    assert "purge.completed" in text
    assert "rev-1" not in text
    assert "operator op-7" in text
    text = "\n".join(rows(sano("show", "--tenant", TENANT, "--adapter", lived.adapter)))
    assert "the tenant's key is destroyed" in text
    assert sano("verify", "--tenant", TENANT, "--key", str(key_file)).exit_code == 0


def test_an_unknown_tenant_is_one_line(sano: Sano, key_file: Path) -> None:
    for arguments in (("show",), ("verify", "--key", str(key_file)), ("export", "--to", "x")):
        result = sano(*arguments, "--tenant", "nobody")
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
