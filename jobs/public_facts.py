"""What planning may know of the assets that a job names, and whether a job of its kind can read them together."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from assets import catalogue, uploads, versions
from core.errors import Invalid
from jobs.plan import PublicFacts
from jobs.request import JobRequest
from policies.populations import population_of

# Rows of this level are public (assets/levels.toml): a program may have the whole table beside the blocks of another population.
PUBLIC_LEVEL = "S0"


def check_form(asked: JobRequest, facts: PublicFacts) -> None:
    """Rows can be queried or given to a program, ciphertexts can be added: nothing else works on either."""
    for each in facts.all:
        if (each.encrypted is not None) != (asked.kind == "encrypted"):
            told = "encrypted by its provider" if each.encrypted is not None else "not encrypted"
            raise Invalid(
                "job.kind",
                f"{each.asset} is {told}, so a job of the kind {asked.kind} cannot read it",
                where={"field": "asset"},
                way_out="compute works on encrypted assets, query and program on others",
            )


def facts_of(connection: Connection, asked: JobRequest) -> PublicFacts:
    """What planning may know of the assets. Raises NotFound (`asset.unknown`), Invalid (`job.populations`)."""
    first, *others = (_facts_of_one(connection, asset) for asset in asked.assets)
    for at, other in enumerate(others):
        if other.population == first.population:
            continue
        if first.level == PUBLIC_LEVEL:
            raise Invalid(
                "job.populations",
                f"{first.asset} is public and stands first, where the asset goes whose units are protected",
                where={"field": "assets"},
                way_out=f"assets: [{other.asset}, {first.asset}]",
            )
        if other.level != PUBLIC_LEVEL:
            raise Invalid(
                "job.populations",
                f"{first.asset} and {other.asset} are of different populations, whose units cannot be joined",
                where={"field": "assets"},
                way_out=f"assets of the population {first.population}, and tables of level {PUBLIC_LEVEL}, which are public",
            )
        others[at] = replace(other, whole=True)
    return replace(first, level=max(facts.level for facts in (first, *others)), joined=tuple(others))


def _facts_of_one(connection: Connection, asset: str) -> PublicFacts:
    found = catalogue.get(connection, asset)
    declaration = found.declaration
    population = population_of(connection, declaration.population.name)
    version = versions.latest_version(connection, asset)
    return PublicFacts(
        asset=declaration.asset,
        level=declaration.level,
        population=population.name,
        accountant=population.accountant,
        delta=population.delta,
        schema=declaration.schema,
        block_count=population.block_count,
        version=None if version is None else version.number,
        encrypted=declaration.encrypted,
        key=None if version is None else uploads.key_of(connection, version.id),
    )
