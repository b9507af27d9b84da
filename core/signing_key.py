"""Ed25519 keys in files that only their owner may read. For the log's key and everything else that signs."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def create_signing_key(path: Path) -> None:
    """Make the folder (0700) and a fresh key (0400), unless there is one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.exists():
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(descriptor, "wb") as file:
        file.write(Ed25519PrivateKey.generate().private_bytes_raw())
        file.flush()
        os.fsync(file.fileno())


def open_signing_key(path: Path) -> Ed25519PrivateKey:
    """The key in a file. Raises OSError, ValueError."""
    return Ed25519PrivateKey.from_private_bytes(path.read_bytes())


def public_text(key: Ed25519PrivateKey) -> str:
    """The public key in base64, as it is told to others."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()
