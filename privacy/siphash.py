"""SipHash-2-4, the keyed hash by which groups and values of a unit are chosen (Aumasson and Bernstein, 2012)."""

from __future__ import annotations

import struct

_WORD = 2**64 - 1
_BEGUN = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)

State = tuple[int, int, int, int]


def siphash(key: tuple[int, int], data: bytes) -> int:
    """The hash, a whole number of 64 bits, of `data` under a key of two such numbers (its bytes read as little-endian)."""
    a, b, c, d = (half ^ begun for half, begun in zip(key * 2, _BEGUN, strict=True))
    padded = data + bytes(-(len(data) + 1) % 8) + bytes([len(data) % 256])
    for (word,) in struct.iter_unpack("<Q", padded):
        a, b, c, d = _mixed((a, b, c, d ^ word), 2)
        a ^= word
    a, b, c, d = _mixed((a, b, c ^ 0xFF, d), 4)
    return a ^ b ^ c ^ d


def _mixed(state: State, rounds: int) -> State:
    a, b, c, d = state
    for _ in range(rounds):
        a, c = (a + b) & _WORD, (c + d) & _WORD
        b, d = _turned(b, 13) ^ a, _turned(d, 16) ^ c
        a = _turned(a, 32)
        c, a = (c + b) & _WORD, (a + d) & _WORD
        b, d = _turned(b, 17) ^ c, _turned(d, 21) ^ a
        c = _turned(c, 32)
    return a, b, c, d


def _turned(word: int, bits: int) -> int:
    return (word << bits | word >> (64 - bits)) & _WORD
