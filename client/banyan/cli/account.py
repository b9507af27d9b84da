"""The commands about the person: login, whoami, budget."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from banyan import credentials, figures
from banyan.cli import screen
from banyan.client import Client
from banyan.errors import BanyanError, NotFound
from banyan.plan import spend
from banyan.verify import parse_key

Json = Annotated[bool, typer.Option("--json", help="Print what the server answered, for programs.")]


def login(
    server: Annotated[
        str | None, typer.Argument(help="The server's URL. Without it: BANYAN_SERVER.", metavar="URL")
    ] = None,
    new_log_key: Annotated[
        bool, typer.Option("--new-log-key", help="The operator has confirmed that the log's key was changed.")
    ] = False,
) -> None:
    """Remember a server and your token for it.

    Both are kept in a file that only you can read. The token comes from BANYAN_TOKEN, from standard input, or is asked for;
    never from the command line, which others can see.
    """
    server = server or os.environ.get("BANYAN_SERVER")
    if not server:
        raise typer.BadParameter("say which server: banyan login https://host:port")
    found = credentials.Credentials(credentials.checked_server(server), _token())
    with Client(found.server, found.token) as client:
        me = client.whoami()
        path = credentials.remember(found)
        screen.say(f"{found.server}: you are {_person(me)}. Kept in {path}")
        if found.in_clear:
            screen.note("warning: http sends your token over the network in clear; use https")
        _learn_log_key(client, new_log_key)


def _token() -> str:
    token = os.environ.get("BANYAN_TOKEN")
    if not token:
        token = typer.prompt("Token", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline()
    return credentials.checked_token(str(token))


def _learn_log_key(client: Client, trust_new: bool) -> None:
    """The first login is the first use of a server's log: its key is remembered, and a later other one is an alarm."""
    try:
        key = parse_key(client.log_key())
    except (NotFound, ValueError):
        screen.note("the server shows no log key; `banyan verify` will ask for one")
        return
    known = credentials.known_log_key(key.name)
    if known is None or trust_new:
        credentials.remember_log_key(key.name, key.text)
        screen.say(
            f"Log key    {key.text}\n(remembered for `banyan verify`; compare it with the operator's)".split("\n")
        )
    elif known != key.text:
        raise BanyanError(
            "log.key_changed",
            f'the log "{key.name}" shows another key than the one remembered on this machine: {key.text}',
            "Ask the operator. If they confirm the key: banyan login --new-log-key",
        )


def whoami(as_json: Json = False) -> None:
    """Say who your token speaks for, and in which roles."""
    with Client() as client:
        me = client.whoami()
        if as_json:
            screen.say_json(me)
        else:
            screen.say(f"{_person(me)} at {client.server}")


def _person(me: Mapping[str, Any]) -> str:
    roles = ", ".join(str(role) for role in me.get("roles") or []) or "no role"
    return f"{me.get('name')} of {me.get('organisation')} ({me.get('principal')}; {roles})"


def budget(as_json: Json = False) -> None:
    """Show what is left of each privacy budget, and of your part."""
    with Client() as client:
        items = client.budget()
    if as_json:
        screen.say_json({"items": items})
        return
    screen.say_table(("population", "left", "of", "yours"), [_budget_row(item) for item in items])


def _budget_row(item: Mapping[str, Any]) -> list[str]:
    yours = item.get("yours") or []
    parts = [_share(one) for one in ([yours] if isinstance(yours, Mapping) else yours)]
    left = item.get("left") or {}
    shown = ", ".join(
        f"{sign} {figures.amount(left[name], figures.DOWN)}"
        for name, sign in (("epsilon", "ε"), ("delta", "δ"))
        if figures.decimal_of(left.get(name)) is not None
    )
    return [str(item.get("population")), shown, spend(item.get("limit") or {}), "; ".join(parts) or "–"]


def _share(part: Mapping[str, Any]) -> str:
    left, limit = _epsilon(part.get("left")), _epsilon(part.get("limit"))
    return f"ε {figures.amount(left, figures.DOWN)} left of {figures.amount(limit)} ({part.get('policy')})"


def _epsilon(loss: Any) -> Any:
    return loss.get("epsilon") if isinstance(loss, Mapping) else loss
