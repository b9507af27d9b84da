"""From a request to a plan: what will run, what it costs, what to expect; from public facts only, never from data (design R10)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core.canonical import digest
from core.errors import Invalid
from core.units import text_of
from jobs.request import KIND, JobRequest
from jobs.schedule import Node, Schedule, lanes_for, schedule_for
from privacy.accountant import Accountant
from privacy.schema import TableSchema
from privacy.sql.clipping import Clip
from privacy.sql.plan import plan_query
from privacy.sql.plan_model import QueryPlan, QueryRequest

VALUE_PARTS = ("", "_standard_error", "_low", "_high")
MAX_OUTPUT_BYTES = 1 << 30


@dataclass(frozen=True)
class PublicFacts:
    """All that planning may know of an asset: its declaration's facts, the population's block count, the newest version's number."""

    asset: str
    level: str
    population: str
    accountant: Accountant
    schema: TableSchema
    block_count: int
    version: int | None


@dataclass(frozen=True)
class JobPlan:
    """A planned job; its schedule holds whatever the data (design R9)."""

    facts: PublicFacts
    query: QueryPlan
    image: str
    lanes: int
    schedule: Schedule
    memory_bytes: int
    clip: Clip

    def to_json(self) -> dict[str, Any]:
        """The stored form, which is also what a researcher sees: the query's own plan and the price of it."""
        query, facts = self.query, self.facts
        return {
            "kind": KIND,
            "asset": facts.asset,
            "version": facts.version,
            "level": facts.level,
            "rows": facts.schema.rows,
            "units": facts.schema.units,
            "unit": facts.schema.unit,
            "population": facts.population,
            "price": {"epsilon": text_of(query.epsilon), "delta": text_of(query.delta)},
            "outputs": [
                {"name": entry.name, "kind": entry.kind, "noise_95": entry.noise_95, "clipping": entry.clipping}
                for entry in query.forecast
            ],
            "keys": [{"name": key.name, "public": key.values is not None} for key in query.keys],
            "cells": query.cells,
            "threshold": None if query.threshold is None else {"units": query.threshold.threshold},
            "bounds": {
                "max_groups_per_unit": query.max_groups,
                "max_rows_per_group": query.max_rows,
                "clip": {column: [f"{lower:f}", f"{upper:f}"] for column, lower, upper in self.clip},
            },
            "image": self.image,
            "blocks": facts.block_count,
            "lanes": self.lanes,
            "tasks": self.lanes,
            "seconds": self.schedule.seconds,
            "gate_seconds": self.schedule.gate_seconds,
            "block_seconds": self.schedule.block_seconds,
            "memory_bytes": self.memory_bytes,
            "query": query.to_json(),
        }


def plan_job(request: JobRequest, facts: PublicFacts, image: str, node: Node) -> JobPlan:
    """Plan `request`. Raises Invalid with the place in the query for what is not allowed."""
    query = plan_query(
        QueryRequest(
            sql=request.query,
            epsilon=request.epsilon,
            delta=request.delta,
            max_groups_per_unit=request.max_groups,
            max_rows_per_group=request.max_rows,
            accountant=facts.accountant,
            clip=request.clip,
        ),
        facts.schema,
    )
    _check_names(query)
    _check_output(query, facts.block_count)
    lanes = lanes_for(facts.block_count, node)
    return JobPlan(
        facts=facts,
        query=query,
        image=image,
        lanes=lanes,
        schedule=schedule_for(query, facts.schema, facts.block_count, node),
        memory_bytes=lanes * node.lane_memory_bytes,
        clip=request.clip,
    )


def _check_names(query: QueryPlan) -> None:
    """In a file each value has its error and interval beside it; no other column may take their names."""
    names = [output.name + part for output in query.outputs for part in (VALUE_PARTS if output.key is None else ("",))]
    for name in names:
        if names.count(name) > 1:
            raise Invalid(
                "sql.name_taken",
                f"two columns of a saved result would be called {name[:60]}",
                where={"field": "query"},
                way_out="another alias for one of them",
            )


def _check_output(query: QueryPlan, block_count: int) -> None:
    if block_count * query.max_partial_bytes > MAX_OUTPUT_BYTES:
        raise Invalid(
            "plan.too_large",
            "the groups of this query could be more than the gate can take in",
            where={"field": "query"},
            way_out="group by fewer or coarser columns, or lower max_groups_per_unit",
        )


def identity_of(plan: JobPlan) -> str:
    """What makes two jobs *identical* (design R16): canonical query, bounds, price, accountant, image, asset version."""
    query = plan.query
    return digest(
        {
            "kind": KIND,
            "asset": plan.facts.asset,
            "version": plan.facts.version,
            "query": query.canonical_sql,
            "clip": [[output.name, str(output.lower), str(output.upper)] for output in query.outputs],
            "max_groups": query.max_groups,
            "max_rows": query.max_rows,
            "epsilon": text_of(query.epsilon),
            "delta": text_of(query.delta),
            "accountant": query.accountant.value,
            "image": plan.image,
        }
    )
