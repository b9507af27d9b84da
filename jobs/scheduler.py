"""The Scheduler port: where lanes run. Two implementations: Ray, and inline for unit tests."""

from __future__ import annotations

from typing import Protocol

from jobs.lane import LaneResult, LaneWork


class Scheduler(Protocol):
    """Runs lanes of one job at a time; knows nothing of budgets, policies or results."""

    def start(self, works: tuple[LaneWork, ...]) -> None:
        """Start one task for each lane of a job. Each runs at most once: a lost task is never retried by the scheduler.

        Pre: no task of this job is running. Returns at once.
        """
        ...

    def ended(self, job: str) -> dict[int, LaneResult]:
        """The results by lane number of the tasks of `job` that have ended so far; empty for a job it does not know.

        A task that was lost (its worker killed, its node gone) has the result `end="lost"` without partials.
        """
        ...

    def stop(self, job: str) -> None:
        """Ask the tasks of `job` to end and forget them; idempotent. Their containers go with them."""
        ...

    def is_usable(self) -> bool:
        """Whether tasks can still be run. Once False it stays so: only a new process helps."""
        ...

    def close(self) -> None:
        """End everything and give all processes back."""
        ...
