"""Runs a reader of hostile bytes in a short-lived process that can do nothing else (design R18).

What it costs is one bare interpreter: 10 ms here, so it is meant for the output of a whole container, not for each block. A reader
that imports `dataclasses`, `typing` or `json` costs 10 to 20 ms more: write it for `struct` alone.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Final

# Limits first, then the reader: nothing hostile has been read by then. -I keeps the environment, the user's site and the
# current folder out, -S the installed packages: the reader has the standard library and itself.
_BOOTSTRAP: Final = """
import os, resource, sys
os.nice(int(sys.argv.pop(1)))
for name, most in zip(("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_FSIZE"), sys.argv[1:4]):
    resource.setrlimit(getattr(resource, name), (int(most), int(most)))
resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
del sys.argv[:4]
with open(sys.argv[0], "rb") as reader:
    code = compile(reader.read(), sys.argv[0], "exec")
exec(code, {"__name__": "__main__", "__file__": sys.argv[0]})
"""


@dataclass(frozen=True)
class ReaderLimits:
    """What a reader may use.

    memory_bytes   bytes of address space; the interpreter itself takes about 20 MiB
    cpu_seconds    whole seconds of processor time
    output_bytes   bytes that it may write to stdout
    wall_seconds   seconds until it is killed
    niceness       how far it stands behind other processes for a processor, 0 to 19
    """

    memory_bytes: int = 256 << 20
    cpu_seconds: int = 10
    output_bytes: int = 32 << 20
    wall_seconds: float = 30.0
    niceness: int = 0


def validated(
    reader: Path, arguments: Sequence[str], document: bytes, limits: ReaderLimits | None = None
) -> bytes | None:
    """What `reader` makes of `document`, or None where it refuses it, fails, or reaches a limit. Nothing tells which.

    reader     a Python file that needs the standard library only. It is run as a program with `arguments`, reads the document
               from stdin, writes what it accepts to stdout, and ends with code 0 if it accepts.

    It has an empty environment, no network (where this system lets us take it away), no terminal, and the limits. It runs
    as this user: this is a fence against a reader that is overwhelmed, not a sandbox for code that is hostile itself.
    """
    limits = limits or ReaderLimits()
    bounds = [str(each) for each in (limits.niceness, limits.memory_bytes, limits.cpu_seconds, limits.output_bytes)]
    command = [*_without_network(), sys.executable, "-I", "-S", "-c", _BOOTSTRAP, *bounds, str(reader), *arguments]
    # Files in memory instead of pipes: nothing to deadlock on, and RLIMIT_FSIZE bounds the answer.
    with _memory_file() as inward, _memory_file() as outward:
        written = 0
        while written < len(document):
            written += inward.write(document[written:])
        inward.seek(0)
        try:
            ended = subprocess.run(  # noqa: S603 - our interpreter, our bootstrap, a reader that the caller names
                command,
                stdin=inward,
                stdout=outward,
                stderr=subprocess.DEVNULL,
                env={},
                cwd="/",
                timeout=limits.wall_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return None
        if ended.returncode != 0:
            return None
        outward.seek(0)
        return outward.readall()


def _memory_file() -> FileIO:
    return FileIO(os.memfd_create("banyan-reader"), "r+b")


@functools.cache
def _without_network() -> tuple[str, ...]:
    """The words that take the network away from what follows them; none where this system does not let us."""
    unshare, true = shutil.which("unshare"), shutil.which("true")
    if unshare and true:
        for words in ((unshare, "--net", "--"), (unshare, "--user", "--net", "--")):
            if subprocess.run([*words, true], capture_output=True, check=False).returncode == 0:  # noqa: S603 - ours
                return words
    return ()
