"""Decides where a command may write: never over a file that is there, unless the person says so."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from banyan.errors import Refused

Output = Annotated[
    Path | None, typer.Option("-o", "--output", help="Save the table as .csv, .json or .parquet.", metavar="FILE")
]
Force = Annotated[bool, typer.Option("--force", help="Write over a file that is there.")]


def check_output(path: Path | None, *, force: bool) -> None:
    """Raise Refused (`file.exists`) before anything is asked of the server, if something would be lost."""
    if path is not None and not force and path.exists():
        raise Refused("file.exists", f"{path} is there already", way_out="another name, or --force to write over it")
