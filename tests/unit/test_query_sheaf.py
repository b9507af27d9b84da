"""A process a sheaf: it answers a partial or nothing, within its limits, and dies with whoever asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from privacy.sql.instruction import pass_specification, row_stage
from tests.unit.query_blocks import MEMORY, QUERY, SEED, cells, partial_of, worlds_in
from tests.unit.sql_planned import planned
from tests.unit.test_query_kernel import aggregate, compiled

DRIVER = f"""
import json, os, sys
sys.path.insert(0, {str(QUERY)!r})
from pathlib import Path
import aggregate, sheaf
instruction = json.load(open(sys.argv[1]))
library = aggregate.load(Path(sys.argv[2]))
try:
    found = [sheaf.run(each, instruction, library, 0) for each in instruction["sheaves"]]
except sheaf.Gone:
    sys.exit(3)
json.dump([None if each is None else each.hex() for each in found], sys.stdout)
"""
SLOW = "SELECT CAST(0 AS INTEGER) AS u, sum(a.range * b.range) AS v0 FROM range(1000000000) a, range(1000) b"
HUNGRY = "SELECT CAST(0 AS INTEGER) AS u, count(*) AS v0 FROM (SELECT range, count(*) FROM range(20000000) GROUP BY 1)"


def started(tmp_path, library_path, instruction):
    path = tmp_path / "instruction.json"
    path.write_text(json.dumps(instruction))
    command = [sys.executable, "-I", "-c", DRIVER, str(path), str(library_path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def ran(tmp_path, library_path, instruction):
    with started(tmp_path, library_path, instruction) as process:
        out, err = process.stdout.read(), process.stderr.read()
        assert process.wait() == 0, err
    return [None if each is None else bytes.fromhex(each) for each in json.loads(out)], err


def told(plan, public, sheaves, **changes):
    return {
        "stage": row_stage(plan),
        "pass": pass_specification(plan, SEED),
        "public": public,
        "sheaves": [{"blocks": blocks} for blocks in sheaves],
        "memory_bytes": MEMORY,
        "cpu_seconds": 20,
        "max_partial_bytes": plan.shape.max_bytes,
    } | changes


PLAN = planned(
    "SELECT w.beds, COUNT(DISTINCT score), MEDIAN(cost) FROM visits JOIN wards w ON ward = w.name GROUP BY w.beds"
)


@pytest.fixture(scope="module")
def library_path(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("pass"), "-O1")


@pytest.fixture(scope="module")
def library(library_path):
    return aggregate.load(library_path)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    return worlds_in(tmp_path_factory.mktemp("blocks"))


def test_a_sheaf_that_fails_is_empty_and_the_others_are_whole(tmp_path, worlds, library, library_path):
    _, (public, private), _ = worlds[0]
    (tmp_path / "rubbish.parquet").write_bytes(b"PAR1 not really")
    rubbish = {**private[1], "clinic/visits": str(tmp_path / "rubbish.parquet")}
    sheaves = [private[:2], [private[0], rubbish], [], private[2:]]
    found, err = ran(tmp_path, library_path, told(PLAN, public, sheaves))
    expected = [
        partial_of(library, row_stage(PLAN), pass_specification(PLAN, SEED), (public, each))
        for each in (sheaves[0], sheaves[3])
    ]
    assert found[0] == expected[0]
    assert found[1] is None
    assert cells([found[2]], PLAN.shape) == ({},)
    assert found[3] == expected[1]
    assert b"rubbish" in err  # for the operator's sealed log


def test_a_sheaf_that_computes_too_long_is_ended(tmp_path, worlds, library_path):
    _, (public, private), _ = worlds[0]
    changes = {"stage": {**row_stage(PLAN), "sql": SLOW}, "cpu_seconds": 2}
    began = time.monotonic()
    assert ran(tmp_path, library_path, told(PLAN, public, [private], **changes))[0] == [None]
    assert time.monotonic() - began < 60


def test_a_sheaf_that_takes_too_much_memory_fails(tmp_path, worlds, library_path):
    _, (public, private), _ = worlds[0]
    changes = {"stage": {**row_stage(PLAN), "sql": HUNGRY}, "memory_bytes": 64 << 20}
    assert ran(tmp_path, library_path, told(PLAN, public, [private], **changes))[0] == [None]


def test_a_partial_longer_than_the_plan_allows_is_not_sent(tmp_path, worlds, library, library_path):
    _, (public, private), _ = worlds[0]
    whole = partial_of(library, row_stage(PLAN), pass_specification(PLAN, SEED), (public, private))
    for allowed, expected in ((len(whole), whole), (len(whole) - 1, None)):
        found, err = ran(tmp_path, library_path, told(PLAN, public, [private], max_partial_bytes=allowed))
        assert found == [expected]
        assert (b"longer than the plan allows" in err) == (expected is None)


def test_a_sheaf_ends_with_whoever_asked(tmp_path, worlds, library_path):
    _, (public, private), _ = worlds[0]
    changes = {"stage": {**row_stage(PLAN), "sql": SLOW}}
    with started(tmp_path, library_path, told(PLAN, public, [private], **changes)) as process:
        child = forked_of(process.pid)
        process.stdin.close()
        assert process.wait(timeout=30) == 3
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def forked_of(parent: int) -> int:
    """The process that a process has forked, once it has."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        if found:
            return int(found[0])
        time.sleep(0.05)
    raise AssertionError("it has not forked")
