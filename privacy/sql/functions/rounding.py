"""The ways of rounding a quotient of whole numbers, each once in Python and once in DuckDB's SQL, whose `//` and `%` truncate.

In SQL a divisor that can be 0 is guarded where it stands, by `nullif`: a CASE around a division promises nothing about the division.
"""

from __future__ import annotations

from privacy.sql.facts import Facts


def truncated(a: int, b: int) -> int:
    """The quotient a / b cut toward zero; b is not 0."""
    return abs(a) // abs(b) if (a < 0) == (b < 0) else -(abs(a) // abs(b))


def remainder(a: int, b: int) -> int:
    """What truncation leaves: it has the sign of a."""
    return a - b * truncated(a, b)


def half_away(a: int, b: int) -> int:
    """The quotient a / b rounded to the nearest, halves away from zero; b is not 0."""
    nearest = (2 * abs(a) + abs(b)) // (2 * abs(b))
    return nearest if (a < 0) == (b < 0) else -nearest


def floor_sql(text: str, facts: Facts, step: int) -> str:
    """Floor of a number over a positive step."""
    if step == 1:
        return text
    return f"({text} // {step}{_if(f'{text} % {step} < 0', '-1', may=facts.ends[0] < 0)})"


def ceiling_sql(text: str, facts: Facts, step: int) -> str:
    """Ceiling of a number over a positive step."""
    if step == 1:
        return text
    return f"({text} // {step}{_if(f'{text} % {step} > 0', '1', may=facts.ends[1] > 0)})"


def half_away_sql(text: str, facts: Facts, step: int) -> str:
    """Nearest of a number over a positive even step, halves away from zero. The caller sees to it that half a step more still fits."""
    low, high = facts.ends
    half = str(step // 2)
    if low < 0 < high:
        half = f"CASE WHEN {text} < 0 THEN -{half} ELSE {half} END"
    elif low < 0:
        half = f"-{half}"
    return f"(({text} + ({half})) // {step})"


def quotient_sql(dividend: str, divisor: str, ends: tuple[int, int], divisor_ends: tuple[int, int]) -> str:
    """Nearest of a quotient, halves away from zero, NULL where the divisor is 0. Twice the dividend and a divisor more must fit."""
    half = divisor if divisor_ends[0] >= 0 else f"-{divisor}" if divisor_ends[1] <= 0 else f"abs({divisor})"
    if ends[1] <= 0:
        half = f"-({half})"
    elif ends[0] < 0:
        half = f"(CASE WHEN {dividend} < 0 THEN -({half}) ELSE {half} END)"
    return f"((2 * {dividend} + {half}) // nullif(2 * {divisor}, 0))"


def _if(condition: str, then: str, *, may: bool) -> str:
    return f" + CASE WHEN {condition} THEN {then} ELSE 0 END" if may else ""
