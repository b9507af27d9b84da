"""`banyan-keyholder`: init, serve, rotate, status, incidents, and what is done about a frozen key."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Annotated, ParamSpec, TypeVar

import typer
import uvicorn
from sqlalchemy.exc import SQLAlchemyError

from core.clock import SystemClock
from core.database import changing
from core.errors import BanyanError, NotFound, Unavailable
from keyholder.app import application
from keyholder.confinement import close_doors, lock_memory
from keyholder.keys import Keys, KeyState
from keyholder.ledger import Ledger, incidents_in, refusals_since, strangers_since, unanswered_in
from keyholder.records import DATABASE, database_in, prepare
from keyholder.registry import EXAMPLE, read_registry
from keyholder.releasing import Releases
from keyholder.sealed_key import PassphraseSealer
from keyholder.standing import check_accountants, lines, warnings

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Hold the key to what data providers encrypted.")
Folder = Annotated[Path, typer.Option(envvar="BANYAN_KEYHOLDER_FOLDER", help="Where keys, ledger and registry lie.")]
Passphrase = Annotated[
    Path,
    typer.Option(
        envvar="BANYAN_KEYHOLDER_PASSPHRASE_FILE", help="A file (0400) with the passphrase of the secret keys."
    ),
]
Profile = Annotated[str, typer.Option(help="sum34, sum58 or crt115; docs/encrypting.md says which.")]
Days = Annotated[int, typer.Option(min=1, max=3660, help="How long data may be encrypted under the new key.")]
REGISTRY = "registry.yaml"
NEWEST = 5
_log = logging.getLogger("banyan.keyholder")
P = ParamSpec("P")
T = TypeVar("T")


def _told(command: Callable[P, T]) -> Callable[P, T]:
    """Show an error of ours as a person needs it, and end with 1."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except BanyanError as problem:
            place = ", ".join(f"{name} {value}" for name, value in problem.where.items())
            print(f"refused  {problem.code}  {place}".rstrip() + f"\n  {problem.text}", file=sys.stderr)
            if problem.way_out:
                print(f"  What would pass: {problem.way_out}", file=sys.stderr)
            raise typer.Exit(1) from None

    return run


def _new(folder: Path) -> Keys:
    return Keys(folder, database_in(folder), SystemClock())


def _keys(folder: Path) -> Keys:
    """The keys of a key holder that is there. Raises NotFound (`folder.unknown`), Unavailable (`ledger.unusable`)."""
    if not (folder / DATABASE).is_file():
        text = "there is no key holder in this folder"
        raise NotFound("folder.unknown", text, where={"folder": folder}, way_out="its folder, or init for a new one")
    keys = _new(folder)
    try:
        with changing(keys.engine) as connection:
            prepare(connection)
    except SQLAlchemyError:
        text = "the ledger is damaged, in use by something else, or not yours to write"
        raise Unavailable("ledger.unusable", text, where={"file": folder / DATABASE}) from None
    return keys


@app.command()
@_told
def init(
    name: Annotated[str, typer.Option(help="Who holds the key, as providers see it.")],
    folder: Folder,
    passphrase_file: Passphrase,
    profile: Profile = "sum58",
    days: Days = 365,
) -> None:
    """Make folder, signing key, ledger and the first key; does nothing to what is there."""
    close_doors()
    lock_memory()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    keys = _new(folder)
    keys.initialise(name)
    registry = folder / REGISTRY
    if not registry.exists():
        registry.write_text(EXAMPLE)
    if not any(context.profile == profile for context in keys.contexts()):
        keys.make(profile, days, PassphraseSealer(passphrase_file))
    print(f"signer {keys.signer}")
    for context in keys.contexts():
        print(f"key    {context.key}  {context.profile}, takes data until {context.expires[:10]}")
        print(f"       {keys.context_file(context.key)}")
    print(f"next: say in {registry} whom to believe, give the line above to the service's operator, and serve")


@app.command()
@_told
def serve(
    folder: Folder,
    passphrase_file: Passphrase,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8431,
    daily: Annotated[int, typer.Option(min=1, max=10_000, help="Releases that a key may have within 24 hours.")] = 100,
) -> None:
    """Answer the service until SIGTERM or Ctrl-C."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    keys = _keys(folder)
    registry = read_registry(folder / REGISTRY)
    close_doors()
    ledger = Ledger(keys.engine, keys.clock, daily)
    check_accountants(registry, ledger)
    for warning in warnings(registry, ledger):
        _log.warning(warning)
    releases = Releases(keys, ledger, registry, passphrase_file)
    releases.check_opens()  # a wrong passphrase shows now
    uvicorn.run(application(releases), host=host, port=port, log_level="warning", access_log=False, server_header=False)


@app.command()
@_told
def rotate(folder: Folder, passphrase_file: Passphrase, profile: Profile = "sum58", days: Days = 365) -> None:
    """Make a new active key; what is encrypted under the one before can still be summed and opened."""
    close_doors()
    lock_memory()
    context = _keys(folder).make(profile, days, PassphraseSealer(passphrase_file))
    print(f"key    {context.key}  {context.profile}, takes data until {context.expires[:10]}")


@app.command()
@_told
def status(folder: Folder) -> None:
    """Keys, budgets, refusals, and what of the registry may not be meant so."""
    keys = _keys(folder)
    states = keys.states()
    for context in keys.contexts():
        print(f"key    {context.key}  {context.profile}, {states[context.key]}")
    ledger = Ledger(keys.engine, keys.clock, 0)
    registry = read_registry(folder / REGISTRY)
    for line in lines(registry, ledger):
        print(line)
    for warning in warnings(registry, ledger):
        print(f"look   {warning}")
    head = ledger.followed()
    print(f"log    {'none seen' if head is None else f'{head.size} entries'}")
    yesterday = keys.clock.now() - timedelta(days=1)
    refused, unsigned = refusals_since(keys.engine, yesterday), strangers_since(keys.engine, yesterday)
    print(f"refused or put off in 24 hours: {refused}, and {unsigned} that the service has not signed")
    print(f"incidents: {len(incidents_in(keys.engine))}")
    open_jobs = unanswered_in(keys.engine)
    newest = f" (newest {', '.join(open_jobs[-NEWEST:])})" if open_jobs else ""
    print(f"begun and never answered: {len(open_jobs)}{newest}")


@app.command()
@_told
def incidents(folder: Folder) -> None:
    """What nobody honest causes, service or provider, and whose uploads were in it."""
    for incident in incidents_in(_keys(folder).engine):
        print(f"{incident.moment}  {incident.kind}  {incident.key}  {incident.job}")
        if incident.about:
            print(f"  uploads: {incident.about}")


@app.command()
@_told
def unfreeze(key: str, folder: Folder) -> None:
    """Let a frozen key decrypt again, when it is known what froze it. It takes no new data."""
    _keys(folder).set_state(key, KeyState.DECRYPT_ONLY, "unfrozen by its operator")
    print(f"{key} decrypts again")


@app.command()
@_told
def retire(key: str, folder: Folder) -> None:
    """Never open anything with this key again."""
    _keys(folder).set_state(key, KeyState.RETIRED, "retired by its operator")
    print(f"{key} is retired")


def main() -> None:
    """The entry point."""
    app()
