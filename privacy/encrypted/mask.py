"""What the service adds to a sum before the key holder sees it: noise where the result is, uniform values elsewhere, and a flood of error.

It is a fresh encryption under the public key, so the masked sum cannot be linked to the uploads. Adding the noise as a plain vector would
leave copies of the exact total in the other slots (reference/encryption.md §0.1). And whoever has the secret key sees the error of a
ciphertext beside its numbers: in it lies how every upload was rounded, which is a function of what was encrypted, so it is flooded
(docs/proofs/encrypted.md).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from fractions import Fraction
from math import prod

import numpy as np

from privacy.encrypted.bfv import encrypt
from privacy.encrypted.profiles import Profile
from privacy.encrypted.seal_blobs import Words
from privacy.encrypted.sums import add
from privacy.mechanisms import Noise, NoiseKind

# The flood's scale is so many bits below the largest error that still decrypts.
FLOOD_BELOW = 8


def mask(public: bytes, profile: Profile, noise: Sequence[int]) -> Words:
    """A chunk with `noise` in the first slots, fresh uniform values modulo T in all others, and flooded error.

    Noise beyond ±T/2 wraps, which is post-processing modulo T: it costs use, never privacy. Raises ValueError for more noise than slots.
    """
    if len(noise) > profile.slots:
        raise ValueError("more noise than a chunk has slots")
    half = (profile.span - 1) // 2
    wrapped = [(value + half) % profile.span - half for value in noise]
    filled = [secrets.randbelow(profile.span) - half for _ in range(profile.slots - len(noise))]
    return add(profile, [encrypt(public, profile, wrapped + filled), _flood(profile)])


def flood_scale(profile: Profile) -> Fraction:
    """The scale of the discrete Gaussian error in each coefficient: a power of two."""
    most = min(prod(profile.moduli) // (2 * plain) for plain in profile.plain)
    return Fraction(1 << (most.bit_length() - 1 - FLOOD_BELOW))


def _flood(profile: Profile) -> Words:
    """Error on the first polynomial of each ciphertext, the same integers modulo every q."""
    slots = profile.slots
    drawn = Noise(NoiseKind.GAUSSIAN, flood_scale(profile), l0=slots, l1=slots, l2_squared=slots, linf=1)
    chunk = np.zeros(profile.shape, np.uint64)
    for at in range(len(profile.plain)):
        error = np.array(drawn.draw([0] * slots), np.int64)
        for place, modulus in enumerate(profile.moduli):
            chunk[at, 0, place] = np.mod(error, np.int64(modulus)).astype(np.uint64)
    return chunk
