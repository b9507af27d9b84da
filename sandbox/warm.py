"""Reads an image's files once before any block runs, so that no block can tell from a slow read which of them another one used.

A file that is in the machine's page cache is read ten times faster than one that is not: a block that reads a library or leaves it
would tell every later block one bit (design R11). Blocks cannot undo it: they may neither drop pages nor read around the cache, and
what their own memory limit reclaims is charged to them alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sandbox.runtime import Runtime
from sandbox.spec import MIB, ContainerSpec

_PROGRAM: Final = """
import os
image, buffer = os.stat("/").st_dev, bytearray(1 << 20)
folders = ["/"]
while folders:
    try:
        entries = list(os.scandir(folders.pop()))
    except OSError:
        continue
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if entry.stat(follow_symlinks=False).st_dev == image:
                folders.append(entry.path)
        elif entry.is_file(follow_symlinks=False):
            try:
                with open(entry.path, "rb", buffering=0) as file:
                    while file.readinto(buffer):
                        pass
            except OSError:
                pass
"""
# The pages read are charged to the reader: with less than the image's size it would push out what it has just read.
_MEMORY_BYTES: Final = 2048 * MIB


def warm_specification(image: str, labels: Mapping[str, str], cpuset: str | None = None) -> ContainerSpec:
    """The container that does it; it needs no instruction and answers nothing."""
    return ContainerSpec(
        image=image,
        command=("python3", "-I", "-S", "-c", _PROGRAM),
        labels=labels,
        cpuset=cpuset,
        memory_bytes=_MEMORY_BYTES,
        wall_seconds=60.0,
        output_bytes=0,
    )


def warm(runtime: Runtime, image: str, labels: Mapping[str, str]) -> None:
    """Read all files of an image. Raises Unavailable."""
    runtime.run(warm_specification(image, labels), b"", lambda: False)
