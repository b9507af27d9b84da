"""What an honest block does beside a hostile one: it uses the larger part of all it may use, and says how far it came.

Runs inside a block, behind the hostile program's text. Its vector must be the same, byte for byte, whatever its neighbours did.
"""

import ctypes
import os
import signal
import stat
import threading
import time

WIDTH = 13


def witness(tables, params):
    """What it could use, what it found, and two secrets of its own rows: `WIDTH` real numbers."""
    people = tables["people"].to_pydict()
    share = params["share"]
    return [
        float(sum(people["value"])),
        float(_memory(share["memory_bytes"])),
        float(_disk(share["disk_bytes"])),
        float(_inodes(share["inodes"])),
        float(_threads(share["threads"])),
        float(_descriptors()),
        float(_open_files(share["open_files"])),
        float(_burnt(params["burn"])),
        float(len(os.listdir("/tmp"))),  # what an earlier block left
        float(len(signal.pthread_sigmask(signal.SIG_BLOCK, []))),
        float(len(os.environ)),
        people["head"][0],
        people["tail"][0],
    ]


def _memory(size):
    return len(bytearray(b"\1") * size)


def _disk(size):
    written = 0
    with open("/tmp/witness", "wb", buffering=0) as file:
        while written < size:
            written += file.write(bytes(min(1 << 20, size - written)))
    os.unlink("/tmp/witness")
    return written


def _inodes(most):
    made = [f"/tmp/witness{number}" for number in range(most)]
    for name in made:
        open(name, "w").close()
    for name in made:
        os.unlink(name)
    return len(made)


def _threads(most):
    gate = threading.Barrier(most + 1)
    threading.stack_size(1 << 18)  # a stack of the usual eight MiB counts as memory
    threads = [threading.Thread(target=gate.wait) for _ in range(most)]
    for thread in threads:
        thread.start()
    gate.wait()
    for thread in threads:
        thread.join()
    return len(threads)


def _descriptors():
    """Open ones that are neither a device nor a pipe."""
    strange = 0
    for number in range(256):
        try:
            mode = os.fstat(number).st_mode
        except OSError:
            continue
        strange += not stat.S_ISFIFO(mode) and not stat.S_ISCHR(mode)
    return strange


def _open_files(most):
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(most)]
    for descriptor in held:
        os.close(descriptor)
    return len(held)


def _burnt(seconds):
    """Burns most of the processor time that a block has; 1 when it could."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        ctypes.c_int(0)
    return 1
