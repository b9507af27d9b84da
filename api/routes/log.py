"""The log as its readers get it: checkpoint and key for everyone, entries for auditors; reading entries is an event."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import PlainTextResponse

from api.auth import Caller, TheServer
from audit import log
from audit.events import Event, EventType
from core.errors import NotFound
from policies.authorizer import check
from policies.model import Action

router = APIRouter()


@router.get("/log/checkpoint", response_class=PlainTextResponse)
def checkpoint(server: TheServer, caller: Caller) -> str:
    """The newest signed checkpoint (C2SP signed note)."""
    check(caller, Action.CHECKPOINT_READ)
    with server.journal.reading() as connection:
        note = log.newest_note(connection)
    if note is None:
        raise NotFound("log.empty", "the log has no checkpoint yet", way_out="ask again in a second")
    return note


@router.get("/log/key", response_class=PlainTextResponse)
def key(server: TheServer, caller: Caller) -> str:
    """The vkey that checks this log's notes: pin it once, from the operator, over another channel."""
    check(caller, Action.CHECKPOINT_READ)
    return server.journal.signer.verifier_key + "\n"


@router.get("/log/entries")
def entries(
    server: TheServer,
    caller: Caller,
    start: Annotated[int, Query(ge=0, lt=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> dict[str, Any]:
    """Up to `limit` entries from `start` on."""
    check(caller, Action.LOG_READ)
    with server.journal.writing() as tx:
        tx.record(Event(EventType.LOG_READ, "log", caller.id, {"start": start, "limit": limit}))
    with server.journal.reading() as connection:
        found = log.entries_from(connection, start, limit)
        size = log.size_of(connection)
    return {"size": size, "items": [{"index": entry.index, "entry": entry.content} for entry in found]}
