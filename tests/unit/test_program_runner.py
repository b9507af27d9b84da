"""What a block of a program answers, and which kernel calls it may make: the parts of the runner that need no container."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import struct
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest

from sandbox.escape_attempts import FORBIDDEN_CALLS

FOLDER = Path(__file__).resolve().parents[2] / "runtime_images" / "python"


def module(name: str) -> ModuleType:
    """A module of the runner under a name of its own, so that no test can import it by accident."""
    described = importlib.util.spec_from_file_location(f"program_runner_{name}", FOLDER / f"{name}.py")
    found = importlib.util.module_from_spec(described)
    described.loader.exec_module(found)
    return found


answer, kernel, kernel_calls, pipes = map(module, ("answer", "kernel", "kernel_calls", "block_pipes"))
OUTPUTS = [{"name": "coef", "length": 2}, {"name": "auc", "length": None}]


def table_file(folder: Path, name: str, **columns) -> None:
    table = pa.table(columns)
    with pa.OSFile(str(folder / f"{name}.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def mapped(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.stem: kernel.mapped(str(path)) for path in folder.glob("*.arrow")}


def answered(tmp_path: Path, code: str, params: dict | None = None, outputs: list[dict] = OUTPUTS) -> tuple[float, ...]:
    data = answer.answered("model.py", code, params or {}, outputs, mapped(tmp_path))
    return struct.unpack(f">{len(data) // 8}d", data)


def test_the_vector_has_the_declared_order_whatever_the_program_returns_first(tmp_path):
    table_file(tmp_path, "people", age=[30, 50])
    table_file(tmp_path, "firms", size=[7])
    code = (
        "def analyse(tables, params):\n"
        "    ages = tables['people']['age'].to_pylist()\n"
        "    return {'auc': params['k'] * sum(ages), 'coef': [len(tables), tables['firms'].num_rows]}\n"
    )
    assert answered(tmp_path, code, {"k": 0.5}) == (2.0, 1.0, 40.0)


@pytest.mark.parametrize(
    "value", [1, 1.5, np.float64(2), np.float32(2), np.int64(3), np.uint8(4), 10**300, float("inf")]
)
def test_real_numbers_of_any_kind_are_numbers(value):
    assert answer.numbers_of({"auc": value}, OUTPUTS[1:]) == [float(value)]


@pytest.mark.parametrize("value", [[1, 2], (1, 2), np.array([1, 2]), np.array([1.0, 2.0], dtype=np.float32)])
def test_vectors_of_any_kind_are_vectors(value):
    assert answer.numbers_of({"coef": value}, OUTPUTS[:1]) == [1.0, 2.0]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (None, "must return a dict of its outputs, not NoneType"),
        ([1, 2, 3], "must return a dict of its outputs, not list"),
        ({}, "exactly coef, auc; it returned nothing"),
        ({"coef": [1, 2]}, "exactly coef, auc; it returned coef"),
        ({"coef": [1, 2], "auc": 1, "more": 2}, "it returned coef, auc, more"),
        ({"coef": [1], "auc": 1}, "coef must have 2 numbers, not 1"),
        ({"coef": [1, 2, 3], "auc": 1}, "coef must have 2 numbers, not 3"),
        ({"coef": 1.0, "auc": 1}, "coef must be a list, a tuple or a one-dimensional numpy array, not float"),
        ({"coef": np.ones((2, 1)), "auc": 1}, "coef must be a list, a tuple or a one-dimensional numpy array"),
        ({"coef": "ab", "auc": 1}, "coef must be a list"),
        ({"coef": {1: 2}, "auc": 1}, "coef must be a list"),
        ({"coef": [1, "2"], "auc": 1}, r"coef\[1\] must be a number, not str"),
        ({"coef": [1, None], "auc": 1}, r"coef\[1\] must be a number, not NoneType"),
        ({"coef": [1, 2], "auc": True}, "auc must be a number, not bool"),
        ({"coef": [np.True_, 2], "auc": 1}, r"coef\[0\] must be a number, not bool"),
        ({"coef": [1, 2], "auc": [1]}, "auc must be a number, not list"),
        ({"coef": [1, 2], "auc": np.array([1.0])}, "auc must be a number, not ndarray"),
        ({"coef": [1, 2], "auc": 1j}, "auc must be a number, not complex"),
        ({"coef": [1, 2], "auc": np.complex128(1)}, "auc must be a number, not complex128"),
        ({"coef": [1, 2], "auc": Decimal(1)}, "auc must be a number, not Decimal"),
        ({"coef": [1, 2], "auc": np.datetime64(1, "s")}, "auc must be a number, not datetime64"),
    ],
)
def test_anything_else_is_refused_with_what_it_was(found, text):
    with pytest.raises((TypeError, ValueError), match=text):
        answer.numbers_of(found, OUTPUTS)


def test_a_number_too_large_for_a_double_is_refused():
    with pytest.raises(OverflowError):
        answer.numbers_of({"auc": 10**400}, OUTPUTS[1:])


def test_a_program_runs_in_a_module_of_its_own_each_time(tmp_path):
    table_file(tmp_path, "t", x=[1])
    code = (
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "count = globals().get('count', 0) + 1\n"
        "@dataclass\n"
        "class Pair:\n"
        "    left: float\n"
        "def analyse(tables, params):\n"
        "    return {'coef': [count, Pair(2.0).left], 'auc': __name__ == 'program' and 'answered' not in globals() and 1.0}\n"
    )
    assert [answered(tmp_path, code) for _ in range(2)] == [(1.0, 2.0, 1.0)] * 2


@pytest.mark.parametrize("code", ["", "analyse = 3", "def analyze(tables, params): pass"])
def test_a_program_without_the_function_is_refused(code):
    with pytest.raises(TypeError, match="no function analyse"):
        answer.loaded("model.py", code)


def explained(capsys, code: str) -> str:
    try:
        answer.loaded("model.py", code)({}, {})
    except BaseException as problem:  # noqa: BLE001 - what a program raises
        answer.explain(problem, "model.py")
    return capsys.readouterr().err


def test_a_traceback_begins_in_the_researchers_file_and_shows_its_lines(capsys):
    code = "def analyse(tables, params):\n    return helper()\n\ndef helper():\n    raise KeyError('age')  # here\n"
    assert explained(capsys, code) == (
        "Traceback (most recent call last):\n"
        '  File "model.py", line 2, in analyse\n'
        "    return helper()\n"
        "           ^^^^^^^^\n"
        '  File "model.py", line 5, in helper\n'
        "    raise KeyError('age')  # here\n"
        "    ^^^^^^^^^^^^^^^^^^^^^\n"
        "KeyError: 'age'\n"
    )


def test_an_error_of_syntax_shows_its_place(capsys):
    text = explained(capsys, "x = 1\ndef analyse(tables, params)\n    return {}\n")
    assert text.startswith('  File "model.py", line 2\n    def analyse(tables, params)\n')
    assert text.endswith("SyntaxError: expected ':'\n")


# --- The filter of kernel calls, run by an interpreter of classic BPF. -------------------------------------------------

X86_64 = 0xC000003E
ALLOW, ERRNO = 0x7FFF0000, 0x00050000


def verdict(number: int, *arguments: int, arch: int = X86_64, program: bytes | None = None) -> int:
    """What the kernel would answer: -1 for "let through", else the error number."""
    data = struct.pack("<IIQ6Q", number, arch, 0, *[*arguments, 0, 0, 0, 0, 0, 0][:6])
    program = program or kernel_calls.filter_program()
    at, value = 0, 0
    while True:
        code, if_true, if_false, operand = struct.unpack_from("<HBBI", program, 8 * at)
        at += 1
        if code == 0x20:
            (value,) = struct.unpack_from("<I", data, operand)
        elif code == 0x54:
            value &= operand
        elif code == 0x15:
            at += if_true if value == operand else if_false
        elif code == 0x35:
            at += if_true if value >= operand else if_false
        elif code == 0x06:
            return -1 if operand == ALLOW else operand - ERRNO
        else:
            raise AssertionError(hex(code))


NUMBERS = {name: number for numbers in kernel_calls.ALLOWED.values() for name, number in numbers.items()}


def test_every_call_that_is_named_is_let_through_and_no_number_twice():
    assert len(set(NUMBERS.values())) == len(NUMBERS)
    assert {name: verdict(number) for name, number in NUMBERS.items()} == dict.fromkeys(NUMBERS, -1)


def test_every_number_is_the_one_of_its_name():
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("the kernel's own list of numbers is not on this machine")
    known = dict(line.split()[1:3] for line in header.read_text().splitlines() if line.startswith("#define __NR_"))
    named = NUMBERS | {
        name: found[0] for table in (kernel_calls.ALLOWED_VALUES, kernel_calls.ANSWERS) for name, found in table.items()
    }
    assert {name: str(number) for name, number in named.items()} == {name: known[f"__NR_{name}"] for name in named}


# Beside what every container is denied: processes, and what the next block could notice.
LEFT_OUT = {
    "pipe": 22, "mincore": 27, "shmctl": 31, "alarm": 37, "setitimer": 38, "socket": 41, "connect": 42, "socketpair": 53, "fork": 57,
    "vfork": 58, "execve": 59, "wait4": 61, "kill": 62, "flock": 73, "symlink": 88, "getrusage": 98, "sysinfo": 99, "statfs": 137, "fstatfs": 138, "setpriority": 141,
    "prctl(seccomp)": 157, "chroot": 161, "readahead": 187, "setxattr": 188, "tkill": 200, "sched_setaffinity": 203, "fadvise64": 221,
    "timer_create": 222, "inotify_init": 253, "splice": 275, "tee": 276, "vmsplice": 278, "signalfd": 282, "timerfd_create": 283,
    "pipe2": 293, "inotify_init1": 294, "perf_event_open": 298, "setns": 308, "seccomp": 317, "execveat": 322, "preadv2": 327,
    "pwritev2": 328, "pkey_alloc": 330, "landlock_create_ruleset": 444, "cachestat": 451,
}  # fmt: skip


@pytest.mark.parametrize(("name", "number"), [*FORBIDDEN_CALLS.items(), *LEFT_OUT.items()])
def test_no_call_is_let_through_that_an_attack_wants(name, number):
    expected = 38 if name == "clone3" else 1
    assert verdict(number, 22) == expected


@pytest.mark.parametrize("number", [0, 1, 12, 59, 231])
def test_other_call_tables_are_shut(number):
    assert verdict(number, arch=0x40000003) == 1  # i386, where 11 is execve
    assert verdict(number | 0x40000000) == 1  # x32


NAMESPACES = [0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000]


def test_threads_can_be_started_and_processes_cannot():
    thread = 0x3D0F00  # as the C library starts one
    assert verdict(56, thread) == -1
    assert verdict(56, 0x1200011) == 1  # as it forks
    assert verdict(56, 0x4111) == 1  # as it spawns
    for flag in NAMESPACES:
        assert verdict(56, thread | flag) == 1


def test_a_call_is_let_through_for_some_arguments_only():
    assert verdict(72, 0, 1030) == -1  # fcntl F_DUPFD_CLOEXEC
    for command in (
        8,
        10,
        1024,
        1026,
        1031,
        1033,
    ):  # F_SETOWN, F_SETSIG, F_SETLEASE, F_NOTIFY, F_SETPIPE_SZ, F_ADD_SEALS
        assert verdict(72, 0, command) == 1
    assert verdict(16, 1, 0x5401) == -1  # ioctl TCGETS
    for request in (0x5412, 0x8912, 0x40086602, 0x125D):  # TIOCSTI, SIOCGIFCONF, FS_IOC_SETFLAGS, BLKDISCARD
        assert verdict(16, 1, request) == 1
    assert verdict(157, 15) == -1  # prctl PR_SET_NAME
    for option in (1, 3, 4, 8, 22, 24, 38, 47):
        assert verdict(157, option) == 1
    assert (verdict(302, 0, 7), verdict(302, 1, 7)) == (-1, 1)  # prlimit64 of itself, of another


def test_the_kernel_takes_the_filter_and_the_interpreter_still_runs():
    """In a process of its own: the filter is for good."""
    program = (
        f"import sys; sys.path.insert(0, {str(FOLDER)!r})\n"
        "import os, errno, kernel, kernel_calls\n"
        "kernel.load_filter(kernel_calls.filter_program())\n"
        "def refused(action):\n"
        "    try: action()\n"
        "    except OSError as problem: return errno.errorcode[problem.errno]\n"
        "print(refused(os.fork), refused(os.pipe), refused(lambda: os.kill(1, 0)), refused(lambda: os.listxattr('/')))\n"
        "import threading; t = threading.Thread(target=print, args=('thread',)); t.start(); t.join()\n"
        "sys.stdout.flush(); os._exit(0)\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout.split("\n")[:2] == ["EPERM EPERM EPERM ENOTSUP", "thread"]


# --- Pipes. -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def passing_on(copies: bool):
    """Pipes whose stdout and stderr are pipes of this test, which can be read without waiting."""
    seen = {1: os.pipe(), 2: os.pipe()}
    kept = {number: os.dup(number) for number in seen}
    made = pipes.Pipes(copies=copies, name="block 3", most=10)
    for number, (reading, writing) in seen.items():
        os.set_blocking(reading, False)
        os.dup2(writing, number)
    try:
        yield made, {number: ends[0] for number, ends in seen.items()}
    finally:
        for number, original in kept.items():
            os.dup2(original, number)
            for end in (original, *seen[number]):
                os.close(end)
        for end in made.writing_ends:
            os.close(end)


@pytest.mark.parametrize("copies", [False, True])
def test_a_result_goes_on_as_it_is(copies):
    with passing_on(copies) as (made, seen):
        os.write(made.writing_ends[0], b"12345678")
        waiting = made.waiting()
        made.pass_result_on(8)
        assert (waiting, made.waiting(), os.read(seen[1], 100)) == (8, 0, b"12345678")


@pytest.mark.parametrize("copies", [False, True])
def test_a_log_is_cut_and_its_rest_thrown_away(copies):
    with passing_on(copies) as (made, seen):
        for _ in range(3):
            os.write(made.writing_ends[1], b"abcdefg")
            made.pass_log_on()
        os.write(made.writing_ends[1], b"x" * 60_000)
        assert (made.finish_log(), os.read(seen[2], 1000)) == (10, b"--- block 3\nabcdefgabc")
