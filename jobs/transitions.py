"""The states of a job and what moves it from one to the next: a table, and nothing but the table."""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """Stored by value; a value's meaning never changes."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    RELEASED = "released"
    CANCELLED = "cancelled"
    REFUSED = "refused"
    FAILED = "failed"


class JobEvent(StrEnum):
    """What can happen to a job."""

    START = "start"
    RESTART = "restart"
    REFUSE = "refuse"
    ASK_CANCEL = "ask-cancel"
    CANCEL = "cancel"
    DELAY = "delay"
    ISSUE = "issue"
    FAIL = "fail"


TRANSITIONS: dict[tuple[JobState, JobEvent], JobState] = {
    (JobState.QUEUED, JobEvent.START): JobState.RUNNING,
    (JobState.QUEUED, JobEvent.REFUSE): JobState.REFUSED,
    (JobState.QUEUED, JobEvent.ASK_CANCEL): JobState.CANCELLING,
    (JobState.RUNNING, JobEvent.RESTART): JobState.RUNNING,
    (JobState.RUNNING, JobEvent.ASK_CANCEL): JobState.CANCELLING,
    (JobState.RUNNING, JobEvent.ISSUE): JobState.RELEASED,
    (JobState.RUNNING, JobEvent.REFUSE): JobState.REFUSED,  # its policy was ended after touch: spent, not released
    (JobState.RUNNING, JobEvent.DELAY): JobState.RUNNING,
    (JobState.RUNNING, JobEvent.FAIL): JobState.FAILED,
    (JobState.CANCELLING, JobEvent.CANCEL): JobState.CANCELLED,
}
FINAL = frozenset({JobState.RELEASED, JobState.CANCELLED, JobState.REFUSED, JobState.FAILED})


def after(state: JobState, event: JobEvent) -> JobState | None:
    """The state that `event` leads to from `state`; None where it cannot happen."""
    return TRANSITIONS.get((state, event))
