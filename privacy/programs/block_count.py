"""How many blocks a program runs on: a public number, fixed before any data is touched (design R10, R11)."""

from __future__ import annotations

from collections.abc import Callable

from core.errors import Invalid
from privacy.scales import smallest

MAX_BLOCKS = 100_000
# 80 MB of answers at the gate.
MAX_NUMBERS = 10_000_000
# A block with fewer units than this says little about any of them together; with fewer blocks than this little is averaged.
LEAST_UNITS = 10
FEWEST_BLOCKS = 8


def permitted(blocks: int, stored_blocks: int) -> int:
    """The least number of at least `blocks` that stored blocks can be merged or split into: a power of two, or a multiple of theirs."""
    if blocks >= stored_blocks:
        return -(-blocks // stored_blocks) * stored_blocks
    return min(count for count in _merged(stored_blocks) if count >= blocks)


def permitted_below(most: int, stored_blocks: int) -> int:
    """The largest permitted number of at most `most`; at least 1."""
    if most >= stored_blocks:
        return most // stored_blocks * stored_blocks
    return max((count for count in _merged(stored_blocks) if count <= most), default=1)


def largest_useful(stored_blocks: int, units: int, width: int) -> int:
    """The largest permitted number that leaves at least LEAST_UNITS of the declared units to a block; at least 1.

    Blocks of `width` numbers answer no more than the gate can hold.
    """
    return permitted_below(min(MAX_BLOCKS, MAX_NUMBERS // width, units // LEAST_UNITS), stored_blocks)


def least_needed(needed: int, stored_blocks: int, units: int, width: int) -> int:
    """The least permitted number of at least `needed`, kept between FEWEST_BLOCKS and the largest useful one."""
    most = largest_useful(stored_blocks, units, width)
    return min(most, permitted(min(max(needed, FEWEST_BLOCKS), MAX_BLOCKS), stored_blocks))


def blocks_until(reaches: float, width_of: Callable[[int], float]) -> int:
    """The least number of blocks at which a width that falls with it is at most `reaches`; above MAX_BLOCKS where none is."""
    found = smallest(lambda blocks: width_of(blocks) <= reaches, guess=1, low=1, high=MAX_BLOCKS)
    return MAX_BLOCKS + 1 if found is None else found


def given(blocks: int | None, stored_blocks: int, units: int, width: int) -> int:
    """The number asked for, rounded up to a permitted one. Raises Invalid (`blocks.invalid`, `blocks.too_many`)."""
    where = {"field": "blocks"}
    if type(blocks) is not int or not 1 <= blocks <= MAX_BLOCKS:
        raise Invalid("blocks.invalid", f"blocks is auto, or a whole number from 1 to {MAX_BLOCKS}", where=where)
    found = permitted(blocks, stored_blocks)
    if blocks > units:
        why = f"{blocks:,} blocks are more than the {units:,} declared privacy units can fill"
    elif found > MAX_BLOCKS:
        why = f"rounded up to a multiple of the stored blocks this is {found:,}, more than {MAX_BLOCKS:,}"
    elif found * width > MAX_NUMBERS:
        why = f"{found:,} blocks would answer more than {MAX_NUMBERS:,} numbers"
    else:
        return found
    way_out = f"blocks: {largest_useful(stored_blocks, units, width)}, or blocks: auto"
    raise Invalid("blocks.too_many", why, where=where, way_out=way_out)


def _merged(stored_blocks: int) -> list[int]:
    """The powers of two that divide the number of stored blocks."""
    return [2**power for power in range(stored_blocks.bit_length()) if stored_blocks % 2**power == 0] + [stored_blocks]
