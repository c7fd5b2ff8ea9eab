"""``python -m tests.bench [--only NAME] [--quick] [--rounds N]``.

vLLM's processes are spawned and import this module anew, so nothing may start outside ``main``.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench import (
    activation,
    adapter_first_token,
    approval_cost,
    curation_events,
    fair_admission,
    idle_looks,
    import_to_eligible,
    ledger_events,
    machine,
    proposals_drain,
    purge_throughput,
    redaction,
    report,
    residency,
    retrieval,
    serving_throughput,
    stalls,
    streaming_cpu,
    tenant_mix,
    training_step,
)
from tests.bench.frame import Entry, Options, say

WITH_ENGINE: tuple[Entry, ...] = (
    adapter_first_token.ENTRY,
    residency.ENTRY,
    fair_admission.ENTRY,
    serving_throughput.ENTRY,
    tenant_mix.ENTRY,
    streaming_cpu.ENTRY,
    stalls.ENTRY,
    activation.ENTRY,
)
ENTRIES: tuple[Entry, ...] = (
    curation_events.ENTRY,
    ledger_events.ENTRY,
    import_to_eligible.ENTRY,
    approval_cost.ENTRY,
    proposals_drain.ENTRY,
    purge_throughput.ENTRY,
    idle_looks.ENTRY,
    training_step.ENTRY,
    *WITH_ENGINE,
    redaction.ENTRY,
    retrieval.ENTRY,
)
ROUNDS = 5
QUICK_ROUNDS = 2


def main() -> None:
    names = [entry.name for entry in ENTRIES]
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="ours against named peers")
    parser.add_argument("--only", choices=names, action="append", help="this entry; may be given several times")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it runs; nothing is kept")
    parser.add_argument("--rounds", type=int, help=f"default {ROUNDS}, with --quick {QUICK_ROUNDS}")
    parser.add_argument(
        "--gpu",
        action="store_true",
        help="the entries with an engine, on a GPU: a base of the shape of Llama 3 8B with random weights, or that of "
        "SANO_BASE_MODEL; results are kept beside the others",
    )
    parser.add_argument("--proposals", type=int, default=50_000, help="for proposals_drain; default %(default)s")
    parser.add_argument("--tenants", type=int, default=2_000, help="for residency; default %(default)s")
    arguments = parser.parse_args()
    rounds = arguments.rounds if arguments.rounds is not None else QUICK_ROUNDS if arguments.quick else ROUNDS
    if rounds < 1:
        parser.error("--rounds must be at least 1")
    options = Options(
        rounds=rounds,
        quick=arguments.quick,
        gpu=arguments.gpu,
        proposals=arguments.proposals,
        tenants=arguments.tenants,
    )
    # The loop of each entry cancels its work at SIGINT, so that every process it started is stopped. A shell starts
    # what it runs in the background with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    results = []
    for entry in WITH_ENGINE if options.gpu else ENTRIES:
        if arguments.only and entry.name not in arguments.only:
            continue
        say(f"{entry.name}:")
        with _scratch() as home:
            measured = entry.run(options, home)
        result = {**measured.as_json(), "quick": options.quick, **machine.described(entry.packages)}
        results.append(result)
        if not options.quick:
            report.keep(result, "gpu" if options.gpu else "")
    report.show(results)
    if not options.quick and not options.gpu and not report.update_document(report.kept(names)):
        say(f"{report.DOCUMENT} has no region for results: not updated")


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder that everything is written to, temporary files of libraries and child processes too."""
    before = os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(prefix="sano-bench-") as folder:
        temporary = Path(folder) / "tmp"
        temporary.mkdir()
        os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
        try:
            yield Path(folder)
        finally:
            tempfile.tempdir = None
            if before is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = before


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
