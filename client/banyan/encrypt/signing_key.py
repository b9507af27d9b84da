"""The provider's own signing key: made once, kept where only its owner can read it, and shown as one line."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from banyan import credentials
from banyan.errors import Refused
from banyan.textfile import read_bytes, unreadable

FILE = "provider.key"
KEY_BYTES = 32


def default_path() -> Path:
    """Beside what `banyan login` remembers."""
    return credentials.folder() / FILE


def made_or_found(path: Path) -> Ed25519PrivateKey:
    """The key in the file; a fresh one (0400) if there is no file. Raises Refused."""
    if not path.exists():
        _make(path)
    return opened(path)


def opened(path: Path) -> Ed25519PrivateKey:
    """The key in the file. Raises Refused (`provider.no_key`, `provider.key_exposed`, `provider.key_invalid`)."""
    if not path.exists():
        text = f"there is no signing key in {path}"
        raise Refused("provider.no_key", text, way_out="banyan provider-key makes one")
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise Refused("provider.key_exposed", f"others may read or change {path}", way_out=f"chmod 0400 {path}")
    content = read_bytes(path, KEY_BYTES)
    if len(content) != KEY_BYTES:
        raise Refused("provider.key_invalid", f"{path} is not a signing key", way_out="the file of banyan provider-key")
    return Ed25519PrivateKey.from_private_bytes(content)


def line_of(key: Ed25519PrivateKey) -> str:
    """The public key as a declaration and the key holder's registry name it."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def check_declared(key: Ed25519PrivateKey, declared: str | None) -> None:
    """Raise Refused (`provider.other_key`) if the declaration names another key; nobody would take what this one signs."""
    if declared is not None and line_of(key) != declared:
        raise Refused(
            "provider.other_key",
            f"your signing key is {line_of(key)}, and the asset's declaration names {declared}",
            way_out="--signing-key FILE with the key that is declared",
        )


def _make(path: Path) -> None:
    """Never in place of another file, and never readable by others on the way."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "wb") as file:
            file.write(Ed25519PrivateKey.generate().private_bytes_raw())
    except OSError as problem:
        raise unreadable(path, problem) from None
