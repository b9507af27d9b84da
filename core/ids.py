"""Identifiers: a letter for the kind, a dash, and 16 random characters without look-alikes (80 bits)."""

from __future__ import annotations

import re
import secrets
from typing import Literal

Kind = Literal["job", "principal", "token", "population", "version", "release", "policy", "spend"]
_PREFIX: dict[Kind, str] = {
    "job": "j", "principal": "p", "token": "t", "population": "n",
    "version": "v", "release": "r", "policy": "y", "spend": "s",
}  # fmt: skip
_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"[:32]
_NAME = re.compile(r"[a-z][a-z0-9-]{0,40}/[a-z][a-z0-9_]{0,60}|[a-z][a-z0-9_-]{0,60}")


def new_id(kind: Kind) -> str:
    """A fresh identifier, such as `j-7f3kq2m9w4c8h5tz`."""
    return f"{_PREFIX[kind]}-" + "".join(secrets.choice(_ALPHABET) for _ in range(16))


def is_id(kind: Kind, text: str) -> bool:
    """Whether `text` has the form of an identifier of this kind."""
    return re.fullmatch(rf"{_PREFIX[kind]}-[{_ALPHABET}]{{16}}", text) is not None


def is_name(text: str) -> bool:
    """Whether `text` may name an asset (`sector/name`), a policy or a population (`name`)."""
    return _NAME.fullmatch(text) is not None
