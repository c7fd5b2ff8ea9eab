"""Grammars are tried out in a process that may be killed, once each, one of each tenant at a time."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from itertools import chain, cycle, repeat
from typing import Any

import pytest

from inference.engine import grammar_trial
from inference.engine.constrained_fields import Constraint
from inference.engine.errors import EngineRefused
from inference.engine.grammars import PAUSE_SECONDS, Grammars, TrialEnded, TrialProcess
from inference.engine.pattern_weight import weight
from inference.errors import RequestRefused

SLOW = "slow"


class ScriptedTrial(TrialProcess):
    """Compiles by the text: what it is told, in the order of asking."""

    def __init__(self) -> None:
        super().__init__("unused")
        self.asked: list[str] = []
        self.release = asyncio.Event()

    async def start(self) -> None:
        pass

    async def compiles(self, constraint: Constraint) -> bool:
        self.asked.append(constraint.text)
        if constraint.text.startswith(SLOW):
            await self.release.wait()
        if constraint.text == "endless":
            raise TrialEnded
        return constraint.text != "wrong"

    async def close(self) -> None:
        pass


def regex(text: str) -> list[Constraint]:
    return [Constraint("structured_outputs", "regex", text)]


@pytest.fixture
def trial() -> ScriptedTrial:
    return ScriptedTrial()


@pytest.fixture
def grammars(trial: ScriptedTrial) -> Grammars:
    return Grammars(lambda: trial)


async def test_a_grammar_is_tried_once_whoever_asks_for_it(grammars: Grammars, trial: ScriptedTrial) -> None:
    await asyncio.gather(*[grammars.require("t1", regex("a+")) for _ in range(5)])
    await grammars.require("t2", regex("a+"))
    assert trial.asked == ["a+"]


@pytest.mark.parametrize("text", ["wrong", "endless"])
async def test_one_that_does_not_compile_is_refused_by_its_field(
    grammars: Grammars, trial: ScriptedTrial, text: str
) -> None:
    with pytest.raises(EngineRefused) as refused:
        await grammars.require("t1", regex(text))
    assert (refused.value.status, refused.value.field) == (400, "structured_outputs")
    assert text not in str(refused.value)
    await grammars.require("t2", regex("a"))


async def test_who_has_ended_a_trial_has_no_other_for_a_while_and_nobody_else_pays_for_it(trial: ScriptedTrial) -> None:
    moment = 0.0
    grammars = Grammars(lambda: trial, lambda: moment)
    await grammars.require("t1", regex("known"))
    with pytest.raises(EngineRefused):
        await grammars.require("t1", regex("endless"))
    moment = PAUSE_SECONDS - 1
    with pytest.raises(RequestRefused) as refused:
        await grammars.require("t1", regex("new"))
    assert (refused.value.status, refused.value.code) == (429, "grammars_paused")
    await grammars.require("t1", regex("known"))
    await grammars.require("t2", regex("new"))
    moment = PAUSE_SECONDS
    await grammars.require("t1", regex("other"))
    assert trial.asked == ["known", "endless", "new", "other"]
    await grammars.close()


async def test_a_tenants_many_grammars_delay_another_by_one_of_them(grammars: Grammars, trial: ScriptedTrial) -> None:
    flood = [asyncio.create_task(grammars.require("t1", regex(f"{SLOW}{number}"))) for number in range(20)]
    await asyncio.sleep(0)
    other = asyncio.create_task(grammars.require("t2", regex("b")))
    await asyncio.sleep(0)
    trial.release.set()
    await other
    assert trial.asked.index("b") <= 2
    await asyncio.gather(*flood)
    assert len(trial.asked) == 21
    assert not grammars._owners


async def test_a_request_that_is_given_up_leaves_no_turn_behind(grammars: Grammars, trial: ScriptedTrial) -> None:
    waiting = [asyncio.create_task(grammars.require("t1", regex(SLOW))) for _ in range(3)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    trial.release.set()
    await asyncio.gather(*waiting, return_exceptions=True)
    await grammars.require("t1", regex("a"))
    assert not grammars._owners


async def test_a_trial_that_has_begun_is_finished_for_a_caller_who_leaves_and_who_pays_for_its_end(
    grammars: Grammars, trial: ScriptedTrial
) -> None:
    for text in (SLOW, "endless"):
        trial.release.clear()
        leaving = asyncio.create_task(grammars.require("t1", regex(text)))
        while text not in trial.asked:
            await asyncio.sleep(0)
        leaving.cancel()
        other = asyncio.create_task(grammars.require("t2", regex(f"after {text}")))
        for _ in range(5):
            await asyncio.sleep(0)
        if text == SLOW:
            assert not leaving.done()
            assert trial.asked == [SLOW]
        trial.release.set()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        await other
    with pytest.raises(RequestRefused):
        await grammars.require("t1", regex("new"))
    await grammars.close()


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("abc", 1),
        ("a{3}", 3),
        ("a{2,30}b{4}", 30),
        ("(a{1,30}){1,30}", 900),
        ("((a{1,9}){1,9}|b){1,9}c", 729),
        ("a+", 32),
        ("(a+)+", 1024),
        ("((a*)*)*", 32768),
        ("(a{5,})*", 1024),
        ("a{2}{3}", 6),
        ("(?:a{3})?(b{4})?", 4),
        (r"\(a{3}\){2}", 3),
        (r"[(]{3}[\]*]{2}[*+]", 3),
        ("a{x}{,3}", 1),
        ("))){9}", 9),
        ("a{99999999999999}", 999999999),
        ("[" * 500 + "((a*)*)*", 1),  # no class ends, so that this is no pattern: it is read once, and not 500 times
        (r"[((a*)*)*\]", 1),
    ],
)
def test_a_pattern_weighs_the_product_of_its_nested_repetitions(pattern: str, expected: int) -> None:
    assert weight(pattern) == expected


# --- the process itself, with a compiler that does what it is told

COMPILER = """
import os, sys, json
from inference.engine import grammar_trial
def compile_grammar(compiler, kind, text):
    if text == "endless":
        while True: pass
    if text == "huge":
        kept = []
        while True: kept.append(bytes(10_000_000))  # asked for and not touched: that would take its seconds of a core
    if text == "killed":
        os.kill(os.getpid(), 9)
    if text == "gone":
        raise SystemExit(1)
    if text == "wrong":
        raise ValueError(text)
grammar_trial.compile_grammar = compile_grammar
grammar_trial.is_walkable = lambda compiled: True
grammar_trial._compiler = lambda model: None
grammar_trial.main()
"""


@pytest.fixture
async def process() -> AsyncIterator[TrialProcess]:
    made = TrialProcess(sys.executable, "-c", COMPILER, "model")
    yield made
    await made.close()


async def test_a_grammar_that_takes_too_much_ends_its_own_trial_and_the_next_one_is_tried(
    process: TrialProcess,
) -> None:
    async def tried(text: str) -> Any:
        try:
            return await process.compiles(Constraint("tools", "json", text))
        except TrialEnded:
            return "ended"

    assert await tried("fine") is True
    started = process._running().pid
    assert await tried("wrong") is False
    assert await tried("endless") == "ended"
    assert await tried("fine") is True
    assert await tried("huge") is False, "memory is refused to it, and it goes on"
    assert await tried("gone") == "ended"
    assert await tried("killed") == "ended"
    assert await tried(json.dumps({"a": "line\nbreak"})) is True
    assert process._running().pid == started, "nobody waited until another process had started"


async def test_the_process_is_given_no_setting_of_the_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANO_AWS_SECRET_ACCESS_KEY", "secret")
    told = "import json, os; print(json.dumps({'ended': False, 'compiles': any('SANO' in n for n in os.environ)}))"
    process = TrialProcess(sys.executable, "-c", f"print('{{}}', flush=True); input(); {told}")
    assert await process.compiles(Constraint("tools", "json", "{}")) is False
    await process.close()


# --- the walk, with the compiler itself and a clock that is told what each step took


def walked(monkeypatch: pytest.MonkeyPatch, slow: Iterator[bool]) -> bool:
    """Whether three digits are walkable, where a step is slow for each true of ``slow``."""
    import xgrammar

    compiler = xgrammar.GrammarCompiler(xgrammar.TokenizerInfo([*"0123456789", "</s>"], stop_token_ids=[10]))
    readings = (reading for is_slow in slow for reading in (0.0, 1.0 if is_slow else 0.0))
    monkeypatch.setattr("inference.engine.grammar_trial.time.process_time", lambda: next(readings))
    return grammar_trial.is_walkable(grammar_trial.compile_grammar(compiler, "regex", "[0-9]{3}"))


def test_a_grammar_that_a_neighbour_makes_slow_at_times_is_walkable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert walked(monkeypatch, cycle([True, True, False]))


def test_a_grammar_with_a_step_that_is_slow_each_time_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for step in range(6):
        assert not walked(monkeypatch, chain(repeat(False, step), repeat(True)))
