"""Whether the section `encrypted` of a declaration says what a provider may encrypt: bounds of a unit's totals, groups, regression."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from assets.declaration_fields import Fields
from assets.declaration_model import Encrypted, Population
from core.yaml_positions import shown
from privacy.encrypted.profiles import PROFILES
from privacy.encrypted.terms import Bounded, LeastSquares, Terms
from privacy.schema import NUMERIC, Column, ColumnType

FIELDS = (
    "provider",
    "signing_key",
    "profile",
    "stored",
    "group_by",
    "max_groups",
    "totals",
    "squares",
    "least_squares",
)
PROVIDER = r"[a-z][a-z0-9-]{0,39}"
ALL = "all"
MAX_TOTALS, MAX_FEATURES = 16, 16
MOST_DIGITS = 40
SIGNING_KEY_BYTES = 32
_FORM = "encrypted: {provider: hospital-a, signing_key: …, profile: sum58, totals: {cost: [0, 100000]}}"


def read_encrypted(
    fields: Fields, columns: Sequence[Column], population: Population | None, units: int | None
) -> Encrypted | None:
    """The section, if there is one; problems are noted in it."""
    section = fields.section("encrypted", _FORM, required=False)
    if section is None:
        return None
    section.check_known(FIELDS)
    known = {column.name: column for column in columns}
    provider = section.text("provider", "provider: hospital-a", PROVIDER)
    key = _signing_key(section)
    profile = section.choice("profile", list(PROFILES), "profile: sum58")
    stored = _stored(section)
    group_by, groups = _groups(section, known)
    max_groups = 1
    if section.has("max_groups"):
        max_groups = section.whole("max_groups", "max_groups: 2", 1, max(1, len(groups))) or 1
    totals = _totals(section, known)
    squares = _squares(section, totals)
    least_squares = _least_squares(section, known)
    if not (provider and key and profile and population and units):
        return None
    try:
        terms = Terms(
            provider=provider,
            unit=population.unit,
            population=population.name,
            profile=profile,
            group_by=group_by,
            groups=groups,
            max_groups=max_groups,
            totals=totals,
            squares=squares,
            least_squares=least_squares,
            units=units,
        )
    except ValueError as problem:
        fields.wrong("encrypted", "encrypted", f"this cannot be encrypted in {profile}: {problem}")
        return None
    return Encrypted(terms, key, stored)


def _signing_key(section: Fields) -> str | None:
    text = section.text("signing_key", "signing_key: the line that banyan provider-key shows")
    if text is None:
        return None
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != SIGNING_KEY_BYTES or base64.b64encode(raw).decode() != text:
        way_out = "the provider runs banyan provider-key and tells you the line"
        section.wrong("signing_key", "signing_key", "this is not the public key of a provider", way_out)
        return None
    return text


def _stored(section: Fields) -> bool:
    given = section.value("stored", "stored: false", required=False)
    if given is not None and not isinstance(given, bool):
        text = "stored says whether the service keeps what the provider encrypts: true, or false for each job anew"
        section.wrong("stored", "stored", text, "stored: false")
    return given is not False


def _groups(section: Fields, known: Mapping[str, Column]) -> tuple[str | None, tuple[str, ...]]:
    name = section.text("group_by", "group_by: region", required=False)
    if name is None:
        return None, (ALL,)
    column = known.get(name)
    if column is None or column.type is not ColumnType.CATEGORY or not column.public or column.nullable:
        text = f"{shown(name)} is not a column of type category, public and never null: its values are the table's rows"
        section.wrong("group_by", "group_by", text)
        return None, (ALL,)
    return name, column.values


def _totals(section: Fields, known: Mapping[str, Column]) -> tuple[Bounded, ...]:
    given = section.section("totals", "totals: {cost: [0, 100000]}", required=False)
    if given is None:
        return ()
    if len(given.given) > MAX_TOTALS:
        section.wrong("totals", "totals", f"at most {MAX_TOTALS} columns are totalled")
        return ()
    found = []
    for name, ends in given.given.items():
        column = _numeric(given, name, known)
        if column is None:
            continue
        total = _bounded(column, ends)
        if total is None:
            text = f"{name} needs the least and the largest total that one unit may have in a group, in this order"
            given.wrong(
                name,
                "totals",
                text,
                f"{name}: [0, 100000], with at most {column.scale} decimals, below 2^53 on its grid",
            )
            continue
        found.append(total)
    return tuple(found)


def _bounded(column: Column, ends: Any) -> Bounded | None:
    """The column with lower and upper end on its integer grid; None where these cannot be."""
    if not isinstance(ends, list) or len(ends) != 2:
        return None
    scale = column.scale
    found = []
    for end in ends:
        if isinstance(end, bool) or not isinstance(end, int | float | str | Decimal):
            return None
        number = _on_grid(str(end), scale)
        if number is None:
            return None
        found.append(number)
    try:
        return Bounded(column.name, scale, found[0], found[1])
    except ValueError:
        return None


def _on_grid(text: str, scale: int) -> int | None:
    """The decimal number times 10^scale, exactly; None where that is no whole number."""
    try:
        number = Decimal(text)
        whole = Fraction(number) * 10**scale if number.is_finite() and abs(number.adjusted()) < MOST_DIGITS else None
    except InvalidOperation:
        return None
    return int(whole) if whole is not None and whole.denominator == 1 else None


def _numeric(section: Fields, name: str, known: Mapping[str, Column]) -> Column | None:
    column = known.get(name)
    if column is None or column.type not in NUMERIC:
        section.wrong(name, "encrypted", f"{shown(name)} is not a declared column of type int or decimal")
        return None
    return column


def _squares(section: Fields, totals: tuple[Bounded, ...]) -> tuple[str, ...]:
    return _names(section, "squares", "squares: [cost]", [total.column for total in totals])


def _names(section: Fields, field: str, form: str, known: Sequence[str]) -> tuple[str, ...]:
    given = section.value(field, form, required=False)
    if given is None:
        return ()
    if not isinstance(given, list) or not all(name in known for name in given) or len(set(given)) != len(given):
        section.wrong(
            field, field, f"{field} lists columns of {', '.join(known) or 'none'}, each once", f"write {form}"
        )
        return ()
    return tuple(given)


def _least_squares(section: Fields, known: Mapping[str, Column]) -> LeastSquares | None:
    given = section.section("least_squares", "least_squares: {features: [age], target: cost}", required=False)
    if given is None:
        return None
    given.check_known(("features", "target"))
    bounded = [name for name, column in known.items() if column.type in NUMERIC]
    features = _names(given, "features", "features: [age, stay]", bounded)
    target = given.choice("target", bounded, "target: cost")
    if not 1 <= len(features) <= MAX_FEATURES or target is None or target in features:
        text = f"least_squares names 1 to {MAX_FEATURES} features and a target that is none of them"
        section.wrong("least_squares", "least_squares", text)
        return None
    columns = {name: _bounded(known[name], [known[name].lower, known[name].upper]) for name in (*features, target)}
    without = [name for name, column in columns.items() if column is None]
    if without:
        text = f"the column {without[0]} of the regression needs bounds that lie below 2^53 on its grid"
        section.wrong("least_squares", "least_squares", text, f"{without[0]}: {{type: int, lower: 0, upper: 110}}")
        return None
    bounded_columns = {name: column for name, column in columns.items() if column is not None}
    return LeastSquares(tuple(bounded_columns[name] for name in features), bounded_columns[target])
