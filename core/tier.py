"""How strongly one block of a program is kept from the next: the tiers, weakest first (design §8)."""

from __future__ import annotations

from enum import StrEnum


class Tier(StrEnum):
    """Stored by value; a value's meaning never changes."""

    ZYGOTE = "zygote"
    """One container a lane; each block in fresh user, mount, pid, ipc and network namespaces, one after the other."""
    CONTAINER = "container"
    """One container a block."""

    @property
    def strength(self) -> int:
        """Larger is stronger."""
        return list(Tier).index(self)


def strongest(*tiers: Tier) -> Tier:
    """The strongest of some tiers; the weakest there is where none is given."""
    return max(tiers, key=lambda tier: tier.strength, default=Tier.ZYGOTE)
