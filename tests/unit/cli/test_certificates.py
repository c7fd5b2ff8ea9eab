"""``sano`` around a certificate: the contract's reference, confirmations, countersigning, and the files it writes."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from consumers.purge.driver import PurgeReconciler
from consumers.purge.handlers import PurgePorts, on_purge_requested
from consumers.purge.policy import PurgePolicy
from producers.commands.onboarding import onboard
from producers.settings import OperatorSettings
from schemas.base.canonical import canonical_json
from tenancy.evidence.keys import LocalKey
from tests.unit.cli.command import TENANT, UNUSED_PORT, Sano, error_line, shape
from tests.unit.operator_parts import Parts, certificate, signed_certificate

PEM = serialization.Encoding.PEM


def private_file(path: Path, key: LocalKey, passphrase: bytes | None = None) -> str:
    locked = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    path.write_bytes(key.private_key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, locked))
    return path.name


def public_file(path: Path, key: LocalKey) -> str:
    path.write_bytes(key.public_key.pem())
    return path.name


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parts:
    """In a folder with both key pairs and a certificate of the installation's."""
    made = Parts()
    asyncio.run(onboard(made.tenancy, TENANT))
    made.publisher.events.clear()
    monkeypatch.chdir(tmp_path)
    made.keys.write(tmp_path)
    verifier = LocalKey.generate()
    private_file(tmp_path / "verifier.pem", verifier)
    private_file(tmp_path / "locked.pem", verifier, b"passphrase")
    public_file(tmp_path / "verifier.pub.pem", verifier)
    (tmp_path / "c.json").write_bytes(canonical_json(signed_certificate(made.keys, certificate())))
    return made


@pytest.fixture
def settings(parts: Parts) -> OperatorSettings:
    """Without keys: the commands here are given them."""
    return OperatorSettings(kafka_bootstrap_servers=UNUSED_PORT, s3_bucket="bucket", operator_id="op-1")


# --- keys


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["verify", "c.json", "--key", "missing.pem"], "--key"),
        (["verify", "c.json", "--key", "certificate.pub.pem", "--verifier-key", "missing.pem"], "--verifier-key"),
        (["countersign", "c.json", "--key", "missing.pem", "--signer-key", "certificate.pub.pem"], "--key"),
        (["countersign", "c.json", "--key", "verifier.pem", "--signer-key", "missing.pem"], "--signer-key"),
    ],
)
def test_a_key_file_that_is_not_there_is_said_not_to_be_there(sano: Sano, arguments: list[str], option: str) -> None:
    line = error_line(sano(*arguments), 1)
    assert f"missing.pem cannot be read (No such file or directory); give a key's file by {option}" in line
    assert "no PEM" not in line


def test_a_file_that_is_no_key_is_said_to_be_none(sano: Sano) -> None:
    assert "c.json is no PEM public key of Ed25519 or ECDSA P-256; give one by --key" in error_line(
        sano("verify", "c.json", "--key", "c.json"), 1
    )
    for wrong in ("c.json", "locked.pem"):
        line = error_line(sano("countersign", "c.json", "--key", wrong, "--signer-key", "certificate.pub.pem"), 1)
        assert f"{wrong} is no PEM private key without a passphrase; give one by --key" in line


# --- countersigning


def test_a_countersigned_certificate_lies_beside_the_first_and_verifies_with_both_keys(
    sano: Sano, tmp_path: Path
) -> None:
    before = (tmp_path / "c.json").read_bytes()
    made = sano("countersign", "c.json", "--key", "verifier.pem", "--signer-key", "certificate.pub.pem")
    assert "c.countersigned.json holds both signatures" in made.stdout
    assert (tmp_path / "c.json").read_bytes() == before
    keys = ("--key", "certificate.pub.pem", "--verifier-key", "verifier.pub.pem")
    text = " ".join(sano("verify", "c.countersigned.json", *keys).stdout.split())
    assert "signatures: the signer's is good; the verifier's, by another key, is good too" in text
    assert "1 more in it not checked" in sano("verify", "c.countersigned.json", "--key", "certificate.pub.pem").stdout
    assert "not in it" in error_line(sano("verify", "c.json", *keys), 1)


def test_a_countersigned_certificate_goes_where_it_is_asked_for(
    sano: Sano, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SANO_TRUST_FILE", "trust.json")
    monkeypatch.setenv("SANO_TRUST_ROOT_FILE", "root.pub.pem")
    assert sano("countersign", "c.json", "--key", "verifier.pem", "--out", "to/both.json").exit_code == 0
    assert len(json.loads((tmp_path / "to" / "both.json").read_bytes())["signatures"]) == 2
    assert not (tmp_path / "c.countersigned.json").exists()


def test_the_signers_own_key_countersigns_nothing(sano: Sano, tmp_path: Path) -> None:
    line = error_line(
        sano("countersign", "c.json", "--key", "certificate.pem", "--signer-key", "certificate.pub.pem"), 1
    )
    assert "the verifier's key is the signer's own" in line
    assert not (tmp_path / "c.countersigned.json").exists()


# --- the contract and subcontractors


def test_a_tenant_is_created_with_its_contracts_reference(sano: Sano) -> None:
    created = shape(sano("tenant", "create", "t2", "--baa-reference", "BAA-2026.117", "--json"))
    assert created["policy"]["baa_reference"] == "BAA-2026.117"
    assert "BAA-2026.117" in sano("tenant", "show", "t2").stdout
    line = error_line(sano("tenant", "create", "t3", "--baa-reference", "Contract with Dr Smith"), 2)
    assert "an id is up to 128 letters" in line
    assert "Smith" not in line


async def _to_the_waiting(parts: Parts, driver: PurgeReconciler) -> None:
    await on_purge_requested(
        parts.publisher.events[-1], PurgePorts(parts.tenancy, parts.keys.trust, driver, lambda: None)
    )
    await driver.reconcile()


def test_a_confirmation_that_an_operator_records_is_in_the_certificate(
    sano: Sano, parts: Parts, tmp_path: Path
) -> None:
    policy = PurgePolicy(quiesce_seconds=0.0, subcontractors=("aws-s3",), confirmation_wait=timedelta(days=3))
    driver = PurgeReconciler(parts.tenancy, parts.keys, policy)
    confirmation = ("subcontractor", "confirm", "aws-s3", "--tenant", "t1", "--reference", "doc-1")
    assert "the tenant is not being purged" in error_line(sano(*confirmation), 1)
    assert sano("purge", "--tenant", "t1").exit_code == 0
    asyncio.run(_to_the_waiting(parts, driver))
    assert "subcontractor aws-s3 to confirm" in sano("purges").stdout
    noted = shape(sano(*confirmation, "--json"))
    assert (noted["reference"], noted["recorded_by"]) == ("doc-1", "op-1")
    asyncio.run(driver.reconcile())
    [view] = shape(sano("purges", "--certificates", "all", "--json"))
    assert [path.name for path in (tmp_path / "all").iterdir()] == [f"{view['purge_id']}.certificate.json"]
    verdict = shape(
        sano("verify", f"all/{view['purge_id']}.certificate.json", "--key", "certificate.pub.pem", "--json")
    )
    assert verdict["facts"]["subcontractors"].startswith("aws-s3 confirmed (doc-1")


@pytest.mark.parametrize(
    "arguments",
    [
        ["subcontractor", "confirm", "Amazon", "--tenant", "t1", "--reference", "doc-1"],
        ["subcontractor", "confirm", "aws-s3", "--tenant", "t1", "--reference", "a sentence about Smith"],
        ["subcontractor", "confirm", "aws-s3", "--tenant", "t1"],
    ],
)
def test_a_confirmation_takes_codes_and_ids_and_no_free_text(sano: Sano, arguments: list[str]) -> None:
    assert "Smith" not in error_line(sano(*arguments), 2)
