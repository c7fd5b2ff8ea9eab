"""What a replica that was attacked and is stopped leaves behind: nothing. The last tests of the stand, which end it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from deploy.local.processes import ChildProcess, start
from deploy.local.services import SHARED_MEMORY
from deploy.local.stack import LocalStack
from deploy.local.teardown import running_members
from tests.attack.stand import WITH_ADAPTERS, Stand

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(900)]

BOUND_SECONDS = 180.0


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


def vllm_processes(stack: LocalStack) -> list[str]:
    names = [Path(f"/proc/{member.pid}/comm").read_text() for member in running_members(stack.folders)]
    return [name for name in names if name.startswith("VLLM")]


def test_a_replica_that_is_stopped_leaves_no_adapter_and_nothing_in_shared_memory(replica: Stand) -> None:
    stack = replica.local
    adapters = stack.folders.memory
    asyncio.run(replica.served(WITH_ADAPTERS[0]))
    held = {path.parent.name for path in adapters.rglob("*.safetensors")}
    assert replica.digests[WITH_ADAPTERS[0]] in held
    assert held <= set(replica.digests.values())
    shared = shared_by(stack)
    assert all(path.is_relative_to(adapters) or path.name.startswith("sem.mp-") for path in shared), "no messages"
    process = stack.service("inference")
    stopped(process)
    assert list(adapters.rglob("*")) == []
    assert vllm_processes(stack) == []


@pytest.mark.attack_long
def test_a_replica_that_is_starting_is_alive_and_not_ready_and_ends_when_it_is_told_to(stand: Stand) -> None:
    stack = stand.local
    if stack.service("inference").is_running():
        stopped(stack.service("inference"))
    process = start(stack.service("inference").command, tie_to_parent=True)
    url = stack.connect().inference_health_url

    def is_alive() -> bool:
        try:
            return httpx.get(f"{url}/health/live", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    try:
        process.wait_ready(is_alive, BOUND_SECONDS)
        process.wait_ready(lambda: bool(vllm_processes(stack)), BOUND_SECONDS)
        answer = httpx.get(f"{url}/health/ready", trust_env=False)
        assert (answer.status_code, answer.json()) == (503, {"ready": False}), "its engine is not there yet"
        shared = shared_by(stack)
        stopped(process)
    finally:
        process.kill()
    assert [path for path in shared if path.exists()] == []
    assert vllm_processes(stack) == []
    assert list(stack.folders.memory.rglob("*")) == []


def test_a_replica_that_cannot_start_ends_with_status_1_and_says_why_in_one_line(stand: Stand) -> None:
    command = stand.local.service("inference").command
    log = command.log.with_name("wrong.log")
    wrong = {**command.env, "SANO_MAX_LORAS": "3"}
    process = start(type(command)(command.name, command.argv, log, wrong, command.cwd), tie_to_parent=True)
    assert process.wait_exit(BOUND_SECONDS) == 1
    lines = [line for line in log.read_text().splitlines() if line.startswith("{")]
    assert len(lines) == 1
    assert '"start failed"' in lines[0]
    assert "max_loras must be at most max_cpu_loras" in lines[0]
