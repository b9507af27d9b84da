"""Sums of ciphertexts: coefficient by coefficient modulo q_j, which needs no library of homomorphic encryption.

The image gets a copy of this file: the standard library and numpy only. A coefficient has at most 60 bits, so fifteen of them fit into a
word beside a reduced one; only then is reduced (reference/encryption.md §2: about 45 % of the memory's reading speed).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]
WORD_BITS = 64


class Moduli(Protocol):
    """What is needed of a profile."""

    @property
    def moduli(self) -> tuple[int, ...]:
        """The coefficient moduli."""
        ...

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of a chunk; the last but one axis runs over the moduli."""
        ...


def add(profile: Moduli, chunks: Iterable[Words]) -> Words:
    """The sum of chunks (arrays of `profile.shape`, coefficients below their moduli) as one; zeros where there is none."""
    total = np.zeros(profile.shape, np.uint64)
    # A reduced number and so many unreduced ones stay below 2^64.
    most = 2 ** (WORD_BITS - max(modulus.bit_length() for modulus in profile.moduli)) - 1
    pending = 0
    for chunk in chunks:
        if chunk.shape != profile.shape:
            raise ValueError("an array of another shape")
        np.add(total, chunk, out=total)
        pending += 1
        if pending == most:
            _reduce(profile, total)
            pending = 0
    _reduce(profile, total)
    return total


def _reduce(profile: Moduli, total: Words) -> None:
    for at, modulus in enumerate(profile.moduli):
        part = total[:, :, at]
        np.remainder(part, np.uint64(modulus), out=part)
