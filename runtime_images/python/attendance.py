"""Stays with one block until it has ended or must be ended. For the first process of a container, and for no other.

What bounds what. The processor time of a block is what the clocks of its processes say (its filter allows threads but no new
process, so there is one); at its cap it is ended. The clocks are read when the rest could at the earliest be used up, which costs an
honest block nothing. RLIMIT_CPU stands behind that, in whole seconds. Time spent asleep is bounded by the slot: whatever is left
is ended shortly before the slot is over. What the machine does for a block without counting it as its time is bounded by the one
core that is reserved for the lane.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Collection

from block import READY
from block_pipes import Pipes

NANOSECOND = 1_000_000_000
PAUSE_SECONDS = 0.0002


def attend(
    pipes: Pipes,
    cpu_seconds: float,
    deadline: float,
    spared: Collection[int],
    check: Callable[[int], None],
    watched: Collection[int],
) -> bool:
    """Passes the block's log on until its result and its log have no writer left. Whether that came before its cap and the deadline.

    deadline  on the monotonic clock
    spared    processes that are not the block's
    watched   further descriptors; `check` is called with the one that has something to say
    """
    poll = select.poll()
    for descriptor in (*watched, pipes.log, pipes.ready):
        poll.register(descriptor, select.POLLIN)
    poll.register(pipes.result, 0)  # POLLHUP is reported all the same
    still_open, end = {pipes.result, pipes.log}, None
    while still_open:
        left = deadline - time.monotonic()
        if end is not None:
            left = min(left, (end - used(spared)) / NANOSECOND / _cores())
        if left <= 0:
            return False
        for descriptor, event in poll.poll(left * 1000):
            if descriptor in watched:
                check(descriptor)
            elif event & select.POLLIN and descriptor == pipes.log:
                pipes.pass_log_on()
            elif descriptor == pipes.ready:
                said = os.read(descriptor, READY.size)
                end = READY.unpack(said)[0] + int(cpu_seconds * NANOSECOND) if len(said) == READY.size else None
                poll.unregister(descriptor)
            elif event & select.POLLHUP:
                poll.unregister(descriptor)
                still_open.discard(descriptor)
    return True


def used(spared: Collection[int]) -> int:
    """Nanoseconds of processor time of all processes but these (clock number as in clock_getcpuclockid(3))."""
    total = 0
    for process in others(spared):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            total += time.clock_gettime_ns((~process << 3) | 2)
    return total


def others(spared: Collection[int]) -> list[int]:
    """All processes but these, by the kernel's own listing, not by anything that a block said."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) not in spared]  # noqa: PTH208


def end_all_but(spared: Collection[int]) -> None:
    """Kills every process but these until there is none: their memory, mounts and namespaces are then gone with them."""
    if os.getpid() != 1:
        raise RuntimeError("only the first process of a container may end all others")
    while left := others(spared):
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(PAUSE_SECONDS)


def _cores() -> int:
    return len(os.sched_getaffinity(0))
