"""Assembles the command `banyan`, and decides how it ends: 0 ok, 1 refused or failed with a code, 2 wrong usage, 3 unreachable."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from banyan.cli import account, jobs, proofs, screen, work
from banyan.cli.audit import audit
from banyan.cli.calls import calls
from banyan.cli.catalogue import assets, mock
from banyan.cli.encrypt import encrypt, provider_key, upload
from banyan.cli.policies import policies
from banyan.errors import BanyanError, Unreachable

FAILED, UNREACHABLE = 1, 3

app = typer.Typer(
    name="banyan",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _say_version(asked: bool) -> None:
    if asked:
        screen.say(f"banyan {version('banyan-client')}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Run analyses on data that you must not see; differentially private answers come back."""


app.command()(account.login)
app.command()(account.whoami)
app.add_typer(assets, name="assets")
app.command()(mock)
app.command()(work.run)
app.command()(work.plan)
app.command()(work.submit)
app.command()(jobs.jobs)
app.command()(jobs.show)
app.command()(jobs.cancel)
app.command()(jobs.result)
app.command()(jobs.receipt)
app.command()(account.budget)
app.command()(proofs.verify)
app.command("provider-key")(provider_key)
app.command()(encrypt)
app.command()(upload)
app.command()(calls)
app.add_typer(policies, name="policies")
app.add_typer(audit, name="audit")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show ε or ± shows a question mark rather than a traceback.
            stream.reconfigure(errors="replace")
    try:
        app(args=arguments, prog_name="banyan")
    except Unreachable as error:
        screen.say_error(error)
        sys.exit(UNREACHABLE)
    except BanyanError as error:
        screen.say_error(error)
        sys.exit(FAILED)
