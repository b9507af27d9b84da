"""One block's own process: confines itself, and only then loads the researcher's code."""

from __future__ import annotations

import os
import signal
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import answer
import kernel
from block_pipes import took_told
from measures import BLOCK, Confined, apply_measures

# Nanoseconds of its own processor time at the moment when the researcher's code begins.
READY = struct.Struct(">Q")
TEMPORARY, TABLE = "/tmp", ".arrow"


def confined(instruction: Mapping[str, Any], folder: str, pipes: Sequence[int]) -> Confined:
    """What the measures need to know. `pipes`: the writing ends for result, log and ready."""
    result, log, ready = pipes
    memory, cpu = int(instruction["memory_bytes_per_block"]), float(instruction["cpu_seconds_per_block"])
    return Confined(folder, result, log, ready, memory, cpu)


def run(instruction: Mapping[str, Any], limits: Confined) -> NoReturn:
    """Never returns. Its vector is in the result pipe if it did well; less or more, or nothing, if not.

    1 and 2 become its log. Without a folder it tries the measures only, and answers zeros.
    """
    code, began = 1, 0
    try:
        os.dup2(limits.log, 1)
        os.dup2(limits.log, 2)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # Before it is confined: in there are no files of rows, the reading of which nothing could interrupt, but their memory only.
        mapped = tables_in(limits.folder) if limits.folder else None
        kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # or its own /proc/self would belong to root
        apply_measures(BLOCK, limits, namespaces=instruction["isolation"] == "namespaces")
        os.chdir(TEMPORARY)
        answer.reseed()
        began = time.process_time_ns()
        os.write(limits.ready, READY.pack(began))
        os.close(limits.ready)
        vector = _vector(instruction, mapped)
        sys.stdout.flush()
        os.write(limits.result, vector)
        code = 0
    except BaseException as problem:  # noqa: BLE001 - whatever it is, this block has failed and nothing else has
        answer.explain(problem, instruction["name"])
    finally:
        sys.stdout.flush()
        if instruction["trace"] and limits.folder:
            index = next(each["index"] for each in instruction["blocks"] if each["folder"] == limits.folder)
            sys.stderr.write(took_told(f"block {index}", time.process_time_ns() - began))
        sys.stderr.flush()
        os._exit(code)


def tables_in(folder: str) -> dict[str, tuple[int, int]]:
    """Where in memory each `<table>.arrow` of the folder is then, by its name."""
    found = sorted(name for name in os.listdir(folder) if name.endswith(TABLE))  # noqa: PTH208 - see root.py
    return {name.removesuffix(TABLE): kernel.mapped(f"{folder}/{name}") for name in found}


def _vector(instruction: Mapping[str, Any], mapped: Mapping[str, tuple[int, int]] | None) -> bytes:
    outputs = instruction["outputs"]
    if mapped is None:
        return bytes(8 * sum(output["length"] or 1 for output in outputs))
    return answer.answered(instruction["name"], instruction["code"], instruction["params"], outputs, mapped)
