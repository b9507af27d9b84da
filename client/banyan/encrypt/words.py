"""In which words a provider is told what was encrypted, under which bounds, and what was cut off: exact decimals, no floats."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from banyan.encrypt.bounding import Bounds
from banyan.encrypt.rows import Rows
from banyan.encrypt.shares import Share
from banyan.encrypt.terms import GRAM, SQUARE, SUM, UNITS, Bounded, Terms

_MOST_GROUPS = 12


def contents(terms: Terms, held: Sequence[str], share: Share | None) -> str:
    """What is in the file, a line a vector."""
    if not held:
        return "no numbers: each job asks for a contribution of its own, see banyan calls"
    lines = [_vector(name, terms) for name in held]
    noise = (
        [] if share is None else ["with noise of your own, under masks that cancel in the sum", f"for {share.job} only"]
    )
    return "\n".join([*lines, _by(terms), *noise])


def bounds(terms: Terms) -> str:
    """What was signed of every unit."""
    where = "" if terms.group_by is None else " in a group"
    lines = [] if terms.group_by is None else [f"counts in at most {terms.max_groups} of {len(terms.groups)} groups"]
    lines += [f"total of {each.column}{where} from {_range(each)}" for each in terms.totals]
    if terms.least_squares is not None:
        columns = (*terms.least_squares.features, terms.least_squares.target)
        lines += [f"in the regression the mean of {each.column} from {_range(each)}" for each in columns]
    return "\n".join([f"of each {terms.unit}, whatever its rows hold:", *(lines or ["counts once"])])


def local(found: Rows, parts: Bounds) -> dict[str, Any]:
    """The counts that stay here."""
    return {
        "rows": len(found),
        "units": found.units,
        "rows_without_a_cell": found.dropped,
        "rows_repeated": found.repeated,
        "totals_clamped": dict(parts.clamped),
        "groups_left_out": parts.groups_left_out,
    }


def local_told(counts: dict[str, Any]) -> str:
    """The counts that stay here, a line each."""
    lines = [f"rows {counts['rows']:,}, units {counts['units']:,}"]
    if counts["rows_without_a_cell"]:
        lines.append(f"rows left out because a cell that is needed holds nothing: {counts['rows_without_a_cell']:,}")
    if counts["rows_repeated"]:
        lines.append(f"rows that repeat another one in every cell, and count again: {counts['rows_repeated']:,}")
    lines += [
        f"totals of {name} moved to the nearer bound: {count:,}" for name, count in counts["totals_clamped"].items()
    ]
    if counts["groups_left_out"]:
        lines.append(f"groups left out of units that are in more than they may count in: {counts['groups_left_out']:,}")
    return "\n".join(lines)


def _vector(name: str, terms: Terms) -> str:
    if name == UNITS:
        return f"the number of different {terms.unit}"
    if name == GRAM and terms.least_squares is not None:
        names = ", ".join(each.column for each in terms.least_squares.features)
        return f"second moments for a regression of {terms.least_squares.target.column} on {names}, over all groups"
    if name.startswith(SQUARE):
        total = terms.total(name.removeprefix(SQUARE))
        centre = _decimal(total.centre, total.scale)
        return f"the sum of the squared distances of their totals of {total.column} from {centre}"
    return f"the sum of their totals of {name.removeprefix(SUM)}"


def _by(terms: Terms) -> str:
    if terms.group_by is None:
        return "over all rows; one number each"
    shown = ", ".join(terms.groups[:_MOST_GROUPS]) + (", …" if len(terms.groups) > _MOST_GROUPS else "")
    return f"by {terms.group_by}: {shown}"


def _range(each: Bounded) -> str:
    return f"{_decimal(each.lower, each.scale)} to {_decimal(each.upper, each.scale)}"


def _decimal(number: int, scale: int) -> str:
    return f"{Decimal(number).scaleb(-scale):f}"
