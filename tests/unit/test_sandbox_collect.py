"""Frames of a container are believed only as far as their form goes (design R18, R9)."""

from __future__ import annotations

import struct
import time

from hypothesis import given
from hypothesis import strategies as st

from sandbox.collect import framed_instruction, read_frames


def frame(index: int, data: bytes, status: int = 0) -> bytes:
    return struct.pack(">IBI", index, status, len(data)) + data


@given(st.dictionaries(st.integers(0, 2**32 - 1), st.binary(max_size=50), max_size=6))
def test_what_a_runner_writes_is_read(partials: dict[int, bytes]) -> None:
    output = b"".join(frame(index, data) for index, data in partials.items())
    assert read_frames(output, partials, 50) == partials


@given(st.binary(max_size=300), st.sets(st.integers(0, 5), max_size=4))
def test_any_bytes_give_an_answer(output: bytes, indexes: set[int]) -> None:
    found = read_frames(output, indexes, 100)
    assert set(found) <= indexes
    assert all(len(data) <= 100 for data in found.values())


def test_a_failed_block_is_missing() -> None:
    assert read_frames(frame(0, b"", 1) + frame(1, b"b"), [0, 1], 10) == {1: b"b"}


def test_a_block_that_nobody_asked_for_is_dropped() -> None:
    assert read_frames(frame(7, b"x") + frame(1, b"b"), [1], 10) == {1: b"b"}


def test_of_two_frames_for_one_block_neither_is_believed() -> None:
    for second in (frame(0, b"a"), frame(0, b"z"), frame(0, b"", 1)):
        assert read_frames(frame(0, b"a") + frame(1, b"b") + second, [0, 1], 10) == {1: b"b"}
    assert read_frames(frame(0, b"", 1) + frame(0, b"z"), [0], 10) == {}
    assert read_frames(frame(0, b"a") * 3, [0, 1], 10) == {}


def test_what_came_before_a_broken_frame_stands() -> None:
    for tail in (
        frame(1, b"abc")[:-1],
        frame(1, b"b", status=2) + frame(2, b"c"),
        struct.pack(">IBI", 1, 0, 2**32 - 1),
        b"\0",
    ):
        assert read_frames(frame(0, b"a") + tail, [0, 1, 2], 10) == {0: b"a"}


def test_a_partial_that_is_too_long_is_dropped_alone() -> None:
    assert read_frames(frame(0, b"x" * 11) + frame(1, b"b"), [0, 1], 10) == {1: b"b"}


def test_frames_without_end_cost_nothing() -> None:
    started = time.monotonic()
    assert read_frames(frame(9, b"") * 1_000_000, [0, 1], 10) == {}
    assert time.monotonic() - started < 1


def test_an_instruction_carries_its_length() -> None:
    assert framed_instruction(b"abc") == b"\0\0\0\3abc"
