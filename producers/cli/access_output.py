"""Prints what `sano topics apply` did to access control lists."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from producers.cli.output import print_rows

if TYPE_CHECKING:
    from producers.operations.access_admin import AccessReport


def print_access(report: AccessReport, *, dry_run: bool) -> None:
    """Print the rights that were added, and the surplus ones, which were left."""
    if not report.has_authorizer:
        sys.stdout.write("\nthe brokers have no authorizer: whoever reaches them may do everything, for every tenant\n")
        return
    added = "would be added" if dry_run else "added"
    sys.stdout.write(f"\n{report.rights} rights in the contract, {len(report.added)} {added}\n")
    if report.added:
        print_rows(report.added, {"to": lambda right: right.principal, added: str})
    if report.surplus:
        sys.stdout.write("\n")
        print_rows(
            report.surplus,
            {"to": lambda entry: entry.principal, "surplus, left as it is": lambda entry: entry.entry},
        )
