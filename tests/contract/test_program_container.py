"""The contract of a program's container: instruction in, one frame a block out, at planned times, with nothing between the blocks.

One container costs as much as a hundred blocks, so most programs here do what their block's rows say.
"""

from __future__ import annotations

import json
import re
import shutil
import struct
import time
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from sandbox.docker_runtime import DockerRuntime
from sandbox.runtime import End
from sandbox.spec import MIB, OWNER, ContainerSpec, ReadOnlyMount

pytestmark = pytest.mark.docker

RUNNER = Path(__file__).resolve().parents[2] / "runtime_images" / "python"
SCALAR = [{"name": "v", "length": None}]
MARKER = "value-of-a-protected-row"


@dataclass(frozen=True)
class Ran:
    """`frames`: block index -> (status, numbers), in the order of arrival."""

    end: End
    frames: dict[int, tuple[int, tuple[float, ...]]]
    sealed: str
    seconds: float

    @property
    def values(self) -> list[float | None]:
        """The one number of each block, None where it has none."""
        return [numbers[0] if status == 0 else None for status, numbers in self.frames.values()]


class Lane:
    """Runs programs in the image, one container at a time."""

    def __init__(self, docker_host: str, image: str, folder: Path) -> None:
        self._runtime, self._image, self._folder = DockerRuntime(docker_host), image, folder

    def run(
        self, code, rows, *, outputs=SCALAR, runner=None, namespaces=None, cancelled=lambda: False, **changes
    ) -> Ran:
        """One block for each of `rows`, a dict of columns for its table `t`."""
        instruction = {
            "kind": "program", "name": "model.py", "code": code, "params": {}, "preload": [], "outputs": outputs,
            "blocks": [{"index": 10 + number, "folder": f"/blocks/{number}"} for number in range(len(rows))],
            "isolation": "namespaces", "cpu_seconds_per_block": 0.2, "slot_seconds": 0.4, "clear_seconds": 0.1, "memory_bytes_per_block": 128 * MIB,
            "wall_seconds": 60, "trace": False,
        } | changes  # fmt: skip
        shutil.rmtree(self._folder / "blocks", ignore_errors=True)
        for number, columns in enumerate(rows):
            self._write(self._folder / "blocks" / str(number), columns)
        mounts = [ReadOnlyMount(str(self._folder / "blocks"), "/blocks")]
        if runner is not None:
            mounts.append(ReadOnlyMount(str(runner), "/runner"))
        spec = ContainerSpec(
            image=self._image,
            command=("python3", "-I", "/banyan/runner.py" if runner is None else "/runner/runner.py"),
            labels={OWNER: "test-program-container"},
            mounts=tuple(mounts),
            memory_bytes=512 * MIB,
            wall_seconds=90,
            namespaces=instruction["isolation"] == "namespaces" if namespaces is None else namespaces,
        )
        data = json.dumps(instruction).encode()
        started = time.monotonic()
        outcome = self._runtime.run(spec, struct.pack(">I", len(data)) + data, cancelled)
        return Ran(outcome.end, frames_of(outcome.output), outcome.sealed.decode(), time.monotonic() - started)

    @staticmethod
    def _write(folder: Path, columns) -> None:
        folder.mkdir(parents=True)
        table = columns if isinstance(columns, pa.Table) else pa.table(columns)
        with pa.OSFile(str(folder / "t.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)


def frames_of(output: bytes) -> dict[int, tuple[int, tuple[float, ...]]]:
    found = {}
    while output:
        index, status, size = struct.unpack(">IBI", output[:9])
        assert index not in found
        found[index] = (status, struct.unpack(f">{size // 8}d", output[9 : 9 + size]))
        output = output[9 + size :]
    return found


@pytest.fixture
def lane(docker_host, python_image, tmp_path) -> Lane:
    tmp_path.chmod(0o755)
    return Lane(docker_host, python_image, tmp_path)


def doing(programs: dict[str, str]) -> str:
    """A program that does what its block's first row names."""
    functions = "".join(
        f"def {name}(x):\n" + "".join(f"    {line}\n" for line in body.split("\n")) for name, body in programs.items()
    )
    return (
        "import ctypes, os, socket, sys, threading, time\n"
        f"{functions}"
        "def analyse(tables, params):\n"
        "    row = tables['t'].slice(0, 1).to_pylist()[0]\n"
        "    return {'v': globals()[row['do']](row.get('x'))}\n"
    )


def rows_for(names, value=1.0) -> list[dict]:
    return [{"do": [name], "x": [value]} for name in names]


# --- What a block answers. ---------------------------------------------------------------------------------------------


def test_each_block_gives_its_vector_in_one_frame_in_order(lane):
    code = "def analyse(tables, params):\n    x = tables['t']['x'].to_numpy()\n    return {'pair': [x.sum(), len(x)], 'top': x.max()}\n"
    outputs = [{"name": "top", "length": None}, {"name": "pair", "length": 2}]
    ran = lane.run(code, [{"x": [1, 2, 3]}, {"x": [5]}, {"x": [7, 8]}], outputs=outputs)
    assert ran.end is End.COMPLETED
    assert list(ran.frames.items()) == [
        (10, (0, (3.0, 6.0, 3.0))),
        (11, (0, (5.0, 5.0, 1.0))),
        (12, (0, (8.0, 15.0, 2.0))),
    ]
    assert ran.sealed == ""


FAILURES = {
    "raises": "raise ValueError(x)",
    "exits": "sys.exit(0)",
    "exits_hard": "os._exit(0)",
    "crashes": "ctypes.string_at(0)",
    "aborts": "os.abort()",
    "returns_nothing": "return None",
    "returns_text": "return 'x'",
    "spins": "while True: pass",
    "spins_in_threads": "for _ in range(4): threading.Thread(target=lambda: spins(0)).start()\nspins(0)",
    "sleeps": "time.sleep(100)",
    "holds_on": "sys.stdout = open(os.devnull)\nos.closerange(0, 100)\ntime.sleep(100)",
    "eats_memory": "return len(bytearray(256 << 20))",
    "answers_too_early": "os.write(3, b'x' * 8)\nreturn 1.0",
    "answers_too_much": "os.write(3, b'x' * 9)\nos._exit(0)",
    "answers_too_little": "os.write(3, b'x' * 7)\nos._exit(0)",
    "answers_without_end": "while True: os.write(3, b'x' * 65536)",
    "answers_and_spins": "os.write(3, b'x' * 8)\nwhile True: pass",
    "forks": "os.fork()",
    "deepens": "sys.setrecursionlimit(10**9)\nreturn deepens(x)",
}


def test_a_block_that_fails_in_whatever_way_has_no_bytes_and_the_others_are_as_always(lane):
    names = [name for failure in FAILURES for name in (failure, "does_well")]
    ran = lane.run(
        doing(FAILURES | {"does_well": "return x"}), rows_for(names, 4.0), cpu_seconds_per_block=0.1, slot_seconds=0.35
    )
    assert ran.end is End.COMPLETED
    assert dict(zip(names[::2], ran.values[::2], strict=True)) == dict.fromkeys(FAILURES)
    assert ran.values[1::2] == [4.0] * len(FAILURES)
    assert all(numbers == () for status, numbers in ran.frames.values() if status)


def test_a_program_that_cannot_be_compiled_fails_in_every_block(lane):
    ran = lane.run("def analyse(tables, params)\n    pass\n", [{"x": [1]}] * 2)
    assert ran.values == [None, None]
    assert ran.sealed.count("SyntaxError: expected ':'") == 2


def test_a_block_in_a_container_of_its_own_does_the_same_work(lane):
    assert lane.run(doing({"well": "return x"}), rows_for(["well"], 3.0), isolation="none").values == [3.0]
    ran = lane.run(doing({"badly": "print('said', x)\nos.fork()"}), rows_for(["badly"], 3.0), isolation="none")
    assert ran.values == [None]
    assert "said 3.0" in ran.sealed
    assert "PermissionError" in ran.sealed


# --- Time. -------------------------------------------------------------------------------------------------------------


def test_blocks_start_at_their_slots_whatever_the_one_before_did(lane):
    """Spinning up to the cap, sleeping up to the slot and ending at once leave the same starts behind."""
    programs = {
        "starts": "return time.monotonic()",
        "spins": "while True: pass",
        "sleeps": "time.sleep(9)",
        "ends": "return 0",
    }
    names = ["starts", "spins", "starts", "sleeps", "starts", "ends", "starts"]
    ran = lane.run(doing(programs), rows_for(names))
    starts = [value for name, value in zip(names, ran.values, strict=True) if name == "starts"]
    assert len(starts) == 4
    for number, start in enumerate(starts):
        # Jitter of some milliseconds is the machine's; a block that was not waited for would show by tenths of a second.
        assert start - starts[0] == pytest.approx(0.8 * number, abs=0.06)


def test_a_block_is_ended_at_its_share_of_processor_time_and_not_by_the_clock(lane):
    programs = {
        "sleeps": "time.sleep(0.6)\nreturn time.process_time()",
        "works": "while time.process_time() < 0.2: pass\nreturn 1",
        "spins": "os.write(3, b'x' * 7)\nwhile True: print(time.thread_time(), flush=True)",
    }
    ran = lane.run(doing(programs), rows_for(programs), cpu_seconds_per_block=0.3, slot_seconds=0.9)
    assert ran.values[0] < 0.2
    assert ran.values[1:] == [1.0, None]


def test_the_container_ends_with_its_server_and_at_its_wall_time(lane):
    begun = time.monotonic()
    ran = lane.run(doing({"sleeps": "time.sleep(60)"}), rows_for(["sleeps"]), slot_seconds=50, wall_seconds=1)
    assert (ran.end, ran.frames) == (End.FAILED, {})
    assert time.monotonic() - begun < 5
    deadline = time.monotonic() + 1
    ran = lane.run(
        doing({"sleeps": "time.sleep(60)"}),
        rows_for(["sleeps"]),
        slot_seconds=50,
        cancelled=lambda: time.monotonic() > deadline,
    )
    assert ran.end is End.CANCELLED
    assert time.monotonic() - deadline < 3


# --- What a block says. ------------------------------------------------------------------------------------------------


def test_what_a_block_says_is_in_the_sealed_log_and_nowhere_else(lane):
    programs = {"tells": "print(x)\nos.write(2, x.encode())\nraise ValueError(x)"}
    ran = lane.run(doing(programs), rows_for(["tells"], MARKER))
    assert ran.values == [None]
    assert ran.sealed.startswith("--- block 10\n")
    assert ran.sealed.count(MARKER) == 3
    assert ran.sealed.endswith(f"ValueError: {MARKER}\n")


@pytest.mark.parametrize(("trace", "most"), [(False, 4096), (True, 16_384)])
def test_no_block_crowds_out_what_another_one_says(lane, trace, most):
    programs = {"floods": "for _ in range(3000): print('x' * 1000)\nreturn 1", "speaks": "print('a word')\nreturn 1"}
    ran = lane.run(doing(programs), rows_for(["floods", "speaks"]), trace=trace)
    assert ran.values == [1.0, 1.0]
    first, second = ran.sealed.split("--- block 11\n")
    assert len(first) == len("--- block 10\n") + most
    said, _, took = second.partition("--- block 11 took ")
    assert said == "a word\n"
    assert bool(took) == trace


def test_what_a_block_took_is_told_of_made_up_rows_only_also_where_it_was_ended(lane):
    programs = {"quick": "return 1", "asleep": "time.sleep(60)", "busy": "while True: pass"}
    rows = rows_for(["quick", "busy", "asleep"])
    told = lane.run(doing(programs), rows, trace=True, slot_seconds=3.0, clear_seconds=1.0).sealed
    found = {int(block): float(seconds) for block, seconds in re.findall(r"--- block (\d+) took ([0-9.]+) s", told)}
    assert set(found) == {10, 11, 12}
    assert max(found[10], found[12]) < 0.1 < 0.19 < found[11]
    assert "took" not in lane.run(doing(programs), rows).sealed


# --- What a block sees. ------------------------------------------------------------------------------------------------

SEEN = """
import os, sys, resource, time
def analyse(tables, params):
    def lost(action):
        try: action()
        except OSError: return True
    def descriptors():
        return [n for n in range(1024) if not lost(lambda: os.fstat(n))]
    open('/tmp/left', 'w').write('x')
    print(repr(dict(
        root=sorted(os.listdir('/')), dev=sorted(os.listdir('/dev')), tmp=os.listdir('/tmp'),
        ids=(os.getpid(), os.getppid(), os.getresuid(), os.getresgid()), cwd=os.getcwd(), descriptors=descriptors(),
        written=[p for p in ('/x', '/dev/x', '/usr/x') if not lost(lambda: open(p, 'ab'))],
        touched=[p for p in ('/dev/null', '/usr') if not lost(lambda: os.utime(p))],
        path=[p for p in sys.path if 'banyan' in p], node=os.uname().nodename, cores=len(os.sched_getaffinity(0)) > 0,
        core=resource.getrlimit(resource.RLIMIT_CORE), files=resource.getrlimit(resource.RLIMIT_NOFILE),
        stdin=os.read(0, 1), tables=list(tables))))
    return {'v': 1}
"""


def test_a_block_sees_its_tables_the_libraries_and_nothing_else(lane):
    ran = lane.run(SEEN, [{"x": [1]}] * 2)
    assert ran.values == [1.0, 1.0], ran.sealed
    seen = [eval(part) for part in ran.sealed.split("\n") if part.startswith("{")]
    nobody = (65534, 65534, 65534)
    assert (
        seen
        == [
            {
                "root": ["banyan", "dev", "tmp", "usr"],
                "dev": ["null", "urandom", "zero"],
                "tmp": ["left"],
                "ids": (1, 0, nobody, nobody),
                "cwd": "/tmp",
                "descriptors": [0, 1, 2, 3],
                "written": [],
                "touched": [],
                "path": ["/banyan/lib"],
                "node": "sandbox",
                "cores": True,
                "core": (0, 0),
                "files": (128, 128),
                "stdin": b"",
                "tables": ["t"],
            }
        ]
        * 2
    )


def test_without_its_own_root_a_block_sees_every_other(lane, tmp_path):
    """The way in which tests/attacks shows that it is this measure that a hostile program fails at."""
    weakened = tmp_path / "weakened"
    shutil.copytree(RUNNER, weakened, ignore=shutil.ignore_patterns("*.lock", "*.in", "__pycache__"))
    with (weakened / "measures.py").open("a") as file:
        file.write("\nMEASURES = tuple(row for row in MEASURES if row.name != 'own_root')\n")
    code = "import os\ndef analyse(tables, params):\n    return {'v': len(os.listdir('/blocks'))}\n"
    assert lane.run(code, [{"x": [1]}] * 3).values == [None] * 3
    assert lane.run(code, [{"x": [1]}] * 3, runner=weakened).values == [3.0] * 3


# --- Where it cannot be done. ------------------------------------------------------------------------------------------


def test_a_machine_without_namespaces_is_told_before_any_block(lane):
    ran = lane.run("def analyse(tables, params):\n    return {'v': 1}\n", [{"x": [1]}], namespaces=False)
    assert (ran.end, ran.frames) == (End.FAILED, {})
    assert ran.sealed == "no namespaces here: [Errno 1] unshare 0x30000000: Operation not permitted\n"


def test_a_measure_that_cannot_be_taken_ends_it_before_any_block(lane, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(RUNNER, broken, ignore=shutil.ignore_patterns("*.lock", "*.in", "__pycache__"))
    with (broken / "root.py").open("a") as file:
        file.write("\nDEVICES = ('null', 'no-such-device')\n")
    for isolation in ("namespaces", "none"):
        ran = lane.run("def analyse(t, p):\n    return {'v': 1}\n", [{"x": [1]}], runner=broken, isolation=isolation)
        assert ran.values == ([] if isolation == "namespaces" else [1.0])
        assert ("no-such-device" in ran.sealed) == (isolation == "namespaces")


@pytest.mark.parametrize(
    "changes",
    [{"kind": "query"}, {"isolation": "some"}, {"isolation": "none"}, {"slot_seconds": "soon"}, {"outputs": 3}],
)
def test_an_instruction_that_it_does_not_understand_ends_it(lane, changes):
    ran = lane.run("def analyse(t, p):\n    return {'v': 1}\n", [{"x": [1]}] * 2, **changes)
    assert (ran.end, ran.frames) == (End.FAILED, {})


# --- What it is good for. ----------------------------------------------------------------------------------------------


def test_pandas_is_there_for_programs_that_name_it_and_costs_no_other(lane):
    """Arrow imports it at a block's first conversion where it can: 0.2 s, four times what this block may take."""
    code = (
        "import sys\n"
        "def analyse(tables, params):\n"
        "    tables['t']['x'].to_numpy()\n"
        "    return {'v': 'pan' + 'das' in sys.modules and 1.0 or 0.0}\n"
    )
    times = {"cpu_seconds_per_block": 0.05, "slot_seconds": 0.2}
    assert lane.run(code, [{"x": [1, None]}], **times).values == [0.0]
    assert lane.run(code + "# pandas\n", [{"x": [1, None]}], **times).values == [1.0]
    assert lane.run(code + "# .df()\n", [{"x": [1, None]}], **times).values == [1.0]


LIBRARIES = {
    "numpy": "import numpy as np\nreturn float(np.linalg.det(np.eye(40)))",
    "pandas": (
        "from banyan.frames import to_pandas\nframe = to_pandas(t)\n"
        "assert [str(d) for d in frame.dtypes] == ['float64', 'float64', 'int64', 'object', 'bool', 'datetime64[ms]',"
        " 'datetime64[us, UTC]', 'object', 'float64'], frame.dtypes\n"
        "return frame.groupby('g').x.mean().shape[0] + frame.i.isna().sum()"
    ),
    "polars": (
        "import polars as pl\nfrom banyan.frames import to_polars\nframe = to_polars(t)\n"
        "assert frame.schema['d'] == pl.Float64 and frame.schema['i'] == pl.Int64\n"
        "return frame.lazy().group_by('g').agg(pl.col('x').mean()).collect().height + frame['i'].null_count()"
    ),
    "pyarrow": "import pyarrow.compute as pc\nreturn pc.count_distinct(t['g']).as_py()",
    "duckdb": "import duckdb\nreturn duckdb.sql('SELECT count(DISTINCT g) FROM t').fetchall()[0][0]",
    "sklearn": (
        "import numpy as np\nfrom sklearn.ensemble import RandomForestClassifier\nx = t['x'].to_numpy()[:, None]\n"
        "return RandomForestClassifier(3, n_jobs=2, random_state=1).fit(x, x[:, 0] > 30).score(x, x[:, 0] > 30)"
    ),
    "scipy": "import scipy.stats\nreturn float(scipy.stats.norm.cdf(0.0))",
    "statsmodels": (
        "import numpy as np\nimport statsmodels.api as sm\nx = t['x'].to_numpy()\n"
        "return round(sm.OLS(2 * x + 1, sm.add_constant(x)).fit().params[1], 6)"
    ),
    "lifelines": "from lifelines import KaplanMeierFitter\nreturn float(KaplanMeierFitter().fit(t['x'].to_numpy() + 1).median_survival_time_)",
    "standard_library": (
        "import csv, json, platform, shutil, sqlite3, tempfile\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "folder = tempfile.mkdtemp()\nopen(folder + '/a', 'w').write('x')\nshutil.copy2(folder + '/a', folder + '/b')\n"
        "shutil.copytree(folder, folder + '2')\nsqlite3.connect(folder + '/q').execute('CREATE TABLE a (x)')\nplatform.platform()\n"
        "with ThreadPoolExecutor(2) as pool: return sum(pool.map(int, '123'))"
    ),
}
ANSWERS = [1.0, 6.0, 6.0, 3.0, 3.0, 1.0, 0.5, 2.0, 31.0, 6.0]


@pytest.mark.slow
def test_the_scientific_stack_works_inside(lane):
    rows = 60
    schema = pa.schema(
        [
            pa.field("d", pa.decimal128(18, 2), nullable=False),
            pa.field("i", pa.int64()),
            pa.field("n", pa.int64(), nullable=False),
            pa.field("g", pa.string()),
            pa.field("b", pa.bool_(), nullable=False),
            pa.field("day", pa.date32()),
            pa.field("at", pa.timestamp("us", "UTC")),
            pa.field("do", pa.string()),
            pa.field("x", pa.float64(), nullable=False),
        ]
    )
    columns = {
        "d": [Decimal(1)] * rows, "i": [None, None, None, *range(rows - 3)], "n": range(rows), "g": list("abc") * 20,
        "b": [True] * rows, "day": [1] * rows, "at": [1] * rows, "x": [float(i) for i in range(rows)],
    }  # fmt: skip
    tables = [
        pa.table([pa.array(columns.get(f.name, [name] * rows), f.type) for f in schema], schema=schema)
        for name in LIBRARIES
    ]
    code = "".join(
        f"def with_{name}(t):\n" + "".join(f"    {line}\n" for line in body.split("\n"))
        for name, body in LIBRARIES.items()
    )
    code += "def analyse(tables, params):\n    t = tables['t']\n    return {'v': globals()['with_' + t['do'][0].as_py()](t)}\n"
    preload = ["pandas", "polars", "duckdb", "sklearn.ensemble", "scipy.stats", "statsmodels.api", "lifelines"]
    ran = lane.run(code, tables, preload=preload, cpu_seconds_per_block=1.0, slot_seconds=1.3)
    assert dict(zip(LIBRARIES, ran.values, strict=True)) == dict(zip(LIBRARIES, ANSWERS, strict=True)), ran.sealed


SLOW_ONCE = """

_ends, _end = [], end_all_but


def end_all_but(spared):
    _end(spared)
    _ends.append(1)
    if len(_ends) == 2:  # the first is that of the trial of the measures
        time.sleep(0.5)
"""


def test_a_block_that_would_begin_late_is_not_run_and_the_one_after_begins_on_time(lane, tmp_path):
    """It would know from the clock what the one before did, and could be late in turn (R11)."""
    slow = tmp_path / "slow"
    shutil.copytree(RUNNER, slow, ignore=shutil.ignore_patterns("*.lock", "*.in", "__pycache__"))
    with (slow / "attendance.py").open("a") as file:
        file.write(SLOW_ONCE)
    programs = {"starts": "return time.monotonic()"}
    ran = lane.run(doing(programs), rows_for(["starts"] * 4), runner=slow)
    first, second, third, fourth = ran.values
    assert (second, ran.end) == (None, End.FAILED)
    assert "block 11 was not run: what was before it was not gone in time" in ran.sealed
    assert third - first == pytest.approx(0.8, abs=0.06)
    assert fourth - third == pytest.approx(0.4, abs=0.06)
