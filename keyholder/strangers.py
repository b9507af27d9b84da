"""Requests that the service has not signed: counted, and written down together, since whoever reaches the port can send any number."""

from __future__ import annotations

import logging
import threading
from datetime import datetime, timedelta

from keyholder.ledger import Ledger

EVERY = timedelta(minutes=1)
_log = logging.getLogger("banyan.keyholder")


class Strangers:
    """The count since it was last written down, which is at most once a minute, and when the process ends."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._lock = ledger, threading.Lock()
        self._requests, self._newest = 0, ""
        self._written: datetime | None = None

    def count(self, reason: str) -> None:
        """One more, turned away for this reason."""
        with self._lock:
            self._requests, self._newest = self._requests + 1, reason
            if self._written is None or self._ledger.clock.now() - self._written >= EVERY:
                self._write()

    def write(self) -> None:
        """Write down what is counted."""
        with self._lock:
            if self._requests:
                self._write()

    def _write(self) -> None:
        _log.warning("%d requests that the service has not signed; the newest: %s", self._requests, self._newest)
        self._written = self._ledger.clock.now()
        try:
            self._ledger.count_strangers(self._requests, self._newest)
            self._requests = 0
        except Exception:  # noqa: BLE001 - a full disk, a lock: the one who asks is told the same
            _log.exception("unsigned requests could not be written down")
