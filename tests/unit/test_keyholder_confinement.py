"""What the processes with a secret key give up, seen in processes of their own."""

import os
import subprocess
import sys

import pytest

SEEN = """
import ctypes, os, re, resource, sys
from keyholder import confinement
{before}
dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
locked = re.search(r"VmLck:\\s+(\\d+)", open("/proc/self/status").read())[1]
print(dumpable, *resource.getrlimit(resource.RLIMIT_CORE), int(locked) > 1000)
"""


def seen(before):
    found = subprocess.run(
        [sys.executable, "-P", "-c", SEEN.format(before=before)], capture_output=True, text=True, check=True
    )
    return found.stdout.split()


def test_no_core_and_no_debugger_of_the_same_user():
    assert seen("")[0] == "1", "otherwise this test sees nothing"
    assert seen("confinement.close_doors()")[:3] == ["0", "0", "0"]


@pytest.mark.skipif(os.geteuid() != 0, reason="where the system sets a limit, only root locks all memory")
def test_memory_is_locked_where_the_system_lets_us():
    assert seen("")[3] == "False"
    assert seen("confinement.lock_memory()")[3] == "True"
    assert seen("blob = bytearray(1 << 20); confinement.lock_memory(); more = bytearray(64 << 20)")[3] == "True"


def test_under_a_limit_nothing_is_locked_that_could_fail_later():
    limited = "resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 22, 1 << 22)); os.geteuid = lambda: 1000; confinement.lock_memory()"
    assert seen(limited)[3] == "False"


def test_a_process_whose_parent_is_gone_does_not_begin():
    program = "from keyholder.confinement import end_with_parent; end_with_parent({}); print('begun')"
    for parent, expected in ((os.getpid(), 0), (os.getppid(), -9)):
        done = subprocess.run(
            [sys.executable, "-P", "-c", program.format(parent)], capture_output=True, text=True, check=False
        )
        assert done.returncode == expected
        assert done.stdout == ("begun\n" if expected == 0 else "")
