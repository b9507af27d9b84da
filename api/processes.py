"""Keeps the reconciler's process alive beside the API: started, watched, started again when it dies, ended with the server."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading

from api.reconcile_protocol import READY

RESTART_SECONDS = 1.0
STOP_SECONDS = 20.0
_log = logging.getLogger("banyan.server")


class ReconcilerProcess:
    """One child at a time. `stop` returns when nothing of it is left."""

    def __init__(self) -> None:
        self.ready = threading.Event()
        self._stopping = threading.Event()
        self._child: subprocess.Popen[str] | None = None
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Start the child and the watch over it; returns at once."""
        self._watcher.start()

    @property
    def pid(self) -> int | None:
        """The child's process id."""
        return None if self._child is None else self._child.pid

    def _watch(self) -> None:
        while not self._stopping.is_set():
            child = subprocess.Popen(
                [sys.executable, "-m", "api.reconcile"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            self._child = child
            if child.stdout is not None and child.stdout.readline() == READY:
                self.ready.set()
            child.wait()
            self.ready.clear()
            if not self._stopping.wait(RESTART_SECONDS):
                _log.critical("the reconciler ended with code %s; starting it again", child.returncode)

    def stop(self) -> None:
        """Let the child finish what must be finished, and end it by force if it does not."""
        self._stopping.set()
        child = self._child
        if child is None:
            return
        if child.stdin is not None:
            child.stdin.close()
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        self._watcher.join(STOP_SECONDS)
