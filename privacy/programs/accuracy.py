"""How many blocks an accuracy needs, and what would do where it cannot be had; from public numbers only (design R20)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

from core.errors import Invalid
from core.units import MAX_EPSILON
from privacy.mechanisms import Noise
from privacy.programs.block_count import blocks_until, largest_useful, least_needed
from privacy.programs.forecast import half_width, rank_reach, short, span
from privacy.programs.outputs import Aggregate, Output
from privacy.programs.plan_model import ProgramRequest, widths_of
from privacy.programs.pricing import mechanisms_of, price_of
from privacy.quantile import Median

# What is aimed at where no accuracy is asked: noise within this part of the range of a mean, of the ranks of a median. Not promised.
PART_OF_RANGE = Fraction(1, 20)
PART_OF_RANKS = 0.1


def automatic_blocks(request: ProgramRequest, delta: Fraction, noise: Noise | None, median: Median | None) -> int:
    """The least permitted number of blocks at which every output is as accurate as asked or aimed at.

    Where too few units would be left in each, the largest useful number. Raises Invalid: `accuracy.invalid`, and
    `accuracy.unreachable` where an accuracy that was asked is not met even then.
    """
    asked = _asked(request)
    needed = 1
    for output in request.outputs:
        if noise is not None and output.aggregate is Aggregate.MEAN:
            aim = Fraction(asked[output.name]) if output.name in asked else PART_OF_RANGE * span(output)
            needed = max(needed, math.ceil(half_width(output, 1, noise) / aim))
    if median is not None:
        needed = max(needed, blocks_until(PART_OF_RANKS, lambda blocks: rank_reach(blocks, median)))
    found = least_needed(needed, request.stored_blocks, request.units, sum(widths_of(request.outputs)))
    missed = _missed(request.outputs, asked, found, noise)
    if missed:
        raise _unreachable(request, delta, asked, found, noise, missed)
    return found


def _asked(request: ProgramRequest) -> Mapping[str, Decimal]:
    means = {output.name for output in request.outputs if output.aggregate is Aggregate.MEAN}
    for name, value in request.accuracy:
        where = {"field": f"accuracy.{name}"}
        if name not in means:
            raise Invalid("accuracy.invalid", "an accuracy is asked of an output that is a mean", where=where)
        if not value.is_finite() or value <= 0:
            raise Invalid("accuracy.invalid", "an accuracy is a number above 0", where=where)
    return dict(request.accuracy)


def _missed(
    outputs: tuple[Output, ...], asked: Mapping[str, Decimal], blocks: int, noise: Noise | None
) -> list[Output]:
    """The outputs that are less accurate than asked."""
    if noise is None:
        return []
    named = [output for output in outputs if output.name in asked]
    return [output for output in named if half_width(output, blocks, noise) > Fraction(asked[output.name])]


def _unreachable(
    request: ProgramRequest,
    delta: Fraction,
    asked: Mapping[str, Decimal],
    blocks: int,
    noise: Noise | None,
    missed: list[Output],
) -> Invalid:
    if noise is None:
        raise ValueError("only noise misses an accuracy")
    coarser = ", ".join(f"{output.name}: {short(half_width(output, blocks, noise))}" for output in missed)
    ratio = max(half_width(output, blocks, noise) / Fraction(asked[output.name]) for output in missed)
    epsilon = _epsilon_that_would_do(request, delta, asked, blocks, request.epsilon * ratio)
    most = largest_useful(request.stored_blocks, request.units, sum(widths_of(request.outputs)))
    return Invalid(
        "accuracy.unreachable",
        f"this accuracy cannot be met: {most:,} blocks are the most that can be of use here",
        where={"field": f"accuracy.{missed[0].name}"},
        way_out=f"accuracy: {{{coarser}}}" + (f", or epsilon: {epsilon}" if epsilon else ""),
    )


def _epsilon_that_would_do(
    request: ProgramRequest, delta: Fraction, asked: Mapping[str, Decimal], blocks: int, guess: Fraction
) -> str | None:
    """An ε of two digits at which nothing is missed, found by planning; None above the largest that may be asked."""
    while guess <= MAX_EPSILON:
        text = short(guess)
        price = price_of(request.accountant, Fraction(text), delta)
        noise, _ = mechanisms_of(request.outputs, request.accountant, price)
        if not _missed(request.outputs, asked, blocks, noise):
            return text if Fraction(text) <= MAX_EPSILON else None
        guess = Fraction(text) * Fraction(51, 50)
    return None
