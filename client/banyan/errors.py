"""The one tree of errors that a caller of this package may meet.

    BanyanError                what went wrong, with a stable code
    ├── Refused                the request, or a file it needs, was refused; says where and what would pass
    │   ├── Unauthenticated    401  no valid token
    │   ├── Forbidden          403  known, but not allowed
    │   └── NotFound           404  unknown, or not yours to know of
    ├── Unreachable            no Banyan server answers
    ├── StillWaiting           the job has not ended within the time that the caller gave it (also a TimeoutError)
    └── VerificationError      a receipt does not hold; names the step that failed

`str(error)` is what a person reads on a terminal or under a notebook's cell; it never holds a token.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len

_WIDTH = 78
_MOST_OTHERS = 10
_PLACES = {"file", "field", "line"}


@dataclass(frozen=True)
class Excerpt:
    """The place in a person's own file that an error is about; line and column count from 1."""

    file: str
    line: int
    column: int
    source: str

    def __str__(self) -> str:
        return f"{self.file} line {self.line}, column {self.column}"

    def marked(self) -> list[str]:
        """The source line without its indentation, and a line of ^^^ under the word meant."""
        line = self.source.replace("\t", " ").rstrip()
        at = min(self.column - 1, len(line))
        start = min(len(line) - len(line.lstrip()), at)
        shown = line[start:]
        at -= start
        if cell_len(shown) > _WIDTH - 4:
            cut = max(0, at - 40)
            shown = ("…" if cut else "") + shown[cut : cut + 66] + ("…" if len(shown) > cut + 66 else "")
            at = at - cut + (1 if cut else 0)
        word = re.match(r"\w+", shown[at:])
        under = cell_len(word.group()) if word else 1
        return [shown, " " * cell_len(shown[:at]) + "^" * under]


class BanyanError(Exception):
    """Base of every error here: `code` is stable, `text` is for a person, `way_out` is what to do about it."""

    def __init__(self, code: str, text: str, way_out: str | None = None) -> None:
        super().__init__(code, text)
        self.code, self.text, self.way_out = code, text, way_out

    def headline(self) -> str:
        """The first line: what happened and the code."""
        return f"failed   {self.code}"

    def __str__(self) -> str:
        lines = [self.headline(), *_paragraph(self.text)]
        if self.way_out:
            lines += _paragraph(self.way_out)
        return "\n".join(lines)


class Refused(BanyanError):
    """The server said no, or a local file is not fit to be sent. `status` is None when no server was asked.

    `where` is as the server gave it; `excerpt` is set when it could be found in the caller's own file.
    """

    def __init__(
        self,
        code: str,
        text: str,
        where: Mapping[str, Any] | None = None,
        way_out: str | None = None,
        status: int | None = None,
        *,
        excerpt: Excerpt | None = None,
    ) -> None:
        super().__init__(code, text, way_out)
        self.where: dict[str, Any] = dict(where or {})
        self.status, self.excerpt = status, excerpt

    def headline(self) -> str:
        """`refused`, the code, and the place if there is one."""
        place = str(self.excerpt) if self.excerpt else _place(self.where)
        return f"refused  {self.code:<21}  {place}".rstrip()

    def __str__(self) -> str:
        head = self.headline()
        one_line = f"{head:<30}  {self.text}"
        if not self.where.keys() & _PLACES and not self.excerpt and cell_len(one_line) <= _WIDTH:
            lines = [one_line]
        else:
            marked = ["  " + line for line in self.excerpt.marked()] if self.excerpt else []
            lines = [head, *marked, *_paragraph(self.text)]
        if self.way_out:
            lines += _paragraph(f"What would pass: {self.way_out}")
        return "\n".join(lines + _others(self.where))


class Unauthenticated(Refused):
    """No valid token came with the request."""


class Forbidden(Refused):
    """A rule forbids it; the code names the rule."""


class NotFound(Refused):
    """It does not exist, or the caller may not know of it: the two look alike."""


class Unreachable(BanyanError):
    """No Banyan server answers at this address."""

    def headline(self) -> str:
        """`unreachable` and the code."""
        return f"unreachable  {self.code}"


class StillWaiting(BanyanError, TimeoutError):
    """The job has not ended within the time that the caller gave it; it goes on."""

    def headline(self) -> str:
        """`waiting` and the code."""
        return f"waiting  {self.code}"


class VerificationError(BanyanError):
    """A receipt does not hold. `step` names the check that failed, as in `banyan.verify`."""

    def __init__(self, step: str, text: str, way_out: str | None = None) -> None:
        super().__init__("receipt.invalid", text, way_out)
        self.step = step

    def headline(self) -> str:
        """`not verified` and the step."""
        return f"NOT VERIFIED  {self.step}"


_BY_STATUS: Mapping[int, type[Refused]] = {401: Unauthenticated, 403: Forbidden, 404: NotFound}


def refusal(problem: Mapping[str, Any], status: int | None = None) -> Refused:
    """The error for a problem+json object (RFC 9457 with `code`, `where` and `way_out`)."""
    found = problem.get("status", status)
    status = found if isinstance(found, int) else status
    where = problem.get("where")
    way_out = problem.get("way_out") or ("log in again: banyan login" if status == 401 else None)
    return _BY_STATUS.get(status or 0, Refused)(
        str(problem.get("code") or "server.unnamed"),
        str(problem.get("title") or problem.get("detail") or "the server gave no reason"),
        where if isinstance(where, Mapping) else None,
        str(way_out) if way_out else None,
        status,
    )


def _place(where: Mapping[str, Any]) -> str:
    """The place as the server gave it, for errors that are about no file of ours."""
    name = str(where.get("file") or where.get("field") or "")
    if isinstance(where.get("line"), int):
        column = f", column {where['column']}" if isinstance(where.get("column"), int) else ""
        return f"{name} line {where['line']}{column}".strip()
    return name


def _others(where: Mapping[str, Any]) -> list[str]:
    """What else is wrong with the same file: a server that reads it whole tells all at once."""
    told = where.get("problems")
    problems = [one for one in told if isinstance(one, Mapping)][1:] if isinstance(told, list) else []
    lines = []
    for one in problems[:_MOST_OTHERS]:
        lines += _paragraph(f"also line {one.get('line')}, column {one.get('column')}: {one.get('text')}")
    return lines + ([f"  and {len(problems) - _MOST_OTHERS} more"] if len(problems) > _MOST_OTHERS else [])


def _paragraph(text: str) -> list[str]:
    lines: list[str] = []
    for line in text.splitlines() or [""]:
        lines += textwrap.wrap(
            line,
            _WIDTH,
            initial_indent="  ",
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines
