"""The reconciler's process: `python -m api.reconcile`, started and watched by `banyan-server serve`.

It ends when its standard input ends, which is when the server is gone, however that came about.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from api.logs import configure
from api.reconcile_protocol import READY
from api.wiring import Server, assemble, masking_of
from core.errors import Unavailable
from jobs.ray_scheduler import RayScheduler
from jobs.reconciler import Reconciler
from jobs.releasing import Releasing
from jobs.scheduler import Scheduler
from sandbox.docker_runtime import DockerRuntime
from sandbox.warm import warm

STEP_SECONDS = 0.05
GATES = 4  # more than one: a gate whose job was cancelled goes on for a while

_log = logging.getLogger("banyan.reconciler")


def main() -> int:
    """Take the lock, sweep, and step until told to stop."""
    configure()
    stop = threading.Event()
    threading.Thread(target=_stop_with_parent, args=(stop,), daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches us too; the server says when to stop
    server = assemble()
    with _leadership(server.settings.state_folder / "reconciler.lock", stop) as lock:
        if lock is None:
            return 0
        scheduler = RayScheduler(server.settings.lanes, server.instance)
        signal.signal(signal.SIGTERM, lambda *_: stop.set())  # ray.init put its own handler there
        reconciler = Reconciler(
            server.journal,
            scheduler,
            DockerRuntime(server.settings.engine),
            server.staging,
            Releasing(server.journal, server.keys, masking_of(server, stop), server.contributions),
            ThreadPoolExecutor(GATES),
        )
        try:
            return _work(server, reconciler, scheduler, stop)
        finally:
            reconciler.close()


def _work(server: Server, reconciler: Reconciler, scheduler: Scheduler, stop: threading.Event) -> int:
    swept = False
    sys.stdout.write(READY)
    sys.stdout.flush()
    while not stop.is_set():
        if not scheduler.is_usable():
            _log.critical("the scheduler is gone")
            return 1
        if not swept:
            swept = reconciler.try_sweep() and _is_warm(server)
        if swept:
            reconciler.step()
        stop.wait(STEP_SECONDS if swept else 1.0)
    return 0


def _is_warm(server: Server) -> bool:
    """Every program warms its image again; the first time after a start of the machine takes longer than a plan allows for."""
    try:
        warm(
            DockerRuntime(server.settings.engine),
            server.jobs.host.images["python"].id,
            {"banyan.owner": server.instance},
        )
    except Unavailable as problem:
        _log.warning("the image for programs could not be read: %s", problem.code)
        return problem.code != "engine.unreachable"
    return True


def _stop_with_parent(stop: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    stop.set()


class _leadership:  # noqa: N801 - reads as a statement
    """One reconciler at a time on one state folder: a lock that the kernel gives back when its holder dies."""

    def __init__(self, path: Path, stop: threading.Event) -> None:
        self._path, self._stop = path, stop
        self._file: IO[str] | None = None

    def __enter__(self) -> IO[str] | None:
        self._file = self._path.open("w")
        while not self._stop.is_set():
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._stop.wait(0.2)
            else:
                return self._file
        return None

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


if __name__ == "__main__":
    sys.exit(main())
