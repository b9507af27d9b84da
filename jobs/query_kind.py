"""The kind `query`: SQL under differential privacy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.errors import Invalid
from jobs.gate import Gated, gate
from jobs.kind import Host
from jobs.masking import Masking
from jobs.model import Job
from jobs.plan import JobPlan, PublicFacts
from jobs.promise import guarantee_of
from jobs.query_lane import QueryForm
from jobs.query_request import QueryAsked
from jobs.request import JobRequest
from jobs.schedule import lanes_for, schedule_for
from privacy.guarantee import Guarantee
from privacy.sql.plan import plan_query
from privacy.sql.plan_model import QueryPlan, QueryRequest

VALUE_PARTS = ("", "_standard_error", "_low", "_high")
MAX_OUTPUT_BYTES = 1 << 30
MOCK_ROWS = 1000


class QueryKind:
    """See jobs.kind.Kind."""

    name = "query"

    def plan(self, asked: JobRequest, facts: PublicFacts, host: Host) -> JobPlan:
        """Plan a query."""
        query, node = planned_query(asked, facts), host.node
        lanes = lanes_for(facts.block_count, node)
        return JobPlan(
            kind=self.name,
            facts=facts,
            epsilon=query.epsilon,
            delta=query.delta,
            price=query.price,
            image=host.images[self.name].id,
            lanes=lanes,
            schedule=schedule_for(query, facts.schema, facts.block_count, node),
            memory_bytes=lanes * node.lane_memory_bytes,
            told=_told(asked.work, query, facts),
            identity=_identity(query),
            tips=_tips(query, facts),
        )

    mock_plan = plan

    def mock_rows(self, plan: Mapping[str, Any], asset: str) -> int:  # noqa: ARG002 - a query's mock is of one size
        """Enough for every edge case of a usual declaration."""
        return MOCK_ROWS

    def form(self, request: Mapping[str, Any], plan: Mapping[str, Any], *, is_mock: bool) -> QueryForm:  # noqa: ARG002 - the plan has it all
        """What a lane runs."""
        return QueryForm(QueryPlan.from_json(plan["query"]))

    def gate(self, job: Job, partials: Mapping[int, bytes], masking: Masking | None) -> Gated:  # noqa: ARG002 - nothing is encrypted
        """Sums, noise, threshold."""
        return gate(QueryPlan.from_json(job.plan["query"]), job.plan["blocks"], partials)

    def mock_report(self, plan: Mapping[str, Any], partials: Mapping[int, bytes], log: str) -> None:
        """Nothing: what can go wrong in a query was said at plan time."""

    def guarantee(self, plan: Mapping[str, Any]) -> Guarantee:
        """The promise."""
        return guarantee_of(plan, QueryPlan.from_json(plan["query"]))


def planned_query(asked: JobRequest, facts: PublicFacts) -> QueryPlan:
    """The query's own plan. Raises Invalid with the place in the query for what is not allowed."""
    work = asked.work
    if not isinstance(work, QueryAsked):
        raise TypeError("only a query is planned as one")
    query = plan_query(
        QueryRequest(
            sql=work.query,
            epsilon=asked.epsilon,
            delta=asked.delta,
            max_groups_per_unit=work.max_groups,
            max_rows_per_group=work.max_rows,
            accountant=facts.accountant,
            clip=work.clip,
        ),
        facts.schema,
    )
    _check_names(query)
    _check_output(query, facts.block_count)
    return query


def _told(work: Any, query: QueryPlan, facts: PublicFacts) -> dict[str, Any]:
    return {
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
            "clip": {column: [f"{lower:f}", f"{upper:f}"] for column, lower, upper in work.clip},
        },
        "blocks": facts.block_count,
        "query": query.to_json(),
    }


def _identity(query: QueryPlan) -> dict[str, Any]:
    return {
        "query": query.canonical_sql,
        "clip": [[output.name, str(output.lower), str(output.upper)] for output in query.outputs],
        "max_groups": query.max_groups,
        "max_rows": query.max_rows,
    }


def _tips(query: QueryPlan, facts: PublicFacts) -> tuple[str, ...]:
    """What the plan can already say against the job; from public numbers only."""
    if query.threshold is not None and 2 * query.threshold.threshold > facts.schema.units:
        told = "the threshold is more than half of all units: few groups or none will be shown"
        return (f"{told}. Ask for more ε, a smaller max_groups_per_unit, or coarser groups",)
    return ()


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
