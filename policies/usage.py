"""What a usage policy says: who may run which kind of job on which assets, for which purpose, within which limits, until when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from typing import Any

from core.canonical import digest
from core.clock import moment_of
from core.clock import text_of as moment_text
from core.tier import Tier
from core.units import exact, text_of


class Purpose(StrEnum):
    """What a job may be for."""

    GOVERNANCE = "governance"
    PUBLIC_WELFARE = "public-welfare"
    INDUSTRY_DEVELOPMENT = "industry-development"
    RESEARCH = "research"
    AUDIT = "audit"


class JobKind(StrEnum):
    """The kinds of job there are."""

    QUERY = "query"
    PROGRAM = "program"
    ENCRYPTED = "encrypted"


class ReleaseRule(StrEnum):
    """What stands between the gate and the researcher."""

    AUTOMATIC = "automatic"


@dataclass(frozen=True)
class EpsilonLimits:
    """In ε as asked by each job, added up: over all jobs, over those of one person, for one job."""

    total: Fraction
    per_person: Fraction
    per_job: Fraction


@dataclass(frozen=True)
class ProviderRule:
    """For encrypted jobs: the fewest providers, and in how many of a job's providers one privacy unit may be.

    `overlap` None is all of them; a smaller number is attested by those who approve the policy.
    """

    least: int = 3
    overlap: int | None = None


@dataclass(frozen=True)
class UsagePolicy:
    """One policy's content; never edited, only replaced by a new version. Valid from `valid_from` to before `valid_until`.

    It is open to the listed people (ids) and organisations, and to everybody where neither is listed.
    """

    name: str
    title: str
    purposes: tuple[Purpose, ...]
    kinds: tuple[JobKind, ...]
    assets: tuple[str, ...]
    people: tuple[str, ...]
    organisations: tuple[str, ...]
    epsilon: EpsilonLimits
    max_runs: int | None
    release: ReleaseRule
    isolation: Tier
    valid_from: datetime
    valid_until: datetime
    providers: ProviderRule = ProviderRule()

    def to_json(self) -> dict[str, Any]:
        """The stored form."""
        return {
            "name": self.name,
            "title": self.title,
            "purposes": [purpose.value for purpose in self.purposes],
            "kinds": [kind.value for kind in self.kinds],
            "assets": list(self.assets),
            "people": list(self.people),
            "organisations": list(self.organisations),
            "epsilon": {
                "total": text_of(self.epsilon.total),
                "per_person": text_of(self.epsilon.per_person),
                "per_job": text_of(self.epsilon.per_job),
            },
            "max_runs": self.max_runs,
            "release": self.release.value,
            # These two are left out where they demand nothing, so that policies from before they were fields keep their digest.
            **({} if self.isolation is Tier.ZYGOTE else {"isolation": self.isolation.value}),
            **({} if self.providers == ProviderRule() else {"providers": asdict(self.providers)}),
            "valid": {"from": moment_text(self.valid_from), "until": moment_text(self.valid_until)},
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> UsagePolicy:
        """The inverse of `to_json`; for stored policies only, what people write goes through policy_file."""
        limits = stored["epsilon"]
        return cls(
            name=stored["name"],
            title=stored["title"],
            purposes=tuple(Purpose(purpose) for purpose in stored["purposes"]),
            kinds=tuple(JobKind(kind) for kind in stored["kinds"]),
            assets=tuple(stored["assets"]),
            people=tuple(stored["people"]),
            organisations=tuple(stored["organisations"]),
            epsilon=EpsilonLimits(exact(limits["total"]), exact(limits["per_person"]), exact(limits["per_job"])),
            max_runs=stored["max_runs"],
            release=ReleaseRule(stored["release"]),
            isolation=Tier(stored.get("isolation", Tier.ZYGOTE)),
            valid_from=moment_of(stored["valid"]["from"]),
            valid_until=moment_of(stored["valid"]["until"]),
            providers=ProviderRule(**stored.get("providers", {})),
        )

    def digest(self, version: int) -> str:
        """What an approver signs: the content and the number of the version, so that an approval fits no other version."""
        return digest({"version": version, "policy": self.to_json()})
