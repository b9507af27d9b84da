"""Speaks HTTP to one server: decides what each kind of answer, or the lack of one, means to the caller."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import httpx

from banyan.credentials import Credentials
from banyan.errors import BanyanError, Refused, Unreachable, refusal

# Reading may last: a server answers an ingest only when every row was checked.
_TIMEOUT = httpx.Timeout(60.0, connect=5.0)
_INGEST_TIMEOUT = httpx.Timeout(3600.0, connect=5.0)
_GATEWAY = (502, 503, 504)


class Connection:
    """One authenticated connection. Redirects are not followed: the token goes to the server that was named, or nowhere."""

    def __init__(self, credentials: Credentials, transport: httpx.BaseTransport | None = None) -> None:
        self.server = credentials.server
        self._http = httpx.Client(
            base_url=credentials.server,
            headers={"Authorization": f"Bearer {credentials.token}", "User-Agent": "banyan-client"},
            timeout=_TIMEOUT,
            transport=transport,
        )
        self._server_time: tuple[datetime, float] | None = None

    def close(self) -> None:
        """Let go of the sockets."""
        self._http.close()

    def server_now(self) -> datetime | None:
        """The server's present time, from its last answer, so that a wrong clock here never spoils a countdown."""
        if self._server_time is None:
            return None
        at, heard = self._server_time
        return at + timedelta(seconds=time.monotonic() - heard)

    def json(self, method: str, path: str, **parts: Any) -> dict[str, Any]:
        """The JSON object that the server answers."""
        answer = self._send(method, path, **parts)
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self._strange(answer)
        return found

    def items(self, path: str, **parts: Any) -> list[dict[str, Any]]:
        """The `items` of a list that the server answers."""
        found = self.json("GET", path, **parts).get("items")
        return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []

    def content(self, path: str, **parts: Any) -> bytes:
        """The bytes that the server answers."""
        return self._send("GET", path, **parts).content

    def upload(
        self, method: str, path: str, chunks: Iterable[bytes], size: int, params: Mapping[str, str]
    ) -> dict[str, Any]:
        """Stream `size` bytes as a body; the JSON object that the server answers."""
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        return self.json(method, path, content=chunks, params=params, headers=headers, timeout=_INGEST_TIMEOUT)

    def _send(self, method: str, path: str, **parts: Any) -> httpx.Response:
        if self._http.is_closed:
            raise BanyanError("client.closed", "this client was closed", "make another banyan.Client()")
        try:
            answer = self._http.request(method, path, **parts)
        except (httpx.TransportError, httpx.InvalidURL) as problem:
            slow = isinstance(problem, httpx.TimeoutException) and not isinstance(problem, httpx.ConnectTimeout)
            raise Unreachable(
                "server.slow" if slow else "server.unreachable",
                f"{self.server} does not answer" + (" in time" if slow else ""),
                "Is it running? Another server: banyan login URL, or BANYAN_SERVER.",
            ) from None
        self._note_time(answer)
        if answer.is_success:
            return answer
        raise self._problem(answer)

    def _note_time(self, answer: httpx.Response) -> None:
        try:
            told = parsedate_to_datetime(answer.headers["Date"]).astimezone(UTC)
        except (KeyError, ValueError):
            return
        # The header is cut to whole seconds: an earlier estimate within the same second knows better.
        known = self.server_now()
        if known is None or not told <= known < told + timedelta(seconds=1):
            self._server_time = (told, time.monotonic())

    def _problem(self, answer: httpx.Response) -> Exception:
        try:
            problem = answer.json()
        except ValueError:
            problem = None
        if isinstance(problem, dict) and problem.get("code"):
            return refusal(problem, answer.status_code)
        if answer.status_code in _GATEWAY:
            return Unreachable("server.unreachable", f"{self.server} is behind a gateway that cannot reach it")
        if answer.status_code >= 500:
            return Refused("server.failed", "the server failed; the operator's log says why", status=answer.status_code)
        return self._strange(answer)

    def _strange(self, answer: httpx.Response) -> Refused:
        return Refused(
            "server.strange_answer",
            f"{self.server} does not answer as a Banyan server does (HTTP {answer.status_code})",
            way_out="the address of a Banyan server, without /v1",
            status=answer.status_code,
        )


def segment(name: str) -> str:
    """A name as one segment of a path. Raises Refused for what could mean another path."""
    if not name or name.strip(".") == "" or "/" in name or "\\" in name:
        raise Refused("name.invalid", f'"{name}" is not a name')
    return quote(name, safe="")


def asset_path(asset: str) -> str:
    """The path of an asset, `sector/name`."""
    sector, slash, name = asset.partition("/")
    if not slash:
        raise Refused(
            "name.invalid", f'"{asset}" does not name an asset', way_out="sector/name, such as traffic/flights"
        )
    return f"/v1/assets/{segment(sector)}/{segment(name)}"
