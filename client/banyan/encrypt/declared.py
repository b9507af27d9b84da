"""What an asset's declaration says to its provider: the terms, how cells are read, and whose signature is expected.

Of a declaration file only that much is read. The server reads all of it when the asset is registered, and more closely.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from banyan.encrypt.declaration_file import Field, read_declaration
from banyan.encrypt.spending import Budget
from banyan.encrypt.terms import Bounded, LeastSquares, Terms
from banyan.errors import Refused

# The one group of terms without `group_by`.
ALL = ("all",)
_DIGITS = 60


@dataclass(frozen=True)
class Declared:
    """See the module.

    whole_units  the unit column is an `int`: 7, 07 and 7.0 are one unit
    null_values  the texts that mean that a cell holds nothing
    signing_key  the provider's Ed25519 public key in base64; None where nothing says it
    stored       whether the service keeps what is encrypted; if not, each job is encrypted for
    budget       what the population may lose, if the server told one that is accounted in zcdp
    """

    terms: Terms
    whole_units: bool = False
    null_values: tuple[str, ...] = ("",)
    signing_key: str | None = None
    stored: bool = True
    budget: Budget | None = None


def of_file(path: Path) -> Declared:
    """What a declaration file says. Raises Refused (`declaration.…`) with the place in the file."""
    whole = read_declaration(path)
    population, columns, own = whole.member("population"), whole.member("columns"), whole.member("encrypted")
    unit = population.member("unit").text()
    csv = whole.get("csv")
    null_values = csv.get("null_values") if csv else None
    group_by = own.get("group_by")
    totals = own.get("totals")
    squares, regression = own.get("squares"), own.get("least_squares")
    kind = columns.member(unit).member("type").text()
    try:
        terms = Terms(
            provider=own.member("provider").text(),
            unit=unit,
            population=population.member("name").text(),
            profile=own.member("profile").text(),
            group_by=group_by.text() if group_by else None,
            groups=_values(columns.member(group_by.text())) if group_by else ALL,
            max_groups=most.whole() if (most := own.get("max_groups")) else 1,
            totals=tuple(_total(name, ends, columns) for name, ends in totals.members()) if totals else (),
            squares=tuple(squares.texts()) if squares else (),
            least_squares=None if regression is None else _regression(regression, columns),
            units=whole.member("size").member("units").whole(),
        )
    except ValueError as problem:
        raise own.refused(f"this cannot be encrypted: {problem}") from None
    nulls = tuple(null_values.texts()) if null_values else ("",)
    stored = own.get("stored")
    return Declared(terms, kind == "int", nulls, own.member("signing_key").text(), stored is None or stored.truth())


def of_asset(asset: str, entry: Mapping[str, Any]) -> Declared:
    """What the server's catalogue says of an asset. Raises Refused (`asset.not_encrypted`, `server.strange_answer`)."""
    told = entry.get("encrypted")
    if told is None:
        raise Refused("asset.not_encrypted", f"{asset} is not declared as encrypted", way_out="banyan assets ingest")
    try:
        terms, key, kind = told["terms"], told["signing_key"], entry["population"]["unit_type"]
        stored = told.get("stored", True) is not False
        nulls = tuple(str(text) for text in entry.get("null_values", ("",)))
        return Declared(Terms.from_json(terms), kind == "int", nulls, str(key), stored, _budget(entry.get("budget")))
    except (KeyError, TypeError, ValueError):
        text = "the server declares terms that this version of the tool does not know"
        raise Refused("server.strange_answer", text, way_out="a newer version of banyan-client") from None


def _budget(told: Any) -> Budget | None:
    if not isinstance(told, Mapping) or told.get("accountant") != "zcdp":
        return None
    return Budget.from_json({name: told[name] for name in ("epsilon", "delta")})


def on_grid(name: str, scale: int, ends: Sequence[str]) -> Bounded:
    """A column with its bounds, given as decimal texts. Raises ValueError."""
    found = []
    for end in ends:
        try:
            sign, digits, exponent = Decimal(end if len(end) <= _DIGITS else "").as_tuple()
        except InvalidOperation:
            raise ValueError(f"a bound of {name} is not a number") from None
        if not isinstance(exponent, int) or abs(exponent) > _DIGITS:
            raise ValueError(f"a bound of {name} is not a number that can be")
        number, rest = int("".join(map(str, digits))), 0
        if (shift := exponent + scale) < 0:
            number, rest = divmod(number, 10**-shift)
        if rest:
            raise ValueError(f"a bound of {name} has more than {scale} decimals")
        found.append((-number if sign else number) * 10 ** max(shift, 0))
    return Bounded(name, scale, found[0], found[1])


def _values(column: Field) -> tuple[str, ...]:
    return tuple(unicodedata.normalize("NFC", value) for value in column.member("values").texts())


def _total(name: str, ends: Field, columns: Field) -> Bounded:
    return _placed(ends, name, _scale(columns.member(name)), ends.texts())


def _regression(said: Field, columns: Field) -> LeastSquares:
    features = tuple(_of_column(name, columns) for name in said.member("features").texts())
    return LeastSquares(features, _of_column(said.member("target").text(), columns))


def _of_column(name: str, columns: Field) -> Bounded:
    column = columns.member(name)
    return _placed(column, name, _scale(column), [column.member(end).text() for end in ("lower", "upper")])


def _placed(field: Field, name: str, scale: int, ends: Sequence[str]) -> Bounded:
    if len(ends) != 2:
        raise field.refused(f"{name} needs its lower and its upper end", f"{name}: [0, 100000]")
    try:
        return on_grid(name, scale, ends)
    except ValueError as problem:
        raise field.refused(str(problem), f"{name}: [0, 100000], with at most {scale} decimals") from None


def _scale(column: Field) -> int:
    kind = column.member("type")
    if kind.text() not in ("int", "decimal"):
        raise kind.refused("what is totalled is a column of type int or decimal")
    return column.member("scale").whole() if kind.text() == "decimal" else 0
