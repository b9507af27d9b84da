"""What the service adds to a sum before the key holder sees it: noise where the result is, and uniform values everywhere else.

It is a fresh encryption under the public key, so the masked sum cannot be linked to the uploads either. Adding the noise as a plain
vector would leave copies of the exact total in the other slots (reference/encryption.md §0.1; docs/proofs/encrypted.md).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from privacy.encrypted.bfv import encrypt
from privacy.encrypted.profiles import Profile
from privacy.encrypted.seal_blobs import Words


def mask(public: bytes, profile: Profile, noise: Sequence[int]) -> Words:
    """A chunk with `noise` in the first slots and fresh uniform values modulo T in all others.

    Noise beyond ±T/2 wraps, which is post-processing modulo T: it costs use, never privacy. Raises ValueError for more noise than slots.
    """
    if len(noise) > profile.slots:
        raise ValueError("more noise than a chunk has slots")
    half = (profile.span - 1) // 2
    wrapped = [(value + half) % profile.span - half for value in noise]
    filled = [secrets.randbelow(profile.span) - half for _ in range(profile.slots - len(noise))]
    return encrypt(public, profile, wrapped + filled)
