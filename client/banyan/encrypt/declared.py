"""From a declaration file, or from what is said on the command line, to the terms under which a provider encrypts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import yaml

from banyan.encrypt.terms import Bounded, LeastSquares, Terms
from banyan.errors import Refused
from banyan.textfile import read_text

ALL = "all"
_COLUMN = re.compile(
    r"(?P<name>\w+):(?P<type>int|decimal\((?P<scale>\d)\)),clip=(?P<lower>-?[\d.]+)\.\.(?P<upper>-?[\d.]+)"
)


def terms_of_file(path: Path) -> Terms:
    """The terms in a declaration file. Raises Refused (`declaration.…`); the server reads the same file more closely."""
    try:
        said = yaml.load(read_text(path), yaml.BaseLoader)  # noqa: S506 - only texts, lists and maps
    except yaml.YAMLError:
        raise Refused("declaration.syntax", f"{path} is not YAML") from None
    try:
        return _terms(said)
    except (KeyError, TypeError, AttributeError) as problem:
        raise Refused(
            "declaration.incomplete",
            f"{path} does not declare an encrypted asset: {problem} is missing or of another form",
        ) from None
    except (ValueError, InvalidOperation) as problem:
        raise Refused("declaration.value", f"{path}: {problem}") from None


def _terms(said: Mapping[str, Any]) -> Terms:
    population, columns, own = said["population"], said["columns"], said["encrypted"]
    group_by = own.get("group_by")
    squares = own.get("squares") or []
    regression = own.get("least_squares")
    return Terms(
        provider=own["provider"],
        unit=population["unit"],
        population=population["name"],
        profile=own["profile"],
        group_by=group_by,
        groups=tuple(columns[group_by]["values"]) if group_by else (ALL,),
        max_groups=int(own.get("max_groups") or 1),
        totals=tuple(_bounded(name, _scale(columns[name]), *ends) for name, ends in (own.get("totals") or {}).items()),
        squares=tuple(squares),
        least_squares=None
        if not regression
        else LeastSquares(
            tuple(_of_column(name, columns[name]) for name in regression["features"]),
            _of_column(regression["target"], columns[regression["target"]]),
        ),
        units=int(said["size"]["units"]),
    )


def _scale(column: Mapping[str, Any]) -> int:
    return int(column.get("scale") or 0) if column["type"] == "decimal" else 0


def _of_column(name: str, column: Mapping[str, Any]) -> Bounded:
    return _bounded(name, _scale(column), column["lower"], column["upper"])


def _bounded(name: str, scale: int, lower: str, upper: str) -> Bounded:
    ends = [Decimal(end).scaleb(scale) for end in (lower, upper)]
    if any(end != end.to_integral_value() for end in ends):
        raise ValueError(f"the bounds of {name} have more than {scale} decimals")
    return Bounded(name, scale, int(ends[0]), int(ends[1]))


def terms_said(
    *,
    provider: str,
    unit: str,
    population: str,
    profile: str,
    group_by: str | None,
    max_groups: int,
    columns: Sequence[str],
    squares: Sequence[str],
    units: int,
) -> Terms:
    """The terms that options on the command line say. Raises Refused (`option.…`), naming the option."""
    name, mark, values = (group_by or "").partition("=")
    if group_by and not mark:
        raise Refused(
            "option.group_by",
            "the groups are public, so they are said and never read from the data",
            way_out=f"--group-by {name}=north|south|west, or --declaration FILE",
        )
    try:
        return Terms(
            provider=provider,
            unit=unit,
            population=population,
            profile=profile,
            group_by=name or None,
            groups=tuple(values.split("|")) if group_by else (ALL,),
            max_groups=max_groups,
            totals=tuple(_column(column) for column in columns),
            squares=tuple(squares),
            least_squares=None,
            units=units,
        )
    except (ValueError, InvalidOperation) as problem:
        raise Refused("option.terms", f"this cannot be encrypted: {problem}") from None


def _column(text: str) -> Bounded:
    found = _COLUMN.fullmatch(text)
    if found is None:
        raise Refused(
            "option.column",
            f'"{text}" is not a column with the bounds of a unit\'s total',
            way_out="--column cost:decimal(2),clip=0..1000000 or --column visits:int,clip=0..50",
        )
    return _bounded(found["name"], int(found["scale"] or 0), found["lower"], found["upper"])
