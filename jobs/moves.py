"""The one way in which a job changes its state: by the table, with its event, in the caller's transaction."""

from __future__ import annotations

from sqlalchemy import update

from audit.events import Event
from audit.log import Transaction
from jobs.model import Job, job_with
from jobs.records import jobs
from jobs.transitions import JobEvent, after


def move(tx: Transaction, job: Job, happened: JobEvent, logged: Event, **values: object) -> bool:
    """Bring `job` to the state that `happened` leads to, set `values`, and record `logged`.

    False, with nothing changed, if the job is no longer in the state in which it was read: somebody cancelled it meanwhile, and the
    next step sees what became of it. Raises RuntimeError for a move that the table does not have.
    """
    state = after(job.state, happened)
    if state is None:
        raise RuntimeError(f"{happened} cannot happen to a job that is {job.state}")
    if job_with(tx.connection, job.id).state is not job.state:
        return False
    tx.execute(update(jobs).where(jobs.c.id == job.id).values(state=state.value, **values))
    tx.record(logged)
    return True
