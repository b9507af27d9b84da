"""From what is said on the command line to the terms under which a provider encrypts: the same terms that a declaration would give."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from banyan.encrypt.declared import ALL, Declared, on_grid
from banyan.encrypt.terms import Bounded, LeastSquares, Terms
from banyan.errors import Refused

_COLUMN = re.compile(r"(?P<name>\w+):(?:int|decimal\((?P<scale>\d)\))(?P<ends>(?:,(?:clip|range)=[^,]+){1,2})")
_ENDS = re.compile(r"(?P<kind>clip|range)=(?P<lower>[-+\d.]+?)\.\.(?P<upper>[-+\d.]+)")
_FORM = "--column cost:decimal(2),clip=0..1000000 or --column age:int,range=0..110"


@dataclass(frozen=True)
class Flags:
    """The options as they were written; those that were not given are None or empty."""

    unit: str | None
    provider: str | None
    population: str | None
    units: int | None
    max_groups: int | None
    group_by: str | None
    columns: Sequence[str]
    squares: Sequence[str]
    features: str | None
    target: str | None

    @property
    def given(self) -> list[str]:
        """The options that were given."""
        return [f"--{_OPTIONS.get(name, name).replace('_', '-')}" for name, value in vars(self).items() if value]


_OPTIONS = {"columns": "column", "squares": "square"}


def of_flags(flags: Flags, profile: str) -> Declared:
    """What the options say, under the profile of the key. Raises Refused (`option.…`), naming the option."""
    unit, mark, kind = (flags.unit or "").partition(":")
    if mark and kind not in ("int", "string"):
        raise Refused("option.unit", f'"{flags.unit}" is not the unit column', way_out="--unit patient_id:int")
    if flags.provider is None or flags.population is None or flags.units is None or not unit:
        needed = {
            "--unit": unit,
            "--provider": flags.provider,
            "--population": flags.population,
            "--units": flags.units,
        }
        missing = ", ".join(name for name, value in needed.items() if not value)
        raise Refused("option.missing", f"say {missing}", way_out="--declaration FILE or --asset ID, which have it all")
    name, groups = _groups(flags.group_by)
    clips, ranges = _columns(flags.columns)
    try:
        terms = Terms(
            provider=flags.provider,
            unit=unit,
            population=flags.population,
            profile=profile,
            group_by=name,
            groups=groups,
            max_groups=flags.max_groups or 1,
            totals=tuple(clips.values()),
            squares=tuple(flags.squares),
            least_squares=_regression(flags, ranges),
            units=flags.units,
        )
    except ValueError as problem:
        raise Refused("option.terms", f"this cannot be encrypted: {problem}") from None
    return Declared(terms, kind == "int")


def _groups(said: str | None) -> tuple[str | None, tuple[str, ...]]:
    if not said:
        return None, ALL
    name, mark, values = said.partition("=")
    if not mark:
        text = "the groups are public, so they are said and never read from the data"
        raise Refused("option.group_by", text, way_out=f"--group-by '{name}=north|south|west'")
    return name, tuple(unicodedata.normalize("NFC", value) for value in values.split("|"))


def _columns(said: Sequence[str]) -> tuple[dict[str, Bounded], dict[str, Bounded]]:
    """The columns with the bounds of a unit's total, and those with the bounds of a value."""
    found: dict[str, dict[str, Bounded]] = {"clip": {}, "range": {}}
    for text in said:
        column = _COLUMN.fullmatch(text)
        parts = [_ENDS.fullmatch(part) for part in column["ends"].split(",")[1:]] if column else [None]
        for ends in parts:
            if column is None or ends is None or column["name"] in found[ends["kind"]]:
                raise Refused(
                    "option.column", f'"{text}" is not a column with bounds, or is there twice', way_out=_FORM
                )
            try:
                bounded = on_grid(column["name"], int(column["scale"] or 0), (ends["lower"], ends["upper"]))
            except ValueError as problem:
                raise Refused("option.column", f'"{text}": {problem}', way_out=_FORM) from None
            found[ends["kind"]][column["name"]] = bounded
    return found["clip"], found["range"]


def _regression(flags: Flags, ranges: dict[str, Bounded]) -> LeastSquares | None:
    if not flags.features and not flags.target:
        return None
    names = [*(flags.features or "").split(","), flags.target or ""]
    missing = [name for name in names if name not in ranges]
    if missing:
        text = f'a regression needs --features and --target, each a column with a range; "{missing[0]}" is none'
        raise Refused("option.features", text, way_out=_FORM)
    *features, target = (ranges[name] for name in names)
    return LeastSquares(tuple(features), target)
