"""Decides which server is spoken to and with which token, and keeps what a person's machine should remember.

Given arguments win over BANYAN_SERVER and BANYAN_TOKEN, which win over the file that `banyan login` wrote. The file's token goes to
the file's server only: naming another server never sends it there.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from banyan.errors import Refused, Unauthenticated
from banyan.textfile import read_text, unreadable

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Credentials:
    """A server's address and the token for it; the token is never shown."""

    server: str
    token: str = field(repr=False)

    @property
    def in_clear(self) -> bool:
        """Whether the token would travel unencrypted over a network."""
        parts = urlsplit(self.server)
        return parts.scheme == "http" and parts.hostname not in _LOOPBACK


def folder() -> Path:
    """Where this machine's memory is kept: `banyan` in the XDG configuration folder."""
    base = os.environ.get("XDG_CONFIG_HOME") or ""
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".config") / "banyan"


def find(server: str | None = None, token: str | None = None) -> Credentials:
    """The credentials to use. Raises Refused when there is no server to speak to, Unauthenticated when there is no token."""
    server = server or os.environ.get("BANYAN_SERVER")
    token = token or os.environ.get("BANYAN_TOKEN")
    if server and token:
        return Credentials(checked_server(server), checked_token(token))
    stored = _read("credentials.json")
    kept = stored.get("server")
    server = server or kept
    if server is None:
        raise Refused(
            "login.no_server", "no server is named", way_out="banyan login URL, or set BANYAN_SERVER and BANYAN_TOKEN"
        )
    server = checked_server(server)
    token = token or (stored.get("token") if server == kept else None)
    if not token:
        raise Unauthenticated(
            "login.no_token", f"there is no token for {server}", way_out=f"banyan login {server}, or set BANYAN_TOKEN"
        )
    return Credentials(server, checked_token(token))


def remember(credentials: Credentials) -> Path:
    """Keep the credentials in a file that only this user can read (0600)."""
    return _write("credentials.json", {"server": credentials.server, "token": credentials.token})


def known_log_key(origin: str) -> str | None:
    """The verifier key that this machine remembers for the log called `origin`."""
    known = _read("known_logs.json").get(origin)
    return known if isinstance(known, str) else None


def remember_log_key(origin: str, verifier_key: str) -> Path:
    """Remember the verifier key of the log called `origin`, in place of an earlier one."""
    return _write("known_logs.json", {**_read("known_logs.json"), origin: verifier_key})


def checked_server(url: str) -> str:
    """The server's address without a trailing slash. Raises Refused unless it is an http or https URL with nothing but a path."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.username or parts.password or parts.query or parts.fragment:
        raise Refused("login.bad_server", "the server must be a URL", {"field": "server"}, "such as https://host:port")
    return url.rstrip("/")


def checked_token(token: str) -> str:
    """The token without white space around it. Raises Refused for what no header can carry."""
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise Refused("login.bad_token", "this is not a token", way_out="the token that an administrator gave you")
    return token


def _read(name: str) -> Mapping[str, Any]:
    path = folder() / name
    if not path.exists():
        return {}
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise Refused("login.file_exposed", f"other users can read or change {path}", way_out=f"chmod 600 {path}")
    try:
        found = json.loads(read_text(path))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Refused("login.file_damaged", f"{path} is damaged", way_out=f"delete {path} and log in again")
    return found


def _write(name: str, content: Mapping[str, Any]) -> Path:
    """Write the file whole or not at all, never readable by others on the way."""
    path = folder() / name
    fresh = path.with_name(f".{name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(content, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as problem:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise unreadable(path, problem) from None
    return path
