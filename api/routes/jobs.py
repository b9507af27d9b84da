"""Jobs: plan, submit, watch, cancel, result, receipt."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from api.auth import Caller, TheServer
from api.bodies import JobDocument
from api.result_files import as_csv, as_parquet
from audit.events import Event, EventType
from core.ids import is_id
from jobs.model import job_with, unknown
from jobs.staging import sealed_logs
from policies.authorizer import check
from policies.model import Action, Resource, ResourceKind

router = APIRouter()


@router.post("/plans")
def plan(server: TheServer, caller: Caller, job: JobDocument) -> dict[str, Any]:
    """What a job would cost and give; free, and without opening data."""
    return server.jobs.plan(caller, job)


@router.post("/jobs", status_code=201)
def submit(server: TheServer, caller: Caller, job: JobDocument, mock: bool = False) -> dict[str, Any]:
    """Submit a job, on real or on mock data."""
    return server.jobs.submit_mock(caller, job) if mock else server.jobs.submit(caller, job)


@router.get("/jobs")
def listing(server: TheServer, caller: Caller) -> dict[str, Any]:
    """The caller's own newest jobs."""
    return {"items": server.jobs.listing(caller)}


@router.get("/jobs/{job}")
def show(server: TheServer, caller: Caller, job: str) -> dict[str, Any]:
    """One of the caller's own jobs."""
    return server.jobs.read(caller, job)


@router.post("/jobs/{job}/cancel")
def cancel(server: TheServer, caller: Caller, job: str) -> dict[str, Any]:
    """Cancel a job; what was touched stays charged."""
    return server.jobs.cancel(caller, job)


@router.get("/jobs/{job}/result", response_model=None)
def result(
    server: TheServer,
    caller: Caller,
    job: str,
    form: Annotated[Literal["json", "csv", "parquet"], Query(alias="format")] = "json",
) -> dict[str, Any] | Response:
    """The released table, with its guarantee."""
    found = server.jobs.result(caller, job)
    if form == "csv":
        return Response(as_csv(found), media_type="text/csv; charset=utf-8")
    if form == "parquet":
        return Response(as_parquet(found), media_type="application/vnd.apache.parquet")
    return found


@router.get("/jobs/{job}/sealed")
def sealed(server: TheServer, caller: Caller, job: str) -> dict[str, Any]:
    """How the containers of a job ended and what they wrote to stderr, by attempt; every reading is an event."""
    # Asked before the job is looked up, so that whoever may not read sealed logs learns nothing of what jobs there are.
    check(caller, Action.SEALED_READ, Resource(ResourceKind.JOB, job, owner=""))
    if not is_id("job", job):
        raise unknown()
    with server.journal.writing() as tx:
        job_with(tx.connection, job)
        tx.record(Event(EventType.SEALED_READ, job, caller.id, {"log": job}))
    return {"job": job, "attempts": sealed_logs(server.keys, server.staging.sealed, job)}


@router.get("/jobs/{job}/receipt")
def receipt(server: TheServer, caller: Caller, job: str) -> dict[str, Any]:
    """The release's receipt, to be checked offline."""
    return server.jobs.receipt(caller, job)
