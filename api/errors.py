"""Errors as problem+json (RFC 9457): the public part leaves, the private detail goes to the operator's log."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from core.errors import BanyanError

PROBLEM = "application/problem+json"
MALFORMED = "request.malformed"
# What is refused before any of our own code is reached, and what must not happen, by HTTP status.
FRAMEWORK: Mapping[int, tuple[str, str]] = {
    404: ("request.no_such_address", "there is nothing at this address"),
    405: ("request.method", "this address is not asked by this method"),
    422: (MALFORMED, "the request is not understood"),
    500: ("server.internal", "the server met an unexpected error; nothing was released"),
}
_log = logging.getLogger("banyan.api")


def install(app: FastAPI) -> None:
    """Answer every error of the tree, of the framework and of nobody in the same form."""
    app.add_exception_handler(BanyanError, _refusal)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(Exception, _unexpected)


async def _refusal(_request: Request, problem: Exception) -> JSONResponse:
    error = cast("BanyanError", problem)
    if error.detail:
        _log.warning("refused %s: %s", error.code, error.detail)
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
    return JSONResponse(error.public(), status_code=error.status, headers=headers, media_type=PROBLEM)


async def _malformed(_request: Request, problem: Exception) -> JSONResponse:
    first = cast("RequestValidationError", problem).errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    return _problem(422, MALFORMED, f"{field}: {first['msg']}", {"field": field})


async def _framework(_request: Request, problem: Exception) -> JSONResponse:
    error = cast("HTTPException", problem)
    code, text = FRAMEWORK.get(error.status_code, (MALFORMED, str(error.detail)))
    return _problem(error.status_code, code, text, {}, error.headers)


async def _unexpected(_request: Request, problem: Exception) -> JSONResponse:
    # The text of an unexpected exception may hold anything; its type and place are enough to find it.
    trace = problem.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "unknown"
    _log.error("internal error %s at %s", type(problem).__name__, place)
    return _problem(500, *FRAMEWORK[500], {})


def _problem(
    status: int, code: str, text: str, where: dict[str, str], headers: Mapping[str, str] | None = None
) -> JSONResponse:
    members = {"type": f"urn:banyan:error:{code}", "title": text, "status": status, "code": code}
    content = {**members, **({"where": where} if where else {})}
    return JSONResponse(content, status_code=status, headers=headers, media_type=PROBLEM)
