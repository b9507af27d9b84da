"""The one tree of errors.

    BanyanError
    ├── Invalid            422  the request cannot be understood or is not allowed as written
    ├── Unauthenticated    401  no valid token
    ├── Forbidden          403  known, but not allowed
    ├── NotFound           404  unknown, or not yours to know of
    ├── Conflict           409  the state of the world does not admit it (budget spent, already decided)
    ├── TooLarge           413  more bytes than may be sent
    └── Unavailable        503  something the server needs cannot be reached; nothing was changed

Every error has a stable `code` (documented in docs/reference/errors.md), a public `text` for the person who meets it, and
optionally `where` (file, line, column, field) and `way_out` (the smallest change that would pass). None of them may depend
on protected data. `detail` is private: it is for the operator's log and never leaves the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class BanyanError(Exception):
    """Base of every error that a person may meet; see the module's tree."""

    status: ClassVar[int] = 500

    def __init__(
        self,
        code: str,
        text: str,
        *,
        where: Mapping[str, Any] | None = None,
        way_out: str | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text
        self.where = dict(where or {})
        self.way_out = way_out
        self.detail = detail

    def public(self) -> dict[str, Any]:
        """The problem+json members that may leave the server (RFC 9457, with `code`, `where` and `way_out` added)."""
        members: dict[str, Any] = {
            "type": f"urn:banyan:error:{self.code}",
            "title": self.text,
            "status": self.status,
            "code": self.code,
        }
        if self.where:
            members["where"] = self.where
        if self.way_out:
            members["way_out"] = self.way_out
        return members


class Invalid(BanyanError):
    """The request cannot be understood, or is not allowed as written."""

    status = 422


class Unauthenticated(BanyanError):
    """No valid token came with the request."""

    status = 401


class Forbidden(BanyanError):
    """A rule forbids it; the code names the rule."""

    status = 403


class NotFound(BanyanError):
    """It does not exist, or the caller may not know of it: the two look alike."""

    status = 404


class Conflict(BanyanError):
    """The state of the world does not admit it."""

    status = 409


class TooLarge(BanyanError):
    """More bytes were sent than may be."""

    status = 413


class Unavailable(BanyanError):
    """Something that the server needs cannot be reached; nothing was changed."""

    status = 503
