"""How a block is confined inside its container: each measure with its reason.

`MEASURES` is all there is: the zygote takes the rows of `START` before it loads anything, those of `ZYGOTE` before it forks a block, the
block's own process those of `BLOCK`, in order, before any of the researcher's code is loaded. There is no switch in the instruction.

To see that a hostile program fails because of one measure, run it with a copy of this folder in which that row is missing:
copy runtime_images/python/*.py to a folder of the host, append to the copy of this file

    MEASURES = tuple(row for row in MEASURES if row.name != "NAME")

mount it read-only (at /weakened, say; world-readable) and run ("python3", "-I", "/weakened/runner.py") instead of
/banyan/runner.py: every module is loaded from the folder that its runner.py lies in. Parts of `own_root` are constants of
root.py, the calls of `kernel_calls` are tables of kernel_calls.py: append a changed value to their copies in the same way.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import kernel
import kernel_calls
import root

START, ZYGOTE, BLOCK = "start", "zygote", "block"
# Descriptors of a block's process: its log, its result, and what it says that it is ready with.
LOG, RESULT, READY = 1, 3, 4
ABOVE = 16  # where they stay while their places are cleared
OPEN_FILES, THREADS, FILE_BYTES = 128, 12, 4 << 20


@dataclass
class Confined:
    """One block's process to be.

    folder        where its tables lie; empty when only the measures are tried
    result, log, ready  the writing ends of its pipes; the last is closed before the researcher's code
    memory_bytes  what it may take beyond what was loaded for it
    cpu_seconds   processor seconds for the researcher's code
    """

    folder: str
    result: int
    log: int
    ready: int
    memory_bytes: int
    cpu_seconds: float


@dataclass(frozen=True)
class Measure:
    """One measure. `namespaces`: whether it is taken only where namespaces are, because elsewhere the container is the wall."""

    name: str
    by: str
    namespaces: bool
    apply: Callable[[Confined], None]
    reason: str


def _oom_first(_: Confined) -> None:
    _write("/proc/self/oom_score_adj", "1000")


def enter_user_namespace(flags: int = 0) -> None:
    """A user namespace in which this process stays who it is, together with other namespaces that it then owns."""
    user, group = os.getuid(), os.getgid()
    kernel.unshare(kernel.CLONE_NEWUSER | flags)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{user} {user} 1")
    _write("/proc/self/gid_map", f"{group} {group} 1")


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _small_pages(_: Confined) -> None:
    """A kernel without huge pages, such as gVisor's, does not know the setting."""
    try:
        kernel.prctl(kernel.PR_SET_THP_DISABLE, 1)
    except OSError as problem:
        if problem.errno != errno.EINVAL:
            raise


def _only_its_pipes(confined: Confined) -> None:
    """0: nothing; 1 and 2: its log; 3: its result; 4: ready; no other."""
    nothing = os.open(os.devnull, os.O_RDWR)
    places = {0: nothing, LOG: confined.log, 2: confined.log, RESULT: confined.result, READY: confined.ready}
    held = {place: fcntl.fcntl(source, fcntl.F_DUPFD, ABOVE) for place, source in places.items()}
    for place, source in held.items():
        os.dup2(source, place)
    confined.log, confined.result, confined.ready = LOG, RESULT, READY
    os.closerange(READY + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def _memory(confined: Confined) -> None:
    """RLIMIT_DATA counts what can be written; RLIMIT_AS, wider because libraries reserve more than they use, the rest."""
    pages = _STATM
    mapped, data = pages[0] * resource.getpagesize(), pages[5] * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (data + confined.memory_bytes,) * 2)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + 2 * confined.memory_bytes + (1 << 30),) * 2)


def _statm() -> list[int]:
    return [int(word) for word in Path("/proc/self/statm").read_text(encoding="ascii").split()]


_STATM: list[int] = [0] * 7


def measure_memory() -> None:
    """Notes, once and before any block, how much memory the loaded libraries take."""
    _STATM[:] = _statm()


def _processor(confined: Confined) -> None:
    # Whole seconds only, and set-up counts: a second line behind the first process, which is exact.
    seconds = int(confined.cpu_seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


def _limit(kind: int, most: int) -> Callable[[Confined], None]:
    return lambda _: resource.setrlimit(kind, (most, most))


MEASURES: tuple[Measure, ...] = (
    Measure(
        "pid_namespace", ZYGOTE, True, lambda _: kernel.unshare(kernel.CLONE_NEWPID),
        "A block sees and signals no process but itself, and the kernel ends everything in it together with its first process.",
    ),
    Measure(
        "small_pages", START, False, _small_pages,
        "To make a huge page takes long, a kill does not interrupt it, and every thread can be about to: the block would be gone late.",
    ),
    Measure(
        "own_session", BLOCK, False, lambda _: os.setsid(),
        "No signal to a group of processes, and no terminal, connects a block with anything else.",
    ),
    Measure(
        "killed_first", BLOCK, False, _oom_first,
        "When the container's memory is used up, the kernel takes the block, never the processes that start and judge blocks.",
    ),
    Measure(
        "user_namespace", BLOCK, True, lambda _: enter_user_namespace(),
        "A user without any right over what lies outside; it is what allows the other namespaces to be made without privilege.",
    ),
    Measure(
        "mount_namespace", BLOCK, True, lambda _: kernel.unshare(kernel.CLONE_NEWNS),
        "Without it a block's root could not be its own, and the files of all blocks of the task lie in the container's.",
    ),
    Measure(
        "ipc_namespace", BLOCK, True, lambda _: kernel.unshare(kernel.CLONE_NEWIPC),
        "Shared memory, semaphores and message queues outlive their process: a block would find what another one left.",
    ),
    Measure(
        "uts_namespace", BLOCK, True, lambda _: kernel.unshare(kernel.CLONE_NEWUTS),
        "A host name that one block sets would be read by the next.",
    ),
    Measure(
        "network_namespace", BLOCK, True, lambda _: kernel.unshare(kernel.CLONE_NEWNET),
        "Abstract sockets need no file: a block could listen for another one, or reach the processes that start blocks.",
    ),
    Measure(
        "own_root", BLOCK, True, lambda _: root.enter_own_root(),
        "Only the libraries are there to be read, and what can be written is small and gone with it; there is no file of any"
        " block, and no /proc and no /sys to read others' work from.",
    ),
    Measure(
        "only_its_pipes", BLOCK, False, _only_its_pipes,
        "An inherited descriptor leads to the frames of other blocks, to the instruction or to what starts blocks.",
    ),
    Measure(
        "no_capability", BLOCK, True, lambda _: kernel.drop_capabilities(),
        "A new user namespace comes with every capability inside it: enough to mount, and to take the root apart again.",
    ),
    Measure(
        "processes", BLOCK, True, _limit(resource.RLIMIT_NPROC, THREADS),
        "Threads without end would use up the container's number of them; the kernel counts them for each user namespace.",
    ),
    Measure(
        "memory", BLOCK, False, _memory,
        "A block that takes too much gets MemoryError at the same size every time, before the container's own limit ends more.",
    ),
    Measure(
        "processor", BLOCK, False, _processor,
        "Should nobody end it at its share of processor time, the kernel does.",
    ),
    Measure(
        "file_size", BLOCK, False, _limit(resource.RLIMIT_FSIZE, FILE_BYTES),
        "No file grows beyond what the temporary folder holds.",
    ),
    Measure(
        "open_files", BLOCK, False, _limit(resource.RLIMIT_NOFILE, OPEN_FILES),
        "Open files take kernel memory that no other limit of a block counts.",
    ),
    Measure(
        "no_core_dump", BLOCK, False, _limit(resource.RLIMIT_CORE, 0),
        "A crash would hand the block to the host's core handler.",
    ),
    Measure(
        "not_dumpable", BLOCK, False, lambda _: kernel.prctl(kernel.PR_SET_DUMPABLE, 0),
        "Where a container's /proc is there, nobody else's process can be opened through it, and it cannot be traced.",
    ),
    Measure(
        "kernel_calls", BLOCK, False, lambda _: kernel.load_filter(kernel_calls.filter_program()),
        "The container's own filter has to let its first process make namespaces and mounts; a block may make none, and no"
        " process, socket, pipe or other thing that outlives it or that another block could notice.",
    ),
)  # fmt: skip


def apply_measures(by: str, confined: Confined, *, namespaces: bool) -> None:
    """Takes the measures of one of the three, in order. Raises OSError where this machine does not allow one."""
    for row in MEASURES:
        if row.by == by and (namespaces or not row.namespaces):
            row.apply(confined)
