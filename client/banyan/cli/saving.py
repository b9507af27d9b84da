"""Decides where a command may write: never over what it reads, and over another file that is there only if the person says so."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from banyan.errors import Refused

Output = Annotated[
    Path | None, typer.Option("-o", "--output", help="Save the table as .csv, .json or .parquet.", metavar="FILE")
]
Force = Annotated[bool, typer.Option("--force", help="Write over a file that is there.")]


def check_output(path: Path | None, *, force: bool, inputs: Iterable[Path | None] = ()) -> None:
    """Raise Refused (`file.is_input`, `file.exists`) before anything is read or asked, if something would be lost.

    `inputs` are the files that the command reads: by whatever name or link `path` leads to one, `--force` does not help.
    """
    if path is None:
        return
    for each in inputs:
        if each is not None and _is_same(path, each):
            text = f"{path} is {each}, which is read here" if path != each else f"{path} is what is read here"
            raise Refused("file.is_input", text, way_out="another name, of a file that is not read")
    if not force and path.exists():
        raise Refused("file.exists", f"{path} is there already", way_out="another name, or --force to write over it")


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them is not there, or may not be looked at
        return one.absolute() == other.absolute()
