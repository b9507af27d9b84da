"""The stored form of a planned query, `banyan.query_plan/2`, and back: of it RFC 8785 bytes exist, so whole numbers travel as texts.

Expressions are one table of parts for the whole plan, each after its own arguments, so that what they share is written once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from fractions import Fraction
from typing import Any

from core.units import exact, text_of
from privacy.accountant import Accountant, Loss
from privacy.mechanisms import Noise
from privacy.reach import Reach
from privacy.sql.aggregates import Aggregate
from privacy.sql.asked import Frame, Order, Output, Window, WindowFunction
from privacy.sql.block_views import CodeColumn, View, ViewColumn
from privacy.sql.bounds import Adds, Measured
from privacy.sql.expressions import Expression
from privacy.sql.expressions_json import Parts, facts_from, facts_json, held_from, held_json, parts_from
from privacy.sql.postprocess import PostProcessing
from privacy.sql.query_plan import SCHEMA, Made, Part, PlannedKey, QueryPlan, SetPlan, Vector
from privacy.sql.row_columns import KeyColumn, KeyKind
from privacy.thresholds import KeyThreshold

_REACH = tuple(field.name for field in fields(Reach))
_MEASURED = ("low", "high", "centre", "step", "k")


def plan_json(plan: QueryPlan) -> dict[str, Any]:
    """The JSON form; `plan_from` is its inverse."""
    parts = Parts()
    post = _post_json(plan.post, parts)
    kinds = plan.post.columns
    return {
        "schema": SCHEMA,
        "canonical_sql": plan.canonical_sql,
        "block_sql": plan.block_sql,
        "views": [_view_json(view) for view in plan.views],
        "keys": [_key_json(key) for key in plan.keys],
        "values": plan.values,
        "measures": [_measured_json(measure) for measure in plan.measures],
        "max_rows": str(plan.max_rows),
        "vectors": [_vector_json(vector) for vector in plan.vectors],
        "sets": [_set_json(each) for each in plan.sets],
        "made": [_made_json(made) for made in plan.made],
        "columns": [facts_json(facts) for facts in kinds],
        "post": post,
        "expressions": parts.listed,
        "accountant": plan.accountant.value,
        "price": plan.price.to_json(),
        "epsilon": text_of(plan.epsilon),
        "delta": text_of(plan.delta),
        "tips": list(plan.tips),
    }


def plan_from(value: Mapping[str, Any]) -> QueryPlan:
    """Rebuild what `plan_json` gave. Raises ValueError, KeyError or TypeError for anything else."""
    if value["schema"] != SCHEMA:
        raise ValueError("not a query plan of this version")
    parts = parts_from(value["expressions"])
    post = _post_from(value, parts)
    return QueryPlan(
        canonical_sql=value["canonical_sql"],
        block_sql=value["block_sql"],
        views=tuple(_view_from(entry) for entry in value["views"]),
        keys=tuple(_key_from(entry) for entry in value["keys"]),
        values=value["values"],
        measures=tuple(_measured_from(entry) for entry in value["measures"]),
        max_rows=int(value["max_rows"]),
        vectors=tuple(_vector_from(entry) for entry in value["vectors"]),
        sets=tuple(_set_from(entry, post) for entry in value["sets"]),
        made=tuple(_made_from(entry) for entry in value["made"]),
        post=post,
        accountant=Accountant(value["accountant"]),
        price=Loss.from_json(value["price"]),
        epsilon=exact(value["epsilon"]),
        delta=exact(value["delta"]),
        tips=tuple(value["tips"]),
    )


def _view_json(view: View) -> dict[str, Any]:
    return {
        "name": view.name,
        "asset": view.asset,
        "unit": view.unit,
        "columns": [
            {"name": each.name, "stored": each.stored, "facts": facts_json(each.facts), "type": each.type}
            for each in view.columns
        ],
        "codes": [
            {"name": each.name, "stored": each.stored, "values": list(each.values), "type": each.type}
            for each in view.codes
        ],
    }


def _view_from(entry: Mapping[str, Any]) -> View:
    columns = tuple(
        ViewColumn(each["name"], each["stored"], facts_from(each["facts"]), each["type"]) for each in entry["columns"]
    )
    codes = tuple(
        CodeColumn(each["name"], each["stored"], tuple(each["values"]), each["type"]) for each in entry["codes"]
    )
    return View(entry["name"], entry["asset"], entry["unit"], columns, codes)


def _key_json(key: PlannedKey) -> dict[str, Any]:
    column = key.column
    return {
        "kind": column.kind.value,
        "type": column.type,
        "max_bytes": column.max_bytes,
        "values": list(column.values),
        "low": str(key.low),
        "count": str(key.count),
    }


def _key_from(entry: Mapping[str, Any]) -> PlannedKey:
    column = KeyColumn(KeyKind(entry["kind"]), entry["type"], entry["max_bytes"], tuple(entry["values"]))
    return PlannedKey(column, int(entry["low"]), int(entry["count"]))


def _measured_json(measure: Measured) -> dict[str, Any]:
    numbers = {name: str(getattr(measure, name)) for name in _MEASURED}
    return {"adds": measure.adds.value, "value": measure.value, **numbers}


def _measured_from(entry: Mapping[str, Any]) -> Measured:
    return Measured(Adds(entry["adds"]), entry["value"], **{name: int(entry[name]) for name in _MEASURED})


def _vector_json(vector: Vector) -> dict[str, Any]:
    return {
        "measures": list(vector.measures),
        "weights": [str(weight) for weight in vector.weights],
        "reach": {name: str(getattr(vector.reach, name)) for name in _REACH},
    }


def _vector_from(entry: Mapping[str, Any]) -> Vector:
    reach = Reach(**{name: int(entry["reach"][name]) for name in _REACH})
    return Vector(tuple(entry["measures"]), tuple(map(int, entry["weights"])), reach)


def _set_json(each: SetPlan) -> dict[str, Any]:
    domain = None if each.domain is None else [[held_json(value) for value in row] for row in each.domain]
    return {
        "keys": list(each.keys),
        "max_groups": each.max_groups,
        "domain": domain,
        "threshold": None if each.threshold is None else each.threshold.to_json(),
        "noises": [None if noise is None else noise.to_json() for noise in each.noises],
        "most_groups": each.most_groups,
        "most_values": each.most_values,
    }


def _set_from(entry: Mapping[str, Any], post: PostProcessing) -> SetPlan:
    kinds = [post.columns[at].kind for at in entry["keys"]]
    domain = entry["domain"]
    if domain is not None:
        domain = tuple(tuple(map(held_from, row, kinds)) for row in domain)
    threshold = entry["threshold"]
    return SetPlan(
        keys=tuple(entry["keys"]),
        max_groups=entry["max_groups"],
        domain=domain,
        threshold=None if threshold is None else KeyThreshold.from_json(threshold),
        noises=tuple(None if noise is None else Noise.from_json(noise) for noise in entry["noises"]),
        most_groups=entry["most_groups"],
        most_values=entry["most_values"],
    )


def _made_json(made: Made) -> dict[str, Any]:
    return {
        "aggregate": made.aggregate.value,
        "parts": [[part.vector, part.place] for part in made.parts],
        "scale": made.scale,
        "low": str(made.low),
        "high": str(made.high),
        "centre": str(made.centre),
        "parameter": None if made.parameter is None else str(made.parameter),
    }


def _made_from(entry: Mapping[str, Any]) -> Made:
    parameter = entry["parameter"]
    return Made(
        aggregate=Aggregate(entry["aggregate"]),
        parts=tuple(Part(vector, place) for vector, place in entry["parts"]),
        scale=entry["scale"],
        low=int(entry["low"]),
        high=int(entry["high"]),
        centre=int(entry["centre"]),
        parameter=None if parameter is None else Fraction(parameter),
    )


def _post_json(post: PostProcessing, parts: Parts) -> dict[str, Any]:
    return {
        "windows": [
            {
                "function": window.function.value,
                "argument": None if window.argument is None else parts.place(window.argument),
                "partition": [parts.place(each) for each in window.partition],
                "order": _order_json(window.order, parts),
                "frame": None if window.frame is None else [window.frame.before, window.frame.after],
                "offset": window.offset,
            }
            for window in post.windows
        ],
        "having": None if post.having is None else parts.place(post.having),
        "order": _order_json(post.order, parts),
        "limit": post.limit,
        "offset": post.offset,
        "outputs": [{"name": output.name, "expression": parts.place(output.expression)} for output in post.outputs],
    }


def _post_from(value: Mapping[str, Any], parts: Sequence[Expression]) -> PostProcessing:
    post = value["post"]
    return PostProcessing(
        columns=tuple(facts_from(entry) for entry in value["columns"]),
        outputs=tuple(Output(entry["name"], parts[entry["expression"]]) for entry in post["outputs"]),
        windows=tuple(_window_from(entry, parts) for entry in post["windows"]),
        having=None if post["having"] is None else parts[post["having"]],
        order=_order_from(post["order"], parts),
        limit=post["limit"],
        offset=post["offset"],
    )


def _window_from(entry: Mapping[str, Any], parts: Sequence[Expression]) -> Window:
    return Window(
        function=WindowFunction(entry["function"]),
        argument=None if entry["argument"] is None else parts[entry["argument"]],
        partition=tuple(parts[at] for at in entry["partition"]),
        order=_order_from(entry["order"], parts),
        frame=None if entry["frame"] is None else Frame(*entry["frame"]),
        offset=entry["offset"],
    )


def _order_json(order: Sequence[Order], parts: Parts) -> list[dict[str, Any]]:
    return [
        {
            "expression": parts.place(term.expression),
            "descending": term.descending,
            "nulls_first": term.nulls_first,
        }
        for term in order
    ]


def _order_from(entries: Sequence[Mapping[str, Any]], parts: Sequence[Expression]) -> tuple[Order, ...]:
    return tuple(Order(parts[entry["expression"]], entry["descending"], entry["nulls_first"]) for entry in entries)
