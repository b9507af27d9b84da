"""What the query container is told: the views, the row stage, and the specification of the bounded pass."""

from __future__ import annotations

from typing import Any

from privacy.sql.bounds import Adds, Measured
from privacy.sql.query_plan import PlannedKey, QueryPlan
from privacy.sql.row_columns import KeyKind

SEED_BYTES = 16


def pass_specification(plan: QueryPlan, seed: bytes) -> dict[str, Any]:
    """What runtime_images/query/aggregate.py packs for the compiled pass. `seed` is 16 secret bytes, fresh for each job."""
    if len(seed) != SEED_BYTES:
        raise ValueError("the seed is 16 random bytes")
    return {
        "seed": seed.hex(),
        "max_rows": plan.max_rows,
        "values": plan.values,
        "keys": [_key(key) for key in plan.keys],
        "measures": [_measure(measure) for measure in plan.measures],
        "sets": [
            {
                "keys": list(each.keys),
                "max_groups": each.max_groups,
                "most_groups": each.most_groups,
                "most_values": each.most_values,
            }
            for each in plan.sets
        ],
    }


def row_stage(plan: QueryPlan) -> dict[str, Any]:
    """What DuckDB is told: each stored table's view, and the SQL over them."""
    return {
        "sql": plan.block_sql,
        "views": [
            {
                "name": view.name,
                "asset": view.asset,
                "unit": view.unit,
                "columns": [
                    {
                        "name": each.name,
                        "stored": each.stored,
                        "type": each.type,
                        "kind": each.facts.kind.value,
                        "scale": each.facts.scale,
                    }
                    for each in view.columns
                ],
                "codes": [
                    {"name": each.name, "stored": each.stored, "values": list(each.values), "type": each.type}
                    for each in view.codes
                ],
            }
            for view in plan.views
        ],
    }


def _key(key: PlannedKey) -> dict[str, Any]:
    column = key.column
    if column.kind is KeyKind.TEXT:
        return {"kind": "text", "max_bytes": column.max_bytes}
    told: dict[str, Any] = {"kind": column.kind.value, "width": column.width}
    if column.kind is KeyKind.CODE:
        told["values"] = list(column.values)
    elif column.kind is KeyKind.INTEGER and key.count:
        told |= {"low": key.low, "count": key.count}
    return told


def _measure(measure: Measured) -> dict[str, Any]:
    told: dict[str, Any] = {"kind": measure.adds.value}
    if measure.value is not None:
        told["value"] = measure.value
    if measure.adds in (Adds.SUM, Adds.SQUARES):
        told |= {"low": measure.low, "high": measure.high, "centre": measure.centre}
    elif measure.adds is Adds.BINS:
        told |= {"low": measure.low, "high": measure.high, "step": measure.step}
    elif measure.adds is Adds.DISTINCT:
        told["k"] = measure.k
    return told
