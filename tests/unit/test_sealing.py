"""Seals: nothing moved, cut, mixed or changed opens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenancy.errors import SealBroken
from tenancy.storage.sealing import (
    FRAME_BYTES,
    HEADER_BYTES,
    MAGIC,
    TAG_BYTES,
    open_chunks,
    open_sealed,
    seal,
    seal_chunks,
)
from tests.fixtures.examples import examples

KEY = bytes(range(32))
NAME = "tenants/t1/examples/x"
FRAME = FRAME_BYTES + TAG_BYTES
LARGE = bytes(range(256)) * (FRAME_BYTES // 256) * 2 + b"tail"
"""Two whole frames and a short one."""


EARLIER = bytes.fromhex(
    "53414e4f31000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f26fdf660d65a17b1b71951"
    "cebb270558c5c28b92d98963cc17201906e275fce995c42e8095cbc90f454296bd"
)
"""What this release's first version wrote. It lies in buckets, so every later version must open it."""


def cut(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    """``data`` in pieces of the given sizes, over and over."""
    start = turn = 0
    while start < len(data):
        size = sizes[turn % len(sizes)]
        yield data[start : start + size]
        start, turn = start + size, turn + 1


@given(st.binary(max_size=300), st.binary(min_size=32, max_size=32), st.text(min_size=1, max_size=20))
def test_what_is_sealed_opens_under_its_key_and_name(plain: bytes, key: bytes, name: str) -> None:
    sealed = seal(key, name, plain)
    assert open_sealed(key, name, sealed) == plain
    assert len(sealed) == HEADER_BYTES + len(plain) + TAG_BYTES
    assert len(plain) < 8 or plain not in sealed


@examples(20)
@given(
    st.sampled_from([0, 1, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 2 * FRAME_BYTES, len(LARGE)]),
    st.lists(st.integers(1, 2 * FRAME_BYTES), min_size=1, max_size=3).filter(lambda sizes: sum(sizes) > 50_000),
)
def test_streams_may_be_cut_anywhere_on_both_ways(size: int, sizes: list[int]) -> None:
    plain = LARGE[:size]
    sealed = b"".join(seal_chunks(KEY, NAME, cut(plain, sizes)))
    frames = max(1, -(-size // FRAME_BYTES))
    assert len(sealed) == HEADER_BYTES + size + frames * TAG_BYTES
    assert b"".join(open_chunks(KEY, NAME, cut(sealed, sizes))) == plain


def test_what_an_earlier_release_sealed_still_opens() -> None:
    assert open_sealed(KEY, NAME, EARLIER) == b"stored by an earlier release"


def test_the_same_text_is_sealed_differently_each_time() -> None:
    assert seal(KEY, NAME, b"text") != seal(KEY, NAME, b"text")


@given(st.binary(max_size=64), st.data())
def test_any_flipped_bit_is_noticed(plain: bytes, data: st.DataObject) -> None:
    sealed = bytearray(seal(KEY, NAME, plain))
    place = data.draw(st.integers(0, len(sealed) - 1))
    sealed[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(SealBroken):
        open_sealed(KEY, NAME, bytes(sealed))


@given(st.binary(max_size=64), st.data())
def test_any_truncation_and_any_addition_is_noticed(plain: bytes, data: st.DataObject) -> None:
    sealed = seal(KEY, NAME, plain)
    with pytest.raises(SealBroken):
        open_sealed(KEY, NAME, sealed[: data.draw(st.integers(0, len(sealed) - 1))])
    with pytest.raises(SealBroken):
        open_sealed(KEY, NAME, sealed + data.draw(st.binary(min_size=1, max_size=64)))


@given(st.text(min_size=1, max_size=30).filter(lambda name: name != NAME))
def test_an_object_under_another_name_does_not_open(name: str) -> None:
    with pytest.raises(SealBroken):
        open_sealed(KEY, name, seal(KEY, NAME, b"text"))


@given(st.binary(min_size=32, max_size=32).filter(lambda key: key != KEY))
def test_an_object_does_not_open_under_another_tenants_key(key: bytes) -> None:
    with pytest.raises(SealBroken):
        open_sealed(key, NAME, seal(KEY, NAME, b"text"))


@given(st.binary(max_size=200))
def test_what_was_never_sealed_is_refused_and_in_no_other_way(noise: bytes) -> None:
    for body in (noise, MAGIC + noise):
        with pytest.raises(SealBroken):
            open_sealed(KEY, NAME, body)


def frames(sealed: bytes) -> list[bytes]:
    body = sealed[HEADER_BYTES:]
    return [body[start : start + FRAME] for start in range(0, len(body), FRAME)]


def test_frames_cannot_be_dropped_repeated_swapped_or_mixed() -> None:
    sealed, other = seal(KEY, NAME, LARGE), seal(KEY, NAME, LARGE)
    head, (one, two, last) = sealed[:HEADER_BYTES], frames(sealed)
    foreign = frames(other)[1]
    for arrangement in (
        [one, two],
        [one, last],
        [two, last],
        [last],
        [],
        [two, one, last],
        [one, one, two, last],
        [one, two, last, last],
        [one, foreign, last],
    ):
        with pytest.raises(SealBroken):
            open_sealed(KEY, NAME, head + b"".join(arrangement))
    assert open_sealed(KEY, NAME, head + one + two + last) == LARGE


def test_a_stream_that_ends_early_at_a_frame_says_so_at_its_end() -> None:
    """The frames before were authentic and came out; whoever writes them down must wait for the end."""
    sealed = seal(KEY, NAME, LARGE)
    opened = open_chunks(KEY, NAME, [sealed[: HEADER_BYTES + 2 * FRAME]])
    assert next(opened) == LARGE[:FRAME_BYTES]
    with pytest.raises(SealBroken):
        next(opened)


def test_memory_does_not_grow_with_the_stream() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(1000)

    sealed = seal_chunks(KEY, NAME, endless())
    assert len(next(sealed)) == HEADER_BYTES
    assert [len(next(sealed)) for _ in range(3)] == [FRAME] * 3
