"""What a block of a program costs beside its own work: copies of one process in a lane, against a container for each block.

Run by `just bench-programs`. Prints, from one run: the cost of a block in both tiers side by side; how long 1,000 blocks of a small
numpy program on flights-shaped rows take in two lanes, with every cap on, and how many of them came too late; and what the
process takes that blocks are copies of.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.split import ipc_bytes
from sandbox.collect import framed_instruction, read_frames
from sandbox.docker_runtime import DockerRuntime
from sandbox.spec import MIB, OWNER, ContainerSpec, ReadOnlyMount

ENGINE = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
IMAGES = Path(__file__).resolve().parent.parent / ".banyan" / "images.json"
FLIGHTS, BLOCKS, LANES = 336_776, 1000, 2
# Tighter than any plan, which leaves more for what else the machine does.
CPU_SECONDS, SLOT_SECONDS, CLEAR_SECONDS = 0.006, 0.029, 0.012
TRIVIAL = "import numpy as np\ndef analyse(tables, params):\n    return {'v': float(np.arange(1000.0).sum())}\n"
SMALL = (
    "import numpy as np\n"
    "def analyse(tables, params):\n"
    "    flights = tables['flights']\n"
    "    delay, distance = (flights[name].to_numpy() for name in ('dep_delay', 'distance'))\n"
    "    known = ~np.isnan(delay)\n"
    "    slope = np.linalg.lstsq(np.c_[np.ones(known.sum()), distance[known]], delay[known], rcond=None)[0]\n"
    "    return {'v': float(slope[1]), 'late': float((delay[known] > 15).mean())}\n"
)
# Runs the image's own runner and says on stderr what each block took: W from the order to start to when nothing of it is left,
# A for its tables and its program, R for the memory of the process that blocks are copies of.
TIMED = """
import os, sys, time
sys.path.insert(0, "/banyan")
import answer, runner
def timed(function, name):
    def whole(*arguments):
        begun = time.perf_counter()
        found = function(*arguments)
        os.write(2, f"\\n{name} {time.perf_counter() - begun:.6f}\\n".encode())
        return found
    return whole
answer.answered = timed(answer.answered, "A")
runner.Supervisor._run_block = timed(runner.Supervisor._run_block, "W")
def measured(self):
    for line in open(f"/proc/{max(self._spared)}/status"):
        if line.startswith("VmRSS"):
            os.write(2, f"\\nR {line.split()[1]}\\n".encode())
frame = runner.Supervisor._frame
def first_frame(self, *arguments):
    measured(self)
    runner.Supervisor._frame = frame
    frame(self, *arguments)
runner.Supervisor._frame = first_frame
sys.exit(runner.main())
"""


@dataclass(frozen=True)
class Ran:
    """`beside`: what each block that came in time took beside its own work; `failed`: blocks without a vector."""

    seconds: float
    failed: int
    own: list[float]
    beside: list[float]
    memory_kib: list[float]


def flights(rows: int, seed: int) -> pa.Table:
    """Rows with the columns and the gaps of nycflights13's, made up."""
    made = np.random.default_rng(seed)
    delay = made.normal(12, 40, rows).round()
    delay[made.random(rows) < 0.025] = np.nan
    return pa.table(
        {
            "tailnum": [f"N{number}" for number in made.integers(100, 999, rows)],
            "carrier": made.choice(["UA", "B6", "EV", "DL"], rows),
            "dep_delay": pa.array(delay, from_pandas=True).cast(pa.int64()),
            "distance": made.integers(80, 4983, rows),
        }
    )


@contextmanager
def staged(blocks: int) -> Iterator[Path]:
    """A folder with a folder a block, and TIMED beside them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "timed.py").write_text(TIMED)
        for index in range(blocks):
            (folder / str(index)).mkdir()
            (folder / str(index) / "flights.arrow").write_bytes(ipc_bytes(flights(FLIGHTS // BLOCKS, index)))
        yield folder


class Bench:
    """Runs programs in the image, in either tier."""

    def __init__(self) -> None:
        self._runtime = DockerRuntime(ENGINE)
        self._image = json.loads(IMAGES.read_text())["python"]["id"]

    def run(self, folder: Path, blocks: Iterable[int], core: str, *, timed: bool = True, **changes: Any) -> Ran:
        """One container with these blocks."""
        given: dict[str, Any] = {
            "kind": "program", "name": "bench.py", "code": TRIVIAL, "params": {}, "preload": ["numpy"],
            "outputs": [{"name": "v", "length": None}], "blocks": [{"index": i, "folder": f"/blocks/{i}"} for i in blocks],
            "isolation": "namespaces", "cpu_seconds_per_block": 0.05, "slot_seconds": 0.08, "clear_seconds": CLEAR_SECONDS,
            "memory_bytes_per_block": 256 * MIB, "wall_seconds": 120, "trace": False,
        } | changes  # fmt: skip
        spec = ContainerSpec(
            image=self._image,
            command=("python3", "-I", "/blocks/timed.py" if timed else "/banyan/runner.py"),
            labels={OWNER: "benchmark"},
            mounts=(ReadOnlyMount(str(folder), "/blocks"),),
            cpuset=core,
            memory_bytes=640 * MIB,
            wall_seconds=130,
            namespaces=given["isolation"] == "namespaces",
        )
        begun = time.perf_counter()
        outcome = self._runtime.run(spec, framed_instruction(json.dumps(given).encode()), lambda: False)
        seconds = time.perf_counter() - begun
        answered = read_frames(
            outcome.output, {int(block["index"]) for block in given["blocks"]}, 8 * len(given["outputs"])
        )
        words = [line.split() for line in outcome.sealed.decode(errors="replace").splitlines()]
        own, beside = [], []
        for letter, value in ((line[0], float(line[1])) for line in words if len(line) == 2 and line[0] in {"A", "W"}):
            if letter == "A":
                own.append(value)
            elif len(own) > len(
                beside
            ):  # the trial of the measures has a W without an A, and so has a block that was ended
                beside.append(value - own[-1])
        memory_kib = [float(line[1]) for line in words if line and line[0] == "R"]
        return Ran(seconds, len(given["blocks"]) - len(answered), own, beside, memory_kib)


def milliseconds(name: str, seconds: list[float]) -> float:
    """One line: median, 90th percentile, maximum; the median in milliseconds."""
    ms = sorted(1000 * each for each in seconds)
    median = statistics.median(ms)
    print(f"{name:<58} {median:8.1f} {ms[int(0.9 * len(ms))]:8.1f} {ms[-1]:8.1f}")
    return median


def cost_of_a_block(bench: Bench, folder: Path) -> None:
    """Both tiers, by turns, so that what else the machine does falls on both."""
    zygote: list[float] = []
    container: list[float] = []
    for turn in range(5):
        ran = bench.run(folder, range(40 * turn, 40 * turn + 40), "0")
        zygote += ran.beside
        for index in range(4):
            ran = bench.run(folder, [4 * turn + index], "0", isolation="none", slot_seconds=5.0)
            container.append(ran.seconds - ran.own[0])
    print(f"{'a block beside its own work, ms':<58} {'median':>8} {'p90':>8} {'max':>8}")
    first = milliseconds("copies of one process in a container (zygote), 200 blocks", zygote)
    second = milliseconds("a container for each block, 20 blocks", container)
    print(f"{'ratio of the medians':<58} {second / first:8.0f}")


def thousand_blocks(bench: Bench, folder: Path) -> None:
    """Two lanes side by side, as a job of 1,000 blocks has them."""
    outputs = [{"name": "v", "length": None}, {"name": "late", "length": None}]

    def lane(number: int) -> Ran:
        return bench.run(
            folder, range(number, BLOCKS, LANES), str(number), timed=False, code=SMALL, outputs=outputs,
            cpu_seconds_per_block=CPU_SECONDS, slot_seconds=SLOT_SECONDS,
        )  # fmt: skip

    begun = time.perf_counter()
    with ThreadPoolExecutor(LANES) as pool:
        lanes = list(pool.map(lane, range(LANES)))
    seconds, failed = time.perf_counter() - begun, sum(ran.failed for ran in lanes)
    print(
        f"{BLOCKS} blocks of {FLIGHTS // BLOCKS} flights in {LANES} lanes: {seconds:.1f} s, {failed} too late ({failed / BLOCKS:.1%})"
    )


def memory(bench: Bench, folder: Path) -> None:
    """Of the process that every block is a copy of."""
    for preload in (["numpy"], ["numpy", "pandas"]):
        code = TRIVIAL + f"# {' '.join(preload)}\n"
        ran = bench.run(folder, [0], "0", preload=preload, code=code)
        print(f"memory of the zygote with pyarrow, {' and '.join(preload)}: {ran.memory_kib[0] / 1024:.0f} MiB")


def main() -> None:
    """All of it, about a minute."""
    bench = Bench()
    with staged(BLOCKS) as folder:
        cost_of_a_block(bench, folder)
        thousand_blocks(bench, folder)
        memory(bench, folder)


if __name__ == "__main__":
    main()
