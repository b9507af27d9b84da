"""Whether a block of a program is confined on this machine, beside what its container already is: each promise, tried for real.

`banyan-server doctor` prints it. The hostile programs of tests/attacks try much more, and against neighbours.
"""

from __future__ import annotations

import struct
import time
from importlib import resources
from typing import Final

from core.tier import Tier
from sandbox import block_attempts, tiers
from sandbox.collect import read_frames
from sandbox.runtime import Runtime
from sandbox.self_check import BREACH, Check, Verdict

# What the program of the check is made of: attempt -> the name of what it tries, and what ought to hold.
PROMISES: Final[dict[str, tuple[str, str]]] = {
    "network": ("network", "A block can make no socket that leads out."),
    "engine_socket": ("engine socket", "The engine's socket is not there."),
    "root_filesystem": ("root filesystem", "A block can write nothing outside of /tmp."),
    "kernel_calls": ("kernel calls", "Calls that widen the way into the kernel are refused."),
    "devices": ("devices", "There are no devices but the usual harmless ones."),
    "other_files": ("other files", "A block sees libraries, its own rows and a folder for itself."),
    "other_processes": ("other processes", "A block sees no process but itself."),
    "new_processes": ("new processes", "A block can start no process, so none outlives it."),
    "descriptors": ("descriptors", "A block holds its log and its result, and no other open file."),
    "counters": ("counters", "A block can neither turn nor read what the whole machine counts."),
}
_PROGRAM: Final = "\n".join(
    (
        resources.files("sandbox").joinpath("escape_attempts.py").read_text(encoding="utf-8"),
        resources.files("sandbox").joinpath("block_attempts.py").read_text(encoding="utf-8"),
        "def analyse(tables, params):",
        "    return answers({name: globals()[name] for name in params['attempts']})",
    )
)


def block_check(runtime: Runtime, image: str, owner: str, oci_runtime: str | None = None) -> tuple[Check, ...]:
    """Runs every attempt in one block of the tier `zygote`, about a second. What is not answered counts as broken.

    Raises Unavailable where no container can be had.
    """
    started = time.monotonic()
    outputs: list[dict[str, object]] = [{"name": name, "length": block_attempts.WIDTH} for name in PROMISES]
    asked = tiers.instruction(Tier.ZYGOTE, _PROGRAM, outputs, {"attempts": list(PROMISES)})
    spec = tiers.specification(Tier.ZYGOTE, image, owner, oci_runtime)
    vector = read_frames(runtime.run(spec, asked, lambda: False).output, {0}, _BYTES).get(0, b"")
    seconds = time.monotonic() - started
    return tuple(
        Check(f"block: {name}", promise, Verdict.BROKEN if found else Verdict.HELD, found, seconds / len(PROMISES))
        for (name, promise), found in zip(PROMISES.values(), _found(vector), strict=True)
    )


_BYTES: Final = 8 * block_attempts.WIDTH * len(PROMISES)


def _found(vector: bytes) -> list[str]:
    """What each attempt got, in words that look like ours; the vector is as hostile as any other."""
    if len(vector) != _BYTES:
        return ["the block did not answer"] * len(PROMISES)
    numbers = struct.unpack(f">{len(vector) // 8}d", vector)
    width = block_attempts.WIDTH
    texts = ["".join(map(_letter, numbers[at : at + width])).rstrip("\0") for at in range(0, len(numbers), width)]
    return [text if not text or BREACH.fullmatch(text.replace(", ", " ")) else "unreadable" for text in texts]


def _letter(number: float) -> str:
    return chr(int(number)) if 0 <= number < 128 else "?"  # NaN fails the comparison too
