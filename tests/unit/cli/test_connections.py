"""Commands close what they connect to: what is left open is said on stderr, beside what was asked for."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from deploy.local.embedded import REGION, Credentials, create_bucket
from deploy.local.key_files import ensure_key
from producers.cli.main import app
from producers.cli.platform import Platform
from producers.connection import for_commands, for_reading
from producers.settings import OperatorSettings


@pytest.mark.parametrize("words", ["tenant show nobody", "doctor"])
def test_a_command_that_reads_leaves_no_connection_to_the_object_store_open(
    words: str,
    settings: OperatorSettings,
    tmp_path: Path,
    object_store_endpoint: str,
    object_store_credentials: Credentials,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    ensure_key(tmp_path / "master.key")
    bucket = f"closed-{words.replace(' ', '-')}"
    create_bucket(object_store_endpoint, bucket, object_store_credentials)
    installed = {
        "master_key_file": tmp_path / "master.key",
        "s3_endpoint_url": object_store_endpoint,
        "s3_bucket": bucket,
        "aws_access_key_id": object_store_credentials.access_key_id,
        "aws_secret_access_key": SecretStr(object_store_credentials.secret_access_key),
    }
    here = Platform(lambda: settings.model_copy(update=installed), for_reading, for_commands)
    assert CliRunner().invoke(app, words.split(), obj=here).exit_code == 1
    gc.collect()
    assert "Unclosed" not in caplog.text
