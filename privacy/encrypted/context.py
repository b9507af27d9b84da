"""The signed public context (.hectx): the key under which providers encrypt, with the key holder's name and signature."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from . import bfv
from .header import moment_of, verifies

SCHEMA = "banyan.hectx/1"
DOMAIN = b"banyan.hectx/1\n"
MEMBERS = frozenset({"schema", "profile", "key", "public", "holder", "created", "expires", "signer", "signature"})
MAX_BYTES = 2 << 20
MAX_HOLDER = 200
SIGNER_BYTES = 32


@dataclass(frozen=True)
class PublicContext:
    """`public` is the key file's content (privacy.encrypted.bfv); `signer` the key holder's Ed25519 public key in base64."""

    profile: str
    key: str
    public: bytes
    holder: str
    created: str
    expires: str
    signer: str
    signature: str

    def __post_init__(self) -> None:
        if not 0 < len(self.holder) <= MAX_HOLDER or not self.holder.isprintable():
            raise ValueError("the key holder's name is one short line")
        if not moment_of(self.created) < moment_of(self.expires):
            raise ValueError("a public context expires after it was made")

    @classmethod
    def signed(cls, public: bytes, holder: str, created: str, expires: str, signing: Ed25519PrivateKey) -> Self:
        """A context signed by its holder."""
        signer = base64.b64encode(signing.public_key().public_bytes_raw()).decode()
        profile, key = bfv.profile_of(public).name, bfv.key_id(public)
        unsigned = cls(profile, key, public, holder, created, expires, signer, "")
        signature = base64.b64encode(signing.sign(unsigned._said())).decode()
        return cls(profile, key, public, holder, created, expires, signer, signature)

    def takes_data_at(self, now: datetime) -> bool:
        """Whether new data may be encrypted under it."""
        return now < moment_of(self.expires)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "schema": SCHEMA,
            "profile": self.profile,
            "key": self.key,
            "public": base64.b64encode(self.public).decode(),
            "holder": self.holder,
            "created": self.created,
            "expires": self.expires,
            "signer": self.signer,
            "signature": self.signature,
        }

    def to_bytes(self) -> bytes:
        """The file's content."""
        return rfc8785.dumps(self.to_json())

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """The context in a file: whole, of a known profile, with the id of its key and a signature that holds. Raises ValueError."""
        if len(content) > MAX_BYTES:
            raise ValueError("a public context is smaller than this")
        try:
            said = json.loads(content)
        except (ValueError, RecursionError):
            raise ValueError("a public context is JSON") from None
        if not isinstance(said, dict) or set(said) != MEMBERS or said["schema"] != SCHEMA:
            raise ValueError("this is not a public context of this version")
        if not all(isinstance(value, str) for value in said.values()) or rfc8785.dumps(said) != content:
            raise ValueError("a public context holds texts, in canonical JSON")
        public, signer = _decoded(said["public"]), _decoded(said["signer"])
        if len(signer) != SIGNER_BYTES:
            raise ValueError("the signer is a public key of 32 bytes")
        names = MEMBERS - {"schema", "public"}
        found = cls(public=public, **{name: said[name] for name in names})
        if bfv.profile_of(public).name != found.profile or bfv.key_id(public) != found.key:
            raise ValueError("the key is another than the context says")
        if not verifies(found.signer, found.signature, found._said()):
            raise ValueError("the signature of the public context does not hold")
        return found

    def _said(self) -> bytes:
        return DOMAIN + rfc8785.dumps({name: value for name, value in self.to_json().items() if name != "signature"})


def _decoded(text: str) -> bytes:
    """The bytes of a base64 text, which is their only one."""
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a key is in base64") from None
    if base64.b64encode(found).decode() != text:
        raise ValueError("a key has one base64 form only")
    return found
