"""A serving replica as a real process with the real engine: it answers while it starts, and leaves nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.local.processes import ChildProcess, start
from deploy.local.services import INFERENCE, SHARED_MEMORY
from deploy.local.stack import LocalStack
from deploy.local.stack_file import StackFile
from deploy.local.teardown import running_members
from inference.engine.shared_memory import PREFIX, descendants
from producers.commands.onboarding import onboard
from producers.operations.chat_client import ask
from producers.operations.topics import apply_topics
from producers.settings import OperatorSettings
from schemas.models.model_digest import model_digest
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import open_tenancy, signer
from tenancy.tenant_id import TenantId
from tenancy.tokens import TokenIssuer
from tests.bench import published, random_adapters

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(900)]

TENANT = TenantId("t1")
BOUND_SECONDS = 180.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """The embedded bus and object store, and a replica of which each test starts its own process."""

    def apply(bootstrap_servers: str) -> None:
        asyncio.run(apply_topics({"bootstrap_servers": bootstrap_servers}))

    home = tmp_path_factory.mktemp("replica")
    small = {"SANO_KV_CACHE_GIB": "0.25", "SANO_MAX_LORAS": "2", "SANO_MAX_CPU_LORAS": "2"}
    made = LocalStack(home, apply_topics=apply, services=(INFERENCE,), extra_env=small, tie_to_parent=True)
    made.up()
    yield made
    made.down()


def settings_of(stack: StackFile) -> OperatorSettings:
    names = set(StackFile.model_fields) & set(OperatorSettings.model_fields)
    return OperatorSettings(**stack.model_dump(include=names))


async def answered_by_its_adapter(stack: StackFile, folder: Path) -> str:
    """Give the tenant an adapter and ask a question; the digest that answered."""
    settings = settings_of(stack)
    argv = ["--base-model", stack.base_model, "--to", str(folder), "--count", "1"]
    await asyncio.to_thread(subprocess.run, [sys.executable, "-m", random_adapters.__name__, *argv], check=True)
    async with open_tenancy(settings, "test") as tenancy:
        await onboard(tenancy, TENANT, TenantPolicy())
        digest = await asyncio.to_thread(model_digest, Path(stack.base_model))
        made = await published.publish(tenancy, signer(settings), TENANT, digest, folder / "0")
    answer = await ask(stack.inference_url, TokenIssuer(signer(settings)).issue(TENANT), "Hello?", max_tokens=4)
    assert answer.adapter == made
    return made


def stopped(process: ChildProcess) -> None:
    process.terminate()
    assert process.wait_exit(BOUND_SECONDS) == 0


def shared_by(stack: LocalStack) -> set[Path]:
    """What the replica's processes share in memory, other programs' files left out."""
    mapped: set[Path] = set()
    for member in running_members(stack.folders):
        try:
            lines = Path(f"/proc/{member.pid}/maps").read_text().splitlines()
        except OSError:
            continue
        mapped |= {Path(line[line.index("/") :]) for line in lines if f" {SHARED_MEMORY}/" in line}
    return {path for path in mapped if path.exists()}


def end_resource_trackers(process: ChildProcess) -> None:
    """As the end of a pod ends them: before they have removed anything."""
    trackers = [
        pid for pid in descendants(process.pid) if b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    assert trackers
    for pid in trackers:
        os.kill(pid, signal.SIGKILL)


def vllm_processes(stack: LocalStack) -> list[str]:
    names = [Path(f"/proc/{member.pid}/comm").read_text() for member in running_members(stack.folders)]
    return [name for name in names if name.startswith("VLLM")]


def test_a_replica_that_is_stopped_leaves_no_adapter_and_nothing_in_shared_memory(
    stack: LocalStack, tmp_path: Path
) -> None:
    adapters = stack.folders.memory
    digest = asyncio.run(answered_by_its_adapter(stack.connect(), tmp_path))
    assert [path.parent.name for path in adapters.rglob("*.safetensors")] == [digest]
    shared = shared_by(stack)
    messages = {path for path in shared if path.name.startswith(PREFIX)}
    assert messages, "on a processor the engine's processes hand on messages in shared memory"
    replica = stack.service("inference")
    end_resource_trackers(replica)
    stopped(replica)
    assert list(adapters.rglob("*")) == []
    assert [path for path in messages if path.exists()] == []
    assert vllm_processes(stack) == []


def test_a_replica_that_is_starting_is_alive_and_not_ready_and_ends_when_it_is_told_to(stack: LocalStack) -> None:
    process = start(stack.service("inference").command, tie_to_parent=True)
    url = stack.connect().inference_health_url

    def is_alive() -> bool:
        try:
            return httpx.get(f"{url}/health/live", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    try:
        process.wait_ready(is_alive, BOUND_SECONDS)
        process.wait_ready(lambda: bool(shared_by(stack)), BOUND_SECONDS)
        answer = httpx.get(f"{url}/health/ready", trust_env=False)
        assert (answer.status_code, answer.json()) == (503, {"ready": False}), "its engine is not there yet"
        shared = shared_by(stack)
        stopped(process)
    finally:
        process.kill()
    assert [path for path in shared if path.exists()] == []
    assert vllm_processes(stack) == []
    assert list(stack.folders.memory.rglob("*")) == []


def test_a_replica_that_cannot_start_ends_with_status_1_and_says_why_in_one_line(stack: LocalStack) -> None:
    command = stack.service("inference").command
    log = command.log.with_name("wrong.log")
    wrong = {**command.env, "SANO_MAX_LORAS": "3"}
    process = start(type(command)(command.name, command.argv, log, wrong, command.cwd), tie_to_parent=True)
    assert process.wait_exit(BOUND_SECONDS) == 1
    lines = [line for line in log.read_text().splitlines() if line.startswith("{")]
    assert len(lines) == 1
    assert '"start failed"' in lines[0]
    assert "max_loras must be at least 1 and at most max_cpu_loras" in lines[0]
