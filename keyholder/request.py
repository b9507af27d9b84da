"""A request as it travels: a length (u64 BE), a JSON document, the ciphertext's chunks; and whether the service has signed it.

The document is canonical JSON, so that its members stand in the order manifest, signature, spend, and the manifest's bytes are the very
bytes that were signed. The signature is checked over them before anything is parsed: whoever is not the service costs one digest.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from privacy.encrypted.header import verifies
from privacy.encrypted.manifest import DOMAIN, Manifest

MAX_DOCUMENT_BYTES = 16 << 20
MAX_BODY_BYTES = 256 << 20
LENGTH = struct.Struct(">Q")
_MANIFEST, _SIGNATURE, _SPEND, _END = b'{"manifest":', b',"signature":"', b'","spend":', b"}"
_SIGNATURE_LETTERS = 88


class Refused(Exception):
    """Nothing is released. The reason is for this side only."""


class Unsigned(Refused):
    """The service has not signed it, so that anybody may have sent it."""


@dataclass(frozen=True)
class Request:
    """What the service has signed, its proof of the spend (unsigned: it proves itself), and the masked sum."""

    manifest: Manifest
    spend: Mapping[str, Any]
    chunks: bytes

    @classmethod
    def opened(cls, body: bytes, key: str) -> Self:
        """The request in a body, signed under the service's public key. Raises Unsigned; Refused or ValueError where it says nonsense."""
        end = LENGTH.size + document_size(body)
        if end > len(body):
            raise Unsigned("the request's document is longer than the request")
        raw, spend = signed_part(body[LENGTH.size : end], key)
        manifest, proof = Manifest.from_json(json.loads(raw)), json.loads(spend)
        if manifest.signed() != DOMAIN + raw:
            raise Refused("the manifest is not in its one form")
        if not isinstance(proof, dict):
            raise Refused("the spend is of another form")
        chunks = body[end:]
        if manifest.ciphertext != "sha256:" + hashlib.sha256(chunks).hexdigest():
            raise Refused("the ciphertext is not the manifest's")
        return cls(manifest, proof, chunks)


def document_size(body: bytes | bytearray) -> int:
    """How many bytes the document has, by a body's first ones. Raises Unsigned."""
    if len(body) < LENGTH.size:
        raise Unsigned("the request is too short")
    (size,) = LENGTH.unpack_from(body)
    if size > MAX_DOCUMENT_BYTES:
        raise Unsigned("the request's document is too large")
    return int(size)


def signed_part(document: bytes, key: str) -> tuple[bytes, bytes]:
    """The bytes of the manifest, which the service has signed, and those of the spend. Raises Unsigned.

    Inside a JSON text every quotation mark is escaped, so the last `,"signature":"` is that of a member; the spend has none.
    """
    at = document.rfind(_SIGNATURE)
    raw, rest = document[len(_MANIFEST) : at], document[at + len(_SIGNATURE) :]
    signature, spend = rest[:_SIGNATURE_LETTERS], rest[_SIGNATURE_LETTERS:]
    framed = at >= 0 and document.startswith(_MANIFEST) and spend.startswith(_SPEND) and spend.endswith(_END)
    if not framed:
        raise Unsigned("the request's document is of another form")
    if not verifies(key, signature.decode("latin-1"), DOMAIN + raw):
        raise Unsigned("the manifest is not signed by the service")
    return raw, spend[len(_SPEND) : -len(_END)]
