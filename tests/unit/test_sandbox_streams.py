"""The engine's mixed stream is taken apart the same way wherever it is cut, in bounded memory."""

from __future__ import annotations

import itertools
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.streams import BrokenStream, Streams


def frame(side: int, data: bytes) -> bytes:
    return struct.pack(">BxxxI", side, len(data)) + data


PIECES = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40)), max_size=12)


@given(
    pieces=PIECES, cuts=st.lists(st.integers(0, 600), max_size=8), cap=st.integers(0, 120), sealed=st.integers(0, 60)
)
def test_cuts_do_not_matter(pieces: list[tuple[int, bytes]], cuts: list[int], cap: int, sealed: int) -> None:
    whole = b"".join(frame(side, data) for side, data in pieces)
    out = b"".join(data for side, data in pieces if side == 1)
    err = b"".join(data for side, data in pieces if side == 2)
    streams = Streams(cap, sealed, 10_000)
    edges = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
    for start, end in itertools.pairwise(edges):
        streams.feed(whole[start:end])
    assert streams.output == out[:cap]
    assert streams.exceeded == (len(out) > cap)
    if not streams.exceeded:
        assert streams.sealed == err[:sealed]


def test_exactly_the_cap_is_not_too_much() -> None:
    streams = Streams(5, 5, 100)
    streams.feed(frame(1, b"12345"))
    assert (streams.output, streams.exceeded) == (b"12345", False)
    streams.feed(frame(1, b""))
    assert not streams.exceeded
    streams.feed(frame(1, b"6"))
    assert (streams.output, streams.exceeded) == (b"12345", True)


def test_stderr_is_cut_and_read_on_until_it_floods() -> None:
    streams = Streams(10, 4, 20)
    streams.feed(frame(2, b"e" * 15) + frame(1, b"result"))
    assert (streams.sealed, streams.output, streams.exceeded) == (b"eeee", b"result", False)
    streams.feed(frame(2, b"e" * 6))
    assert streams.exceeded


def test_what_comes_after_the_end_is_not_kept() -> None:
    streams = Streams(1, 10, 10)
    streams.feed(frame(1, b"ab") + frame(2, b"late") + frame(1, b"more"))
    assert (streams.output, streams.sealed) == (b"a", b"")


@pytest.mark.parametrize("side", [3, 4, 255])
def test_a_broken_frame_is_noticed(side: int) -> None:
    with pytest.raises(BrokenStream):
        Streams(10, 10, 10).feed(frame(side, b"x"))


def test_an_announced_length_reserves_nothing() -> None:
    tracemalloc.start()
    streams = Streams(1 << 20, 1 << 10, 1 << 30)
    streams.feed(struct.pack(">BxxxI", 1, 0xFFFFFFFF) + b"x" * 1000)
    for _ in range(200):
        streams.feed(b"x" * 4096)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20
