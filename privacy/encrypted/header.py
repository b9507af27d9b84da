"""The signed header of an upload: what was encrypted, under which key and which terms, by whom."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from .shares import Share
from .terms import Terms

SCHEMA = "banyan.hev/1"
DOMAIN = b"banyan.hev/1\n"
MEMBERS = frozenset({"schema", "terms", "key", "content", "created", "tool", "share", "signature"})
SIGNATURE_BYTES = 64
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z")


@dataclass(frozen=True)
class Header:
    """`content` is the digest of all chunks in order; `signature` is Ed25519 over everything else, in base64.

    `share` is what a contribution to one job has beside; None for an upload that stays.
    """

    terms: Terms
    key: str
    content: str
    created: str
    tool: str
    share: Share | None
    signature: str

    def __post_init__(self) -> None:
        texts = (self.key, self.content, self.created, self.tool, self.signature)
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("a member of the header is not a text")
        if not _DIGEST.fullmatch(self.key) or not _DIGEST.fullmatch(self.content):
            raise ValueError("key and content are digests, sha256: and 64 hex digits")
        if not 0 < len(self.tool) <= 60 or not self.tool.isprintable():
            raise ValueError("the tool's name is one short line")
        moment_of(self.created)
        signature_bytes(self.signature)

    def signed(self) -> bytes:
        """What the signature is over."""
        return DOMAIN + rfc8785.dumps({name: value for name, value in self.to_json().items() if name != "signature"})

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "schema": SCHEMA,
            "terms": self.terms.to_json(),
            "key": self.key,
            "content": self.content,
            "created": self.created,
            "tool": self.tool,
            "share": None if self.share is None else self.share.to_json(),
            "signature": self.signature,
        }

    @classmethod
    def from_json(cls, stored: object) -> Self:
        """The inverse of `to_json`; raises ValueError for anything else."""
        if not isinstance(stored, Mapping) or set(stored) != MEMBERS or stored["schema"] != SCHEMA:
            raise ValueError("this is not a header of an upload of this version")
        said = {name: stored[name] for name in MEMBERS - {"schema", "terms", "share"}}
        share = None if stored["share"] is None else Share.from_json(stored["share"])
        return cls(terms=Terms.from_json(stored["terms"]), share=share, **said)


def signature_holds(header: Header, signing_key: str) -> bool:
    """Whether the provider with this public key (base64) signed it."""
    return verifies(signing_key, header.signature, header.signed())


def verifies(public: str, signature: str, content: bytes) -> bool:
    """Whether an Ed25519 signature holds; key and signature in base64. False for anything that is not one."""
    try:
        Ed25519PublicKey.from_public_bytes(base64.b64decode(public, validate=True)).verify(
            signature_bytes(signature), content
        )
    except (InvalidSignature, ValueError):
        return False
    return True


def moment_of(text: str) -> datetime:
    """The moment that an RFC 3339 text in UTC says. Raises ValueError for any other way to write one."""
    if not _MOMENT.fullmatch(text):
        raise ValueError("a moment is written like 2026-01-31T23:59:59Z")
    return datetime.fromisoformat(text)


def signature_bytes(text: str) -> bytes:
    """The 64 bytes of a signature in its one base64 form. Raises ValueError."""
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a signature is in base64") from None
    if len(found) != SIGNATURE_BYTES or base64.b64encode(found).decode() != text:
        raise ValueError("a signature has 64 bytes")
    return found
