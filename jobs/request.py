"""What a researcher asks for: the job file as JSON, checked field by field before anything else looks at it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from core import ids
from core.errors import Invalid
from core.units import delta_of, epsilon_of, text_of

PURPOSES = ("governance", "public-welfare", "industry-development", "research", "audit")
KIND = "query"
_FIELDS = ("asset", "purpose", "policy", "query", "epsilon", "delta", "bounds")
_BOUNDS = ("max_groups_per_unit", "max_rows_per_group", "clip")
_NUMBER = re.compile(r"-?[0-9]{1,16}(\.[0-9]{1,16})?")
MAX_BOUND = 1_000_000


@dataclass(frozen=True)
class JobRequest:
    """One query job as asked. Bounds are per privacy unit: how many groups it may touch, how many rows in each.

    `clip` narrows what values of a summed column may be: smaller and larger ones count as its ends, which costs bias and saves noise.
    """

    asset: str
    purpose: str
    policy: str | None
    query: str
    epsilon: Fraction
    delta: Fraction | None
    max_groups: int
    max_rows: int
    clip: tuple[tuple[str, Decimal, Decimal], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The canonical JSON form; `parsed` reads it back."""
        return {
            "asset": self.asset,
            "purpose": self.purpose,
            "policy": self.policy,
            "query": self.query,
            "epsilon": text_of(self.epsilon),
            "delta": None if self.delta is None else text_of(self.delta),
            "bounds": {
                "max_groups_per_unit": self.max_groups,
                "max_rows_per_group": self.max_rows,
                "clip": {column: [f"{lower:f}", f"{upper:f}"] for column, lower, upper in self.clip},
            },
        }


def parsed(document: object) -> JobRequest:
    """The request that `document` states. Raises Invalid (`job.…`, `epsilon.invalid`, `bounds.…`) naming the field."""
    job = _mapping(document, "job", _FIELDS)
    purpose = _text(job, "purpose")
    if purpose not in PURPOSES:
        raise Invalid("job.purpose", f"purpose must be one of: {', '.join(PURPOSES)}", where={"field": "purpose"})
    asset = _text(job, "asset")
    if not ids.is_name(asset) or "/" not in asset:
        raise Invalid(
            "job.asset", "asset must have the form sector/name, such as traffic/flights", where={"field": "asset"}
        )
    if "epsilon" not in job:
        raise Invalid("job.missing", "the job says no epsilon", where={"field": "epsilon"}, way_out="epsilon: 0.5")
    bounds = _mapping(job.get("bounds"), "bounds", _BOUNDS)
    delta = job.get("delta")
    return JobRequest(
        asset=asset,
        purpose=purpose,
        policy=_policy(job),
        query=_text(job, "query"),
        epsilon=epsilon_of(job["epsilon"]),
        delta=None if delta is None else delta_of(delta),
        max_groups=_bound(bounds, "max_groups_per_unit"),
        max_rows=_bound(bounds, "max_rows_per_group"),
        clip=_clip(bounds.get("clip")),
    )


def _mapping(value: object, field: str, known: tuple[str, ...]) -> Mapping[str, Any]:
    if value is None or not isinstance(value, Mapping):
        raise Invalid(
            "job.missing",
            f"{field} must be a set of fields: {', '.join(known)}",
            where={"field": field},
            way_out=_example(field),
        )
    for name in value:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            raise Invalid(
                "job.unknown_field",
                f"{field} has no field of that name; it knows {', '.join(known)}",
                where={"field": str(name)[:60]},
                way_out=f"did you mean {near[0]}?" if near else None,
            )
    return value


def _example(field: str) -> str | None:
    return "bounds: {max_groups_per_unit: 3, max_rows_per_group: 50}" if field == "bounds" else None


def _text(job: Mapping[str, Any], field: str) -> str:
    value = job.get(field)
    if not isinstance(value, str) or not value.strip():
        raise Invalid("job.missing", f"the job must say {field} as text", where={"field": field})
    return value


def _policy(job: Mapping[str, Any]) -> str | None:
    if job.get("policy") is None:
        return None
    policy = _text(job, "policy")
    if not ids.is_name(policy) or "/" in policy:
        text = "policy must be the name of a policy, such as traffic-research"
        raise Invalid("job.policy", text, where={"field": "policy"}, way_out="banyan policies lists them")
    return policy


def _bound(bounds: Mapping[str, Any], field: str) -> int:
    value = bounds.get(field)
    where = {"field": f"bounds.{field}"}
    if value == "auto":
        raise Invalid(
            "bounds.no_profile",
            f"{field}: auto needs a DP profile of the asset, and it has none yet",
            where=where,
            way_out=f"give a number, such as {field}: 3",
        )
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_BOUND:
        raise Invalid("bounds.invalid", f"{field} must be a whole number from 1 to {MAX_BOUND:,}", where=where)
    return value


def _clip(value: object) -> tuple[tuple[str, Decimal, Decimal], ...]:
    """By column name. Whether the columns exist and may be clipped so is for the planner to say."""
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        raise _clip_refused("clip", "clip names columns with their ends")
    found = []
    for column, ends in sorted(value.items()):
        field = f"clip.{str(column)[:60]}"
        if not isinstance(ends, list) or len(ends) != 2:
            raise _clip_refused(field, "a column is clipped to two numbers")
        lower, upper = (_number(end, field) for end in ends)
        if lower >= upper:
            raise _clip_refused(field, "the lower end must be below the upper end")
        found.append((str(column), lower, upper))
    return tuple(found)


def _number(value: object, field: str) -> Decimal:
    text = repr(value) if isinstance(value, float) else str(value)
    if isinstance(value, bool) or not _NUMBER.fullmatch(text):
        raise _clip_refused(field, "an end is a plain decimal number")
    return Decimal(text)


def _clip_refused(field: str, text: str) -> Invalid:
    return Invalid("bounds.clip", text, where={"field": f"bounds.{field}"}, way_out="clip: {dep_delay: [-30, 120]}")
