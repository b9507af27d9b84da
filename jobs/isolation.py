"""Which isolation this node does for programs: found out by trying, when it is first asked, until a trial has given a clear answer."""

from __future__ import annotations

import logging
import threading

from core.tier import Tier
from sandbox import tiers
from sandbox.runtime import Runtime
from sandbox.tiers import Tiers

_log = logging.getLogger("banyan.isolation")


class Isolation:
    """Tries each tier with `image` on the engine, in containers labelled with `owner`. Safe to call from several threads."""

    def __init__(self, runtime: Runtime, image: str, owner: str, oci_runtime: str | None) -> None:
        self._trial = runtime, image, owner, oci_runtime
        self._lock = threading.Lock()
        self._found: Tiers | None = None

    def tier_for(self, floor: Tier) -> Tier:
        """The tier itself, or the next stronger one that the node can do.

        Raises Unavailable: `isolation.unavailable` where there is none, `engine.unreachable` where it cannot be tried.
        """
        with self._lock:
            found = self._found or tiers.probe(*self._trial)
            if self._found is None:
                for line in found.lines():
                    _log.warning("isolation of programs: %s", line)
            self._found = found if found.is_certain else None
        return tiers.chosen(floor, found)
