"""The keyed hash of a unit by which it is placed and compared: the first 64 bits of HMAC-SHA256 (RFC 2104)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_BLOCK_BYTES = 64


def keyed_hashes(texts: Sequence[bytes], key: bytes) -> npt.NDArray[np.uint64]:
    """The hash of each text. The two states that follow from the key alone are made once, which makes it twice as fast as `hmac`."""
    if len(key) > _BLOCK_BYTES:
        raise ValueError("the key is longer than a block of the hash")
    inner, outer = (
        hashlib.sha256(bytes(each ^ pad for each in key.ljust(_BLOCK_BYTES, b"\0"))) for pad in (0x36, 0x5C)
    )
    found = bytearray()
    for text in texts:
        first = inner.copy()
        first.update(text)
        second = outer.copy()
        second.update(first.digest())
        found += second.digest()[:8]
    return np.frombuffer(found, ">u8").astype(np.uint64)
