"""The command that reads the log as an auditor does."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import typer

from banyan.cli import screen
from banyan.cli.account import Json
from banyan.client import Client
from banyan.job import moment

audit = typer.Typer(help="Read the log (auditors).", rich_markup_mode=None, no_args_is_help=True)


@audit.callback()
def group() -> None:
    """Read the log (auditors). Each reading is an event in it."""


@audit.command()
def tail(
    lines: Annotated[int, typer.Option("-n", "--lines", help="How many entries.", min=1, max=1000)] = 20,
    as_json: Json = False,
) -> None:
    """Show the newest entries of the log."""
    with Client() as client:
        size = int(client.log_entries(0, 1).get("size") or 0)
        # Reading adds an entry of its own, so the log has grown since its size was told.
        found = client.log_entries(max(0, size + 1 - lines), lines)
        now = client.server_now()
    if as_json:
        screen.say_json(found)
        return
    items = [item for item in found.get("items") or [] if isinstance(item, Mapping)]
    screen.say_table(("entry", "time", "event", "subject", "by"), [_row(item, now) for item in items], (0,))


def _row(item: Mapping[str, Any], now: datetime | None) -> list[str]:
    entry = item.get("entry")
    facts = entry if isinstance(entry, Mapping) else {}
    shown = _shown(moment(facts.get("time")), now)
    return [f"{item.get('index')}", shown, *(str(facts.get(name)) for name in ("type", "subject", "actor"))]


def _shown(at: datetime | None, now: datetime | None) -> str:
    """The hour, with the day where it is not the server's today: ids then fit beside it on a terminal."""
    if at is None:
        return "–"
    local = at.astimezone()
    is_today = now is not None and local.date() == now.astimezone().date()
    return f"{local:%H:%M:%S}" if is_today else f"{local:%m-%d %H:%M:%S}"
