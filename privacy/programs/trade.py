"""What more or fewer blocks would do, in words; from public numbers only."""

from __future__ import annotations

from fractions import Fraction

from privacy.mechanisms import Noise
from privacy.programs.accuracy import PART_OF_RANGE
from privacy.programs.block_count import LEAST_UNITS, MAX_BLOCKS, permitted, permitted_below
from privacy.programs.forecast import half_width, rank_reach, short, span, worst_rank_reach
from privacy.programs.outputs import Aggregate, Output
from privacy.quantile import Median


def trade_of(
    outputs: tuple[Output, ...],
    blocks: int,
    units: int,
    stored_blocks: int,
    mechanisms: tuple[Noise | None, Median | None],
) -> tuple[str, ...]:
    """Sentences for the researcher."""
    noise, median = mechanisms
    half, twice = permitted_below(max(1, blocks // 2), stored_blocks), permitted(2 * blocks, stored_blocks)
    others = sorted({half, min(twice, permitted_below(MAX_BLOCKS, stored_blocks))} - {blocks})
    told = [
        (
            f"The program runs once on each of the {blocks:,} blocks; their answers are put together."
            if blocks > 1
            else "The program runs once, on all data."
        ),
        (
            f"More blocks: less noise, but each answer is computed on fewer units (about {units:,} / blocks) and so is further "
            "from the answer on all data; how far is not known beforehand."
        ),
    ]
    means = [output for output in outputs if output.aggregate is Aggregate.MEAN]
    if noise is not None:
        widest = max(means, key=lambda output: (span(output), output.name))
        told.append(
            f"Noise (95 %) of {widest.name}: {_half_width(widest, blocks, noise)} with {blocks:,} blocks"
            + "".join(f", {_half_width(widest, count, noise)} with {count:,}" for count in others)
            + "."
        )
    if median is not None:
        told.append(
            f"Medians (95 %) are within {_percent(blocks, median)} of the ranks from the middle of the block answers with {blocks:,} blocks"
            + "".join(f", {_percent(count, median)} with {count:,}" for count in others)
            + f"; where most blocks give one of a few numbers, within {_share(worst_rank_reach(blocks, median))} at worst."
        )
    numbers = sum(output.width for output in outputs)
    if numbers > 1:
        told.append(f"The price is shared by {numbers:,} numbers: with fewer outputs each has less noise.")
    if noise is not None and half_width(means[0], blocks, noise) > PART_OF_RANGE * span(means[0]):
        part = _share(min(1, float(half_width(means[0], blocks, noise) / span(means[0]))))
        told.append(
            f"The noise is {part} of each declared range: a larger epsilon, fewer outputs or narrower ranges lessen it."
        )
    if units < LEAST_UNITS * blocks:
        told.append(f"Fewer than {LEAST_UNITS} units in a block: many blocks will have next to nothing to compute on.")
    return tuple(told)


def _half_width(output: Output, blocks: int, noise: Noise) -> str:
    return f"± {short(min(half_width(output, blocks, noise), span(output)))}"


def _percent(blocks: int, median: Median) -> str:
    return _share(rank_reach(blocks, median))


def _share(part: float) -> str:
    return f"{short(100 * Fraction(part))} %"
