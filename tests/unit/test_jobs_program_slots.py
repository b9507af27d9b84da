"""One container a block: when the next one begins must not tell what the one before did (R11)."""

import json
import struct
import time
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from assets.physical import parquet_bytes
from core.tier import Tier
from jobs.lane import QUIET_SECONDS, LaneWork, TableShare, run_lane
from jobs.program_lane import ProgramForm
from privacy.programs.outputs import Aggregate, Output
from sandbox.fake_runtime import FakeRuntime
from sandbox.runtime import End
from sandbox.warm import warm_specification
from tests.api_world import frame
from tests.policies_world import quick_folder

START, OWN, REMOVAL = 0.2, 0.3, 0.3
SLOT = START + OWN + REMOVAL + QUIET_SECONDS + 0.1
OUTPUT = Output("x", None, Decimal(0), Decimal(1), Decimal(0), Aggregate.MEAN)


class SlowToRemove(FakeRuntime):
    """Keeps the port's promise: `run` returns within about a second after `wall_seconds`. Notes when each block's was called."""

    def __init__(self, hangs, removal=REMOVAL):
        self.called, self.hangs, self.removal = {}, hangs, removal
        super().__init__(self._program, test="slots")

    def _program(self, spec, instruction):
        index = json.loads(instruction[4:])["blocks"][0]["index"] if instruction else None
        if index in self.hangs:
            time.sleep(30)
        return frame(index, struct.pack(">d", 0.5)) if instruction else b""

    def run(self, spec, instruction, cancelled):
        if instruction:
            self.called[json.loads(instruction[4:])["blocks"][0]["index"]] = time.monotonic()
        outcome = super().run(spec, instruction, cancelled)
        if outcome.end is End.TIMED_OUT:
            time.sleep(self.removal)
        return outcome


@contextmanager
def lane(*, blocks, tables=("t",), lane_seconds=60.0):
    """A lane in the tier `container` whose blocks have a unit each."""
    form = ProgramForm(
        name="a.py", text="", params={}, preload=(), outputs=(OUTPUT,), blocks=blocks, stored_blocks=blocks, tier=Tier.CONTAINER,
        oci_runtime=None, stage_seconds=0.2, start_seconds=START, slot_seconds=SLOT, own_seconds=OWN, clear_seconds=0.01, is_mock=False,
    )  # fmt: skip
    plain = {index: parquet_bytes(pa.table({"unit": [f"u{index}"]})) for index in range(blocks)}
    with quick_folder() as folder:
        yield LaneWork(
            job="j-1", attempt=1, lane=0, lanes=1, owner="test", image="sha256:" + "a" * 64, engine="", staging=f"{folder}/staging", form=form,
            seed=b"\x01" * 32, store="", tables=tuple(TableShare(name, "unit", "", blocks, (), b"", plain) for name in tables),
            seconds=60.0, lane_seconds=lane_seconds, block_seconds=0.1, memory_bytes=1 << 29,
        )  # fmt: skip


def test_a_container_begins_at_its_planned_time_whatever_the_ones_before_did():
    runtime = SlowToRemove(hangs={0, 1})
    with lane(blocks=3) as work:
        begun = time.monotonic()
        run_lane(work, runtime, lambda: False)
    late = {index: at - begun - 0.2 - index * SLOT for index, at in runtime.called.items()}
    assert max(late.values()) < 0.1, late


def test_a_container_that_would_begin_late_is_not_run_and_the_one_after_begins_on_time():
    """Its program would know from the clock what the block before did, and could be late in turn (R11)."""
    runtime = SlowToRemove(hangs={1}, removal=REMOVAL + QUIET_SECONDS)
    with lane(blocks=4) as work:
        begun = time.monotonic()
        result = run_lane(work, runtime, lambda: False)
    assert sorted(runtime.called) == [0, 1, 3]
    assert sorted(result.partials) == [0, 3]
    assert runtime.called[3] - begun - 0.2 - 3 * SLOT < 0.1
    assert b"a block was not run" in result.sealed


def test_what_a_lane_has_when_its_time_is_over_counts_and_nothing_else_is_begun():
    """A block that is late must not take the answers of the others with it (R12)."""
    with lane(blocks=4, lane_seconds=0.2 + 2 * SLOT) as work:
        runtime = SlowToRemove(hangs={1})
        begun = time.monotonic()
        result = run_lane(work, runtime, lambda: False)
        assert time.monotonic() - begun < work.lane_seconds + 0.5
    assert result.end == "out of time"
    assert sorted(result.partials) == [0]
    assert 3 not in runtime.called


def test_no_file_tells_when_it_was_written():
    seen = {}

    def look(spec, instruction):
        if instruction:
            index = json.loads(instruction[4:])["blocks"][0]["index"]
            places = [Path(spec.mounts[0].source), *Path(spec.mounts[0].source).rglob("*")]
            seen[index] = [
                (place.stat().st_mtime_ns, place.stat().st_atime_ns, place.stat().st_ctime_ns) for place in places
            ]
        return b""

    with lane(blocks=2, tables=("t", "u")) as work:
        begun = time.time_ns()
        run_lane(work, FakeRuntime(look, test="slots"), lambda: False)
    assert {written for found in seen.values() for written, _, _ in found} == {0}
    assert {read for found in seen.values() for _, read, _ in found[1:]} == {
        0
    }  # looking into the folder is what it was read by
    assert all(len(found) == 3 for found in seen.values())
    for index, found in seen.items():
        # What cannot be chosen is the planned start of the block's container, not the moment of staging.
        planned = begun + int((0.2 + index * SLOT) * 1e9)
        assert all(-20_000_000 < changed - planned < 150_000_000 for _, _, changed in found)


@pytest.mark.parametrize("tier", Tier)
def test_the_image_is_read_before_the_first_block(tier):
    with lane(blocks=2) as work:
        first, *blocks = replace(work.form, tier=tier).containers(work, [0, 1])
    assert first.spec == warm_specification(work.image, work.labels, "0")
    assert (first.instruction, first.indexes, first.starts_after) == (b"", (), 0.0)
    assert sorted(index for container in blocks for index in container.indexes) == [0, 1]
    assert all(container.starts_after >= work.form.stage_seconds for container in blocks)
