"""C2SP checkpoints as signed notes with one Ed25519 signature; pure."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_ED25519 = b"\x01"


@dataclass(frozen=True)
class TreeHead:
    """Size and root hash of the log at one moment."""

    size: int
    root: bytes

    def body(self, origin: str) -> str:
        """The text that is signed: origin, size, root, each on a line."""
        return f"{origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def key_id(name: str, public: bytes) -> bytes:
    """The four bytes by which a note names its signing key (C2SP signed-note)."""
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4]


def verifier_key(name: str, public: bytes) -> str:
    """The vkey text `<name>+<hex key id>+<base64 of type and key>`."""
    return f"{name}+{key_id(name, public).hex()}+{base64.b64encode(_ED25519 + public).decode()}"


def sign(head: TreeHead, origin: str, key: Ed25519PrivateKey) -> str:
    """The signed note of `head`; the key's name is the log's origin."""
    body = head.body(origin)
    blob = key_id(origin, key.public_key().public_bytes_raw()) + key.sign(body.encode())
    return f"{body}\n— {origin} {base64.b64encode(blob).decode()}\n"


def opened(note: str, origin: str, public: bytes) -> TreeHead:
    """The tree head of a note that this key signed for this origin. Raises ValueError for everything else."""
    body, mark, signatures = note.partition("\n\n")
    if not mark:
        raise ValueError("no signature in the note")
    body += "\n"
    lines = body.split("\n")
    if len(lines) != 4 or lines[0] != origin or not lines[1].isascii() or not lines[1].isdigit():
        raise ValueError("not a checkpoint of this log")
    wanted = f"— {origin} "
    line = next((line for line in signatures.splitlines() if line.startswith(wanted)), "")
    blob = base64.b64decode(line.removeprefix(wanted), validate=True)
    if blob[:4] != key_id(origin, public):
        raise ValueError("not signed by this key")
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(blob[4:], body.encode())
    except InvalidSignature:
        raise ValueError("the signature does not fit") from None
    return TreeHead(int(lines[1]), base64.b64decode(lines[2], validate=True))
