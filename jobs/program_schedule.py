"""When a program's release appears, and when each of its blocks runs: times fixed by the plan (design R9, R11).

A block has a slot: its cap of processor time, a quarter more for what the machine takes meanwhile, what making its process costs, and what
taking it apart may take. The next block of the lane starts when the slot is over, not before and never later, so that no block learns from
the clock how long others took. A slot with a container of its own also holds the container's start and removal, which no block can use up.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from core.errors import Invalid
from core.tier import Tier
from jobs.schedule import GATE_SECONDS, RETURN_SECONDS, SEAL_SECONDS, START_SAFETY, Node, Schedule, bucket
from jobs.split import blocks_in_lane
from privacy.schema import EXCESS

LONGEST = 16_384.0
SLOT_FACTOR = 1.25
# Seconds to make a block's process; to make a container of its own; to kill and remove that (sandbox/runtime.py allows a second).
SLOT_OF_PROCESS, MAKING, REMOVAL = 0.02, 0.3, 1.2
# Seconds to take any block apart, and for what the kernel frees a little later; as many mappings as a process may have
# (vm.max_map_count); a byte that it wrote to. Measured on the worst that a block can do within its limits: 0.002 s, 0.09 s and 0.06e-9 s.
CLEAR, CLEAR_MAPPINGS, CLEAR_PER_BYTE = 0.02, 0.5, 0.5e-9
# What PID 1 and the libraries that are loaded beforehand take of a lane's memory, and the least that a block is left.
SUPERVISOR_BYTES, LEAST_BLOCK_BYTES = 320 << 20, 64 << 20
# Seconds of one core to import a library, with a margin of about a half, for those that are loaded before the first block.
IMPORTS = {
    "numpy": 0.2,
    "pyarrow": 0.2,
    "pandas": 0.5,
    "scipy": 0.4,
    "sklearn": 1.2,
    "statsmodels": 1.6,
    "lifelines": 2.2,
    "polars": 0.3,
}
IMPORT_OF_ANOTHER = 1.0
# Seconds of one core to decrypt, split and write: a row of twenty columns (measured: 0.45e-6), and a block (0.2e-3).
STAGE_ROW, STAGE_BLOCK, STAGE = 1.5e-6, 0.5e-3, 0.3
# Seconds to read an image of a gigabyte that is in the page cache already (sandbox/warm.py).
WARM = 1.0
GATE_NUMBER = 5e-6


@dataclass(frozen=True)
class ProgramSchedule:
    """`whole` as for every kind of job; then seconds for staging, and for a container and its imports to be there.

    `slot_seconds` lie between the starts of two blocks; of these `own_seconds` are the block's, from when it could begin until nothing of
    it is left, the last `clear_seconds` of them to take it apart.
    """

    whole: Schedule
    stage_seconds: float
    start_seconds: float
    slot_seconds: float
    own_seconds: float
    clear_seconds: float


def program_schedule(
    rows: int,
    *,
    blocks: int,
    stored_blocks: int,
    width: int,
    choosing_seconds: float,
    block_seconds: float,
    preload: Collection[str],
    tier: Tier,
    lanes: int,
    node: Node,
) -> ProgramSchedule:
    """The schedule of a program on tables that declare `rows` in all; its gate takes `choosing_seconds` for medians.

    Raises Invalid (`plan.too_long`).
    """
    in_lane = len(blocks_in_lane(0, blocks, stored_blocks, lanes))
    # All rows: those of one unit lie in one lane, and it may have nearly all of them.
    stage = node.start_seconds + (STAGE + WARM + EXCESS * rows * STAGE_ROW + in_lane * STAGE_BLOCK) * node.slowness
    start = node.start_seconds * START_SAFETY + _import_seconds(preload) * node.slowness
    busy = block_seconds * SLOT_FACTOR + SLOT_OF_PROCESS * node.slowness
    clear = clear_seconds(block_seconds, block_memory_bytes(node.lane_memory_bytes)) * max(1.0, node.slowness)
    own = busy + clear
    slot = own if tier is Tier.ZYGOTE else start + own + (MAKING + REMOVAL) * max(1.0, node.slowness)
    gate = GATE_SECONDS + SEAL_SECONDS + (blocks * width * GATE_NUMBER + choosing_seconds) * node.slowness
    needed = stage + start + in_lane * slot + RETURN_SECONDS + gate
    seconds = bucket(needed)
    if seconds > LONGEST:
        raise Invalid(
            "plan.too_long",
            f"{in_lane} blocks one after the other would take {needed:,.0f} s, more than {LONGEST:,.0f} s",
            where={"field": "seconds_per_block"},
            way_out="fewer blocks, or fewer seconds_per_block",
        )
    return ProgramSchedule(Schedule(seconds, gate, block_seconds), stage, start, slot, own, clear)


def clear_seconds(block_seconds: float, memory_bytes: int) -> float:
    """Seconds within which nothing of a block is left, whatever it did with its processor time and memory.

    What is to be taken apart had to be built, in the block's own processor time, and building takes longer: page by page, mapping
    by mapping, 3 to 7 times as long (measured), where 1 is assumed. So what it may use bounds this for short blocks, and what it
    may have for long ones.
    """
    return CLEAR + min(block_seconds, CLEAR_MAPPINGS + CLEAR_PER_BYTE * memory_bytes)


def block_memory_bytes(lane_memory_bytes: int) -> int:
    """What one block may take of its lane's memory."""
    return max(LEAST_BLOCK_BYTES, lane_memory_bytes - SUPERVISOR_BYTES)


def _import_seconds(preload: Collection[str]) -> float:
    tops = {module.partition(".")[0] for module in preload} | {"numpy", "pyarrow"}
    return sum(IMPORTS.get(top, IMPORT_OF_ANOTHER) for top in tops)
