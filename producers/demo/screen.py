"""Prints the demo: a line per step as it happens, progress bars, a table per tenant."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from producers.demo.report import Check, TenantReport


class Screen:
    """Prints the steps and keeps their timings."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.timings: dict[str, float] = {}
        self._bars = Progress(
            TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
        )

    @contextmanager
    def shown(self) -> Iterator[None]:
        with self._bars:
            yield

    @contextmanager
    def step(self, name: str, words: str) -> Iterator[None]:
        self.console.print(f"[bold]{words}[/bold]")
        started = time.perf_counter()
        yield
        self.timings[name] = round(time.perf_counter() - started, 2)
        self.console.print(f"  [dim]{self.timings[name]} s[/dim]")

    @contextmanager
    def bar(self, words: str, total: int) -> Iterator[Bar]:
        task = self._bars.add_task(words, total=total)
        try:
            yield Bar(self._bars, task)
        finally:
            self._bars.remove_task(task)

    def say(self, words: str) -> None:
        self.console.print(f"  {words}")

    def check(self, check: Check) -> None:
        self.say(f"{'[green]held[/green]' if check.held else '[red]FAILED[/red]'}  {check.name}")

    def tenant(self, title: str, report: TenantReport) -> None:
        table = Table(title=title, show_header=False, title_justify="left")
        rows = {
            "examples": str(report.examples),
            "adapter": report.adapter_digest[:16],
            "adapter bytes": f"{report.adapter_bytes:,}",
            "train seconds": f"{report.train_seconds:.1f}",
            "held-out loss": f"{report.heldout_loss_before:.2f} → {report.heldout_loss_after:.2f}"
            if report.heldout_loss_before is not None and report.heldout_loss_after is not None
            else "nothing held out",
            "score, base model": f"{report.score.base:.2f}",
            "score, own adapter": f"{report.score.own:.2f}",
            "score, other tenant's adapter": f"{report.score.other:.2f}",
            "used": ", ".join(f"{name} {amount:g}" for name, amount in report.usage.items()),
        }
        for name, value in rows.items():
            table.add_row(name, value)
        self.console.print(table)


class Bar:
    """One progress bar."""

    def __init__(self, bars: Progress, task: TaskID) -> None:
        self._bars = bars
        self._task = task

    def advance(self) -> None:
        self._bars.advance(self._task)

    def to(self, words: str, done: int, total: int) -> None:
        self._bars.update(self._task, description=f"  {words}", completed=done, total=total)
