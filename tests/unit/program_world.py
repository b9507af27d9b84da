"""Requests and block answers for tests of programs."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

from privacy.accountant import Accountant
from privacy.programs.outputs import Aggregate, Output
from privacy.programs.plan import ProgramPlan, ProgramRequest, plan_program

MEAN, MEDIAN = Aggregate.MEAN, Aggregate.MEDIAN


def output(name: str = "slope", length: int | None = None, aggregate: Aggregate = MEAN, **ends: str) -> Output:
    lower, upper, default = (ends.get(part, said) for part, said in (("lower", "-3"), ("upper", "3"), ("default", "0")))
    return Output(name, length, Decimal(lower), Decimal(upper), Decimal(default), aggregate)


AUC = output("auc", aggregate=MEDIAN, lower="0.5", upper="1", default="0.5")


def request(*outputs: Output, **given: Any) -> ProgramRequest:
    asked: dict[str, Any] = {
        "epsilon": Fraction(2),
        "delta": None,
        "accountant": Accountant.BASIC,
        "blocks": None,
        "accuracy": (),
        "units": 30_000,
        "stored_blocks": 8,
    }
    return ProgramRequest(outputs=outputs or (output(),), **asked | given)


def plan(*outputs: Output, **given: Any) -> ProgramPlan:
    return plan_program(request(*outputs, **given))


def vector(*numbers: float) -> bytes:
    return struct.pack(f">{len(numbers)}d", *numbers)


class Exact:
    """No noise, and the middle answer: for tests of what lies around the noise."""

    def draw(self, noise: object, values: list[int]) -> list[int]:
        return values

    def choose(self, median: object, values: Sequence[int]) -> int:
        return sorted(values)[len(values) // 2]


def same(blocks: int, *numbers: float) -> Mapping[int, bytes]:
    return dict.fromkeys(range(blocks), vector(*numbers))
