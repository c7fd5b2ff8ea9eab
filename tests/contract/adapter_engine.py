"""What every engine does with adapters, vLLM's and each fake. Placement is tested on fakes, so these must be like it.

A test module has this suite run on its engine by a class that inherits it and a fixture ``subject``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from inference.engine.errors import AdapterInUse, EngineFull
from inference.engine.ports import AdapterEngine
from tests.fixtures.verified import verified


@dataclass(frozen=True)
class Subject:
    """An engine that holds nothing. ``adapters``: what can be loaded, one more than the engine can hold or more than
    that. ``begin``: a request of this adapter and owner, which goes on until it is ended.
    """

    engine: AdapterEngine
    capacity: int
    adapters: Mapping[str, Path]
    begin: Callable[[str, str], Awaitable[None]]

    async def loaded(self, count: int) -> list[str]:
        """Load so many; their names."""
        names = list(self.adapters)[:count]
        for name in names:
            await self.engine.load(name, self.adapters[name], verified)
        return names


class NotVerified(Exception):
    pass


class AdapterEngineContract:
    """See the module."""

    async def test_an_adapter_is_held_from_its_load_to_its_eviction_and_a_second_load_is_nothing(
        self, subject: Subject
    ) -> None:
        engine = subject.engine
        [name, other] = await subject.loaded(2)
        await engine.load(name, subject.adapters[name], verified)
        assert set(engine.loaded()) == set(await engine.listed()) == {name, other}
        gone = await engine.evict(name, scrub=False)
        assert (gone.digest, gone.was_loaded, set(gone.remaining)) == (name, True, {other})
        assert set(engine.loaded()) == set(await engine.listed()) == {other}
        await engine.load(name, subject.adapters[name], verified)
        assert set(engine.loaded()) == {name, other}

    async def test_an_eviction_of_what_is_not_there_is_no_error_and_says_so(self, subject: Subject) -> None:
        [name] = await subject.loaded(1)
        await subject.engine.evict(name, scrub=True)
        again = await subject.engine.evict(name, scrub=True)
        assert (again.was_loaded, again.slot_overwritten, again.remaining) == (False, True, ())

    @pytest.mark.parametrize("scrub", [True, False])
    async def test_an_eviction_says_that_it_overwrote_and_reset_where_it_was_told_to(
        self, subject: Subject, scrub: bool
    ) -> None:
        [name] = await subject.loaded(1)
        done = await subject.engine.evict(name, scrub=scrub)
        assert (done.slot_overwritten, done.prefix_cache_reset) == (scrub, scrub)

    async def test_more_than_fit_are_refused_and_one_that_is_loaded_is_no_more_than_that(
        self, subject: Subject
    ) -> None:
        names = await subject.loaded(subject.capacity)
        one_more = next(name for name in subject.adapters if name not in names)
        with pytest.raises(EngineFull):
            await subject.engine.load(one_more, subject.adapters[one_more], verified)
        await subject.engine.load(names[0], subject.adapters[names[0]], verified)
        assert set(await subject.engine.listed()) == set(names)
        await subject.engine.evict(names[0], scrub=False)
        await subject.engine.load(one_more, subject.adapters[one_more], verified)

    async def test_nobody_can_name_an_adapter_before_its_files_are_verified_and_it_is_gone_where_they_are_not(
        self, subject: Subject
    ) -> None:
        engine = subject.engine
        [name] = await subject.loaded(1)
        other = next(each for each in subject.adapters if each != name)

        async def refuse() -> None:
            assert set(engine.loaded()) == {name}
            raise NotVerified

        with pytest.raises(NotVerified):
            await engine.load(other, subject.adapters[other], refuse)
        assert set(engine.loaded()) == set(await engine.listed()) == {name}
        await engine.load(other, subject.adapters[other], verified)
        assert set(engine.loaded()) == {name, other}

    async def test_an_adapter_that_is_answering_is_not_evicted_before_its_requests_are_ended(
        self, subject: Subject
    ) -> None:
        engine = subject.engine
        [name, other] = await subject.loaded(2)
        for _ in range(2):
            await subject.begin(name, "t1")
        await subject.begin(other, "t2")
        assert [engine.inflight(each) for each in (name, other)] == [2, 1]
        with pytest.raises(AdapterInUse):
            await engine.evict(name, scrub=True)
        assert set(engine.loaded()) == {name, other}
        assert await engine.abort_all(name) == 2
        assert [engine.inflight(each) for each in (name, other)] == [0, 1]
        assert (await engine.evict(name, scrub=False)).was_loaded
        assert await engine.abort_all(name) == 0
        assert await engine.abort_all(other) == 1

    async def test_an_owners_requests_are_ended_by_whatever_adapter_and_no_others(self, subject: Subject) -> None:
        engine = subject.engine
        names = await subject.loaded(2)
        for name in names:
            await subject.begin(name, "t1")
        await subject.begin(names[0], "t2")
        assert [engine.inflight_of(owner) for owner in ("t1", "t2", "t3")] == [2, 1, 0]
        assert await engine.abort_all_of("t1") == 2
        assert [engine.inflight_of(owner) for owner in ("t1", "t2")] == [0, 1]
        assert [engine.inflight(name) for name in names] == [1, 0]
        assert await engine.abort_all_of("t3") == 0
        assert await engine.abort_all_of("t2") == 1
