"""Lives a life once undisturbed, to know its effects, and once more: at effects of every kind a copy of everything is
made, in which the process dies, and which lives on to the end. ``make explore`` dies at each effect.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.fixtures.examples import is_exploring
from tests.world.crashes import CrashAt, CrashAtEach
from tests.world.final_state import difference

SCRATCH = Path()
"""Of every world: the working folder, whichever that is in a copy. See ``one_life_in_many_copies``."""

OF_A_KIND = 2
Result = dict[str, Any]


async def kill_at_each(
    live: Callable[[CrashAt], Awaitable[Result]],
    first: Callable[[CrashAt], int],
    kept_by: Callable[[Result, str], Result] = lambda result, process: result,
) -> Result:
    """The result of the undisturbed life, in which every life ended that was killed at an effect from ``first`` on.

    ``kept_by``: what of a result does not depend on a death of this process.
    """
    recorder = CrashAt()
    undisturbed = await live(recorder)
    crash = CrashAtEach(undisturbed=recorder, first=first(recorder), of_a_kind=None if is_exploring() else OF_A_KIND)
    assert len(recorder.effects) - crash.first > 20
    try:
        result = await live(crash)
        if crash.copies.is_copy:
            process = recorder.processes[crash.died[-1][0]]
            crash.copies.end(difference(kept_by(result, process), kept_by(undisturbed, process)))
    except BaseException:
        crash.copies.end_failed()
        raise
    assert (result, crash.effects) == (undisturbed, recorder.effects), "the original is disturbed by none of its copies"
    assert crash.died == crash.due(), "every position of the list is reached"
    wrong = [
        (when, position, recorder.effects[position], said)
        for (position, when), said in zip(crash.died, crash.copies.said, strict=True)
        if said
    ]
    assert not wrong, "\n".join(map(str, wrong[:5]))
    return undisturbed
