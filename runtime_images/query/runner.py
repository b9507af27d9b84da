"""PID 1 of the query container: decides what one block contributes, and nothing else.

It reads one instruction from stdin, forks one process a block, and answers with frames on stdout: u32 BE block index,
u8 status (0 ok, 1 failed), u32 BE length, the partial. A block that fails has status 1 and no bytes. stderr is for the operator's
sealed log only. When stdin reaches its end, the server is gone and everything here ends at once.

DuckDB evaluates the row stage of SQL that our planner emitted. What a privacy unit may contribute is decided here, in
`bounded`, which trusts no order and no plan (design R1 to R3; docs/proofs/bounding.md). privacy/sql/reference.py is normative.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import struct
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from itertools import islice
from operator import gt
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa

MAGIC = b"BNYP\x01"
MAX_INSTRUCTION_BYTES = 16 << 20
BATCH_ROWS = 65_536
DEFAULT_MEMORY_BYTES = 512 << 20
FAILED, OK = 1, 0

Groups = dict[bytes, list[int]]


# --- The bounded pass: Arrow rows in, partial out. -------------------------------------------------------------------


def bounded(stream: Iterable[pa.RecordBatch], instruction: Mapping[str, Any]) -> bytes:
    """The partial of one block.

    Columns of `stream`: `unit`, the keys `k0`.., `n` (rows that this row stands for) and, for each measured column,
    `nn0`.. (of these, how many hold a value) and `s0`.. (the sum of those values on the integer grid). Rows may be raw or
    aggregated already, in any order and with any number of rows for one unit and group.
    """
    seed = bytes.fromhex(instruction["seed"])
    if len(seed) != 32:
        raise ValueError("the seed is not 32 bytes")
    most, cap, measures = instruction["max_groups"], instruction["max_rows"], instruction["measures"]
    totals: Groups = {}
    for unit, groups in _units(_ordered(stream), instruction):
        for key in _chosen(unit, groups, seed, most):
            found = _contribution(groups[key], measures, cap)
            total = totals.get(key)
            if total is None:
                totals[key] = found
            else:
                for index, value in enumerate(found):
                    total[index] += value
    return _packed(totals, len(measures))


def _ordered(stream: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches with unit keys that never decrease: checked, and sorted where that does not hold (R2)."""
    batches = [batch for batch in stream if batch.num_rows]
    if _descends(batches):
        return iter(pa.Table.from_batches(batches).sort_by("unit").to_batches(max_chunksize=BATCH_ROWS))
    return iter(batches)


def _descends(batches: list[pa.RecordBatch]) -> bool:
    """Whether a unit stands behind a larger one. Python, DuckDB and Arrow all order texts by their code points.

    In Python, because pyarrow.compute takes as long to import as a block takes to run.
    """
    before = ""
    for batch in batches:
        units = [unit for unit in batch.column("unit").to_pylist() if unit is not None]
        if units and (before > units[0] or any(map(gt, units, islice(units, 1, None)))):
            return True
        before = units[-1] if units else before
    return False


def _units(batches: Iterator[pa.RecordBatch], instruction: Mapping[str, Any]) -> Iterator[tuple[str, Groups]]:
    """Each unit once, with its groups: key bytes to `[n, nn0, s0, nn1, s1, ..]`."""
    encode = _encoder([key["type"] for key in instruction["keys"]])
    keys = [f"k{index}" for index in range(len(instruction["keys"]))]
    values = ["n"] + [f"{part}{index}" for index in range(instruction["columns"]) for part in ("nn", "s")]
    current: str | None = None
    groups: Groups = {}
    for batch in batches:
        units = batch.column("unit").to_pylist()
        rows = zip(*[batch.column(name).to_pylist() for name in keys], strict=True) if keys else (() for _ in units)
        counts = zip(*[batch.column(name).to_pylist() for name in values], strict=True)
        for unit, row, count in zip(units, rows, counts, strict=True):
            if unit is None:
                continue  # it belongs to nobody whose contribution could be bounded (R5)
            if unit != current:
                if current is not None:
                    yield current, groups
                current, groups = unit, {}
            key = encode(row)
            found = [int(value or 0) for value in count]
            known = groups.get(key)
            groups[key] = found if known is None else [a + b for a, b in zip(known, found, strict=True)]
    if current is not None:
        yield current, groups


def _encoder(types: list[str]) -> Callable[[tuple[Any, ...]], bytes]:
    """Canonical bytes of a group's values: for each, u8 0 for NULL, or u8 1, u32 BE length and the bytes (R1: never a code)."""
    forms: dict[str, Callable[[Any], bytes]] = {
        "integer": lambda value: int(value).to_bytes(8, "big", signed=True),
        "boolean": lambda value: b"\x01" if value else b"\x00",
        "text": lambda value: value.encode("utf-8"),
    }
    encoders = [forms[kind] for kind in types]
    known: dict[tuple[Any, ...], bytes] = {}

    def encode(row: tuple[Any, ...]) -> bytes:
        key = known.get(row)
        if key is None:
            parts = [None if value is None else form(value) for form, value in zip(encoders, row, strict=True)]
            key = b"".join(b"\x00" if part is None else struct.pack(">BI", 1, len(part)) + part for part in parts)
            known[row] = key
        return key

    return encode


def _chosen(unit: str, groups: Groups, seed: bytes, most: int) -> Iterable[bytes]:
    """Exactly `min(most, len(groups))` groups: those with the smallest keyed hash of unit and group, ties by the bytes (R1)."""
    if len(groups) <= most:
        return groups
    name = unit.encode("utf-8")
    head = struct.pack(">I", len(name)) + name
    ranked = sorted((blake2b(head + key, key=seed, digest_size=16).digest(), key) for key in groups)
    return [key for _, key in ranked[:most]]


def _contribution(row: list[int], measures: list[dict[str, Any]], cap: int) -> list[int]:
    """What one unit adds to one group: every value within the bound that the plan claims for its measure (R3)."""
    found = []
    for measure in measures:
        kind = measure["kind"]
        if kind == "units":
            found.append(1)
        elif kind == "rows":
            found.append(min(row[0], cap))
        else:
            held, total = row[1 + 2 * measure["column"]], row[2 + 2 * measure["column"]]
            if kind == "nonnull":
                found.append(min(held, cap))
            elif kind == "sum":
                centred = total - int(measure["centre"]) * held
                found.append(centred * cap // held if held > cap else centred)
            else:
                raise ValueError(f"unknown measure {kind}")
    return found


def _packed(totals: Groups, width: int) -> bytes:
    """The partial's bytes: keys strictly increasing, values 16-byte big-endian signed."""
    parts = [MAGIC, struct.pack(">IH", len(totals), width)]
    for key in sorted(totals):
        parts.append(struct.pack(">H", len(key)))
        parts.append(key)
        parts.extend(value.to_bytes(16, "big", signed=True) for value in totals[key])
    return b"".join(parts)


# --- The row stage: one block file in, Arrow rows out. ---------------------------------------------------------------


def rows_of(path: str, sql: str, memory_bytes: int) -> Iterator[pa.RecordBatch]:
    """Runs the plan's SQL over one block, named `block`. The connection can open this file and no other, and load nothing."""
    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": 1,
            "memory_limit": f"{memory_bytes}B",
            "temp_directory": "",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_unsigned_extensions": "false",
            "python_enable_replacements": "false",
        },
    )
    quoted = "'" + path.replace("'", "''") + "'"
    connection.execute(f"SET allowed_paths=[{quoted}]")
    connection.execute("SET enable_external_access=false")
    connection.execute("SET lock_configuration=true")
    connection.execute(f"CREATE VIEW block AS SELECT * FROM read_parquet({quoted})")
    yield from connection.sql(sql).to_arrow_reader(BATCH_ROWS)


# --- One process a block. --------------------------------------------------------------------------------------------


def _work(block: Mapping[str, Any], instruction: Mapping[str, Any], out: int) -> None:
    """The forked child: limits itself, does the block, writes the partial to `out`."""
    with Path("/proc/self/oom_score_adj").open("w") as score:
        score.write("1000")  # the kernel takes this process before PID 1
    # A block that takes more than its share ends alone: it takes no time from the blocks after it. SIGPROF's default is to kill.
    seconds = float(instruction["cpu_seconds_per_block"])
    signal.setitimer(signal.ITIMER_PROF, seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 2))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    memory = int(instruction.get("memory_bytes_per_block", DEFAULT_MEMORY_BYTES))
    with Path("/proc/self/statm").open() as statm:
        mapped = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + 3 * memory,) * 2)
    partial = bounded(rows_of(block["path"], instruction["sql"], memory), instruction)
    if len(partial) > instruction["max_partial_bytes"]:
        raise ValueError("the partial is longer than the plan allows")
    with os.fdopen(out, "wb") as stream:
        stream.write(partial)


def _start(block: Mapping[str, Any], instruction: Mapping[str, Any]) -> tuple[int, int]:
    """Forks the child of one block; its process id and the end of the pipe to read from."""
    inward, outward = os.pipe()
    child = os.fork()
    if child:
        os.close(outward)
        return child, inward
    code = 1
    try:
        os.close(inward)
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 0)
        os.dup2(nowhere, 1)
        _work(block, instruction, outward)
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it is, it belongs into the sealed log and this block is its default
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _collect(child: int, inward: int, most: int) -> bytes | None:
    """The child's partial, or None where it failed. Ends everything when stdin reaches its end."""
    parts, size = [], 0
    try:
        while True:
            ready, _, _ = select.select([0, inward], [], [])
            if 0 in ready and not os.read(0, 4096):
                _abandon(child)
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


def _abandon(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os._exit(3)


def _instruction(stream: int) -> dict[str, Any]:
    """The one length-prefixed instruction. Raises EOFError, ValueError, TypeError."""
    size = struct.unpack(">I", _exactly(stream, 4))[0]
    if size > MAX_INSTRUCTION_BYTES:
        raise ValueError("the instruction is too long")
    found = json.loads(_exactly(stream, size))
    if not isinstance(found, dict):
        raise TypeError("the instruction is not an object")
    return found


def _exactly(stream: int, size: int) -> bytes:
    parts = []
    while size:
        data = os.read(stream, min(size, 1 << 20))
        if not data:
            raise EOFError
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def _frame(out: BinaryIO, index: int, partial: bytes | None) -> None:
    data = partial or b""
    out.write(struct.pack(">IBI", index, FAILED if partial is None else OK, len(data)) + data)
    out.flush()


def main() -> int:
    """Instruction in, frames out; 0 when every block has its frame."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))  # PID 1 has no default action for it
    try:
        instruction = _instruction(0)
    except EOFError:
        return 3
    # Should whoever started this container never come back, it still ends.
    signal.signal(signal.SIGALRM, lambda *_: os._exit(4))
    signal.setitimer(signal.ITIMER_REAL, float(instruction["wall_seconds"]))
    for block in instruction["blocks"]:
        child, inward = _start(block, instruction)
        _frame(sys.stdout.buffer, block["index"], _collect(child, inward, instruction["max_partial_bytes"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
