"""Churn, purge, holds and withdrawals, and the documents that prove them."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from consumers.adapters.withdrawals import WithdrawalReconciler
from consumers.curation.handlers import on_consent_revoked, on_example_rejected, on_example_withdrawn
from consumers.purge.handlers import on_purge_requested
from producers.commands.onboarding import onboard
from schemas.bus.envelope import Event
from schemas.bus.events import ConsentRevoked, ExampleRejected, ExampleWithdrawn, PurgeRequested
from schemas.objects import object_keys
from tenancy.lifecycle.replicas import Replicas
from tenancy.tenant_id import TenantId
from tests.unit.cli.command import TENANT, Sano, error_line, shape
from tests.unit.operator_parts import (
    Parts,
    certificate,
    publish_adapter,
    purge_ports,
    purge_to_the_end,
    signed_certificate,
)


def test_a_churn_ends_with_a_certificate_that_verifies(sano: Sano, parts: Parts, tmp_path: Path) -> None:
    assert shape(sano("churn", "--tenant", "t1", "--json")) == {"tenant": "t1", "step": "requested"}
    asyncio.run(purge_to_the_end(parts))
    for command in ("churn", "purge"):
        assert shape(sano(command, "--tenant", "t1", "--json")) == {"tenant": "t1", "step": "certified"}
        assert "t1 is purged already; `sano purges --certificates DIR`" in sano(command, "--tenant", "t1").stdout
    done = shape(sano("churn", "--tenant", "t1", "--certificate", "c.json", "--json"))
    assert (done["step"], done["tenant"], done["requested_by"]) == ("certified", "t1", "operator")
    [view] = shape(sano("purges", "--certificates", "all", "--json"))
    saved = tmp_path / "all" / f"{view['purge_id']}.certificate.json"
    assert saved.read_bytes() == (tmp_path / "c.json").read_bytes()
    verdict = shape(sano("verify", "c.json", "--trust", "trust.json", "--root", "root.pub.pem", "--json"))
    assert set(verdict) == {"kind", "facts", "proves", "does_not_prove"}
    changed = bytearray(saved.read_bytes())
    changed[len(changed) // 2] ^= 1
    saved.write_bytes(changed)
    error_line(sano("verify", str(saved), "--trust", "trust.json", "--root", "root.pub.pem"), 1)
    assert "purged or being purged" in error_line(sano("train", "--tenant", "t1"), 1)


def test_certificates_of_two_purges_of_one_id_are_written_side_by_side(
    sano: Sano, parts: Parts, tmp_path: Path
) -> None:
    asyncio.run(onboard(parts.tenancy, TenantId("t2")))
    ports = purge_ports(parts)
    for tenant in ("t1", "t2"):
        requested = PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op")
        event = Event(subject=tenant, data=requested, time=parts.now, source="/test")
        asyncio.run(on_purge_requested(event, ports))
    asyncio.run(ports.driver.reconcile())
    sano("purges", "--certificates", "all")
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == [
        "t1.p1.certificate.json",
        "t2.p1.certificate.json",
    ]
    for tenant in ("t1", "t2"):
        verdict = shape(
            sano(
                "verify",
                f"all/{tenant}.p1.certificate.json",
                "--trust",
                "trust.json",
                "--root",
                "root.pub.pem",
                "--json",
            )
        )
        assert verdict["facts"]["tenant"] == tenant


def test_nobody_is_told_to_train_for_a_purged_tenant(sano: Sano, parts: Parts) -> None:
    digest = asyncio.run(publish_adapter(parts, TENANT))
    sano("purge", "--tenant", "t1")
    asyncio.run(purge_to_the_end(parts))
    for command in ("runs", "adapters"):
        assert shape(sano(command, "--tenant", "t1", "--json")) == []
        assert sano(command, "--tenant", "t1").stdout.startswith("the tenant is purged or being purged, and has none")
    for arguments in (["activate", digest], ["rollback", digest], ["rollback"], ["chat", "--model", digest, "hello"]):
        line = error_line(sano(*arguments, "--tenant", "t1", inference_url="http://127.0.0.1:1"), 1)
        assert "purged or being purged; `sano purges` shows how far it is" in line


def test_a_withdrawal_is_listed_with_a_receipt_that_verifies(sano: Sano, parts: Parts, tmp_path: Path) -> None:
    async def withdraw() -> str:
        rejected = ExampleRejected(example_id="e1", version=1, reviewer_id="rev-1", reason_code="unclear")
        left = ExampleWithdrawn(example_id="e1", reason_code="patient-request")
        decided = Event(subject=TENANT, data=rejected, time=parts.now, source="/test")
        gone = Event(subject=TENANT, data=left, time=parts.now, source="/test")
        await on_example_rejected(decided, parts.tenancy)
        await on_example_withdrawn(gone, parts.tenancy)
        return gone.id

    withdrawal = asyncio.run(withdraw())
    [waiting] = shape(sano("withdrawals", "--tenant", TENANT, "--json"))
    assert (waiting["withdrawal_id"], waiting["of"], waiting["step"]) == (withdrawal, "example e1", "open")
    replicas = Replicas(parts.objects, parts.tenancy.clock, 300.0)
    asyncio.run(WithdrawalReconciler(parts.tenancy, parts.keys.certificate, replicas, 0.0).reconcile())
    listed = sano("withdrawals", "--tenant", TENANT, "--receipts", str(tmp_path / "receipts"))
    assert listed.exit_code == 0 and "not-affected" in listed.stdout
    receipt = tmp_path / "receipts" / f"{withdrawal}.receipt.json"
    key = ("--key", str(tmp_path / "certificate.pub.pem"))
    assert "receipt of a withdrawal" in sano("verify", str(receipt), *key).stdout
    receipt.write_bytes(receipt.read_bytes().replace(b"A", b"B", 1))
    assert sano("verify", str(receipt), *key).exit_code == 1


def test_a_withdrawal_whose_record_does_not_open_is_named_beside_the_others(sano: Sano, parts: Parts) -> None:
    async def withdraw() -> list[str]:
        made = [
            Event(
                subject=TENANT,
                data=ConsentRevoked(consent_id=f"consent-{number}", version=2),
                time=parts.now,
                source="/test",
            )
            for number in (1, 2)
        ]
        for event in made:
            await on_consent_revoked(event, parts.tenancy)
        return [event.id for event in made]

    whole, broken = asyncio.run(withdraw())
    parts.objects.objects[object_keys.tenant_key(TENANT, object_keys.open_withdrawal(broken))].pop()
    asyncio.run(parts.objects.put(object_keys.tenant_key(TENANT, object_keys.open_withdrawal(broken)), b"SANO1"))
    listed = sano("withdrawals", "--tenant", TENANT, "--json")
    assert listed.exit_code == 1
    assert whole in listed.stdout
    assert listed.stderr.startswith(f"error: refused: withdrawal {broken} cannot be read;")


def test_a_hold_is_placed_shown_and_released_and_comes_too_late_in_the_end(sano: Sano, parts: Parts) -> None:
    placed = shape(sano("hold", "place", "--tenant", "t1", "--reason", "litigation", "--id", "h1", "--json"))
    assert (placed["hold_id"], placed["reason_code"], placed["placed_by"]) == ("h1", "litigation", "operator")
    assert shape(sano("tenant", "show", "t1", "--json"))["holds"][0]["released_at"] is None
    assert "h1 (litigation, open)" in sano("tenant", "show", "t1").stdout
    sano("purge", "--tenant", "t1")
    asyncio.run(purge_to_the_end(parts))
    [view] = shape(sano("purges", "--json"))
    assert (view["step"], view["flags"], view["open_holds"]) == ("fenced", ["blocked-by-hold"], ["h1"])
    assert "blocked-by-hold" in sano("purges").stdout
    assert "the purge of t1 is under way already (fenced)" in sano("purge", "--tenant", "t1").stdout
    assert "no hold of this id" in error_line(sano("hold", "release", "h2", "--tenant", "t1"), 1)
    assert "h1 is released" in sano("hold", "release", "h1", "--tenant", "t1").stdout
    asyncio.run(purge_ports(parts).driver.reconcile())
    [view] = shape(sano("purges", "--json"))
    assert (view["step"], view["flags"], view["waits_for"]) == ("certified", [], [])
    assert "was decided already" in error_line(sano("hold", "place", "--tenant", "t1", "--reason", "audit"), 1)


@pytest.mark.parametrize("reason", ["Mrs Example", "a_b", ""])
def test_a_hold_takes_a_code_and_no_text(sano: Sano, reason: str) -> None:
    done = sano("hold", "place", "--tenant", "t1", "--reason", reason)
    assert done.exit_code == 2
    assert "Mrs Example" not in done.stdout


def test_a_right_of_export_must_fit_into_the_deletion_sla(sano: Sano) -> None:
    options = ("--right-of-export", "--export-wait-days", "9", "--deletion-sla-days")
    assert sano("tenant", "create", "t8", *options, "9").exit_code == 2
    sano("tenant", "create", "t8", *options, "10")
    policy = shape(sano("tenant", "show", "t8", "--json"))["policy"]
    assert (policy["right_of_export"], policy["export_wait_days"], policy["deletion_sla_days"]) == (True, 9, 10)


def test_churn_and_purge_take_the_same_options(sano: Sano) -> None:
    helps = [sano(name, "--help").stdout for name in ("churn", "purge")]
    options = [sorted(set(re.findall(r"--[a-z]+", text))) for text in helps]
    assert options[0] == options[1] == ["--certificate", "--help", "--json", "--tenant", "--timeout", "--wait"]
    assert "The contract ended" in helps[0]
    assert "whatever its contract" in helps[1]


def test_verifying_prints_what_is_proved_and_what_is_not(
    sano: Sano, parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c.json").write_text(json.dumps(signed_certificate(parts.keys, certificate())))
    assert "without a public key no signature can be checked" in error_line(sano("verify", "c.json"), 1)
    monkeypatch.setenv("SANO_TRUST_FILE", "trust.json")
    monkeypatch.setenv("SANO_TRUST_ROOT_FILE", "root.pub.pem")
    text = sano("verify", "c.json").stdout
    assert text.index("the signature is good") < text.index("It proves:") < text.index("It does not prove:")
