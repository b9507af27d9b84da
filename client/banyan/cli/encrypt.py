"""The commands of a data provider: provider-key, encrypt, upload."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from banyan import credentials
from banyan.cli import screen
from banyan.cli.account import Json
from banyan.cli.calls import answer, call_of
from banyan.cli.saving import Force, check_output
from banyan.client import Client
from banyan.encrypt import signing_key
from banyan.errors import Refused
from banyan.file_kind import HEV_SUFFIX
from banyan.textfile import read_bytes

if TYPE_CHECKING:
    from banyan.encrypt.context import PublicContext
    from banyan.encrypt.declared import Declared
    from banyan.encrypt.flags import Flags
    from banyan.encrypt.header import Header

MOST_CONTEXT_BYTES = 2 << 20
Told = Callable[[int, int], None]
ForPrograms = Annotated[bool, typer.Option("--json", help="Print it for programs.")]
KeyFile = Annotated[
    Path | None, typer.Option("--signing-key", help="Your signing key, if not the usual one.", metavar="FILE")
]


def provider_key(key_file: KeyFile = None, as_json: ForPrograms = False) -> None:
    """Show the public line of your signing key; the first time, make one that only you can read."""
    path = key_file or signing_key.default_path()
    line = signing_key.line_of(signing_key.made_or_found(path))
    if as_json:
        screen.say_json({"signing_key": line, "file": str(path)})
    else:
        screen.say(line)
        screen.note(f"the secret half is in {path}; the line goes into the asset's declaration and to the key holder")


def encrypt(
    data: Annotated[Path, typer.Argument(help="Your rows: .csv or .parquet.", metavar="FILE")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write the upload.", metavar="OUT.hev")],
    asset: Annotated[str | None, typer.Option(help="Take terms and key from the server's asset.")] = None,
    declaration: Annotated[Path | None, typer.Option(help="Take the terms from a declaration.", metavar="FILE")] = None,
    context: Annotated[Path | None, typer.Option(help="The key holder's public context.", metavar="FILE.hectx")] = None,
    key_holder: Annotated[
        str | None, typer.Option(help="The key holder's signer, as they told you in person.", metavar="BASE64")
    ] = None,
    unit: Annotated[
        str | None, typer.Option(help="Whom the guarantee protects: patient_id, or patient_id:int.", metavar="COLUMN")
    ] = None,
    units: Annotated[int | None, typer.Option(help="About how many units you have; everybody sees it.", min=1)] = None,
    provider: Annotated[str | None, typer.Option(help="Your name as a provider.")] = None,
    population: Annotated[str | None, typer.Option(help="The population that your units belong to.")] = None,
    group_by: Annotated[
        str | None, typer.Option(help="The public groups: 'region=north|south'.", metavar="COLUMN=VALUES")
    ] = None,
    max_groups: Annotated[int | None, typer.Option(help="In how many groups a unit counts; else 1.", min=1)] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="Total a column, with the bounds of a unit's total: 'cost:decimal(2),clip=0..1000'. Or use it in a regression,"
            " with the bounds of a value: 'age:int,range=0..110'.",
            metavar="COLUMN",
        ),
    ] = None,
    square: Annotated[
        list[str] | None, typer.Option(help="Sum a totalled column's squares too.", metavar="COLUMN")
    ] = None,
    features: Annotated[str | None, typer.Option(help="Regression: age,stay.", metavar="COLUMNS")] = None,
    target: Annotated[str | None, typer.Option(help="Regression: what is explained.", metavar="COLUMN")] = None,
    job: Annotated[
        str | None, typer.Option(help="Encrypt for one job that asks for it: banyan calls ASSET.", metavar="JOB")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="From now on your answers to jobs may cost so much in all: 4, or 4:1e-6 with its δ. Else as before, at first as declared.",
            metavar="EPSILON",
        ),
    ] = None,
    null_value: Annotated[
        list[str] | None, typer.Option(help="A text that means an empty cell, such as NA.", metavar="TEXT")
    ] = None,
    drop_nulls: Annotated[bool, typer.Option("--drop-nulls", help="Leave out rows with an empty cell.")] = False,
    key_file: KeyFile = None,
    force: Force = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print the file's digest only.")] = False,
    as_json: ForPrograms = False,
) -> None:
    """Encrypt bounded totals of your rows for the key holder, and sign them. No row leaves this machine.

    Say what to encrypt with --asset, or with --declaration and --context, or with --context and the options from --unit to --target.
    Of an asset that is not stored, a file without --job holds no numbers: it only says that the data are there.
    """
    key_path = key_file or signing_key.default_path()
    check_output(output, force=force, inputs=(data, declaration, context, key_path))
    if output.suffix.lower() != HEV_SUFFIX:
        raise Refused("file.format", f"{output} is no name for an upload", way_out=f"-o {output.stem}{HEV_SUFFIX}")
    if budget is not None and job is None:
        raise Refused("option.job", "a budget is for what jobs ask for", way_out="--job JOB --asset ASSET")
    call = None if job is None else call_of(asset, job)
    with _extra():
        from banyan.encrypt import bounding, hev_writer, rows, words  # noqa: PLC0415 - needs the extra
        from banyan.encrypt.calls import check_stored  # noqa: PLC0415 - as above
        from banyan.encrypt.flags import Flags  # noqa: PLC0415 - as above
    flags = Flags(unit, provider, population, units, max_groups, group_by, column or [], square or [], features, target)
    declared, public = _sources(asset, declaration, context, flags)
    declared = replace(declared, null_values=tuple(null_value)) if null_value else declared
    hev_writer.check_context(public, declared.terms)
    _check_holder(public, key_holder, quiet=quiet)
    signing = signing_key.opened(key_path)
    signing_key.check_declared(signing, declared.signing_key)
    if asset is not None and call is None:
        check_stored(credentials.folder(), asset, declared.terms.population, stored=declared.stored)
    with _progress("reading rows", TimeRemainingColumn(), quiet=quiet) as told:
        found = rows.read_rows(data, declared, drop_nulls=drop_nulls, progress=told)
    parts = bounding.bounded(found, declared.terms)
    vectors, share = parts.vectors if declared.stored else {}, None
    if asset is not None and call is not None:
        with _extra():
            vectors, share = answer(asset, call, parts.vectors, declared, signing, budget=budget, quiet=quiet)
    with _progress("encrypting", TimeRemainingColumn(), quiet=quiet) as told:
        header = hev_writer.write_hev(output, vectors, declared.terms, public, signing, share, told)
    _say(output, header, list(vectors), public, words.local(found, parts), quiet=quiet, as_json=as_json)


def upload(
    file: Annotated[Path, typer.Argument(help="What banyan encrypt wrote.", metavar="FILE.hev")],
    asset: Annotated[
        str | None, typer.Option(help="Your asset. Without it: the one with the terms that you encrypted under.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Send an upload as the next version of your asset, or what was encrypted for a job to that job. Earlier versions stay."""
    with _extra():
        from banyan.encrypt import upload_fit  # noqa: PLC0415 - needs the extra
        from banyan.encrypt.declared import of_asset  # noqa: PLC0415 - as above
    header = upload_fit.header_of(file)
    with Client() as client:
        asset = asset or upload_fit.asset_of(header, client.assets(""))
        declared, public = of_asset(asset, client.asset(asset)), _context(client.context(asset))
        upload_fit.check_fits(header, asset, declared, public)
        with _progress("sending", DownloadColumn(), TransferSpeedColumn(), quiet=as_json) as told:
            if header.share is not None:
                found = client.contribute(asset, header.share.job, file, progress=told)
            else:
                found = client.ingest(asset, file, file_format="hev", progress=told)
    if as_json:
        screen.say_json(found)
    elif header.share is not None:
        screen.say(f"{header.share.job} has the contribution of {asset}")
    else:
        again = "; the service had these very bytes already" if found.get("repeated") else ""
        screen.say(f"{found.get('asset')} v{found.get('version')} is {found.get('state')}{again}")


def _sources(
    asset: str | None, declaration: Path | None, context: Path | None, flags: Flags
) -> tuple[Declared, PublicContext]:
    """The terms from the one place that says them, and the key under which to encrypt."""
    from banyan.encrypt import declared  # noqa: PLC0415 - needs the extra
    from banyan.encrypt.flags import of_flags  # noqa: PLC0415 - as above

    said = [name for name, value in (("--asset", asset), ("--declaration", declaration)) if value] + flags.given
    if len(said) > 1 and (asset or declaration):
        text = f"{said[0]} says all that {', '.join(said[1:])} would say"
        raise Refused("option.conflict", text, way_out=f"{said[0]} alone")
    if asset is not None:
        with Client() as client:
            found = declared.of_asset(asset, client.asset(asset))
            raw = client.context(asset) if context is None else read_bytes(context, MOST_CONTEXT_BYTES)
        return found, _context(raw)
    if context is None:
        raise Refused("option.context", "say under which key to encrypt", way_out="--context key.hectx, or --asset ID")
    public = _context(read_bytes(context, MOST_CONTEXT_BYTES))
    return declared.of_file(declaration) if declaration else of_flags(flags, public.profile), public


def _context(raw: bytes) -> PublicContext:
    from banyan.encrypt.context import PublicContext  # noqa: PLC0415 - needs the extra

    try:
        return PublicContext.from_bytes(raw)
    except ValueError as problem:
        text = f"this is not a key to encrypt under: {problem}"
        raise Refused("context.invalid", text, way_out="the .hectx file as the key holder gave it") from None


def _check_holder(public: PublicContext, expected: str | None, *, quiet: bool) -> None:
    """Whoever has the secret half of the key reads all: whose key it is must not be believed to the one who carried it here."""
    if expected is None and not quiet:
        screen.note(f"the key is of {public.holder}, it says, whose signer is")
        screen.note(f"  {public.signer}")
        screen.note("ask them in person whether that is so, and give the line with --key-holder")
    if expected is not None and expected != public.signer:
        raise Refused(
            "context.signer",
            f"the key is signed by {public.signer}, which is another key holder than the one you name",
            way_out="stop, and ask the key holder in person",
        )


def _say(
    output: Path,
    header: Header,
    held: list[str],
    public: PublicContext,
    local: dict[str, object],
    *,
    quiet: bool,
    as_json: bool,
) -> None:
    from banyan.encrypt import words  # noqa: PLC0415 - needs the extra

    with output.open("rb") as file:
        digest = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    if as_json:
        vectors = [{"name": name, "numbers": header.terms.vector(name).length} for name in held]
        holder = {"name": public.holder, "signer": public.signer}
        said = {"file": str(output), "digest": digest, "key": header.key, "key_holder": holder, "vectors": vectors}
        screen.say_json(said | {"terms": header.terms.to_json(), "only_here": local})
    elif quiet:
        screen.say(digest)
    else:
        screen.say_fields(
            [
                ("File", f"{output}, {output.stat().st_size:,} bytes\n{digest}"),
                ("Key", header.key),
                ("Holds", words.contents(header.terms, held, header.share)),
                ("Signed", words.bounds(header.terms)),
                ("Stays", "with you, and nobody else is told:\n" + words.local_told(local)),
            ]
        )
        screen.note(f"next: banyan upload {output}")


@contextmanager
def _progress(what: str, *columns: ProgressColumn, quiet: bool) -> Iterator[Told | None]:
    """A bar on a terminal; elsewhere nothing to be told."""
    shown = screen.console(errors=True)
    if quiet or not shown.is_terminal:
        yield None
        return
    with Progress(TextColumn("{task.description}"), BarColumn(), *columns, console=shown, transient=True) as bar:
        task = bar.add_task(what)
        yield lambda done, of: bar.update(task, completed=done, total=of)


@contextmanager
def _extra() -> Iterator[None]:
    try:
        yield
    except ImportError as problem:
        extra = "shares" if problem.name == "opendp" else "encrypt"
        raise Refused(
            "client.no_extra",
            f"encrypting needs a package that is not installed: {problem.name}",
            way_out=f"pip install 'banyan-client[{extra}]'",
        ) from None
