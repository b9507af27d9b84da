"""A reader of hostile bytes can be overwhelmed without harm: the answer is None, in time, whatever it does."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest

from sandbox.limited import ReaderLimits, validated

LIMITS = ReaderLimits(memory_bytes=128 << 20, cpu_seconds=1, output_bytes=1000, wall_seconds=2)
HEAD = "import sys\ndocument = sys.stdin.buffer.read()\n"


@pytest.fixture
def reader(tmp_path: Path):
    def write(body: str) -> Path:
        path = tmp_path / "reader.py"
        path.write_text(HEAD + body)
        return path

    return write


def test_what_is_accepted_comes_back(reader) -> None:
    path = reader("sys.stdout.buffer.write(sys.argv[1].encode() + document)")
    assert validated(path, ["seen:"], b"\0\xffx", LIMITS) == b"seen:\0\xffx"
    assert validated(path, [""], b"", LIMITS) == b""


@pytest.mark.parametrize(
    "body",
    [
        "sys.stdout.write('half'); sys.exit(1)",
        "raise ValueError(document)",
        "import os; os.kill(os.getpid(), 11)",
        "x = bytearray(1 << 30)",
        "while True: pass",
        "import time; time.sleep(60)",
        "sys.stdout.buffer.write(b'x' * 1001); sys.stdout.flush()",
        "def f(n): return f(n + 1) + 1\nf(0)",
        "(",
    ],
    ids=["refuses", "raises", "crashes", "memory", "spins", "sleeps", "output", "recursion", "syntax"],
)
def test_every_failure_looks_the_same(reader, body: str) -> None:
    started = time.monotonic()
    assert validated(reader(body), [], b"secret", LIMITS) is None
    assert time.monotonic() - started < 6


def test_a_reader_that_is_not_there_refuses(tmp_path: Path) -> None:
    assert validated(tmp_path / "none.py", [], b"", LIMITS) is None


def test_a_reader_has_nothing(reader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BANYAN_SECRET", "s")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    path = reader(
        "import os, resource, sys\n"
        "print(sorted(set(os.environ) - {'LC_CTYPE'}), os.getcwd(), any('site-packages' in p for p in sys.path),\n"
        "      resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_CORE), sys.path[0] == '')"
    )
    assert validated(path, [], b"", LIMITS) == b"[] / False (16, 16) (0, 0) False\n"


def test_a_reader_has_no_network(reader) -> None:
    path = reader("import socket\nprint([name for _, name in socket.if_nameindex()])")
    found = validated(path, [], b"", LIMITS)
    if found is None or b"eth" in found or b"ens" in found:
        pytest.skip("this system does not let us take the network away")
    assert found == b"['lo']\n"


def test_it_costs_less_than_forty_milliseconds(reader) -> None:
    path = reader("import struct; sys.stdout.buffer.write(document)")
    times = []
    for _ in range(9):
        started = time.perf_counter()
        assert validated(path, [], b"x" * 900, LIMITS)
        times.append(time.perf_counter() - started)
    assert min(times) < 0.040


def test_the_reader_of_partials_runs_in_it() -> None:
    """The reader that query jobs use needs nothing but the standard library, and takes any bytes."""
    partials = Path(__file__).resolve().parents[2] / "privacy" / "sql" / "partials.py"
    empty = b"BNYP\x01" + (0).to_bytes(4, "big") + (1).to_bytes(2, "big")
    good = struct.pack(">IBI", 3, 0, len(empty)) + empty
    bad = struct.pack(">IBI", 4, 0, 3) + b"xyz"
    assert validated(partials, ["/rows/10"], good + bad) == good
    assert validated(partials, ["/rows/10"], b"\xff" * 1000) == b""
