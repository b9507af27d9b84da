"""A program's planned times: they hold every slot of every lane, follow from public numbers alone, and end where a plan must end."""

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from core.errors import Invalid
from core.tier import Tier
from jobs import program_schedule as module
from jobs.lane import GRACE_SECONDS
from jobs.program_schedule import LEAST_BLOCK_BYTES, LONGEST, SLOT_FACTOR, block_memory_bytes, program_schedule
from jobs.schedule import RETURN_SECONDS, SEAL_SECONDS, SHORTEST, Node, lanes_for
from jobs.split import blocks_in_lane, lane_of

NODE = Node(lanes=2, lane_memory_bytes=1 << 30, start_seconds=1.0, slowness=1.0, cancel_seconds=3.0)
USUAL = {
    "rows": 30_000, "blocks": 64, "stored_blocks": 16, "width": 3, "choosing_seconds": 0.0, "block_seconds": 0.1, "preload": (),
    "tier": Tier.ZYGOTE, "lanes": 2, "node": NODE,
}  # fmt: skip


def planned(**changes):
    asked = USUAL | changes
    return program_schedule(asked.pop("rows"), **asked)


ANY = {
    "rows": st.integers(1, 10**7),
    "stored": st.sampled_from([1, 2, 4, 8, 16, 32, 64]),
    "factor": st.integers(1, 400),
    "fewer": st.integers(0, 6),
    "width": st.integers(1, 1024),
    "choosing": st.floats(0, 60),
    "seconds": st.floats(0.01, 60),
    "preload": st.lists(st.sampled_from([*module.IMPORTS, "pandas.core", "somebodys"]), max_size=6),
    "tier": st.sampled_from(Tier),
    "lanes": st.integers(1, 64),
    "memory": st.integers(256 << 20, 1 << 36),
    "slowness": st.floats(0.1, 20),
    "start": st.floats(0.1, 5),
}


@settings(deadline=None, max_examples=200)
@given(**ANY)
def test_the_whole_holds_every_slot_of_every_lane_and_the_gate(
    rows, stored, factor, fewer, width, choosing, seconds, preload, tier, lanes, memory, slowness, start
):
    blocks = max(1, stored >> fewer) if fewer else stored * factor
    assume(blocks <= 4000)
    node = replace(NODE, lanes=lanes, lane_memory_bytes=memory, slowness=slowness, start_seconds=start)
    lanes = lanes_for(min(stored, blocks), node)
    asked = {
        "rows": rows, "blocks": blocks, "stored_blocks": stored, "width": width, "choosing_seconds": choosing, "block_seconds": seconds,
        "preload": preload, "tier": tier, "lanes": lanes, "node": node,
    }  # fmt: skip
    try:
        found = planned(**asked)
    except Invalid as refusal:
        assert (refusal.code, refusal.where) == ("plan.too_long", {"field": "seconds_per_block"})  # noqa: PT017
        return
    assert planned(**asked) == found
    whole = found.whole
    assert SHORTEST <= whole.seconds <= LONGEST
    assert (whole.seconds / SHORTEST).as_integer_ratio()[1] == 1
    assert int(whole.seconds / SHORTEST).bit_count() == 1
    longest = max(len(blocks_in_lane(lane, blocks, stored, lanes)) for lane in range(lanes))
    busy = found.stage_seconds + longest * found.slot_seconds + (found.start_seconds if tier is Tier.ZYGOTE else 0)
    assert busy + RETURN_SECONDS <= whole.seconds - whole.gate_seconds
    assert whole.gate_seconds > SEAL_SECONDS + choosing * slowness
    # A block that uses all of its processor time and is one quarter slower than that is not ended by the clock of the runner.
    assert found.own_seconds - found.clear_seconds >= seconds * SLOT_FACTOR * 0.999999
    # What it built it can be relied on to be gone: in as long as it had to build, or as long as the most that it can have takes.
    assert found.clear_seconds > min(seconds, 0.5 + 0.5e-9 * block_memory_bytes(memory)) * max(1.0, slowness)
    # A container that has to be killed is gone before the next one's time, in the second that the port allows for it.
    over = found.slot_seconds - found.own_seconds
    assert over >= found.start_seconds + module.MAKING + module.REMOVAL - 1e-9 if tier is Tier.CONTAINER else over == 0


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ({"blocks": 64}, {"blocks": 128}),
        ({"rows": 1}, {"rows": 10**7}),
        ({"width": 1}, {"width": 1024}),
        ({"block_seconds": 0.01}, {"block_seconds": 0.5}),
        ({"choosing_seconds": 0.0}, {"choosing_seconds": 10.0}),
        ({"preload": ()}, {"preload": ("sklearn.svm", "lifelines", "mine")}),
        ({"tier": Tier.ZYGOTE}, {"tier": Tier.CONTAINER}),
        ({"lanes": 4}, {"lanes": 1}),
        ({"node": NODE}, {"node": replace(NODE, slowness=4.0)}),
        ({"node": NODE}, {"node": replace(NODE, start_seconds=4.0)}),
    ],
)
def test_more_to_do_never_takes_less(less, more):
    one, other = planned(**less), planned(**more)
    for pair in (
        (one.whole.seconds, other.whole.seconds), (one.whole.gate_seconds, other.whole.gate_seconds), (one.stage_seconds, other.stage_seconds),
        (one.start_seconds, other.start_seconds), (one.slot_seconds, other.slot_seconds),
    ):  # fmt: skip
        assert pair[0] <= pair[1]
    assert one != other


def test_a_plan_that_is_too_long_is_refused_with_what_would_do():
    with pytest.raises(Invalid) as refusal:
        planned(blocks=100_000 // 16 * 16, block_seconds=1.0)
    assert (refusal.value.code, refusal.value.where) == ("plan.too_long", {"field": "seconds_per_block"})
    assert planned(blocks=100_000 // 16 * 16, block_seconds=0.05).whole.seconds <= LONGEST
    assert planned(blocks=16, block_seconds=60.0).whole.seconds <= LONGEST


def test_the_lane_with_most_blocks_is_the_one_that_is_planned_for():
    for stored, blocks, lanes in ((8, 8, 3), (8, 24, 5), (16, 4, 3), (64, 64, 7)):
        lengths = [len(blocks_in_lane(lane, blocks, stored, lanes)) for lane in range(lanes)]
        assert lengths[0] == max(lengths)
        assert sum(lengths) == blocks
        assert {lane_of(block, blocks, stored, lanes) for block in range(blocks)} == set(range(lanes))


def test_a_block_has_what_its_lane_leaves_it_and_always_something():
    assert block_memory_bytes(1 << 30) == (1 << 30) - module.SUPERVISOR_BYTES
    assert block_memory_bytes(256 << 20) == LEAST_BLOCK_BYTES
    assert GRACE_SECONDS > 0
