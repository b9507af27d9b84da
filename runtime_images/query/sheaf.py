"""Decides what several blocks contribute together: one forked process with limits, one database, one run of the pass, one partial.

A process a block would cost more than most blocks do, and a partial a block more than the gate can read. A sheaf that fails is empty
as a whole: whatever happens in its process, the answer is a partial or nothing, and no other sheaf is touched.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aggregate import Pass
from rows import RowStage


class Gone(Exception):
    """Whoever asked is not there any more."""


def partial_of(sheaf: Mapping[str, Any], instruction: Mapping[str, Any], library: ctypes.CDLL) -> bytes:
    """What the blocks of a sheaf add up to, in the form that privacy/sql/partial_bytes.py reads.

    sheaf        `blocks`: for each the path of the file of each private asset
    instruction  `stage` and `pass` (privacy/sql/instruction.py), `public`: the paths of each public asset's files,
                 `memory_bytes`: what DuckDB may hold, `max_partial_bytes`

    Raises what DuckDB and the pass raise, and ValueError for a partial that is too long.
    """
    rows = RowStage(instruction["stage"], instruction["public"], sheaf["blocks"], int(instruction["memory_bytes"]))
    with Pass(library, instruction["pass"]) as running:
        for files in sheaf["blocks"]:
            texts, batches = rows.block(files)
            running.block(len(texts), texts, batches)
        partial = running.partial()
    if len(partial) > instruction["max_partial_bytes"]:
        raise ValueError("the partial is longer than the plan allows")
    return partial


def run(sheaf: Mapping[str, Any], instruction: Mapping[str, Any], library: ctypes.CDLL, asker: int) -> bytes | None:
    """The partial of a sheaf, made in a process of its own; None where that failed, and the reason on stderr.

    instruction  as above, and `cpu_seconds`: what the process may compute
    asker        a file descriptor that reaches its end when whoever asked is gone

    Raises Gone, and the process is ended.
    """
    inward, outward = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(inward)
        _work(sheaf, instruction, library, outward)
    os.close(outward)
    return _collected(child, inward, int(instruction["max_partial_bytes"]), asker)


def _work(sheaf: Mapping[str, Any], instruction: Mapping[str, Any], library: ctypes.CDLL, out: int) -> None:
    """The forked child, which never returns."""
    code = 1
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 0)
        os.dup2(nowhere, 1)
        _limit(float(instruction["cpu_seconds"]), int(instruction["memory_bytes"]))
        with os.fdopen(out, "wb") as stream:
            stream.write(partial_of(sheaf, instruction, library))
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it is, it belongs into the sealed log and this sheaf is empty
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _limit(cpu_seconds: float, memory_bytes: int) -> None:
    with Path("/proc/self/oom_score_adj").open("w") as score:
        score.write("1000")  # the kernel takes this process before PID 1
    # A sheaf that takes more than its share ends alone: it takes no time from those after it. SIGPROF's default is to kill.
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_seconds) + 1, int(cpu_seconds) + 2))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with Path("/proc/self/statm").open() as statm:
        mapped = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + 3 * memory_bytes,) * 2)


def _collected(child: int, inward: int, most: int, asker: int) -> bytes | None:
    parts, size = [], 0
    try:
        while True:
            ready, _, _ = select.select([asker, inward], [], [])
            if asker in ready and not os.read(asker, 4096):
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                raise Gone
            if inward in ready:
                data = os.read(inward, 1 << 20)
                if not data:
                    break
                size += len(data)
                if size > most:
                    os.kill(child, signal.SIGKILL)
                    break
                parts.append(data)
    finally:
        os.close(inward)
    _, status = os.waitpid(child, 0)
    return b"".join(parts) if status == 0 and size <= most else None
