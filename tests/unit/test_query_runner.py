"""The query container's PID 1 as a process: frames and nothing else on stdout, one process a block, no way out of its block."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from tests.unit.sql_world import (
    RUNNER,
    frames_of,
    instruction_of,
    partial_of,
    plan_of,
    run_runner,
    runner,
    some_rows,
    write_block,
)

SQL = "SELECT ward, surname, COUNT(*), AVG(score) FROM visits GROUP BY ward, surname"
PLAN = plan_of(SQL)
SLOW = "SELECT 'a' AS unit, 'x' AS k0, 'y' AS k1, count(*) AS n, 0 AS nn0, sum(a.range * b.range) AS s0 FROM range(1000000000) a, range(1000) b"


def message(instruction: dict) -> bytes:
    data = json.dumps(instruction).encode()
    return struct.pack(">I", len(data)) + data


@pytest.fixture(scope="module")
def blocks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blocks")
    rows = some_rows(300, 5, units=40)
    return [write_block(folder / f"{i}.parquet", [r for r in rows if int(r["person"][1:]) % 3 == i]) for i in range(3)]


def instruction_for(blocks, **changes) -> dict:
    return instruction_of(PLAN, b"s" * 32, [(index, str(path)) for index, path in enumerate(blocks)]) | changes


def test_each_block_gives_one_frame_in_order_and_the_bytes_of_the_pass(blocks):
    code, frames, err = run_runner(
        PLAN.instruction([(7 + i, str(p)) for i, p in enumerate(blocks)], b"s" * 32, 10, 120)
    )
    assert code == 0
    assert [(index, status) for index, status, _ in frames] == [(7, 0), (8, 0), (9, 0)]
    assert [data for _, _, data in frames] == [partial_of(PLAN, path, b"s" * 32) for path in blocks]
    assert err == b""


def test_no_blocks_give_no_frames():
    assert run_runner(message(instruction_for([]))) == (0, [], b"")


def test_a_block_that_fails_is_an_empty_frame_and_the_others_are_untouched(blocks, tmp_path):
    (tmp_path / "rubbish.parquet").write_bytes(b"PAR1 not really")
    paths = [blocks[0], tmp_path / "rubbish.parquet", tmp_path / "missing.parquet", blocks[2]]
    code, frames, _ = run_runner(message(instruction_for(paths)))
    assert code == 0
    assert [(index, status, len(data) > 0) for index, status, data in frames] == [
        (0, 0, True),
        (1, 1, False),
        (2, 1, False),
        (3, 0, True),
    ]
    assert frames[3][2] == partial_of(PLAN, blocks[2], b"s" * 32)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT nonsense",
        "SELECT 'a' AS unit, content AS k0, 'x' AS k1, 1 AS n, 0 AS nn0, 0 AS s0 FROM read_text('/etc/hostname')",
        "SELECT 'a' AS unit, 'x' AS k0, 'x' AS k1, 1 AS n, 0 AS nn0, 0 AS s0 FROM read_csv('/etc/passwd')",
        "COPY block TO '/tmp/escaped.csv'",
        "ATTACH '/tmp/escaped.db'",
        "INSTALL httpfs",
        "SET threads = 8",
        "SET enable_external_access = true",
        "SELECT error('loud')",
    ],
)
def test_sql_that_reaches_beyond_the_block_fails_its_block_even_if_planning_had_let_it_pass(blocks, sql):
    code, frames, err = run_runner(message(instruction_for(blocks[:1], sql=sql)))
    assert (code, frames) == (0, [(0, 1, b"")])
    assert err  # for the operator's sealed log


def test_the_connection_reads_its_own_block_only(blocks):
    other = f"SELECT person AS unit, 1 AS n FROM read_parquet('{blocks[1]}')"
    with pytest.raises(duckdb.Error):
        list(runner.rows_of(str(blocks[0]), other, 256 << 20))
    mine = f"SELECT person AS unit, 1 AS n FROM read_parquet('{blocks[0]}')"
    assert sum(batch.num_rows for batch in runner.rows_of(str(blocks[0]), mine, 256 << 20))


def test_python_variables_are_no_tables(blocks):
    secret = pa.table({"unit": ["a"], "n": [1]})
    assert secret.num_rows == 1
    with pytest.raises(duckdb.Error):
        list(runner.rows_of(str(blocks[0]), "SELECT * FROM secret", 256 << 20))


def test_a_block_that_computes_too_long_is_ended_and_the_next_one_runs(blocks):
    began = time.monotonic()
    slow = message(instruction_for(blocks[:2], sql=SLOW, cpu_seconds_per_block=1))
    code, frames, _ = run_runner(slow)
    assert (code, frames) == (0, [(0, 1, b""), (1, 1, b"")])
    assert time.monotonic() - began < 40


def test_a_block_that_takes_too_much_memory_fails_alone(blocks):
    hungry = "SELECT 'a' AS unit, 'x' AS k0, 'y' AS k1, count(*) AS n, 0 AS nn0, 0 AS s0 FROM (SELECT range, count(*) FROM range(20000000) GROUP BY 1)"
    limits = {"sql": hungry, "memory_bytes_per_block": 64 << 20}
    assert run_runner(message(instruction_for(blocks[:1], **limits)))[:2] == (0, [(0, 1, b"")])


def test_a_partial_longer_than_the_plan_allows_is_not_sent(blocks):
    whole = len(partial_of(PLAN, blocks[0], b"s" * 32))
    for allowed, expected in ((whole, 0), (whole - 1, 1)):
        _, frames, _ = run_runner(message(instruction_for(blocks[:1], max_partial_bytes=allowed)))
        assert frames[0][1] == expected
        assert len(frames[0][2]) == (whole if expected == 0 else 0)


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">I", 2**32 - 1),
        struct.pack(">I", 5) + b"notjs",
        struct.pack(">I", 2) + b"[]",
        message({"blocks": 5}),
        message({}),
    ],
)
def test_an_instruction_that_is_none_ends_it_without_a_frame(data):
    code, frames, _ = run_runner(data)
    assert code not in (0, None)
    assert frames == []


@pytest.mark.parametrize(
    "changes", [{"seed": "00"}, {"seed": "zz" * 32}, {"measures": [{"kind": "max", "column": 0}]}, {"max_groups": "x"}]
)
def test_an_instruction_that_is_wrong_inside_fails_its_blocks(blocks, changes):
    assert run_runner(message(instruction_for(blocks[:1], **changes)))[:2] == (0, [(0, 1, b"")])


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("how", ["stdin", "sigterm"])
def test_when_stdin_ends_or_it_is_told_to_stop_everything_ends_at_once(blocks, how):
    process = subprocess.Popen(
        [sys.executable, str(RUNNER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        process.stdin.write(message(instruction_for(blocks, sql=SLOW, cpu_seconds_per_block=60)))
        process.stdin.flush()
        deadline = time.monotonic() + 20
        while not (children := children_of(process.pid)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        if how == "stdin":
            process.stdin.close()
        else:
            process.send_signal(signal.SIGTERM)
        assert process.wait(5) in (3, 143)
        if how == "stdin":
            assert all(gone(child) for child in children)  # for SIGTERM the container's pid namespace ends them
        assert frames_of(process.stdout.read()) == [] if how == "stdin" else True
    finally:
        for child in children_of(process.pid) if process.poll() is None else children:
            if not gone(child):
                os.kill(child, signal.SIGKILL)
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            stream.close()


def test_stdin_that_ends_before_the_instruction_ends_it():
    process = subprocess.run([sys.executable, str(RUNNER)], input=b"\x00\x00", capture_output=True, check=False)
    assert (process.returncode, process.stdout, process.stderr) == (3, b"", b"")


def test_the_child_offers_itself_to_the_kernel_first_and_writes_nothing_to_stdout(blocks, monkeypatch):
    """What a block's own code prints cannot reach the frames: its stdout is /dev/null."""
    code = (
        f"import importlib.util, sys; spec = importlib.util.spec_from_file_location('r', {str(RUNNER)!r}); r = importlib.util.module_from_spec(spec);"
        "spec.loader.exec_module(r); r.bounded = lambda *a: (print('LEAK', flush=True), open('/proc/self/oom_score_adj').read().strip().encode())[1]; sys.exit(r.main())"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdin.write(message(instruction_for(blocks[:1])))
    process.stdin.flush()
    out = process.stdout.read()
    process.stdin.close()
    process.stdout.close()
    assert process.wait() == 0
    assert frames_of(out) == [(0, 0, b"1000")]


def test_the_runner_imports_nothing_of_the_server():
    text = RUNNER.read_text()
    imported = {line.split()[1].split(".")[0] for line in text.splitlines() if line.startswith(("import ", "from "))}
    assert imported - sys.stdlib_module_names - {"__future__"} == {"duckdb", "pyarrow"}


def test_a_container_whose_owner_never_comes_back_ends_itself(blocks):
    """Its stdin stays open, as it does when the engine is killed and the shim lives on."""
    endless = message(instruction_for(blocks, sql=SLOW, cpu_seconds_per_block=60, wall_seconds=2))
    process = subprocess.Popen(
        [sys.executable, str(RUNNER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    children = []
    try:
        process.stdin.write(endless)
        process.stdin.flush()
        deadline = time.monotonic() + 20
        while not (children := children_of(process.pid) or children) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert process.wait(30) == 4
    finally:
        for child in children:  # in a container they end with its pid namespace
            if not gone(child):
                os.kill(child, signal.SIGKILL)
        process.kill()
        for stream in (process.stdin, process.stdout):
            stream.close()
