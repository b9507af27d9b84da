"""What a researcher asks for: the job file as JSON, checked field by field before anything else looks at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from core import ids
from core.errors import Invalid
from core.units import delta_of, epsilon_of, text_of
from jobs import encrypted_request, fields, program_request, query_request
from jobs.encrypted_request import EncryptedAsked, encrypted_asked
from jobs.program_request import ProgramAsked, program_asked
from jobs.query_request import QueryAsked, query_asked

PURPOSES = ("governance", "public-welfare", "industry-development", "research", "audit")
MAX_ASSETS = 8
MAX_PROVIDERS = 256  # assets of an encrypted job: one a provider
_FIELDS = ("asset", "assets", "purpose", "policy", "epsilon", "delta")
KIND_OF: Mapping[type, str] = {QueryAsked: "query", ProgramAsked: "program", EncryptedAsked: "encrypted"}
KIND_FIELDS: Mapping[str, tuple[str, ...]] = {
    "query": query_request.FIELDS,
    "program": program_request.FIELDS,
    "encrypted": encrypted_request.FIELDS,
}


@dataclass(frozen=True)
class JobRequest:
    """One job as asked, on `asset` and on others `joined` to it: by unit for a program, by addition for encrypted ones.

    `work` is what its kind asks beside.
    """

    asset: str
    joined: tuple[str, ...]
    purpose: str
    policy: str | None
    epsilon: Fraction
    delta: Fraction | None
    work: QueryAsked | ProgramAsked | EncryptedAsked

    @property
    def kind(self) -> str:
        """The kind of job: `query`, `program` or `encrypted`."""
        return KIND_OF[type(self.work)]

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
    """The request that `document` states. Raises Invalid (`job.…`, `epsilon.invalid`, and those of its kind), naming the field."""
    known = (*_FIELDS, *(field for fields_of_kind in KIND_FIELDS.values() for field in fields_of_kind))
    job = fields.mapping(document, "job", known)
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
    several, most = job.get("assets"), MAX_PROVIDERS if job.get("compute") is not None else MAX_ASSETS
    if several is None:
        return (_asset(fields.text(job, "asset"), "asset"),)
    if job.get("asset") is not None or not isinstance(several, list) or not 1 <= len(several) <= most:
        raise Invalid(
            "job.assets",
            f"a job says asset, or assets as a list of at most {most}",
            where={"field": "assets"},
            way_out="assets: [medical/patients, medical/visits]",
        )
    assets = tuple(_asset(asset, "assets") for asset in several)
    if len(set(assets)) < len(assets):
        raise Invalid("job.assets", "an asset is named twice", where={"field": "assets"})
    if job.get("program") is not None and len({asset.partition("/")[2] for asset in assets}) < len(assets):
        text = "two of the assets have one name, and a program knows its tables by their names"
        raise Invalid("job.assets", text, where={"field": "assets"})
    if len(assets) > 1 and job.get("program") is None and job.get("compute") is None:
        raise Invalid("job.assets", "a query of this version reads one asset", where={"field": "assets"})
    return assets


def _asset(asset: object, field: str) -> str:
    if not isinstance(asset, str) or not ids.is_name(asset) or "/" not in asset:
        text = "an asset has the form sector/name, such as traffic/flights"
        raise Invalid("job.asset", text, where={"field": field})
    return asset


def _work(job: Mapping[str, Any]) -> QueryAsked | ProgramAsked | EncryptedAsked:
    """The fields of one kind, and none of another's."""
    first = {"program": "program", "encrypted": "compute"}
    kind = next((kind for kind, field in first.items() if job.get(field) is not None), "query")
    for other, others in KIND_FIELDS.items():
        for field in others if other != kind else ():
            if job.get(field) is not None:
                raise Invalid(
                    "job.kind",
                    f"{field} does not belong to a job with a {first.get(kind, kind)}",
                    where={"field": field},
                    way_out="a job has either a query with bounds, or a program with outputs, or compute over encrypted assets",
                )
    if kind == "program":
        return program_asked(job)
    return encrypted_asked(job) if kind == "encrypted" else query_asked(job)


def _policy(job: Mapping[str, Any]) -> str | None:
    if job.get("policy") is None:
        return None
    policy = fields.text(job, "policy")
    if not ids.is_name(policy) or "/" in policy:
        text = "policy must be the name of a policy, such as traffic-research"
        raise Invalid("job.policy", text, where={"field": "policy"}, way_out="banyan policies lists them")
    return policy
