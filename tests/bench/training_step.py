"""A training step alone, and beside one other process that takes a core: how much longer does it take?

The compute threads of a step meet at many short barriers. Where one of them has lost its core to somebody else, the
other waits for it: how (spinning or asleep) and how many threads there are decides whether the step degrades in
proportion. Each measurement is a process of its own with the environment that the runner gives to its workers; the
peer is the same step on an idle machine. The variants beside it show what was chosen from.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from tenancy.platform.compute_threads import THREADS
from tests.bench.frame import Entry, Measured, Options, Result, Side, say

STEPS, QUICK_STEPS = 4, 1
WARM_UP = 1
CHILD_SECONDS = 600.0
WORDS = "the ward keeps a list of what is given, by whom and when, and the nurse on duty signs each line of it "

VARIANTS: Mapping[str, Mapping[str, str]] = {
    "as the runner sets it": THREADS,
    "libgomp's default": {},
    "asleep (OMP_WAIT_POLICY=PASSIVE)": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}


def measured(steps: int, environment: Mapping[str, str], *, is_busy: bool) -> float:
    """The median of a step in seconds, in a process of its own."""
    bare = {name: value for name, value in os.environ.items() if name not in _KNOWN}
    argv = [sys.executable, "-m", __name__, "--steps", str(steps)]
    with _busy() if is_busy else nullcontext():
        done = subprocess.run(
            argv, env=bare | dict(environment), capture_output=True, text=True, timeout=CHILD_SECONDS, check=True
        )
    seconds = sorted(json.loads(done.stdout.splitlines()[-1]))
    return float(seconds[len(seconds) // 2])


_KNOWN = {name for variant in VARIANTS.values() for name in variant}


@contextmanager
def _busy() -> Iterator[None]:
    """One process that computes all the time."""
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        child.kill()
        child.wait()


AUTOGROUP = Path("/proc/self/autogroup")
"""The processes of a session share the processor with those of others as one (sched(7), the autogroup feature)."""


@contextmanager
def _ahead_of_others() -> Iterator[bool]:
    """Whether the rest of the machine counts for little while this measures: it may be busy, and this is about one
    busy process. Needs the right to raise a priority.
    """
    try:
        AUTOGROUP.write_text("-20")
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        AUTOGROUP.write_text("0")


def run(options: Options, home: Path) -> Result:
    with _ahead_of_others() as is_ahead:
        return _measured(options, is_ahead=is_ahead)


def _measured(options: Options, *, is_ahead: bool) -> Result:
    steps = QUICK_STEPS if options.quick else STEPS
    names = list(VARIANTS)[:1] if options.quick else list(VARIANTS)
    values: dict[tuple[str, bool], list[float]] = {(name, busy): [] for name in names for busy in (False, True)}
    for number in range(options.rounds):
        for name, is_busy in values:
            values[name, is_busy].append(measured(steps, VARIANTS[name], is_busy=is_busy))
            beside = "beside a busy process" if is_busy else "alone"
            say(f"  round {number + 1} of {options.rounds}  {name}, {beside}: {values[name, is_busy][-1]:.3g} s")
    ours = names[0]
    more = {
        f"{name}, {'beside a busy process' if is_busy else 'alone'}": Measured("s", tuple(found))
        for (name, is_busy), found in values.items()
    }
    return Result(
        entry="training_step",
        question="How much longer does a training step take beside one process that takes a core?",
        better="lower",
        ours=Side("beside one busy process", "a LoRA step of four examples of 120 tokens", _of(values[ours, True])),
        peer=Side("alone", "the same step", _of(values[ours, False])),
        more=more,
        facts={
            "a worker's environment": dict(THREADS),
            "cores": os.cpu_count(),
            "steps in a measurement": steps,
            "ran ahead of the machine's other sessions": is_ahead,
        },
    )


def _of(values: list[float]) -> Measured:
    return Measured("s", tuple(values))


ENTRY = Entry("training_step", run, ("torch", "peft", "transformers"))


def child(steps: int) -> list[float]:
    """Seconds of each step but the first ones."""
    from consumers.training.base_model import prepare_base_model
    from consumers.training.lora import train_lora
    from consumers.training.tokenization import TrainingExample
    from deploy.local.settings import local_settings
    from schemas.bus.content import ChatMessage
    from schemas.tenant.hyperparameters import Hyperparameters

    base = prepare_base_model("smollm2", local_settings().cache_dir.absolute() / "models")
    turn = [("user", WORDS * 2), ("assistant", WORDS * 3)]
    examples = [
        TrainingExample(f"e{number}", tuple(ChatMessage(role=role, content=f"{number} {text}") for role, text in turn))
        for number in range(4 * (steps + WARM_UP))
    ]
    settings = Hyperparameters(max_steps=steps + WARM_UP, heldout_fraction=0.0)
    ended: list[float] = []

    def progress(_: Any) -> None:
        ended.append(time.perf_counter())

    out = Path(os.environ.get("TMPDIR", "/tmp")) / f"step-{os.getpid()}"
    train_lora(examples, base, settings, out, progress, lambda: False, base_model_name="bench", run_id="bench")
    return [after - before for before, after in zip(ended[WARM_UP - 1 :], ended[WARM_UP:], strict=False)]


def main() -> None:
    parser = argparse.ArgumentParser(description="the steps of one process")
    parser.add_argument("--steps", type=int, required=True)
    print(json.dumps(child(parser.parse_args().steps)))


if __name__ == "__main__":
    main()
