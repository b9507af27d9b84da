"""Whether the server is up, and who the caller is to it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from api.auth import Caller
from policies.authorizer import check
from policies.model import Action

router = APIRouter()


@router.get("/health")
def health(request: Request) -> dict[str, Any]:
    """Ready when jobs can run; starting while they only queue. Says nothing that a stranger may not know."""
    ready = request.app.state.reconciler.ready.is_set()
    return {"status": "ready" if ready else "starting"}


@router.get("/whoami")
def whoami(caller: Caller) -> dict[str, Any]:
    """The caller as the server knows them."""
    check(caller, Action.SELF_READ)
    return {
        "principal": caller.id,
        "name": caller.name,
        "roles": sorted(caller.roles),
        "organisation": caller.organisation,
    }
