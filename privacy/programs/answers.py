"""From hostile bytes to integers on a grid: what each block counts as. Total: no bytes raise anything (design R9, R18)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from privacy.programs.plan_model import STEPS, ProgramPlan

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Answers:
    """What the blocks count as: `values` is (blocks, width), steps from the lower end of each number's range, 0 … STEPS.

    `defaulted` are the indexes of blocks that gave no answer: for the operator only.
    """

    values: npt.NDArray[np.int64]
    defaulted: tuple[int, ...]


def answers_of(plan: ProgramPlan, partials: Mapping[int, bytes]) -> Answers:
    """Each block's answer, clamped to its range; a missing, malformed or non-finite one is its declared default, all of it.

    The row of a block depends on its own bytes only. Partials of no block are ignored.
    """
    lower, upper, default = _ends(plan)
    numbers = np.tile(default, (plan.blocks, 1))
    defaulted = []
    for block in range(plan.blocks):
        found = _numbers(partials.get(block), plan.width)
        if found is None:
            defaulted.append(block)
        else:
            numbers[block] = found
    share = (np.clip(numbers, lower, upper) - lower) / (upper - lower)
    # Clamped once more as integers: what a block can change rests on this line, not on how floats round.
    return Answers(np.clip(np.rint(share * STEPS).astype(np.int64), 0, STEPS), tuple(defaulted))


def _numbers(partial: object, width: int) -> _Floats | None:
    if not isinstance(partial, bytes) or len(partial) != 8 * width:
        return None
    numbers = np.frombuffer(partial, dtype=">f8").astype(np.float64)
    return numbers if bool(np.isfinite(numbers).all()) else None


def _ends(plan: ProgramPlan) -> tuple[_Floats, _Floats, _Floats]:
    """Lower end, upper end and default of each number."""
    numbers = [output for output in plan.outputs for _ in range(output.width)]
    return (
        np.array([float(output.lower) for output in numbers]),
        np.array([float(output.upper) for output in numbers]),
        np.array([float(output.default) for output in numbers]),
    )
