"""The fixed parameters under which data may be encrypted: there is no other choice, so that nobody can choose badly.

All are BFV at 128-bit security (homomorphicencryption.org tables, enforced by SEAL). The moduli are those that SEAL takes for these
sizes; making a key checks them. The provider's tool has this very file, so it needs the standard library alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

WORD_BYTES = 8


@dataclass(frozen=True)
class Profile:
    """One set of parameters.

    slots    values in a ciphertext, and the degree n of its polynomials
    sizes    bits of the coefficient moduli, the special one last, as SEAL takes them
    moduli   the coefficient moduli q_j of a ciphertext
    special  the one more that keys have
    plain    the plain moduli t: a value is encrypted once modulo each of them (more than one: Chinese remainders)
    """

    name: str
    slots: int
    sizes: tuple[int, ...]
    moduli: tuple[int, ...]
    special: int
    plain: tuple[int, ...]

    @property
    def span(self) -> int:
        """T, the product of the plain moduli: totals are exact as long as they lie within ±T/2."""
        return prod(self.plain)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of one chunk as an array of 64-bit words: plain moduli, two polynomials, coefficient moduli, coefficients."""
        return (len(self.plain), 2, len(self.moduli), self.slots)

    @property
    def chunk_bytes(self) -> int:
        """Bytes of one chunk of `slots` encrypted values."""
        return WORD_BYTES * prod(self.shape)

    def chunks_of(self, length: int) -> int:
        """How many chunks a vector takes."""
        return -(-length // self.slots)


_Q45 = (35184371703809, 35184371884033)
_Q60 = (1152921504606683137, 1152921504606748673)
_T34, _T58, _T58_SECOND = 17179754497, 288230376150876161, 288230376150712321

PROFILES: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile("sum34", 4096, (45, 45, 19), _Q45, 417793, (_T34,)),
        Profile("sum58", 8192, (60, 60, 60), _Q60, 1152921504606830593, (_T58,)),
        Profile("crt115", 8192, (60, 60, 60), _Q60, 1152921504606830593, (_T58, _T58_SECOND)),
    )
}


def profile_named(name: str) -> Profile:
    """The profile of this name. Raises ValueError."""
    found = PROFILES.get(name)
    if found is None:
        raise ValueError(f"there is no profile of this name; there are {', '.join(PROFILES)}")
    return found
