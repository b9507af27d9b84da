"""Whether a declaration file declares an asset: every error of the file is found in one go, with line, column and field."""

from __future__ import annotations

from fractions import Fraction

from assets.declaration_columns import read_columns
from assets.declaration_encrypted import read_encrypted
from assets.declaration_fields import Fields, Problems
from assets.declaration_model import SECTORS, Budget, Declaration, Population, Title
from assets.levels import Level, levels
from core.errors import Invalid
from core.units import delta_of, epsilon_of
from core.units import text_of as text_of_fraction
from core.yaml_positions import read_document, shown
from privacy.accountant import Accountant
from privacy.schema import Column

__all__ = ["FIELDS", "Budget", "Declaration", "Population", "Title", "parse_declaration"]

FIELDS = ("asset", "title", "sector", "level", "population", "size", "columns", "budget", "csv", "encrypted")
ASSET = rf"({'|'.join(SECTORS)})/[a-z][a-z0-9_]{{0,60}}"
NAME = r"[a-z][a-z0-9-]{0,60}"
MAX_ROWS = 10**9
MAX_NULL_VALUES = 20


def parse_declaration(text: str | bytes, filename: str) -> Declaration:
    """Read a declaration.

    Raises Invalid (`declaration.…`) with file, line, column and field in `where`; where several things are wrong,
    `where["problems"]` lists them all. Raises TooLarge above 256 KiB.
    """
    document = read_document(_decoded(text, filename), filename, "declaration.syntax")
    problems = Problems(document)
    fields = Fields(problems, (), document.fields)
    fields.check_known(FIELDS)
    declaration = _read(fields)
    problems.check()
    if declaration is None:
        raise RuntimeError("a declaration was refused and no problem was noted")
    return declaration


def _decoded(text: str | bytes, filename: str) -> str:
    if isinstance(text, str):
        return text
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as problem:
        where = {"file": filename, "line": text.count(b"\n", 0, problem.start) + 1}
        raise Invalid("declaration.encoding", "the file is not UTF-8 text", where=where) from None


def _read(fields: Fields) -> Declaration | None:
    asset = fields.text("asset", "asset: medical/covid_testing", ASSET)
    title = _title(fields)
    sector = fields.choice("sector", SECTORS, "sector: medical")
    if asset and sector and asset.partition("/")[0] != sector:
        fields.wrong("sector", "sector", f"the asset {asset} is not of the sector {sector}")
    level = _level(fields)
    size = _size(fields)
    population, columns, sensitivities = _table(fields)
    budget = _budget(fields, level, size)
    null_values = _null_values(fields)
    encrypted = read_encrypted(fields, columns, population, size[1] if size else None)
    if not (asset and title and sector and level and size and population and budget):
        return None
    return Declaration(
        asset=asset,
        title=title,
        sector=sector,
        level=level.code,
        population=population,
        rows=size[0],
        units=size[1],
        columns=columns,
        budget=budget,
        sensitivities=sensitivities,
        null_values=null_values,
        encrypted=encrypted,
    )


def _title(fields: Fields) -> Title | None:
    section = fields.section("title", "title: {en: COVID-19 tests, zh: 新冠检测}")
    if section is None:
        return None
    section.check_known(("en", "zh"))
    english, chinese = (section.text(name, f"{name}: a short name") for name in ("en", "zh"))
    return Title(english, chinese) if english and chinese else None


def _level(fields: Fields) -> Level | None:
    known = levels()
    code = fields.choice("level", list(known), "level: S2")
    if code is None:
        return None
    if not known[code].ingest:
        text = f"{code} is {known[code].meaning} data, which may not be put on this platform at all"
        fields.wrong(
            "level", "level", text, "such data is not to be registered; a lower level needs an approved re-grading"
        )
        return None
    return known[code]


def _size(fields: Fields) -> tuple[int, int] | None:
    section = fields.section("size", "size: {rows: 15000, units: 12000}")
    if section is None:
        return None
    section.check_known(("rows", "units"))
    rows = section.whole("rows", "rows: 15000", 1, MAX_ROWS)
    units = section.whole("units", "units: 12000", 1, MAX_ROWS)
    for name, value in (("rows", rows), ("units", units)):
        if value is not None and value != rounded(value):
            text = f"{name} must be rounded to two digits: the exact number is private, and everybody sees this one"
            section.wrong(name, "size", text, f"write {name}: {rounded(value)}")
    if rows is None or units is None:
        return None
    if units > rows:
        section.wrong("units", "size", "there cannot be more units than rows")
    return rows, units


def rounded(number: int) -> int:
    """A number of rows or units as it may be declared: at most two significant digits."""
    step: int = 10 ** max(len(str(number)) - 2, 0)
    return (number + step // 2) // step * step


def _table(fields: Fields) -> tuple[Population | None, tuple[Column, ...], tuple[tuple[str, str], ...]]:
    form = "population: {name: patients, id_namespace: hospital-pid, unit: subject_id}"
    section = fields.section("population", form)
    name = namespace = unit = None
    if section is not None:
        section.check_known(("name", "id_namespace", "unit"))
        name = section.text("name", "name: patients", NAME)
        namespace = section.text("id_namespace", "id_namespace: hospital-pid", NAME)
        unit = section.text("unit", "unit: subject_id")
    declared = fields.section("columns", "columns: {subject_id: {type: string, unit: true}, …}")
    if declared is None:
        return None, (), ()
    columns, unit_type = read_columns(declared, unit)
    classes = tuple(
        (column, entry["sensitivity"])
        for column, entry in declared.given.items()
        if isinstance(entry, dict) and isinstance(entry.get("sensitivity"), str)
    )
    if name is None or namespace is None or unit is None or unit_type is None:
        return None, tuple(columns), classes
    return Population(name, namespace, unit, unit_type), tuple(columns), classes


def _budget(fields: Fields, level: Level | None, size: tuple[int, int] | None) -> Budget | None:
    section = fields.section("budget", "budget: {accountant: basic, epsilon: 4, delta: 1e-7}")
    if section is None:
        return None
    section.check_known(("accountant", "epsilon", "delta", "period"))
    if section.has("period") and section.given["period"] != "lifetime":
        text = "a budget is for the lifetime of the population: losses add up for ever, and no period is renewed yet"
        section.wrong("period", "budget", text, "write period: lifetime, or leave it out")
    accountant = section.choice("accountant", [kind.value for kind in Accountant], "accountant: basic")
    epsilon = _loss(section, "epsilon", "epsilon: 4")
    delta = _loss(section, "delta", "delta: 1e-7")
    if level is not None and epsilon is not None and level.epsilon_cap is not None and epsilon > level.epsilon_cap:
        cap = text_of_fraction(level.epsilon_cap)
        section.wrong(
            "epsilon",
            "budget",
            f"a population of level {level.code} may spend ε {cap} at most",
            f"write epsilon: {cap}",
        )
    if level is not None and delta is not None and size is not None and not level.admits_delta(delta, size[1]):
        best = level.largest_delta(size[1])
        text = f"δ is too large for level {level.code} and the declared number of units"
        section.wrong("delta", "budget", text, f"write delta: {best} or less")
    if accountant == Accountant.ZCDP and delta == 0:
        section.wrong(
            "delta", "budget", "the accountant zcdp needs a δ above 0, by which it converts", "write delta: 1e-9"
        )
    if accountant is None or epsilon is None or delta is None:
        return None
    return Budget(Accountant(accountant), epsilon, delta)


def _loss(section: Fields, name: str, form: str) -> Fraction | None:
    value = section.value(name, form)
    if value is None:
        return None
    read = epsilon_of if name == "epsilon" else delta_of
    try:
        return read(value, name)
    except (Invalid, TypeError) as problem:
        text = problem.text if isinstance(problem, Invalid) else f"{shown(value)} is not a number"
        section.wrong(name, name, text, f"write {form}")
        return None


def _null_values(fields: Fields) -> tuple[str, ...]:
    section = fields.section("csv", 'csv: {null_values: ["", NA]}', required=False)
    if section is None:
        return ("",)
    section.check_known(("null_values",))
    given = section.value("null_values", 'null_values: ["", NA]')
    if given is None:
        return ("",)
    if not isinstance(given, list) or len(given) > MAX_NULL_VALUES or not all(isinstance(v, str) for v in given):
        text = f"null_values must be a list of at most {MAX_NULL_VALUES} texts; put words such as null in quotes"
        section.wrong("null_values", "null_values", text, 'write null_values: ["", NA]')
        return ("",)
    return tuple(dict.fromkeys(given))
