"""Every service starts from the environment that the local stack gives it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from consumers.adapters.settings import AdaptersSettings
from consumers.ledger.settings import LedgerSettings
from consumers.purge.settings import PurgeSettings
from consumers.runtime.settings import ConsumerSettings
from consumers.training.settings import TrainingSettings
from deploy.local.services import INFERENCE, LOCAL_PROFILE, Folders, service_command, service_environment
from deploy.local.settings import inherited_environment
from inference.settings import InferenceSettings
from producers.review_page.settings import ReviewPageSettings
from tests.unit.stack_parts import stack_of

SHARED = {
    "SANO_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9092",
    "SANO_S3_BUCKET": "bucket",
    "SANO_BASE_MODEL": "/models/base",
    "SANO_HEALTH_PORT": "8081",
    "SANO_INFERENCE_PORT": "8000",
    "SANO_REVIEW_URL": "http://127.0.0.1:8085",
    "SANO_SOURCE_KEY_FILE": "/keys/source.key",
}


@pytest.mark.parametrize(
    "settings",
    [
        AdaptersSettings,
        ConsumerSettings,
        LedgerSettings,
        PurgeSettings,
        TrainingSettings,
        InferenceSettings,
        ReviewPageSettings,
    ],
)
def test_a_service_reads_the_local_profile(settings: type[BaseSettings], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**LOCAL_PROFILE, **SHARED}.items():
        monkeypatch.setenv(name, value)
    made = settings().model_dump()
    read = {f"SANO_{name.upper()}": value for name, value in made.items()}
    for name, value in LOCAL_PROFILE.items():
        if name in read:
            assert read[name] == (value if isinstance(read[name], str) else float(value))


def test_a_child_does_not_inherit_where_torch_keeps_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/elsewhere")
    monkeypatch.setenv("SANO_KAFKA_SASL_MECHANISM", "PLAIN")
    inherited = inherited_environment()
    assert "TORCHINDUCTOR_CACHE_DIR" not in inherited
    assert inherited["SANO_KAFKA_SASL_MECHANISM"] == "PLAIN"


def test_the_replica_of_the_stack_has_a_port_for_its_api_and_one_for_the_platform(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    shared = service_environment({}, stack_of(folders), embedded_store=False)
    environment = service_command(INFERENCE, 8081, shared, folders).env
    assert (environment["SANO_INFERENCE_HOST"], environment["SANO_INFERENCE_PORT"]) == ("127.0.0.1", "8000")
    assert environment["SANO_HEALTH_PORT"] == "8081"
    assert environment["SANO_INFERENCE_HEALTH_URL"] == "http://127.0.0.1:8081"
