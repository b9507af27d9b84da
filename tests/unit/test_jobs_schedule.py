"""Release times: from public numbers only, never too short, and the same for all sizes in a bucket."""

import math

from hypothesis import given
from hypothesis import strategies as st

from jobs.schedule import SAFETY, Node, lanes_for, seconds_for

NODE = Node(lanes=2, lane_memory_bytes=1 << 30, start_seconds=1.0, rows_per_second=500_000, cancel_seconds=3)


@given(rows=st.integers(1, 10**9), cells=st.integers(1, 10**5), blocks=st.integers(1, 64))
def test_the_release_comes_no_sooner_than_the_safe_worst_case_and_at_a_power_of_two(rows, cells, blocks):
    seconds = seconds_for(rows, blocks, cells, NODE)
    assert seconds >= SAFETY * (NODE.start_seconds + rows / (NODE.rows_per_second * lanes_for(blocks, NODE)))
    assert math.log2(seconds).is_integer()


@given(rows=st.integers(1, 10**8))
def test_more_rows_never_come_sooner(rows):
    assert seconds_for(rows, 8, 10, NODE) <= seconds_for(rows + 10_000, 8, 10, NODE)
