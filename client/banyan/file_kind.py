"""Whether a file may be sent to an asset at all: rows never go to an encrypted one, so its declaration is asked before a byte is sent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from banyan.errors import Refused

FORMATS = {".csv": "csv", ".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow"}
HEV, HEV_SUFFIX = "hev", ".hev"
# What stands in the signed header, which is at the beginning of what `banyan encrypt` writes and in no file of rows.
_MARK = b'"schema":"banyan.hev/'
LOOKED_AT = 1 << 19


def format_of(path: Path) -> str:
    """The format that a file of rows has by its suffix. Raises Refused (`file.format`)."""
    suffix = path.suffix.lower()
    if suffix == HEV_SUFFIX:
        text = f"{path.name} is what banyan encrypt writes, and not rows"
        raise Refused("file.format", text, way_out=f"banyan upload {path}")
    if suffix not in FORMATS:
        raise Refused("file.format", f"{path.name} is of no known format", way_out=", ".join(sorted(FORMATS)))
    return FORMATS[suffix]


def check_kind(path: Path, head: bytes, file_format: str, entry: Mapping[str, Any]) -> None:
    """Raise Refused unless a file that begins so is of the kind that the asset of this catalogue entry takes.

    `asset.encrypted`, `asset.not_encrypted`, `upload.not_hev`.
    """
    asset, is_encrypted = entry.get("asset"), entry.get("encrypted") is not None
    if is_encrypted and file_format != HEV:
        raise Refused(
            "asset.encrypted",
            f"{asset} is declared as encrypted: its rows stay with their provider, and nothing was sent",
            way_out=encrypting(str(asset), str(path)),
        )
    if not is_encrypted and file_format == HEV:
        text = f"{asset} is not declared as encrypted, and takes rows"
        raise Refused("asset.not_encrypted", text, way_out=f"banyan assets ingest {asset} FILE")
    if file_format == HEV:
        check_hev(path, head)


def check_hev(path: Path, head: bytes) -> None:
    """Raise Refused (`upload.not_hev`) for a file that begins as none that `banyan encrypt` writes."""
    if _MARK not in head:
        text = f"{path.name} is not what banyan encrypt writes, and nothing was sent"
        raise Refused("upload.not_hev", text, way_out="banyan encrypt … -o out.hev")


def encrypting(asset: str, file: str) -> str:
    """How the rows of an encrypted asset become what is sent."""
    return f"banyan encrypt {file} --asset {asset} -o OUT.hev, and then banyan upload OUT.hev"
