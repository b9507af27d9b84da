"""The provider's own signing key: made once, kept where only its owner can read it, and shown as one line."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from banyan.errors import Refused
from banyan.textfile import unreadable

FILE = "provider.key"


def default_path() -> Path:
    """Beside what `banyan login` remembers."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "banyan" / FILE


def made_or_found(path: Path) -> Ed25519PrivateKey:
    """The key in the file; a fresh one (0400) if there is no file. Raises Refused."""
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
            with os.fdopen(descriptor, "wb") as file:
                file.write(Ed25519PrivateKey.generate().private_bytes_raw())
        except OSError as problem:
            raise unreadable(path, problem) from None
    return opened(path)


def opened(path: Path) -> Ed25519PrivateKey:
    """The key in the file. Raises Refused (`provider_key.missing`, `provider_key.exposed`, `provider_key.invalid`)."""
    try:
        mode, content = path.stat().st_mode, path.read_bytes()
    except FileNotFoundError:
        raise Refused(
            "provider_key.missing", f"there is no signing key in {path}", way_out="banyan provider-key makes one"
        ) from None
    except OSError as problem:
        raise unreadable(path, problem) from None
    if mode & 0o077:
        raise Refused("provider_key.exposed", f"others may read {path}", way_out=f"chmod 0400 {path}")
    try:
        return Ed25519PrivateKey.from_private_bytes(content)
    except ValueError:
        raise Refused("provider_key.invalid", f"{path} is not a signing key") from None


def line_of(key: Ed25519PrivateKey) -> str:
    """The public key as a declaration and the key holder's registry name it."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()
