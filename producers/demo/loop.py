"""Runs the loop that `make demo` shows."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openai import APIStatusError
from rich.console import Console

from deploy.local.services import REVIEW, SERVICES, Folders
from deploy.local.stack import LocalStack, Stage
from deploy.local.stack_file import StackFile
from producers.demo.acts import Act
from producers.demo.memory import MemoryPeak
from producers.demo.report import DemoReport
from producers.demo.screen import Screen
from producers.operations.topics import apply_topics
from producers.operations.trust_admin import ensure_keys
from producers.settings import OperatorSettings
from tenancy.bootstrap import open_tenancy

HOME = Path(".sano/demo")


def run_demo(report_file: Path | None, home: Path = HOME, *, kafka: bool = False) -> int:
    """Start a stack under ``home``, run every act, stop the stack; 0 when every check held."""
    screen = Screen(Console())
    report = DemoReport()
    # A polite kill stops the stack and leaves nothing behind, as Ctrl-C does.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    home.mkdir(parents=True, exist_ok=True)
    with MemoryPeak() as memory, screen.shown(), _stack(screen, home, kafka) as stack:
        try:
            asyncio.run(_acts(screen, stack, report, home))
        finally:
            signal.signal(signal.SIGTERM, before)
            report.timings, report.peak_memory_gib = screen.timings, round(memory.gib, 2)
            if report_file is not None:
                report_file.write_text(report.model_dump_json(indent=2) + "\n")
    failures = report.isolation["failures"]
    screen.console.print("[green]every check held[/green]" if not failures else f"[red]failed: {failures}[/red]")
    screen.console.print(f"{sum(screen.timings.values()):.0f} s, at most {memory.gib:.1f} GiB of memory")
    if report_file is not None:
        screen.console.print(f"report: {report_file}")
    return 1 if failures else 0


@contextmanager
def _stack(screen: Screen, home: Path, kafka: bool) -> Iterator[StackFile]:
    def report(name: str, stage: Stage) -> None:
        if stage is Stage.READY:
            screen.say(f"{name} is ready")

    def apply(bootstrap_servers: str) -> None:
        asyncio.run(apply_topics({"bootstrap_servers": bootstrap_servers}))

    stack = LocalStack(
        home, apply_topics=apply, make_keys=ensure_keys, services=(*SERVICES, REVIEW), tie_to_parent=True, report=report
    )
    with screen.step(
        "stack", "The stack starts: bus, object store, seven consumers, one serving replica, the review page"
    ):
        stack.down()  # what an interrupted demo may have left
        described = stack.up(kafka=kafka)
    try:
        yield described
    finally:
        stack.down()


async def _acts(screen: Screen, stack: StackFile, report: DemoReport, home: Path) -> None:
    settings = OperatorSettings(
        kafka_bootstrap_servers=stack.kafka_bootstrap_servers,
        s3_endpoint_url=stack.s3_endpoint_url,
        s3_bucket=stack.s3_bucket,
        aws_access_key_id=stack.aws_access_key_id,
        aws_secret_access_key=stack.aws_secret_access_key,
        master_key_file=stack.master_key_file,
        trust_file=stack.trust_file,
        trust_root_file=stack.trust_root_file,
        token_key=stack.token_key,
        event_key=stack.event_key,
        inference_url=stack.inference_url,
        inference_health_url=stack.inference_health_url,
        operator_id="demo",
    )
    scratch = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="demo-", dir=home))
    try:
        async with open_tenancy(settings, "demo") as tenancy:
            url = stack.review_url or ""
            act = Act(tenancy, settings, stack.base_model, scratch, Folders(home / ".sano"), url, screen, report)
            tenants = await act.onboard()
            await act.open(tenants)
            await act.curate(tenants)
            await act.train(tenants)
            await act.serve(tenants)
            await act.trace(tenants.oncology)
            await act.export(tenants)
            await act.search(tenants, "before")
            await act.purge(tenants)
            await act.search(tenants, "after")
            await act.show(tenants)
    except APIStatusError as error:
        # The client's own text could quote the request.
        raise RuntimeError(f"the serving replica answered {error.status_code}") from None
    finally:
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
