"""What is fetched into the cache is fetched once, however many want it at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from deploy.local.fetched import fetch_once


def test_a_second_fetch_waits_for_the_first_and_takes_what_it_left(tmp_path: Path) -> None:
    begun, end, folder = Event(), Event(), tmp_path / "cache" / "program"
    calls: list[Path] = []

    def fetch(target: Path) -> None:
        calls.append(target)
        begun.set()
        assert end.wait(60)
        target.mkdir()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(fetch_once, folder, fetch)
        assert begun.wait(60)
        second = pool.submit(fetch_once, folder, fetch)
        with pytest.raises(TimeoutError):
            second.result(timeout=0.3)
        end.set()
        assert (first.result(), second.result()) == (folder, folder)
    assert len(calls) == 1


def test_after_a_fetch_that_failed_the_next_one_fetches(tmp_path: Path) -> None:
    folder = tmp_path / "program"

    def fail(target: Path) -> None:
        target.mkdir()
        raise OSError("no network")

    with pytest.raises(OSError, match="no network"):
        fetch_once(folder, fail)
    assert not folder.exists()
    assert fetch_once(folder, Path.mkdir) == folder
    assert folder.is_dir()


def test_what_is_in_the_cache_is_not_fetched_and_needs_no_lock(tmp_path: Path) -> None:
    def never(target: Path) -> None:
        raise AssertionError(f"{target} was fetched")

    assert fetch_once(tmp_path, never) == tmp_path
    assert list(tmp_path.iterdir()) == []
