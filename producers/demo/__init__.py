"""Runs the whole loop, from onboarding to purge, with three tenants, two of which train an adapter: ``sano demo``."""

from __future__ import annotations

from pathlib import Path


def run(report: Path | None) -> int:
    """Run the loop and write its report; 0 when every check held."""
    from producers.demo.loop import run_demo

    return run_demo(report)
