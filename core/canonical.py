"""One byte form for one value: RFC 8785 JSON. What is hashed, signed or compared goes through here."""

from __future__ import annotations

import hashlib
from typing import Any

import rfc8785


def canonical(value: Any) -> bytes:
    """RFC 8785 (JCS) bytes of a JSON value. Raises ValueError for anything JSON cannot say (NaN, huge integers, bytes)."""
    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as problem:
        raise ValueError("not a canonical JSON value") from problem


def digest(value: Any) -> str:
    """`sha256:` and the hex digest of the canonical bytes."""
    return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()
