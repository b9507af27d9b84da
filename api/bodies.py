"""What a request carries besides its address: read with a limit, once the caller is known, and refused unless it says one thing."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import Depends, Request

from api.auth import Caller
from core.errors import Invalid, TooLarge
from core.yaml_positions import MAX_BYTES

MAX_DEPTH = 16
# A job carries its program, of up to a mebibyte, in JSON: every line break and quote of it takes two bytes.
JOB_BYTES = 4 << 20
_WAY_OUT = "send one JSON object, as application/json in UTF-8"


async def body_of(request: Request) -> bytes:
    """The body of a request that carries a text file. Raises TooLarge (`request.too_large`)."""
    return await _read(request, MAX_BYTES)


async def _read(request: Request, most: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise TooLarge("request.too_large", f"a file of this kind has at most {most:,} bytes")
    return bytes(body)


async def document_of(request: Request, _caller: Caller) -> dict[str, Any]:
    """The JSON object of a request. Raises Invalid (`request.malformed`), TooLarge; Unauthenticated before anything is read."""
    return await _document(request, MAX_BYTES)


async def job_of(request: Request, _caller: Caller) -> dict[str, Any]:
    """The same for a job, which may carry a program."""
    return await _document(request, JOB_BYTES)


async def _document(request: Request, most: int) -> dict[str, Any]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise _malformed("the body is not sent as JSON")
    body = await _read(request, most)
    try:
        text = body.decode("utf-8")
        found = json.loads(text, object_pairs_hook=_once)
        # A lone surrogate is a string that no file, database or log can hold.
        json.dumps(found, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError as problem:
        where = {"line": problem.lineno, "column": problem.colno}
        raise Invalid("request.malformed", "the body is not JSON", where=where, way_out=_WAY_OUT) from None
    except (ValueError, RecursionError):
        raise _malformed("the body is not JSON text") from None
    if not isinstance(found, dict):
        raise _malformed("the body is not a JSON object")
    if not _is_shallow(found, MAX_DEPTH):
        raise _malformed("the body is nested too deeply")
    return found


Document = Annotated[dict[str, Any], Depends(document_of)]
JobDocument = Annotated[dict[str, Any], Depends(job_of)]


def _malformed(text: str) -> Invalid:
    return Invalid("request.malformed", text, way_out=_WAY_OUT)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _malformed("a field is given twice")
    return found


def _is_shallow(value: Any, room: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    parts = value.values() if isinstance(value, dict) else value
    return room > 0 and all(_is_shallow(part, room - 1) for part in parts)
