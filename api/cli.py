"""`banyan-server`: init, serve, migrate, doctor, and the people who may call it."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Annotated, ParamSpec, TypeVar

import typer

from api import serving, wiring
from api.doctor import examine
from api.logs import configure
from audit.events import SYSTEM
from core.errors import BanyanError
from core.signing_key import open_signing_key, public_text
from policies import identity
from policies.model import Role

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Run and look after a Banyan server.")
people = typer.Typer(no_args_is_help=True, help="The people who may call the server, and their tokens.")
app.add_typer(people, name="principal")
P = ParamSpec("P")
T = TypeVar("T")


def _told(command: Callable[P, T]) -> Callable[P, T]:
    """Show an error of ours as a person needs it, and end with 1."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except BanyanError as problem:
            print(f"refused  {problem.code}\n  {problem.text}", file=sys.stderr)
            if problem.way_out:
                print(f"  What would pass: {problem.way_out}", file=sys.stderr)
            raise typer.Exit(1) from None

    return run


@app.command()
@_told
def init() -> None:
    """Make state folder, keys, database and log; does nothing to what is there."""
    settings = wiring.initialise()
    print(f"ready to serve from {settings.state_folder}")
    print(f"keep safe, and apart from backups of the database: {settings.master_key} and {settings.signer}")


@app.command()
@_told
def migrate() -> None:
    """Bring the database to the newest schema."""
    wiring.migrate()
    print("the database has the newest schema")


@app.command()
@_told
def serve() -> None:
    """Start API and reconciler; SIGTERM or Ctrl-C ends both."""
    configure()
    raise typer.Exit(serving.serve(wiring.assemble()))


@app.command()
@_told
def doctor() -> None:
    """Check engine, images, isolation, database, log and keys on this machine; ends with 1 if something is wrong."""
    configure()
    findings = examine()
    for finding in findings:
        print(f"{'ok  ' if finding.good else 'BAD '} {finding.name:<28} {finding.text}")
    if not all(finding.good for finding in findings):
        raise typer.Exit(1)


@app.command("key-holder")
@_told
def key_holder() -> None:
    """Show what the key holder's operator has to pin of this server: lines for the registry of banyan-keyholder."""
    settings, journal = wiring.books()
    manifest = public_text(open_signing_key(settings.signer / wiring.MANIFEST_KEY))
    print("service:")
    print(f"  log_key: {journal.signer.verifier_key}")
    print(f"  manifest_key: {manifest}")
    print(f"  host: {socket.gethostname()}")
    print(f"  uid: {os.getuid()}")


@people.command("add")
@_told
def add(
    name: str,
    role: Annotated[list[Role], typer.Option(help="May be given several times.")],
    organisation: Annotated[str, typer.Option(help="Small letters, digits, dashes.")],
    days: Annotated[
        int | None, typer.Option(min=1, max=366, help="Life of the token; by default the setting token_days.")
    ] = None,
) -> None:
    """Add a person and print a token for them: the only time it is shown."""
    settings, journal = wiring.books()
    life = timedelta(days=days or settings.token_days)
    with journal.writing() as tx:
        person = identity.add_principal(tx, name, organisation, [each.value for each in role], SYSTEM)
        token = identity.issue_token(tx, person.id, [each.value for each in role], life, SYSTEM)
    print(f"{person.id}  {name}, {organisation}: {', '.join(sorted(person.roles))}", file=sys.stderr)
    print(f"token {token.id}, until {token.expires_at:%Y-%m-%d}; it is not shown again:", file=sys.stderr)
    print(token.text)


@people.command("revoke")
@_told
def revoke(token: Annotated[str, typer.Argument(help="The token's id, t-...")]) -> None:
    """End a token now."""
    _, journal = wiring.books()
    with journal.writing() as tx:
        identity.revoke_token(tx, token, SYSTEM)
    print(f"{token} is revoked")


def main() -> None:
    """The entry point."""
    app()
