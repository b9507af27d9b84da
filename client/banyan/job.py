"""A submitted job as its owner sees it, and how long to wait between two looks at it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from banyan.errors import Refused, StillWaiting, Unreachable, refusal
from banyan.plan import Plan
from banyan.result import Result

if TYPE_CHECKING:
    from banyan.client import Client

RELEASED = "released"
ENDED = frozenset({RELEASED, "refused", "cancelled", "failed"})
_STATED = re.compile(r"[a-z ]+: ")
_SHORTEST, _LONGEST, _NEAR, _GROWTH = 0.05, 1.0, 0.1, 1.4


class Job:
    """One job. It changes only when `refresh` or `wait` looks at the server."""

    def __init__(self, client: Client, view: Mapping[str, Any]) -> None:
        self._client = client
        self.data = dict(view)

    @property
    def id(self) -> str:
        """The job's id, such as `j-7f3k…`."""
        return str(self.data.get("id"))

    @property
    def state(self) -> str:
        """queued, running, released, refused, cancelled or failed."""
        return str(self.data.get("state"))

    @property
    def ended(self) -> bool:
        """Whether the state is final."""
        return self.state in ENDED

    @property
    def kind(self) -> str:
        """Which kind of job: query, program or encrypted."""
        return str(self.data.get("kind") or "query")

    @property
    def program(self) -> dict[str, Any] | None:
        """Name and digest of a program, which is the SHA-256 of its file; None for a query."""
        found = self.data.get("program")
        return dict(found) if isinstance(found, Mapping) else None

    @property
    def plan(self) -> Plan:
        """The plan under which the job was accepted."""
        return Plan(self.data.get("plan") or {})

    @property
    def release_at(self) -> datetime | None:
        """The moment for which the release is planned."""
        return moment(self.data.get("release_at"))

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the planned release, by the server's clock; None while none is planned."""
        planned, now = self.release_at, self._client.server_now()
        return None if planned is None or now is None else (planned - now).total_seconds()

    @property
    def refusal(self) -> Refused | None:
        """Why the job was refused or failed."""
        problem = self.data.get("refusal")
        return refusal(problem) if isinstance(problem, Mapping) else None

    @property
    def status(self) -> str:
        """The state in the words of `banyan show`: what is waited for, or when the release is planned."""
        refused = self.refusal
        if refused is not None:
            return f"{self.state} {refused.code}"
        waiting = str(self.data.get("waiting") or "")
        planned = self.release_at
        if self.ended:
            return self.state
        if self.state == "running" and planned is not None and not waiting.startswith("cancel"):
            return f"running: release planned {planned.astimezone():%H:%M:%S}"
        return waiting if _STATED.match(waiting) else f"{self.state}: {waiting}".removesuffix(": ")

    @property
    def result(self) -> Result:
        """What the job released. Raises Refused when it was refused or failed, or has not ended."""
        if self.refusal is not None:
            raise self.refusal
        return self._client.result(self.id)

    @property
    def receipt(self) -> dict[str, Any]:
        """The signed proof of how the release came about; `banyan.verify` checks it."""
        return self._client.receipt(self.id)

    def refresh(self) -> Job:
        """Look at the server once."""
        self.data = dict(self._client.job(self.id).data)
        return self

    def cancel(self) -> Job:
        """Ask for the job to be ended. What was paid after data was touched stays paid."""
        self.data = dict(self._client.cancel(self.id).data)
        return self

    def wait(
        self,
        timeout: float | None = None,
        on_change: Callable[[Job], None] | None = None,
        patience: float = 30.0,
    ) -> Job:
        """Look until the job has ended; `on_change` is called with the job whenever its status changes.

        Raises StillWaiting after `timeout` seconds, and Unreachable when the server was away for `patience` seconds on end.
        """
        began = heard = time.monotonic()
        told, pause = None, _SHORTEST
        while True:
            try:
                self.refresh()
                heard = time.monotonic()
            except Unreachable:
                if time.monotonic() - heard > patience:
                    raise
            if self.status != told:
                told, pause = self.status, _SHORTEST
                if on_change is not None:
                    on_change(self)
            if self.ended:
                return self
            left = None if timeout is None else timeout - (time.monotonic() - began)
            if left is not None and left <= 0:
                raise StillWaiting(
                    "job.still_waiting", f"{self.id} is {self.status}", f"it goes on: banyan show {self.id}"
                )
            time.sleep(min(self._pause(pause), pause if left is None else left))
            pause = min(pause * _GROWTH, _LONGEST)

    def _pause(self, pause: float) -> float:
        """Look often around the planned moment, which the server's Date header tells to the second only."""
        left = self.seconds_left
        return min(pause, _NEAR) if left is not None and left < _LONGEST + _NEAR else pause

    def __str__(self) -> str:
        return f"{self.id}  {self.status}"

    def __repr__(self) -> str:
        return f"<banyan.Job {self}>"


def moment(text: Any) -> datetime | None:
    """The moment that a server's text tells; None if it tells none."""
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo is not None else None
