"""Every key that protects data, derived from one master key file: wrapping, sealing, placement. Keys never leave but by name.

There is no way to ingest without a KeyRing: encryption at rest is not an option that can be off.
"""

from __future__ import annotations

import base64
import os
import secrets
import stat
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from core.canonical import canonical
from core.errors import Unavailable

KEY_BYTES = 32
NONCE_BYTES = 12
_LENGTH_BYTES = 8
_WAY_OUT = "restore the key file that this server was initialised with"


class KeyRing:
    """The keys of one server. Two rings from the same file are equal in all they do."""

    def __init__(self, master: bytes) -> None:
        if len(master) != KEY_BYTES:
            raise ValueError(f"a master key has {KEY_BYTES} bytes")
        self._master = master

    @staticmethod
    def create(path: Path) -> None:
        """Write a fresh master key (0400), unless there is one."""
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())

    @classmethod
    def open(cls, path: Path) -> KeyRing:
        """Read the master key. Raises Unavailable (`keys.unreadable`, `keys.exposed`) unless it is whole and private."""
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                master = file.read(KEY_BYTES + 1)
        except OSError:
            raise Unavailable("keys.unreadable", "the master key cannot be read", way_out=_WAY_OUT) from None
        if stat.S_IMODE(mode) & 0o077:
            text = "the master key may be read by other users of this machine"
            raise Unavailable("keys.exposed", text, way_out="set its mode to 0400")
        if len(master) != KEY_BYTES:
            raise Unavailable("keys.unreadable", "the master key is not one", way_out=_WAY_OUT)
        return cls(master)

    def placement_key(self, population: str, id_namespace: str) -> bytes:
        """The key by which all assets of a population place their units in blocks (design §6)."""
        return self._derived("placement", population, id_namespace)

    def sketch_key(self, id_namespace: str) -> bytes:
        """The key under which the units of different populations of one namespace are compared."""
        return self._derived("sketch", id_namespace)

    def wrap(self, version: str, key: bytes) -> str:
        """A version's key, encrypted, as text for the database."""
        return base64.b64encode(_encrypt(self._derived("wrap"), key, ["version-key", version])).decode()

    def unwrap(self, version: str, wrapped: str) -> bytes:
        """The inverse of `wrap`. Raises Unavailable (`keys.mismatch`) if the text was not wrapped by this ring for this version."""
        return _decrypt(self._derived("wrap"), wrapped, ["version-key", version])

    def seal(self, purpose: str, subject: str, content: bytes, size: int) -> bytes:
        """Encrypt `content`, padded to `size` bytes so that its length tells nothing. Raises ValueError if it is longer."""
        return _encrypt(self._derived("seal"), pad(content, size), [purpose, subject])

    def unseal(self, purpose: str, subject: str, sealed: bytes) -> bytes:
        """The inverse of `seal`. Raises Unavailable (`keys.mismatch`) if it was sealed otherwise."""
        return unpad(_decrypt(self._derived("seal"), sealed, [purpose, subject]))

    def _derived(self, *names: str) -> bytes:
        info = canonical(["banyan.keys/1", *names])
        return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(self._master)


def pad(content: bytes, size: int) -> bytes:
    """`content` with its length before it and zeros after it, `size` bytes in all. Raises ValueError if there is no room."""
    if len(content) + _LENGTH_BYTES > size:
        raise ValueError("longer than its padded size")
    return (len(content).to_bytes(_LENGTH_BYTES, "big") + content).ljust(size, b"\0")


def unpad(padded: bytes) -> bytes:
    """The inverse of `pad`."""
    return padded[_LENGTH_BYTES : _LENGTH_BYTES + int.from_bytes(padded[:_LENGTH_BYTES], "big")]


def _encrypt(key: bytes, content: bytes, bound_to: list[str]) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, content, canonical(bound_to))


def _decrypt(key: bytes, sealed: bytes | str, bound_to: list[str]) -> bytes:
    try:
        if isinstance(sealed, str):
            sealed = base64.b64decode(sealed, validate=True)
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], canonical(bound_to))
    except (InvalidTag, ValueError):
        text = "something sealed cannot be opened: it was changed, or this is not the master key it was sealed with"
        raise Unavailable("keys.mismatch", text, way_out=_WAY_OUT) from None
