"""Where the operators' commands get their settings: the environment, then the stack file of this folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from producers.settings import VerificationSettings, installation_settings, operator_settings
from tenancy.bootstrap import object_store
from tenancy.errors import Refused
from tenancy.storage.s3 import S3ObjectStore

STACK = {
    "kafka_bootstrap_servers": "127.0.0.1:9092",
    "s3_endpoint_url": "http://127.0.0.1:9000",
    "s3_bucket": "sanolith",
    "aws_access_key_id": "local-id",
    "aws_secret_access_key": "local-secret",
    "inference_url": "http://127.0.0.1:8000",
    "inference_health_url": "http://127.0.0.1:8080",
    "master_key_file": "/keys/master.key",
    "trust_file": "/keys/trust.json",
    "trust_root_file": "/keys/root.pub.pem",
    "trust_root_key": "/keys/root.pem",
    "token_key": "/keys/token.pem",
    "event_key": "/keys/event-operators.pem",
    "base_model": "/models/base",
    "processes": [],
}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def stack_file(tmp_path: Path) -> Path:
    path = tmp_path / ".sano" / "stack.json"
    path.parent.mkdir()
    path.write_text(json.dumps(STACK))
    return path


def test_the_stack_of_this_folder_is_enough(stack_file: Path) -> None:
    settings = operator_settings()
    assert settings.kafka_bootstrap_servers == "127.0.0.1:9092"
    assert (settings.s3_bucket, settings.inference_url) == ("sanolith", "http://127.0.0.1:8000")
    assert settings.trust_file == VerificationSettings().trust_file == Path("/keys/trust.json")
    assert "local-secret" not in repr(settings)


def test_the_credentials_of_the_stack_reach_the_s3_client(stack_file: Path) -> None:
    store = object_store(operator_settings())
    assert isinstance(store, S3ObjectStore)
    credentials = store.client._request_signer._credentials  # type: ignore[attr-defined]
    assert (credentials.access_key, credentials.secret_key) == ("local-id", "local-secret")


def test_the_environment_wins(stack_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANO_KAFKA_BOOTSTRAP_SERVERS", "kafka:9092")
    monkeypatch.setenv("SANO_INFERENCE_URL", "")
    settings = operator_settings()
    assert (settings.kafka_bootstrap_servers, settings.inference_url) == ("kafka:9092", "http://127.0.0.1:8000")
    assert settings.s3_endpoint_url == "http://127.0.0.1:9000"


def test_another_bucket_gets_neither_the_endpoint_nor_the_keys_of_the_stack(
    stack_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SANO_S3_BUCKET", "production")
    settings = operator_settings()
    assert (settings.s3_bucket, settings.s3_endpoint_url) == ("production", None)
    assert (settings.aws_access_key_id, settings.aws_secret_access_key) == (None, None)


def test_the_same_bucket_by_name_is_the_stacks_own(stack_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANO_S3_BUCKET", "sanolith")
    assert operator_settings().s3_endpoint_url == "http://127.0.0.1:9000"


def test_without_either_the_refusal_names_what_to_set() -> None:
    with pytest.raises(Refused, match="SANO_KAFKA_BOOTSTRAP_SERVERS and SANO_S3_BUCKET unset") as refusal:
        operator_settings()
    assert "run `sano up` here" in str(refusal.value)


def test_a_setting_of_the_wrong_shape_is_named_and_not_quoted(
    stack_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SANO_LEASE_SECONDS", "soon")
    with pytest.raises(Refused, match="SANO_LEASE_SECONDS: input should be a valid number") as refusal:
        operator_settings()
    assert "soon" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[
            ("SANO_S3_ENDPOINT_URL", url)
            for url in ("notaurl", "http://", "ftp://x", "http://a_b:1", "http://x:port", "http://x:99999", "http:x")
        ],
        *[("SANO_KAFKA_BOOTSTRAP_SERVERS", brokers) for brokers in ("x:port", "x:1,,y z", "http://x:1", "x:99999")],
        *[("SANO_S3_BUCKET", bucket) for bucket in ("q q", "q/q")],
        *[(name, "x y") for name in ("SANO_INFERENCE_URL", "SANO_INFERENCE_HEALTH_URL", "SANO_OTLP_ENDPOINT")],
    ],
)
def test_an_address_of_the_wrong_shape_is_named_before_a_client_trips_over_it(
    stack_file: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(Refused, match=name) as refusal:
        operator_settings()
    assert value not in str(refusal.value).replace("http://host:port", "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("SANO_S3_ENDPOINT_URL", url) for url in ("https://s3.example.com/", "http://[::1]:9000", "http://10.0.0.1")],
        ("SANO_KAFKA_BOOTSTRAP_SERVERS", "kafka_1:9092, [::1]:9092,kafka"),
        ("SANO_S3_BUCKET", "arn:aws:s3:eu-west-1:123456789012:accesspoint/one"),
        ("SANO_INFERENCE_URL", "https://inference_1/prefix"),
    ],
)
def test_an_address_that_a_client_takes_is_taken(
    stack_file: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("SANO_S3_BUCKET", "sanolith")
    monkeypatch.setenv(name, value)
    assert getattr(operator_settings(), name.removeprefix("SANO_").lower()) == value


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_stack_file_that_cannot_be_read_is_refused(stack_file: Path, content: str) -> None:
    stack_file.write_text(content)
    with pytest.raises(Refused, match="is not a stack file"):
        operator_settings()


def test_another_installation_gets_nothing_of_this_one(
    stack_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SANO_MASTER_KEY_FILE", "/keys/of-this-one")
    monkeypatch.setenv("SANO_AWS_ACCESS_KEY_ID", "id-of-this-one")
    described = tmp_path / "other.json"
    described.write_text(json.dumps({"kafka_bootstrap_servers": "other:9092", "s3_bucket": "other", "processes": []}))
    other = installation_settings(described)
    assert (other.kafka_bootstrap_servers, other.s3_bucket) == ("other:9092", "other")
    assert (other.master_key_file, other.s3_endpoint_url, other.aws_access_key_id) == (None, None, None)
