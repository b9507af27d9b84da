"""Which outputs are sums, differences and multiples of noisy numbers, or a quotient of two such: those have exact error bars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import TypeGuard

from privacy.sql.aggregates import Aggregate
from privacy.sql.answers import COUNTS
from privacy.sql.expressions import Call, ColumnRef, Expression, Literal, parts_of
from privacy.sql.query_plan import Made, Part, QueryPlan


@dataclass(frozen=True)
class Linear:
    """constant + Σ factor · part, of noisy numbers as they were drawn, weights included."""

    factors: Mapping[Part, Fraction] = field(default_factory=dict)
    constant: Fraction = Fraction(0)

    def plus(self, other: Linear, times: Fraction) -> Linear:
        """Self + times · other."""
        factors = dict(self.factors)
        for part, factor in other.factors.items():
            factors[part] = factors.get(part, Fraction(0)) + times * factor
        return Linear(
            {part: factor for part, factor in factors.items() if factor}, self.constant + times * other.constant
        )


@dataclass(frozen=True)
class Quotient:
    """One linear form over another."""

    top: Linear
    bottom: Linear


Form = Linear | Quotient
_NOTHING = Linear()
_SAME = frozenset({"round", "null_if"})  # what they change is not the noise's doing


def form_of(expression: Expression, plan: QueryPlan) -> Form | None:
    """The form of an output over keys and values of the noisy table; None for one that is of neither."""
    found: dict[int, Form | None] = {}
    for part in parts_of(expression):
        found[id(part)] = _form(part, found, plan)
    return found[id(expression)]


def _form(part: Expression, found: Mapping[int, Form | None], plan: QueryPlan) -> Form | None:
    if isinstance(part, Literal):
        value = part.value
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            return None
        return Linear(constant=Fraction(value))
    if isinstance(part, ColumnRef):
        at = part.index - len(plan.keys)
        return _made_form(plan.made[at], plan) if 0 <= at < len(plan.made) else None
    args = [found[id(arg)] for arg in part.args]
    if part.function in _SAME:
        return args[0] if all(isinstance(arg, Literal) for arg in part.args[1:]) else None
    if any(arg is None for arg in args):
        return None
    return _call_form(part, [arg for arg in args if arg is not None])


def _made_form(made: Made, plan: QueryPlan) -> Form | None:
    weights = [plan.vectors[part.vector].weights[part.place] for part in made.parts]
    if made.aggregate in COUNTS or made.aggregate is Aggregate.SUM:
        return Linear({made.parts[0]: Fraction(1, weights[0] * 10**made.scale)})
    if made.aggregate is not Aggregate.AVG:
        return None
    count, total = (Linear({part: Fraction(1, weight)}) for part, weight in zip(made.parts, weights, strict=True))
    grid = Fraction(1, 10**made.scale)
    return Quotient(_NOTHING.plus(total, grid).plus(count, made.centre * grid), count)


def _call_form(call: Call, args: list[Form]) -> Form | None:
    if call.function == "negate":
        return _times(args[0], Fraction(-1))
    if call.function in ("plus", "minus"):
        return _sum(args[0], args[1], Fraction(1 if call.function == "plus" else -1))
    if call.function == "times":
        return _product(args[0], args[1])
    return _quotient(args[0], args[1]) if call.function == "divide" else None


def _sum(first: Form, second: Form, sign: Fraction) -> Form | None:
    if isinstance(first, Linear) and isinstance(second, Linear):
        return first.plus(second, sign)
    if isinstance(first, Quotient) and _is_constant(second):
        return Quotient(first.top.plus(first.bottom, sign * second.constant), first.bottom)
    if isinstance(second, Quotient) and _is_constant(first):
        return Quotient(_NOTHING.plus(second.top, sign).plus(second.bottom, first.constant), second.bottom)
    return None


def _product(first: Form, second: Form) -> Form | None:
    if _is_constant(first):
        return _times(second, first.constant)
    return _times(first, second.constant) if _is_constant(second) else None


def _quotient(first: Form, second: Form) -> Form | None:
    if _is_constant(second):
        return _times(first, 1 / second.constant) if second.constant else None
    return Quotient(first, second) if isinstance(first, Linear) and isinstance(second, Linear) else None


def _times(form: Form, factor: Fraction) -> Form:
    if isinstance(form, Linear):
        return _NOTHING.plus(form, factor)
    return Quotient(_NOTHING.plus(form.top, factor), form.bottom)


def _is_constant(form: Form) -> TypeGuard[Linear]:
    return isinstance(form, Linear) and not form.factors
