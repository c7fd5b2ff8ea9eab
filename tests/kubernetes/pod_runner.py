"""Runs the pods of a namespace as child processes, as a kubelet runs containers: so that a Job really runs a program.

Of a pod only the container ``worker`` is run, by its command and arguments. What images, volumes and settings would
give it, the tests give.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psutil

from tests.kubernetes.control_plane import ControlPlane

POLL_SECONDS = 0.2
NODE = "node-1"
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """What a pod's process is started with: what is put before the module, and the settings."""

    before: tuple[str, ...]
    environment: dict[str, str]


@dataclass
class PodRunner:
    """``run_of`` is asked once for each pod, by its arguments, in the order in which they come."""

    plane: ControlPlane
    namespace: str
    run_of: Callable[[list[str]], Run]
    log: Any
    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    """By the pods' names, also of those that have ended."""
    _told_to_end: set[str] = field(default_factory=set)

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods"

    async def pods(self) -> list[Manifest]:
        found: list[Manifest] = (await self._ask("GET", ""))["items"]
        return found

    async def evict(self, name: str) -> None:
        """As a drain of the node does."""
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        await self._ask("POST", f"/{name}/eviction", body)

    def is_held(self, name: str) -> bool:
        """Whether the pod's process has stopped itself (tests/kubernetes/held.py)."""
        process = self.processes.get(name)
        return process is not None and _status(process.pid) == psutil.STATUS_STOPPED

    def go_on(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGCONT)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._run())
        try:
            yield
            assert not task.done(), task.exception()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            for process in self.processes.values():
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    async def _run(self) -> None:
        while True:
            for pod in await self.pods():
                await self._tend(pod)
            await asyncio.sleep(POLL_SECONDS)

    async def _tend(self, pod: Manifest) -> None:
        name, meta, phase = pod["metadata"]["name"], pod["metadata"], pod.get("status", {}).get("phase")
        process = self.processes.get(name)
        if process is None:
            if "deletionTimestamp" not in meta:
                await self._started(name, pod)
            return
        if process.returncode is None:
            if "deletionTimestamp" in meta and name not in self._told_to_end:
                self._told_to_end.add(name)  # once: a process that is about to end would die of another one
                process.send_signal(signal.SIGTERM)
                process.send_signal(signal.SIGCONT)
            return
        if phase not in ("Succeeded", "Failed"):
            await self._ended(name, process.returncode)
        if "deletionTimestamp" in meta:
            with suppress(Exception):  # gone already
                await self._ask("DELETE", f"/{name}", {"gracePeriodSeconds": 0})

    async def _started(self, name: str, pod: Manifest) -> None:
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}}
        await self._ask("POST", f"/{name}/binding", {**binding, "target": {"kind": "Node", "name": NODE}})
        (container,) = [one for one in pod["spec"]["containers"] if one["name"] == "worker"]
        python, dash_m, *module = container["command"]
        assert (python, dash_m) == ("python", "-m")
        run = self.run_of(container["args"])
        argv = [sys.executable, "-m", *run.before, *module, *container["args"]]
        self.processes[name] = await asyncio.create_subprocess_exec(
            *argv,
            env=run.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            preexec_fn=os.setsid,
        )
        await self._patch(name, {"phase": "Running"})

    async def _ended(self, name: str, status: int) -> None:
        code = status if status >= 0 else 128 - status
        ended = {"name": "worker", "ready": False, "restartCount": 0, "image": "", "imageID": ""}
        state = {**ended, "state": {"terminated": {"exitCode": code}}}
        await self._patch(name, {"phase": "Failed" if code else "Succeeded", "containerStatuses": [state]})

    async def _patch(self, name: str, status: Manifest) -> None:
        await self._ask("PATCH", f"/{name}/status", {"status": status})

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        return await asyncio.to_thread(self.plane.ask, method, f"{self.path}{path}", body)


def _status(pid: int) -> str:
    try:
        return str(psutil.Process(pid).status())
    except psutil.NoSuchProcess:
        return ""
