"""What a query job asks beside what every job asks: the SQL, and the bounds on one privacy unit's part in the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from core.errors import Invalid
from jobs import fields

FIELDS = ("query", "bounds")
MAX_BOUND = 1_000_000
_BOUNDS = ("max_groups_per_unit", "max_rows_per_group", "clip")
_EXAMPLE = "bounds: {max_groups_per_unit: 3, max_rows_per_group: 50}"
_CLIP_EXAMPLE = "clip: {dep_delay: [-30, 120]}"


@dataclass(frozen=True)
class QueryAsked:
    """A query. Bounds are per privacy unit: how many groups it may touch, how many rows in each.

    `clip` narrows what values of a summed column may be: smaller and larger ones count as its ends, which costs bias and saves noise.
    """

    query: str
    max_groups: int
    max_rows: int
    clip: tuple[tuple[str, Decimal, Decimal], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The canonical JSON form of these fields."""
        return {
            "query": self.query,
            "bounds": {
                "max_groups_per_unit": self.max_groups,
                "max_rows_per_group": self.max_rows,
                "clip": {column: [f"{lower:f}", f"{upper:f}"] for column, lower, upper in self.clip},
            },
        }


def query_asked(job: Mapping[str, Any]) -> QueryAsked:
    """The query that a job asks. Raises Invalid (`job.…`, `bounds.…`) naming the field."""
    bounds = fields.mapping(job.get("bounds"), "bounds", _BOUNDS, _EXAMPLE)
    return QueryAsked(
        query=fields.text(job, "query"),
        max_groups=_bound(bounds, "max_groups_per_unit"),
        max_rows=_bound(bounds, "max_rows_per_group"),
        clip=_clip(bounds.get("clip")),
    )


def _bound(bounds: Mapping[str, Any], field: str) -> int:
    value = bounds.get(field)
    if value == "auto":
        raise Invalid(
            "bounds.no_profile",
            f"{field}: auto needs a DP profile of the asset, and it has none yet",
            where={"field": f"bounds.{field}"},
            way_out=f"give a number, such as {field}: 3",
        )
    return fields.whole(value, f"bounds.{field}", "bounds.invalid", MAX_BOUND)


def _clip(value: object) -> tuple[tuple[str, Decimal, Decimal], ...]:
    """By column name. Whether the columns exist and may be clipped so is for the planner to say."""
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        raise _clip_refused("bounds.clip", "clip names columns with their ends")
    found = []
    for column, ends in sorted(value.items()):
        field = f"bounds.clip.{str(column)[:60]}"
        if not isinstance(ends, list) or len(ends) != 2:
            raise _clip_refused(field, "a column is clipped to two numbers")
        lower, upper = (fields.decimal(end, field, "bounds.clip", _CLIP_EXAMPLE) for end in ends)
        if lower >= upper:
            raise _clip_refused(field, "the lower end must be below the upper end")
        found.append((str(column), lower, upper))
    return tuple(found)


def _clip_refused(field: str, text: str) -> Invalid:
    return Invalid("bounds.clip", text, where={"field": field}, way_out=_CLIP_EXAMPLE)
