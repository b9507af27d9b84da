"""When an encrypted job's release appears: from the number of uploads and of chunks, which are public (design R9, R10)."""

from __future__ import annotations

from collections.abc import Sequence

from core.errors import Invalid
from jobs.schedule import LONGEST, SEAL_SECONDS, START_SAFETY, Node, Schedule, bucket

# Seconds of one core, twice what was measured: to add one chunk of an upload to a sum, and for a chunk whatever the uploads.
ADD_PER_BYTE, ADD_PER_CHUNK = 4e-9, 0.01
CHECK_PER_BYTE = 4e-9  # SHA-256 of an upload
# In the gate: a round trip to the key holder and its child process; a flooded mask for each chunk; noise for each number, twice.
GATE_SECONDS, GATE_PER_CHUNK, GATE_PER_NUMBER = 3.0, 0.4, 40e-6


def encrypted_schedule(
    uploads: int, file_bytes: int, chunk_bytes: int, chunks: int, lengths: Sequence[int], lanes: int, node: Node
) -> Schedule:
    """The schedule. Raises Invalid (`plan.too_long`)."""
    per_lane = -(-chunks // lanes)
    add = per_lane * (ADD_PER_CHUNK + ADD_PER_BYTE * uploads * chunk_bytes)
    work = (CHECK_PER_BYTE * uploads * file_bytes + add) * node.slowness
    gate = SEAL_SECONDS + (GATE_SECONDS + GATE_PER_CHUNK * chunks + GATE_PER_NUMBER * sum(lengths)) * node.slowness
    start = node.start_seconds * START_SAFETY
    seconds = bucket(start + work + gate)
    if seconds > LONGEST:
        raise Invalid(
            "plan.too_long",
            f"the planned worst case of this job is longer than {LONGEST:.0f} s",
            where={"field": "assets"},
            way_out="fewer providers, or fewer statistics",
        )
    return Schedule(seconds, gate, (seconds - start - gate) / per_lane)
