"""How a secret key lies on disk: under AES-256-GCM with a key made from a passphrase file by scrypt, readable by its owner only.

`KeySealer` is the seam for a KMS or an HSM: whatever can seal and open some bytes.
"""

from __future__ import annotations

import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from core.errors import Unavailable

MAGIC = b"banyan.sealed-key/1\n"
SALT_BYTES, NONCE_BYTES, KEY_BYTES = 16, 12, 32
# RFC 7914's parameters; about 0.1 s and 32 MiB.
COST, BLOCK_SIZE, PARALLEL = 2**15, 8, 1
LEAST_PASSPHRASE = 16


class KeySealer(Protocol):
    """The port: seals a secret key bound to its id, and opens it again."""

    def seal(self, key: str, secret: bytes) -> bytes:
        """The sealed form."""
        ...

    def open(self, key: str, sealed: bytes) -> bytes:
        """The secret. Raises Unavailable (`key_holder.sealed`) where it cannot be opened."""
        ...


@dataclass(frozen=True)
class PassphraseSealer:
    """Seals under the content of a file that only its owner may read."""

    passphrase_file: Path

    def seal(self, key: str, secret: bytes) -> bytes:
        """See the port."""
        salt, nonce = secrets.token_bytes(SALT_BYTES), secrets.token_bytes(NONCE_BYTES)
        sealed = AESGCM(self._derived(salt)).encrypt(nonce, secret, MAGIC + key.encode())
        return MAGIC + salt + nonce + sealed

    def open(self, key: str, sealed: bytes) -> bytes:
        """See the port."""
        head, rest = sealed[: len(MAGIC)], sealed[len(MAGIC) :]
        salt, nonce = rest[:SALT_BYTES], rest[SALT_BYTES : SALT_BYTES + NONCE_BYTES]
        if head != MAGIC:
            raise _sealed("this is not a sealed secret key")
        try:
            opened: bytes = AESGCM(self._derived(salt)).decrypt(
                nonce, rest[SALT_BYTES + NONCE_BYTES :], MAGIC + key.encode()
            )
        except (InvalidTag, ValueError):
            raise _sealed("the secret key cannot be opened with this passphrase") from None
        return opened

    def _derived(self, salt: bytes) -> bytes:
        return Scrypt(salt=salt, length=KEY_BYTES, n=COST, r=BLOCK_SIZE, p=PARALLEL).derive(self._passphrase())

    def _passphrase(self) -> bytes:
        try:
            with self.passphrase_file.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                found = file.read(4096).strip()
        except OSError:
            raise _sealed("the passphrase file cannot be read") from None
        if stat.S_IMODE(mode) & 0o077:
            raise _sealed("the passphrase file may be read by others; set its mode to 0400")
        if len(found) < LEAST_PASSPHRASE:
            raise _sealed(f"the passphrase has fewer than {LEAST_PASSPHRASE} characters")
        return found


def _sealed(text: str) -> Unavailable:
    return Unavailable("key_holder.sealed", text)
