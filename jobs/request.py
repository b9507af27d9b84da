"""What a researcher asks for: the job file as JSON, checked field by field before anything else looks at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from core import ids
from core.errors import Invalid
from core.units import delta_of, epsilon_of, text_of
from jobs import fields, program_request, query_request
from jobs.program_request import ProgramAsked, program_asked
from jobs.query_request import QueryAsked, query_asked

PURPOSES = ("governance", "public-welfare", "industry-development", "research", "audit")
MAX_ASSETS = 8
_FIELDS = ("asset", "assets", "purpose", "policy", "epsilon", "delta")


@dataclass(frozen=True)
class JobRequest:
    """One job as asked, on `asset` and, for a program, on others `joined` to it by unit; `work` is what its kind asks beside."""

    asset: str
    joined: tuple[str, ...]
    purpose: str
    policy: str | None
    epsilon: Fraction
    delta: Fraction | None
    work: QueryAsked | ProgramAsked

    @property
    def kind(self) -> str:
        """The kind of job: `query` or `program`."""
        return "query" if isinstance(self.work, QueryAsked) else "program"

    @property
    def assets(self) -> tuple[str, ...]:
        """All assets that it reads."""
        return (self.asset, *self.joined)

    def to_json(self) -> dict[str, Any]:
        """The canonical JSON form; `parsed` reads it back."""
        assets = {"assets": list(self.assets)} if self.joined else {"asset": self.asset}
        return {
            **assets,
            "purpose": self.purpose,
            "policy": self.policy,
            "epsilon": text_of(self.epsilon),
            "delta": None if self.delta is None else text_of(self.delta),
            **self.work.to_json(),
        }


def parsed(document: object) -> JobRequest:
    """The request that `document` states. Raises Invalid (`job.…`, `epsilon.invalid`, `bounds.…`, `program.…`) naming the field."""
    job = fields.mapping(document, "job", (*_FIELDS, *query_request.FIELDS, *program_request.FIELDS))
    purpose = fields.text(job, "purpose")
    if purpose not in PURPOSES:
        raise Invalid("job.purpose", f"purpose must be one of: {', '.join(PURPOSES)}", where={"field": "purpose"})
    assets = _assets(job)
    if "epsilon" not in job:
        raise Invalid("job.missing", "the job says no epsilon", where={"field": "epsilon"}, way_out="epsilon: 0.5")
    delta = job.get("delta")
    return JobRequest(
        asset=assets[0],
        joined=assets[1:],
        purpose=purpose,
        policy=_policy(job),
        epsilon=epsilon_of(job["epsilon"]),
        delta=None if delta is None else delta_of(delta),
        work=_work(job),
    )


def _assets(job: Mapping[str, Any]) -> tuple[str, ...]:
    several = job.get("assets")
    if several is None:
        return (_asset(fields.text(job, "asset"), "asset"),)
    if job.get("asset") is not None or not isinstance(several, list) or not 1 <= len(several) <= MAX_ASSETS:
        raise Invalid(
            "job.assets",
            f"a job says asset, or assets as a list of at most {MAX_ASSETS}",
            where={"field": "assets"},
            way_out="assets: [medical/patients, medical/visits]",
        )
    assets = tuple(_asset(asset, "assets") for asset in several)
    if len({asset.partition("/")[2] for asset in assets}) < len(assets):
        text = "two of the assets have one name, and a program knows its tables by their names"
        raise Invalid("job.assets", text, where={"field": "assets"})
    if len(assets) > 1 and job.get("program") is None:
        raise Invalid("job.assets", "a query of this version reads one asset", where={"field": "assets"})
    return assets


def _asset(asset: object, field: str) -> str:
    if not isinstance(asset, str) or not ids.is_name(asset) or "/" not in asset:
        text = "an asset has the form sector/name, such as traffic/flights"
        raise Invalid("job.asset", text, where={"field": field})
    return asset


def _work(job: Mapping[str, Any]) -> QueryAsked | ProgramAsked:
    """The fields of one kind, and none of another's."""
    is_program = job.get("program") is not None
    others = query_request.FIELDS if is_program else program_request.FIELDS
    for field in others:
        if job.get(field) is not None:
            raise Invalid(
                "job.kind",
                f"{field} does not belong to a job with a {'program' if is_program else 'query'}",
                where={"field": field},
                way_out="a job has either a query with bounds, or a program with outputs",
            )
    if is_program:
        return program_asked(job)
    return query_asked(job)


def _policy(job: Mapping[str, Any]) -> str | None:
    if job.get("policy") is None:
        return None
    policy = fields.text(job, "policy")
    if not ids.is_name(policy) or "/" in policy:
        text = "policy must be the name of a policy, such as traffic-research"
        raise Invalid("job.policy", text, where={"field": "policy"}, way_out="banyan policies lists them")
    return policy
