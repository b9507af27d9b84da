"""Usage policies: propose, decide, look up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import Connection

from api.auth import Caller, TheServer
from api.bodies import Document, body_of
from assets import catalogue
from core.errors import Invalid
from policies import lifecycle, register
from policies.authorizer import check
from policies.model import Action
from policies.policy_file import parse_policy
from policies.usage import UsagePolicy

router = APIRouter()
Step = Literal["reject", "suspend", "revoke"]
ENDINGS = {"reject": lifecycle.reject, "suspend": lifecycle.suspend, "revoke": lifecycle.revoke}


class Verdict(BaseModel):
    """Which content is decided about, and why."""

    model_config = ConfigDict(extra="forbid")
    digest: str = Field(max_length=80)
    reason: str = Field("", max_length=500)


class Ending(Verdict):
    """A decision against a policy says why."""

    reason: str = Field(min_length=1, max_length=500)


def verdict_of(document: Document) -> Verdict:
    """The verdict in a request's body."""
    try:
        return Verdict.model_validate(document)
    except ValidationError as problem:
        raise RequestValidationError(problem.errors()) from None


TheVerdict = Annotated[Verdict, Depends(verdict_of)]


@router.post("/policies", status_code=201)
async def propose(request: Request, server: TheServer, caller: Caller, filename: str = "policy") -> dict[str, Any]:
    """Propose a policy from the text of its file."""
    check(caller, Action.POLICY_PROPOSE)
    body = await body_of(request)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise Invalid("request.not_text", "the file is not UTF-8 text") from None
    policy = await run_in_threadpool(parse_policy, text, filename, server.clock.now())
    return await run_in_threadpool(_propose, server, caller, policy)


def _propose(server: TheServer, caller: Caller, policy: UsagePolicy) -> dict[str, Any]:
    with server.journal.writing() as tx:
        found = lifecycle.propose(tx, policy, caller, _level_of(tx.connection, policy.assets))
        return found.to_json(tx.now)


@router.get("/policies")
def listing(server: TheServer, caller: Caller) -> dict[str, Any]:
    """The policies that the caller may know of."""
    check(caller, Action.POLICY_READ)
    with server.journal.reading() as connection:
        return {"items": [found.to_json(server.clock.now()) for found in register.listing(connection, caller)]}


@router.get("/policies/{name}")
def show(server: TheServer, caller: Caller, name: str) -> dict[str, Any]:
    """The version of a policy that decides now, or waits for its approval."""
    check(caller, Action.POLICY_READ)
    with server.journal.reading() as connection:
        return register.readable(connection, caller, name).to_json(server.clock.now())


@router.post("/policies/{name}/approve")
def approve(server: TheServer, caller: Caller, name: str, verdict: TheVerdict) -> dict[str, Any]:
    """Approve exactly the content that the digest names."""
    with server.journal.writing() as tx:
        content = register.readable(tx.connection, caller, name).content
        level = _level_of(tx.connection, content.assets)
        return lifecycle.approve(tx, name, verdict.digest, caller, level).to_json(tx.now)


@router.post("/policies/{name}/{step}")
def end(server: TheServer, caller: Caller, name: str, step: Step, verdict: TheVerdict) -> dict[str, Any]:
    """Reject a proposal, suspend a policy, or revoke it for good."""
    with server.journal.writing() as tx:
        return ENDINGS[step](tx, name, verdict.digest, caller, verdict.reason).to_json(tx.now)


def _level_of(connection: Connection, assets: Iterable[str]) -> str:
    """The highest level of the assets. Raises NotFound, naming it, for one that does not exist."""
    return max(catalogue.get(connection, asset, "assets").declaration.level for asset in assets)
