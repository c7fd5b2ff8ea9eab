"""Whatever happens in whatever order, nothing leaks and nothing of the purged stays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from inference.adapters.placement import RETRY_AFTER_SECONDS
from inference.engine.errors import AdapterLoadFailed
from tests.fixtures.examples import examples
from tests.unit.placement.strict_parts import IDLE_SECONDS, A, B, Bench, C, nothing_left, steps

digests = st.sampled_from(["a1", "a2", "b1", "b2", "c1"])
action = st.one_of(
    st.tuples(st.just("ask"), digests),
    st.tuples(st.just("ask"), digests),
    st.tuples(st.just("cancel"), st.integers(0, 20)),
    st.tuples(st.just("break"), digests),
    st.tuples(st.just("mend"), digests),
    st.tuples(st.just("idle"), st.just(0)),
    st.tuples(st.just("retire"), digests),
    st.tuples(st.just("purge"), st.sampled_from("ab")),
)
OWNERS = {"a": A, "b": B, "c": C}


# Who asks for room goes away while an adapter is unloaded for it.
@example([(("ask", "a2"), 2), (("ask", "b1"), 0), (("cancel", 0), 5), (("ask", "a1"), 2), (("cancel", 14), 0)])
@examples(150)
@given(st.lists(st.tuples(action, st.integers(0, 6)), max_size=25))
def test_whatever_happens_nothing_leaks_and_nothing_of_the_purged_stays(
    history: list[tuple[tuple[str, Any], int]],
) -> None:
    asyncio.run(_lived(history))


async def _lived(history: list[tuple[tuple[str, Any], int]]) -> None:
    bench = Bench(max_resident=2)
    requests: list[asyncio.Task[Any]] = []
    others: list[asyncio.Task[Any]] = []
    purged: set[str] = set()
    retired: set[str] = set()
    placement = bench.placement
    for (kind, argument), turns in history:
        bench.now += RETRY_AFTER_SECONDS / 2
        if kind == "ask":
            requests.append(asyncio.create_task(bench.status(OWNERS[argument[0]], argument)))
        elif kind == "cancel" and requests:
            requests[argument % len(requests)].cancel()
        elif kind == "break":
            bench.engine.failures[argument] = AdapterLoadFailed(argument, "as asked")
        elif kind == "mend":
            bench.engine.failures.pop(argument, None)
        elif kind == "idle":
            bench.now += IDLE_SECONDS
            others.append(asyncio.create_task(placement.unload_idle()))
        elif kind == "retire":
            retired.add(argument)
            others.append(asyncio.create_task(placement.remove_adapter(OWNERS[argument[0]], argument)))
        elif kind == "purge":
            purged.add(argument)
            others.append(asyncio.create_task(placement.remove_tenant(OWNERS[argument])))
        assert len(bench.engine.names) <= 2
        await steps(turns)
    answered = await asyncio.gather(*requests, return_exceptions=True)
    failures = [result for result in answered if not isinstance(result, int | asyncio.CancelledError)]
    assert not failures, failures
    await asyncio.gather(*others)
    await _quiet(bench.is_quiet)
    bench.in_use_or_room()
    for prefix in purged:
        nothing_left(bench, prefix)
    # Every place can still be had: the replica has not become smaller.
    bench.engine.failures.clear()
    bench.now += RETRY_AFTER_SECONDS + IDLE_SECONDS
    for fresh in ("c8", "c9"):
        assert await bench.status(C, fresh) == 200
    for digest in ("a1", "b1", "c1"):
        expected = 403 if digest[0] in purged else 404 if digest in retired else 200
        assert await bench.status(OWNERS[digest[0]], digest) == expected


async def _quiet(is_quiet: Callable[[], bool]) -> None:
    for _ in range(200):
        if is_quiet():
            return
        await steps(1)
    raise AssertionError("something is still held")
