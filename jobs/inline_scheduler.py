"""The Scheduler in this process, one lane after another: for tests of everything around it."""

from __future__ import annotations

from jobs.lane import LaneResult, LaneWork, run_lane
from sandbox.runtime import Runtime


class InlineScheduler:
    """Runs the lanes inside `start`; the contract is the port's."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._results: dict[str, dict[int, LaneResult]] = {}

    def start(self, works: tuple[LaneWork, ...]) -> None:
        """See the port."""
        for work in works:
            self._results.setdefault(work.job, {})[work.lane] = run_lane(work, self._runtime, lambda: False)

    def ended(self, job: str) -> dict[int, LaneResult]:
        """See the port."""
        return dict(self._results.get(job, {}))

    def stop(self, job: str) -> None:
        """See the port."""
        self._results.pop(job, None)

    def is_usable(self) -> bool:
        """See the port."""
        return True

    def close(self) -> None:
        """See the port."""
        self._results.clear()
