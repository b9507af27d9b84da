"""What a program declares of its answers: names, lengths, ranges and defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, Self

from core.errors import Invalid

MAX_OUTPUTS = 64
MAX_WIDTH = 1024
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
# Ends and default are kept exactly, and shown as floats: 15 digits survive both.
_MOST = Decimal(10) ** 15
_DIGITS = 15
_LEAST = Decimal(1).scaleb(-100)
_FIELDS = {"name", "length", "lower", "upper", "default", "aggregate"}


class Aggregate(StrEnum):
    """How the answers of the blocks become one."""

    MEAN = "mean"
    MEDIAN = "median"


@dataclass(frozen=True)
class Output:
    """One output of a program: a number (length None) or `length` numbers, each within [lower, upper]; `default` where none came."""

    name: str
    length: int | None
    lower: Decimal
    upper: Decimal
    default: Decimal
    aggregate: Aggregate

    @property
    def width(self) -> int:
        """How many numbers it is."""
        return 1 if self.length is None else self.length

    def to_json(self) -> dict[str, Any]:
        """A JSON object; decimals as texts."""
        return {
            "name": self.name,
            "length": self.length,
            "lower": f"{self.lower:f}",
            "upper": f"{self.upper:f}",
            "default": f"{self.default:f}",
            "aggregate": self.aggregate.value,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The record that `to_json` wrote; raises ValueError for anything else."""
        if set(stored) != _FIELDS:
            raise ValueError("not an output")
        try:
            ends = {part: Decimal(stored[part]) for part in ("lower", "upper", "default")}
        except (InvalidOperation, TypeError) as problem:
            raise ValueError("not an output") from problem
        return cls(name=stored["name"], length=stored["length"], aggregate=Aggregate(stored["aggregate"]), **ends)


def check_outputs(outputs: tuple[Output, ...]) -> None:
    """Raises Invalid (`outputs.…`) where outputs cannot be released."""
    if not 1 <= len(outputs) <= MAX_OUTPUTS:
        raise Invalid("outputs.count", f"a program has 1 to {MAX_OUTPUTS} outputs", where={"field": "outputs"})
    if len({output.name for output in outputs}) != len(outputs):
        raise Invalid("outputs.twice", "two outputs have the same name", where={"field": "outputs"})
    for output in outputs:
        _check(output)
    if sum(output.width for output in outputs) > MAX_WIDTH:
        raise Invalid("outputs.width", f"a program answers at most {MAX_WIDTH} numbers", where={"field": "outputs"})


def _check(output: Output) -> None:
    field = f"outputs.{output.name}"
    if not isinstance(output.name, str) or not _NAME.fullmatch(output.name):
        raise Invalid(
            "outputs.name",
            "an output's name is small letters, digits and _, at most 40, beginning with a letter",
            where={"field": "outputs"},
        )
    if output.length is not None and (type(output.length) is not int or not 1 <= output.length <= MAX_WIDTH):
        raise Invalid(
            "outputs.length", f"a length is a whole number from 1 to {MAX_WIDTH}", where={"field": f"{field}.length"}
        )
    for part in ("lower", "upper", "default"):
        _check_number(getattr(output, part), f"{field}.{part}")
    if not output.lower < output.upper:
        raise Invalid("outputs.lower", "lower must be below upper", where={"field": f"{field}.lower"})
    if not output.lower <= output.default <= output.upper:
        raise Invalid(
            "outputs.default", "the default lies between lower and upper", where={"field": f"{field}.default"}
        )
    # Answers are floats: an end far from 0 leaves too few digits for a narrow range, and a tiny range none at all.
    if output.upper - output.lower < max(abs(output.lower), abs(output.upper), _LEAST).scaleb(-9):
        raise Invalid(
            "outputs.upper",
            "the range is too narrow for its distance from 0",
            where={"field": f"{field}.upper"},
            way_out="take a constant away in the program, and add it to the released value",
        )


def _check_number(value: Decimal, field: str) -> None:
    if not value.is_finite() or abs(value) > _MOST or len(value.normalize().as_tuple().digits) > _DIGITS:
        raise Invalid(
            "outputs.number",
            f"the ends and the default of an output are decimal numbers of at most {_DIGITS} digits, within ±10^15",
            where={"field": field},
        )
