"""Whether an upload fits the asset that it is meant for: found out before it is sent, with what differs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from banyan.encrypt.context import PublicContext
from banyan.encrypt.declared import Declared
from banyan.encrypt.header import Header, signature_holds
from banyan.errors import Refused
from banyan.textfile import unreadable

METADATA = b"banyan"
_AGAIN = "banyan encrypt --asset …, which takes terms and key from the server"


def header_of(path: Path) -> Header:
    """The header of a file that `banyan encrypt` wrote. Raises Refused (`upload.not_hev`, `file.unusable`)."""
    try:
        with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
            return Header.from_json(json.loads(reader.schema.metadata[METADATA]))
    except (pa.ArrowException, KeyError, TypeError, ValueError):
        text = f"{path.name} is not what this version of banyan encrypt writes"
        raise Refused("upload.not_hev", text, way_out="banyan encrypt … -o out.hev") from None
    except OSError as problem:
        raise unreadable(path, problem) from None


def check_fits(header: Header, asset: str, declared: Declared, context: PublicContext) -> None:
    """Raise Refused unless the terms (`upload.terms`), the key (`upload.key`) and the signature (`upload.signature`) are the asset's."""
    found, wanted = header.terms.to_json(), declared.terms.to_json()
    differing = [name for name in wanted if found[name] != wanted[name]]
    if differing:
        text = f"the upload was made under other terms than those of {asset}: {', '.join(differing)} differ"
        raise Refused("upload.terms", text, {"field": differing[0]}, _AGAIN)
    if header.key != context.key:
        text = f"the upload is encrypted under {header.key}, and the key holder's present key is {context.key}"
        raise Refused("upload.key", text, {"field": "key"}, _AGAIN)
    if declared.signing_key is None or not signature_holds(header, declared.signing_key):
        text = f"the upload is not signed with the key that {asset} declares for {header.terms.provider}"
        raise Refused("upload.signature", text, {"field": "signature"}, "--signing-key with that key's file")


def asset_of(header: Header, entries: Sequence[Mapping[str, Any]]) -> str:
    """The one asset of the catalogue with these terms. Raises Refused (`upload.no_asset`)."""
    wanted = header.terms.to_json()
    encrypted = [
        (str(entry.get("asset")), told) for entry in entries if isinstance(told := entry.get("encrypted"), Mapping)
    ]
    found = [asset for asset, told in encrypted if told.get("terms") == wanted]
    if len(found) == 1:
        return found[0]
    owned = [asset for asset, told in encrypted if dict(told.get("terms") or {}).get("provider") == wanted["provider"]]
    many = f"{len(found)} assets have" if found else "no asset has"
    text = f"{many} the terms that this upload of {wanted['provider']} was made under"
    way_out = f"--asset, one of {', '.join(found or owned)}" if found or owned else "banyan assets register FILE"
    raise Refused("upload.no_asset", text, way_out=way_out)
