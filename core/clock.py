"""Time. Everything that asks what time it is asks a Clock, so that tests can hold it still."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """The port: now, in UTC with microseconds."""

    def now(self) -> datetime:
        """The present moment, timezone-aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The present moment, in UTC."""
        return datetime.fromtimestamp(time.time_ns() / 1e9, tz=UTC)


class FrozenClock:
    """A clock that moves only when told to: for tests and for replays."""

    def __init__(self, at: datetime) -> None:
        self._at = at

    def now(self) -> datetime:
        """The moment it was set to."""
        return self._at

    def advance(self, seconds: float) -> None:
        """Move on by `seconds`."""
        self._at += timedelta(seconds=seconds)


def text_of(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds: sorts as text in the order of time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def moment_of(text: str) -> datetime:
    """The inverse of `text_of`; also accepts any ISO 8601 text with an offset. Raises ValueError otherwise."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a moment needs an offset such as Z")
    return moment.astimezone(UTC)
