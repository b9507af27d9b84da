"""The bytes of a chunk, read strictly: what is accepted can be added and rebuilt for a library without further thought."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from privacy.encrypted.profiles import Profile

Words = npt.NDArray[np.uint64]


def bytes_of(chunk: Words) -> bytes:
    """Little-endian words in the order of the array's axes."""
    return chunk.astype("<u8", copy=False).tobytes()


def read_chunk(profile: Profile, content: bytes | memoryview) -> Words:
    """The array of a chunk's bytes. Raises ValueError with the reason."""
    if len(content) != profile.chunk_bytes:
        raise ValueError("a chunk of another size than the profile's")
    chunk = np.frombuffer(content, "<u8").reshape(profile.shape)
    check_chunk(profile, chunk)
    return chunk


def check_chunk(profile: Profile, chunk: Words) -> None:
    """Raise ValueError unless every coefficient is below its modulus and no ciphertext shows its plaintext.

    It shows it where the second polynomial is 0, and to be 0 modulo one q_j is enough: the first one modulo that q_j then leaves of each
    coefficient of the plaintext a single candidate at 34 bits, and about a hundred of 2^58 at 58 bits, without any key.
    """
    for at, modulus in enumerate(profile.moduli):
        if (chunk[:, :, at] >= np.uint64(modulus)).any():
            raise ValueError("a coefficient is not below its modulus")
    if not chunk[:, 1].any(axis=2).all():
        raise ValueError("a ciphertext is transparent: anybody could read it")
