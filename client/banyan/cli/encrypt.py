"""The commands of a data provider: provider-key, encrypt, upload."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn

from banyan.cli import screen
from banyan.cli.account import Json
from banyan.cli.saving import Force, check_output
from banyan.client import Client
from banyan.errors import Refused
from banyan.textfile import read_bytes

if TYPE_CHECKING:
    from banyan.encrypt.bounding import Bounds
    from banyan.encrypt.context import PublicContext
    from banyan.encrypt.header import Header
    from banyan.encrypt.rows import Rows
    from banyan.encrypt.terms import Terms

MOST_CONTEXT_BYTES = 2 << 20
KeyFile = Annotated[
    Path | None, typer.Option("--signing-key", help="Your signing key, if not the usual one.", metavar="FILE")
]


def provider_key(key_file: KeyFile = None, as_json: Json = False) -> None:
    """Show the public line of your signing key; the first time, make one that only you can read."""
    with _extra():
        from banyan.encrypt import signing_key  # noqa: PLC0415 - needs the extra
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
    declaration: Annotated[
        Path | None, typer.Option(help="The asset's declaration, which has everything but the key.", metavar="FILE")
    ] = None,
    asset: Annotated[str | None, typer.Option(help="Take terms and key from the server's asset.")] = None,
    context: Annotated[
        Path | None, typer.Option(help="The key holder's public context (.hectx).", metavar="FILE")
    ] = None,
    key_holder: Annotated[
        str | None, typer.Option("--key-holder", help="The key holder's signer, as they told you in person.")
    ] = None,
    unit: Annotated[str | None, typer.Option(help="The column that names whom the guarantee protects.")] = None,
    provider: Annotated[str | None, typer.Option(help="Your name as a provider.")] = None,
    population: Annotated[str | None, typer.Option(help="The population that your units belong to.")] = None,
    units: Annotated[int | None, typer.Option(help="About how many units you have; everybody sees it.")] = None,
    max_groups: Annotated[int, typer.Option(help="In how many groups a unit counts.", min=1)] = 1,
    column: Annotated[
        list[str] | None, typer.Option(help="A column and the bounds of a unit's total: cost:decimal(2),clip=0..1000.")
    ] = None,
    square: Annotated[list[str] | None, typer.Option(help="A column whose squares are summed too.")] = None,
    group_by: Annotated[str | None, typer.Option(help="The public groups: region=north|south.")] = None,
    drop_nulls: Annotated[bool, typer.Option("--drop-nulls", help="Leave out rows with an empty cell.")] = False,
    key_file: KeyFile = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Encrypt bounded totals of your rows for the key holder, and sign them. No row leaves this machine."""
    with _extra():
        from banyan.encrypt import bounding, hev_writer, rows, signing_key  # noqa: PLC0415 - needs the extra
    check_output(output, force=force)
    terms, public = _terms_and_key(
        declaration, asset, context, unit, provider, population, units, max_groups, column, square, group_by
    )
    _check_holder(public, key_holder)
    signing = signing_key.opened(key_file or signing_key.default_path())
    with _progress("reading rows") as told:
        found = rows.read_rows(data, terms, drop_nulls=drop_nulls, progress=lambda seen: told(seen, None))
    parts = bounding.bounded(found, terms)
    with _progress("encrypting") as told:
        header = hev_writer.write_hev(output, parts.vectors, terms, public, signing, progress=told)
    _say(output, header, found, parts, as_json=as_json)


def upload(
    file: Annotated[Path, typer.Argument(help="What banyan encrypt wrote.", metavar="FILE.hev")],
    asset: Annotated[str, typer.Option(help="Your asset, such as medical/admissions-hospital-a.")],
    as_json: Json = False,
) -> None:
    """Send an upload as the next version of your asset. Earlier versions stay."""
    with Client() as client:
        found = client.ingest(asset, file, file_format="hev")
    if as_json:
        screen.say_json(found)
    else:
        screen.say(f"{found.get('asset')} v{found.get('version')} is {found.get('state')}")


def _terms_and_key(
    declaration: Path | None,
    asset: str | None,
    context: Path | None,
    unit: str | None,
    provider: str | None,
    population: str | None,
    units: int | None,
    max_groups: int,
    columns: list[str] | None,
    squares: list[str] | None,
    group_by: str | None,
) -> tuple[Terms, PublicContext]:
    from banyan.encrypt.context import PublicContext  # noqa: PLC0415 - needs the extra
    from banyan.encrypt.declared import terms_of_file, terms_said  # noqa: PLC0415
    from banyan.encrypt.terms import Terms  # noqa: PLC0415

    if asset is not None:
        with Client() as client:
            told = client.asset(asset).get("encrypted")
            raw = client.context(asset)
        if not isinstance(told, dict):
            raise Refused("asset.not_encrypted", f"{asset} is not declared as encrypted")
        terms = Terms.from_json(told["terms"])
    else:
        if context is None:
            raise Refused("option.context", "say under which key to encrypt", way_out="--context key.hectx, or --asset")
        raw = read_bytes(context, MOST_CONTEXT_BYTES)
        terms = None
    try:
        public = PublicContext.from_bytes(raw)
    except ValueError as problem:
        raise Refused("context.invalid", f"the public context is refused: {problem}") from None
    if terms is None and declaration is not None:
        terms = terms_of_file(declaration)
    if terms is None:
        needed = {"--unit": unit, "--provider": provider, "--population": population, "--units": units}
        missing = [name for name, value in needed.items() if value is None]
        if unit is None or provider is None or population is None or units is None:
            raise Refused(
                "option.missing",
                f"say {', '.join(missing)}",
                way_out="--declaration FILE has all of it, and so has --asset",
            )
        terms = terms_said(
            provider=provider,
            unit=unit,
            population=population,
            profile=public.profile,
            group_by=group_by,
            max_groups=max_groups,
            columns=columns or [],
            squares=squares or [],
            units=units,
        )
    return terms, public


def _check_holder(public: PublicContext, expected: str | None) -> None:
    if expected is None:
        screen.note(f"key of {public.holder}, signer {public.signer}: compare it with what they told you")
    elif expected != public.signer:
        raise Refused("context.signer", "the public context is signed by another key holder than the one you name")


def _say(output: Path, header: Header, found: Rows, parts: Bounds, *, as_json: bool) -> None:
    terms = header.terms
    digest = "sha256:" + hashlib.sha256(output.read_bytes()).hexdigest()
    told: dict[str, Any] = {
        "file": str(output),
        "digest": digest,
        "key": header.key,
        "vectors": [{"name": vector.name, "numbers": vector.length} for vector in terms.vectors],
    }
    if as_json:
        screen.say_json(told)
        return
    screen.say(f"{output}  {output.stat().st_size:,} bytes  {digest}")
    screen.say(f"under key {header.key}")
    screen.say(f"bounds signed: a {terms.unit} counts in at most {terms.max_groups} of {len(terms.groups)} groups")
    for total in terms.totals:
        unit = 10**total.scale
        screen.say(
            f"  its total of {total.column} in a group is between {total.lower / unit:g} and {total.upper / unit:g}"
        )
    screen.say(
        f"only you see this: {found.units:,} units, {len(found.unit):,} rows, {found.dropped:,} left out for nulls;"
    )
    cut = ", ".join(f"{count:,} of {name}" for name, count in parts.clamped.items()) or "none"
    screen.say(f"  totals moved into their bounds: {cut}; groups left out: {parts.groups_left_out:,}")
    screen.note(f"next: banyan upload {output} --asset …")


@contextmanager
def _progress(what: str) -> Iterator[Any]:
    shown = screen.console(errors=True)
    if not shown.is_terminal:
        yield lambda *_: None
        return
    with Progress(TextColumn("{task.description}"), BarColumn(), console=shown, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)


@contextmanager
def _extra() -> Iterator[None]:
    try:
        yield
    except ImportError as problem:
        raise Refused(
            "client.no_extra",
            f"encrypting needs a package that is not installed: {json.dumps(problem.name)}",
            way_out="pip install 'banyan-client[encrypt]'",
        ) from None
