"""The process that every block is a copy of: libraries loaded, and nothing in it that came from a block.

It learns nothing of how a block fared: it gets a block's folder and the pipes for it, forks, and waits for the next.
Outcomes, sizes and times are the first process's business, which no block is a copy of. A copy has all of its parent's
memory, so a bit about one block in here would be a bit that every later block can read (design R11).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import socket
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import block
import kernel
import kernel_calls
import measures

# One reserved core: a pool of threads would only take memory. Allocators start no threads of their own either, because a process
# with two of them cannot make a user namespace.
SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "_RJEM_MALLOC_CONF": "background_thread:false",
}
# What reading the tables needs, and nearly every program.
ALWAYS = ("numpy", "pyarrow", "pyarrow.ipc", "pyarrow.compute")
PANDAS, LIBRARIES = "pandas", "/dist-packages/"
SIGNS_OF_PANDAS = (PANDAS, ".df(", ".fetchdf(")  # the latter two are DuckDB's
LIBRARY = "/banyan/lib"
READY = b"ready"
LONGEST_PATH = 4096


def serve(channel: socket.socket, instruction: Mapping[str, Any]) -> NoReturn:
    """Loads the libraries, says so, and forks a block for each message. Ends when the first process does."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)  # the frames' way out
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel clears blocks away; nobody here sees how they ended
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a log in the order in which it was written
    os.environ.update(SETTINGS)
    sys.path[:] = [LIBRARY, *(path for path in sys.path if path != str(Path(__file__).parent))]
    namespaces = instruction["isolation"] == "namespaces"
    measures.apply_measures(measures.START, block.confined(instruction, "", (0, 0, 0)), namespaces=namespaces)
    _load(instruction)
    own = os.open("/proc/self/ns/pid", os.O_RDONLY) if namespaces else None
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    measures.measure_memory()
    channel.send(READY)
    while True:
        message, pipes, _, _ = socket.recv_fds(channel, LONGEST_PATH, 3)
        if len(pipes) != 3:
            os._exit(0)
        confined = block.confined(instruction, message.decode().rstrip("\0"), pipes)
        measures.apply_measures(measures.ZYGOTE, confined, namespaces=namespaces)
        if os.fork() == 0:
            channel.close()
            block.run(instruction, confined)
        if own is not None:
            kernel.setns(own, kernel.CLONE_NEWPID)  # or no further pid namespace could be made from here
        for descriptor in pipes:
            os.close(descriptor)
        _forget_numbers()


def serve_apart(channel: socket.socket, instruction: Mapping[str, Any]) -> NoReturn:
    """The same in a user and a pid namespace of the zygote's own, which allow it to make others."""
    try:
        measures.enter_user_namespace(kernel.CLONE_NEWPID)
    except OSError as problem:
        os.write(2, f"no namespaces here: {problem}\n".encode())
        os._exit(1)
    if os.fork() == 0:
        serve(channel, instruction)
    os._exit(0)


def _load(instruction: Mapping[str, Any]) -> None:
    if any(sign in instruction["code"] for sign in SIGNS_OF_PANDAS):
        preload([PANDAS])
    else:
        sys.meta_path.insert(0, _NoPandasForArrow())
    preload([*ALWAYS, *instruction["preload"]])
    kernel_calls.filter_program()
    gc.collect()
    kernel.give_back_memory()  # pages that every fork would have to list
    gc.freeze()  # the collector would write to every object, and every block would copy the pages


def _forget_numbers() -> None:
    """Writes over the memory that small integers were freed in: a block's process id tells how many threads came before it."""
    _ = [1 << 31 | number for number in range(256)]


def preload(modules: Iterable[str]) -> None:
    """Imports what can be imported; what cannot is the program's own affair, in its block."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in modules:
            with contextlib.suppress(Exception):
                importlib.import_module(name)
        with contextlib.suppress(Exception):
            sys.modules["pyarrow"].chunked_array([[1, None]]).to_numpy()  # does what the first conversion does once


class _NoPandasForArrow:
    """Says "not there" when Arrow looks for pandas on behalf of a program that does not so much as name it.

    Arrow does so at its first conversion: 0.2 s that no block should spend, and 45 MB whose pages every fork would copy. A library
    that imports pandas for itself gets it.
    """

    def find_spec(self, name: str, *_: object) -> None:
        if name == PANDAS:
            frame = sys._getframe(1)  # noqa: SLF001 - who imports is nowhere else to be seen
            while frame.f_back and "importlib" in frame.f_code.co_filename:
                frame = frame.f_back
            if LIBRARIES not in frame.f_code.co_filename:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
