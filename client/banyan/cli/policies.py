"""The commands about policies: list, show, propose, approve, reject, suspend, revoke."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from banyan.cli import screen
from banyan.cli.account import Json
from banyan.client import Client

policies = typer.Typer(help="Propose and decide policies.", rich_markup_mode=None, invoke_without_command=True)
Name = Annotated[str, typer.Argument(help="A policy's name.", metavar="NAME")]
Digest = Annotated[
    str | None, typer.Option(help="What you read: the digest that `policies show` prints.", metavar="DIGEST")
]
Reason = Annotated[str, typer.Option(help="Why, in one line.")]


@policies.callback()
def everything(context: typer.Context) -> None:
    """Propose and decide policies. Without a command: list them all."""
    if context.invoked_subcommand is None:
        list_()


@policies.command("list")
def list_(as_json: Json = False) -> None:
    """List the policies that you may know of."""
    with Client() as client:
        items = client.policies.list()
    if as_json:
        screen.say_json({"items": items})
        return
    rows = [[str(item.get("name")), str(item.get("state")), _approvals(item), _assets(item)] for item in items]
    screen.say_table(("policy", "state", "approvals", "assets"), rows)


@policies.command()
def show(name: Name, as_json: Json = False) -> None:
    """Show what a policy allows, its state and its digest."""
    with Client() as client:
        found = client.policies.show(name)
    if as_json:
        screen.say_json(found)
    else:
        screen.say_fields(screen.flat(_readable(found)))


@policies.command()
def propose(
    file: Annotated[Path, typer.Argument(help="The policy, a YAML file.", metavar="FILE")],
    as_json: Json = False,
) -> None:
    """Propose a policy. Others approve it."""
    with Client() as client:
        _say_decided(client.policies.propose(file), as_json)


@policies.command()
def approve(
    name: Name,
    digest: Digest = None,
    yes: Annotated[bool, typer.Option("--yes", help="Approve what the policy says now, unasked.")] = False,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Approve a policy, after reading it. Nobody approves what they proposed."""
    with Client() as client:
        if digest is None:
            digest = _read_and_agreed(client.policies.show(name), yes=yes)
        _say_decided(client.policies.approve(name, digest, reason), as_json)


@policies.command()
def reject(name: Name, reason: Reason, digest: Digest = None, as_json: Json = False) -> None:
    """Reject a proposed policy."""
    with Client() as client:
        _say_decided(client.policies.reject(name, digest or _digest(client, name), reason), as_json)


@policies.command()
def suspend(name: Name, reason: Reason, digest: Digest = None, as_json: Json = False) -> None:
    """Suspend a policy: no job starts under it any more."""
    with Client() as client:
        _say_decided(client.policies.suspend(name, digest or _in_force(client, name), reason), as_json)


@policies.command()
def revoke(name: Name, reason: Reason, digest: Digest = None, as_json: Json = False) -> None:
    """Revoke a policy for good."""
    with Client() as client:
        _say_decided(client.policies.revoke(name, digest or _in_force(client, name), reason), as_json)


def _digest(client: Client, name: str) -> str:
    return str(client.policies.show(name).get("digest"))


def _in_force(client: Client, name: str) -> str:
    """What jobs run under now, which may be an older version than the one that waits for approval."""
    found = client.policies.show(name)
    deciding = found.get("in_force")
    return str((deciding if isinstance(deciding, Mapping) else found).get("digest"))


def _readable(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """A policy without people and organisations is open to everybody, and must not read as open to none."""
    content = found.get("policy")
    if not isinstance(content, Mapping) or content.get("people") or content.get("organisations"):
        return found
    return {**found, "policy": {**content, "people": ["everybody"], "organisations": ["all"]}}


def _read_and_agreed(found: Mapping[str, Any], *, yes: bool) -> str:
    """The digest of what the person has just read. Only a person at a terminal, or --yes, can agree."""
    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("an approval is of a content: give --digest, or --yes")
        screen.say_fields(screen.flat(_readable(found)))
        typer.confirm("Approve this?", abort=True)
    return str(found.get("digest"))


def _say_decided(found: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        screen.say_json(found)
    else:
        screen.say(f"{found.get('name')} is {found.get('state')} ({_approvals(found)} approvals)")


def _approvals(item: Mapping[str, Any]) -> str:
    return f"{item.get('approvals')} of {item.get('needed')}"


def _assets(item: Mapping[str, Any]) -> str:
    content = item.get("policy")
    assets = content.get("assets") if isinstance(content, Mapping) else item.get("assets")
    return ", ".join(str(asset) for asset in assets or [])
