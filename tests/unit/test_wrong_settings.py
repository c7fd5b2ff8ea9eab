"""A setting that is missing or wrong stops a process with one line that names it, and nothing of any value is told."""

from __future__ import annotations

import base64
import dataclasses
import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from consumers.ledger.settings import LedgerSettings
from consumers.purge.settings import PurgeSettings
from consumers.runtime.settings import ConsumerSettings
from consumers.training.settings import TrainingSettings
from deploy.local.settings import LocalSettings
from inference import wiring
from inference.settings import InferenceSettings
from producers.settings import InstallationSettings, OperatorSettings, VerificationSettings
from tenancy.bootstrap import open_tenancy
from tenancy.errors import Refused
from tenancy.platform.settings import PlatformSettings, loaded
from tenancy.storage.master_keys import KmsMasterKey
from tests.fixtures.all_keys import AllKeys
from tests.fixtures.telemetry import observed

CANARY = "canary-8841"
ENOUGH = {
    "SANO_KAFKA_BOOTSTRAP_SERVERS": "kafka:9092",
    "SANO_S3_BUCKET": "bucket",
    "SANO_BASE_MODEL": "/models/base",
}
SECRETS = {
    "SANO_KAFKA_SASL_PASSWORD": CANARY,
    "SANO_AWS_ACCESS_KEY_ID": CANARY,
    "SANO_AWS_SECRET_ACCESS_KEY": CANARY,
    "SANO_MASTER_KEY_FILE": CANARY,
}
MAINS = [
    *(
        f"consumers.{name}.app"
        for name in ("adapters", "curation", "export", "knowledge", "ledger", "purge", "training")
    ),
    "consumers.training.worker",
    "inference.app",
]


def set_to(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("main", MAINS)
@pytest.mark.parametrize("wrong", [{"SANO_S3_BUCKET": ""}, {"SANO_LEASE_SECONDS": CANARY}], ids=["missing", "wrong"])
def test_a_service_ends_with_one_line_that_names_the_setting_and_quotes_nothing(
    main: str, wrong: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(main)
    set_to(monkeypatch, {**ENOUGH, **SECRETS, **wrong})
    monkeypatch.setattr(sys, "argv", [main, *(("--tenant", "t1", "--run", "r1") if main.endswith("worker") else ())])
    with pytest.raises(SystemExit) as ended:
        module.main()
    out, told = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert ended.value.__suppress_context__, "a traceback would tell what the settings were"
    [line] = told.splitlines()
    [name] = wrong
    assert line.startswith(f"error: refused: {name}")
    assert CANARY not in line


def test_a_replica_without_its_signing_key_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    missing = tmp_path / "receipt.pem"
    trusted = {f"SANO_{name}".upper(): str(path) for name, path in AllKeys.made().write(tmp_path).items()}
    missing.unlink()
    set_to(monkeypatch, {**ENOUGH, **trusted, "SANO_RECEIPT_KEY": str(missing)})
    flushed: list[bool] = []
    monkeypatch.setattr(wiring, "configure_logging", lambda _: None)
    telemetry = observed("inference", InMemorySpanExporter(), InMemoryMetricReader(), CollectorRegistry())
    ended_telemetry = dataclasses.replace(telemetry, flush=lambda: flushed.append(True))
    monkeypatch.setattr(wiring, "configure_telemetry", lambda *_: ended_telemetry)
    with pytest.raises(SystemExit) as ended:
        wiring.main()
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: refused: ")
    assert str(missing) in line
    assert flushed == [True]


@pytest.mark.parametrize(
    "kind", [PlatformSettings, OperatorSettings, InstallationSettings, VerificationSettings, LocalSettings]
)
def test_not_even_a_traceback_quotes_a_setting(kind: type[BaseSettings]) -> None:
    fields = ("s3_bucket", "trust_file", "audit_checkpoint_seconds")
    wrong: dict[str, Any] = {name: [CANARY] for name in fields if name in kind.model_fields}
    with pytest.raises(ValidationError) as error:
        kind(**wrong)
    assert CANARY not in str(error.value)


UNUSABLE: dict[str, tuple[type[BaseSettings], dict[str, str], str]] = {
    "no broker": (PlatformSettings, {"SANO_KAFKA_BOOTSTRAP_SERVERS": ""}, "SANO_KAFKA_BOOTSTRAP_SERVERS unset"),
    "no bucket": (PlatformSettings, {"SANO_S3_BUCKET": ""}, "SANO_S3_BUCKET unset"),
    "a lease for ever": (PlatformSettings, {"SANO_LEASE_SECONDS": "inf"}, "SANO_LEASE_SECONDS: input should be a fin"),
    "no number": (PlatformSettings, {"SANO_S3_TIMEOUT_SECONDS": "nan"}, "SANO_S3_TIMEOUT_SECONDS: input should be a f"),
    "a wait of an age": (PurgeSettings, {"SANO_CONFIRMATION_WAIT_DAYS": "1e12"}, "less than or equal to 3650"),
    "backups of an age": (PurgeSettings, {"SANO_BACKUP_DAYS": "1e12"}, "SANO_BACKUP_DAYS: input should be less"),
    "a target of an age": (PurgeSettings, {"SANO_PURGE_TARGET_HOURS": "1e12"}, "SANO_PURGE_TARGET_HOURS: input"),
    "no login": (PlatformSettings, {"SANO_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "SANO_KAFKA_SASL_USERNAME and"),
    "half a login": (
        PlatformSettings,
        {"SANO_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "SANO_KAFKA_SASL_USERNAME": "curation"},
        "needs both SANO_KAFKA_SASL_USERNAME and SANO_KAFKA_SASL_PASSWORD",
    ),
    "an id alone": (PlatformSettings, {"SANO_AWS_ACCESS_KEY_ID": CANARY}, "SANO_AWS_SECRET_ACCESS_KEY go together"),
    "a secret alone": (PlatformSettings, {"SANO_AWS_SECRET_ACCESS_KEY": CANARY}, "SANO_AWS_ACCESS_KEY_ID and"),
    "what int() quotes": (InferenceSettings, {"SANO_MAX_LORA_RANK": CANARY}, "SANO_MAX_LORA_RANK is not of the"),
    "several": (
        PlatformSettings,
        {"SANO_S3_BUCKET": "", "SANO_KAFKA_BOOTSTRAP_SERVERS": "", "SANO_LEASE_SECONDS": "0"},
        "refused: SANO_KAFKA_BOOTSTRAP_SERVERS and SANO_S3_BUCKET unset, SANO_LEASE_SECONDS: input should be greater",
    ),
}


@pytest.mark.parametrize(("kind", "values", "words"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_what_no_service_could_work_with_is_refused_at_the_start(
    kind: type[BaseSettings], values: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_to(monkeypatch, {**ENOUGH, **values})
    with pytest.raises(Refused) as refusal:
        loaded(kind)
    assert words in str(refusal.value)
    assert (CANARY not in str(refusal.value), len(str(refusal.value).splitlines())) == (True, 1)


@pytest.mark.parametrize("kind", [PurgeSettings, ConsumerSettings, LedgerSettings, TrainingSettings, InferenceSettings])
def test_every_duration_is_bounded(kind: type[BaseSettings], monkeypatch: pytest.MonkeyPatch) -> None:
    """An infinite one waits for ever, and a huge one overflows where it is added to a date."""
    set_to(monkeypatch, ENOUGH)
    durations = [name for name in kind.model_fields if name.endswith(("_seconds", "_hours", "_days", "_ms"))]
    for name in durations:
        with monkeypatch.context() as patched:
            patched.setenv(f"SANO_{name.upper()}", "1000000000")
            with pytest.raises(Refused, match=f"SANO_{name.upper()}: input should be less than or equal to"):
                loaded(kind)
    assert len(durations) >= 6


def brokers(monkeypatch: pytest.MonkeyPatch, value: str) -> str:
    set_to(monkeypatch, {**ENOUGH, "SANO_KAFKA_BOOTSTRAP_SERVERS": value})
    return loaded(PlatformSettings).kafka_bootstrap_servers


@pytest.mark.parametrize("value", ["k1:9092,k2,", "k1:9092,, ,k2", ",k1:9092,k2"])
def test_brokers_are_taken_without_what_is_empty_between_commas(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert brokers(monkeypatch, value) == "k1:9092,k2"


@pytest.mark.parametrize("value", [",", " , ", "k1:0", "k1:65536", "k1:٩٠٩٢", "k1:", "http://k1:9092"])
def test_what_names_no_broker_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="SANO_KAFKA_BOOTSTRAP_SERVERS: give host:port of some brokers"):
        brokers(monkeypatch, value)


def test_both_halves_of_a_pair_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    login = {"SANO_KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "SANO_KAFKA_SASL_USERNAME": "curation"}
    set_to(monkeypatch, {**ENOUGH, **SECRETS, **login})
    assert loaded(PlatformSettings).kafka_client()["sasl_plain_password"] == CANARY


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"SANO_KMS_KEY_ID": "alias/x"}, "refused: no client of KMS (NoRegionError); set AWS_DEFAULT_REGION"),
        ({"AWS_PROFILE": CANARY}, "refused: no client of S3 (ProfileNotFound); set AWS_DEFAULT_REGION"),
        ({"SANO_KAFKA_SSL_CA_FILE": CANARY}, "refused: SANO_KAFKA_SSL_CA_FILE is no file of certificates (FileNot"),
        ({"SANO_KAFKA_SSL_CA_FILE": __file__}, "refused: SANO_KAFKA_SSL_CA_FILE is no file of certificates (SSLError"),
    ],
)
async def test_a_setting_that_no_client_can_be_made_of_is_refused_and_not_unexpected(
    wrong: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    key = tmp_path / "master.key"
    key.write_bytes(base64.b64encode(bytes(32)))
    key.chmod(0o600)
    set_to(monkeypatch, {**ENOUGH, "SANO_MASTER_KEY_FILE": str(key), "SANO_KAFKA_SECURITY_PROTOCOL": "SSL", **wrong})
    with pytest.raises(Refused) as refused:
        async with open_tenancy(loaded(PlatformSettings), "test"):
            pass
    assert str(refused.value).startswith(told)
    assert CANARY not in str(refused.value)


def test_the_region_of_kms_is_that_of_its_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    master = KmsMasterKey.connect("arn:aws:kms:eu-central-1:111122223333:key/1234abcd", 1.0)
    assert master.client.meta.region_name == "eu-central-1"
