"""``sano reproduce`` trains a real adapter again, in a process of its own, and gets the same bytes."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.local.embedded import Credentials
from producers.cli.main import app
from tests.contract.conftest import bucket_on
from tests.unit.real_training import made, tiny_trainer


def test_a_real_adapter_is_made_again_with_the_same_bytes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    object_store_endpoint: str,
    object_store_credentials: Credentials,
) -> None:
    trainer = tiny_trainer(tmp_path)
    objects = bucket_on(object_store_endpoint, object_store_credentials)

    async def trained() -> Any:
        async with aclosing(objects):
            return await made(tmp_path / "world", trainer, {}, objects)

    world, tenant, run = asyncio.run(trained())
    digest = run.adapter_digest
    master = tmp_path / "master.key"
    master.write_bytes(base64.b64encode(world._master.key))
    master.chmod(0o600)
    for name, value in {
        **world.keys.write(tmp_path),
        "kafka_bootstrap_servers": "127.0.0.1:1",
        "s3_endpoint_url": object_store_endpoint,
        "s3_bucket": objects.bucket,
        "aws_access_key_id": object_store_credentials.access_key_id,
        "aws_secret_access_key": object_store_credentials.secret_access_key,
        "master_key_file": master,
        "base_model": trainer.source,
        "work_dir": tmp_path / "work",
    }.items():
        monkeypatch.setenv(f"SANO_{name}".upper(), str(value))
    monkeypatch.chdir(tmp_path)

    again = CliRunner().invoke(app, ["reproduce", digest[:12], "--json"])
    assert again.exit_code == 0, again.output
    found = json.loads(again.stdout)
    assert (found["is_same"], found["first_different_step"], found["differences"]) == (True, None, [])
    assert (found["tenant"], found["adapter_digest"], found["run_id"]) == (tenant, digest, "r1")
    assert not list((tmp_path / "work" / "scratch").iterdir())
