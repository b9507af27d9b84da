"""The commands about assets: search, show, register, ingest, report; and mock data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from banyan import encrypted_words, figures, layout
from banyan.cli import screen
from banyan.cli.account import Json
from banyan.cli.saving import Force, check_output
from banyan.client import Client
from banyan.errors import Refused
from banyan.file_kind import FORMATS, encrypting
from banyan.textfile import unreadable

assets = typer.Typer(help="Find, show and register assets.", rich_markup_mode=None, invoke_without_command=True)
Asset = Annotated[str, typer.Argument(help="An asset, such as traffic/flights.", metavar="ASSET")]
_MOCK_FORMATS = {".parquet": "parquet", ".csv": "csv"}


@assets.callback()
def everything(context: typer.Context) -> None:
    """Find, show and register assets. Without a command: list them all."""
    if context.invoked_subcommand is None:
        search()


@assets.command()
def search(
    text: Annotated[str, typer.Argument(help="What the name, title or columns should hold.", metavar="TEXT")] = "",
    as_json: Json = False,
) -> None:
    """List the assets that hold TEXT, or all of them."""
    with Client() as client:
        items = client.assets(text)
    if as_json:
        screen.say_json({"items": items})
        return
    rows = [[str(item.get("asset")), _title(item), str(item.get("level")), _version(item)] for item in items]
    screen.say_table(("asset", "title", "level", "version"), rows)


@assets.command()
def show(asset: Asset, as_json: Json = False) -> None:
    """Show an asset's declaration: what you may know before any job."""
    with Client() as client:
        found = client.asset(asset)
    if as_json:
        screen.say_json(found)
        return
    columns = _columns(found)
    plain = {name: value for name, value in found.items() if name not in ("columns", "encrypted")}
    screen.say_fields(screen.flat(plain) + _encrypted(found))
    if columns:
        screen.say("")
        screen.say_table(("column", "type", "may be", "key"), columns)


@assets.command()
def register(
    file: Annotated[Path, typer.Argument(help="The declaration, a YAML file.", metavar="FILE")],
    as_json: Json = False,
) -> None:
    """Register the asset that a declaration file declares (operators)."""
    with Client() as client:
        found = client.register(file)
    if as_json:
        screen.say_json(found)
    else:
        screen.say(f"registered {found.get('asset')}")
        screen.say(layout.hanging("next: ", _next(found), screen.width()))


@assets.command()
def ingest(
    asset: Asset,
    file: Annotated[Path, typer.Argument(help="The data: .csv, .parquet or .arrow.", metavar="FILE")],
    file_format: Annotated[
        str | None, typer.Option("--format", help="csv, parquet or arrow, if FILE's suffix lies.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Send a file of rows as a new version of an asset that is not encrypted (operators). Earlier versions are never harmed."""
    known = sorted(set(FORMATS.values()))
    if file_format is not None and file_format not in known:
        raise Refused("file.format", f"rows are not sent as {file_format}", way_out=", ".join(known))
    with Client() as client:
        found = _send(client, asset, file, file_format)
    if as_json:
        screen.say_json(found)
    else:
        screen.say(f"{found.get('asset')} v{found.get('version')} is {found.get('state')}")
        screen.say(f"what was rejected: banyan assets report {asset} --version {found.get('version')}")


def _send(client: Client, asset: str, file: Path, file_format: str | None) -> dict[str, Any]:
    shown = screen.console(errors=True)
    if not shown.is_terminal:
        return client.ingest(asset, file, file_format=file_format)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=shown, transient=True) as progress:
        task = progress.add_task("sending")

        def sent(done: int, size: int) -> None:
            progress.update(task, completed=done, total=size)
            if done == size:
                progress.update(task, description="checking every row")

        return client.ingest(asset, file, file_format=file_format, progress=sent)


@assets.command()
def report(
    asset: Asset,
    version: Annotated[int | None, typer.Option(help="Which version. Without it: the newest.", min=1)] = None,
    as_json: Json = False,
) -> None:
    """Show what an ingest rejected, by column and reason (operators). Each reading is an event in the log."""
    with Client() as client:
        version = version or _newest(client, asset)
        found = client.report(asset, version)
    if as_json:
        screen.say_json(found)
        return
    screen.say(f"{figures.count(found.get('rows_kept'))} of {figures.count(found.get('rows_read'))} rows kept")
    rejected = [one for one in found.get("rejected") or [] if isinstance(one, Mapping)]
    rows = [[str(one.get("column")), str(one.get("reason")), figures.count(one.get("rows"))] for one in rejected]
    screen.say_table(("column", "reason", "rows rejected"), rows, (2,))
    for advice in found.get("advice") or []:
        screen.say(layout.hanging("Advice  ", str(advice), screen.width()))


def mock(
    asset: Asset,
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write: .parquet or .csv.", metavar="FILE")],
    rows: Annotated[int, typer.Option("-n", "--rows", help="How many rows, exactly.", min=1)] = 1000,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same rows.")] = None,
    force: Force = False,
) -> None:
    """Write made-up rows in an asset's form, to develop on. Free, and a function of the declaration only."""
    file_format = _MOCK_FORMATS.get(output.suffix.lower())
    if file_format is None:
        raise Refused("file.format", f"mock data is not written as {output.name}", way_out=".parquet or .csv")
    check_output(output, force=force)
    with Client() as client:
        content = client.mock(asset, rows, seed=seed, file_format=file_format)
    try:
        output.write_bytes(content)
    except OSError as problem:
        raise unreadable(output, problem) from None
    screen.say(f"{rows:,} made-up rows of {asset} in {output}")


def _encrypted(entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    told = entry.get("encrypted")
    try:
        return [] if told is None else encrypted_words.fields(told)
    except (KeyError, TypeError, ValueError):  # of a server of another version
        return screen.flat({"encrypted": told})


def _next(entry: Mapping[str, Any]) -> str:
    """How the asset gets its first version; of an encrypted one the rows are sent to nobody."""
    asset = str(entry.get("asset"))
    if entry.get("encrypted") is None:
        return f"banyan assets ingest {asset} FILE"
    return f"its provider encrypts at home, and no row is sent here: {encrypting(asset, 'FILE')}"


def _newest(client: Client, asset: str) -> int:
    entry = client.asset(asset)
    found = entry.get("version")
    number = found.get("version") if isinstance(found, Mapping) else found
    if not isinstance(number, int):
        raise Refused("asset.no_version", f"{asset} has no version yet", way_out=_next(entry))
    return number


def _title(item: Mapping[str, Any]) -> str:
    title = item.get("title")
    return str(title.get("en") or title.get("zh") or "") if isinstance(title, Mapping) else str(title or "")


def _version(item: Mapping[str, Any]) -> str:
    version = item.get("version")
    number = version.get("version") if isinstance(version, Mapping) else version
    return "none yet" if number is None else f"v{number}"


def _columns(found: Mapping[str, Any]) -> list[list[str]]:
    columns = [column for column in found.get("columns") or [] if isinstance(column, Mapping)]
    return [
        [
            str(column.get("name")),
            str(column.get("type")),
            _domain(column),
            "public" if column.get("public") else "private",
        ]
        for column in columns
    ]


def _domain(column: Mapping[str, Any]) -> str:
    if column.get("values"):
        found = ", ".join(str(value) for value in column["values"])
    elif column.get("lower") is not None or column.get("upper") is not None:
        found = f"{column.get('lower')} … {column.get('upper')}"
    else:
        found = f"up to {column['max_length']} letters" if column.get("max_length") else "any"
    return found + (" or NULL" if column.get("nullable") else "")
