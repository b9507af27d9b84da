"""Public domains of group keys: those of TPC-H exactly, every key that a row has is among them, and nothing is asked of private rows."""

from __future__ import annotations

import time

import pytest

from privacy.sql import domains
from privacy.sql.algebra import facts_over
from privacy.sql.checked import checked
from privacy.sql.domains import domains_of
from privacy.sql.evaluate import evaluator
from privacy.sql.interpreter_rows import rows_of
from privacy.sql.narrowing import narrowed_arguments
from tests.unit.clinic_catalogue import CLINIC, UNITS, accepted, some_tables
from tests.unit.sql_trees import TABLES, Trees, accepted_grouping, tables_of
from tests.unit.tpch_catalogue import PRIORITIES, TPCH
from tests.unit.tpch_queries import QUERIES
from tests.unit.tpch_tables import tpch_tables

REGIONS = ("AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST")
OF_REGION = (0, 1, 1, 1, 4, 0, 3, 3, 2, 2, 4, 4, 2, 4, 0, 0, 0, 1, 2, 3, 4, 2, 3, 3, 1)
NATIONS = (
    *("ALGERIA", "ARGENTINA", "BRAZIL", "CANADA", "EGYPT", "ETHIOPIA", "FRANCE", "GERMANY", "INDIA", "INDONESIA"),
    *("IRAN", "IRAQ", "JAPAN", "JORDAN", "KENYA", "MOROCCO", "MOZAMBIQUE", "PERU", "CHINA", "ROMANIA"),
    *("SAUDI ARABIA", "VIETNAM", "RUSSIA", "UNITED KINGDOM", "UNITED STATES"),
)
ASIA = tuple(sorted(name for name, region in zip(NATIONS, OF_REGION, strict=True) if region == 2))
SUPPLIERS = 200
FRANCE, GERMANY = "FRANCE", "GERMANY"
EXPECTED = {
    1: [(flag, status) for flag in "ANR" for status in "FO"],
    4: [(each,) for each in PRIORITIES],
    5: [(each,) for each in ASIA],
    6: [()],
    7: [(*pair, year) for pair in ((FRANCE, GERMANY), (GERMANY, FRANCE)) for year in (1995, 1996)],
    8: [(1995,), (1996,)],
    9: [(name, year) for name in sorted(NATIONS) for year in range(1992, 1999)],
    12: [("MAIL",), ("SHIP",)],
    13: None,
    14: [()],
    19: [()],
    21: [(f"Supplier#{at:03}",) for at in range(SUPPLIERS) if NATIONS[at % 25] == "SAUDI ARABIA"],
}


def filled(asset, *rows):
    """Rows of a public table, NULL in the columns that are not given."""
    schema = next(table.schema for table in TPCH.tables if table.asset == asset)
    return [{column.name: row.get(column.name) for column in schema.columns} for row in rows]


def specified():
    """Nations and regions of the specification, and some suppliers."""
    assets = {table.schema.name: table.asset for table in TPCH.tables}
    regions = [{"r_regionkey": at, "r_name": name} for at, name in enumerate(REGIONS)]
    nations = [
        {"n_nationkey": at, "n_name": name, "n_regionkey": region}
        for at, (name, region) in enumerate(zip(NATIONS, OF_REGION, strict=True))
    ]
    suppliers = [{"s_suppkey": at, "s_name": f"Supplier#{at:03}", "s_nationkey": at % 25} for at in range(SUPPLIERS)]
    given = {"region": regions, "nation": nations, "supplier": suppliers}
    return {assets[name]: filled(assets[name], *rows) for name, rows in given.items()}


@pytest.mark.parametrize("number", EXPECTED)
def test_domains_of_tpch(number):
    (found,) = domains_of(checked(QUERIES[number], TPCH).answer.grouping, specified())
    assert found == (None if EXPECTED[number] is None else tuple(EXPECTED[number]))


def test_they_are_worked_out_in_milliseconds():
    groupings = [checked(QUERIES[number], TPCH).answer.grouping for number in EXPECTED]
    public = specified()
    started = time.process_time()
    for grouping in groupings:
        domains_of(grouping, public)
    assert time.process_time() - started < 0.05 * len(groupings)


class Public(dict):
    """Rows of public tables, which fails for whoever asks for others."""

    def __init__(self, tables, declared):
        super().__init__({table.asset: tables[table.asset] for table in declared if not table.private})

    def __missing__(self, asset):
        raise AssertionError(f"{asset} is private")

    def get(self, asset, default=None):
        return self[asset]


def keys_in(grouping, tables):
    """The held keys of every row."""
    facts = facts_over(grouping.source)
    keys = [evaluator(key.expression, facts) for key in grouping.keys]
    return {tuple(key(row) for key in keys) for row in rows_of(grouping.source, tables)}


def check_keys(grouping, tables, declared):
    """How many sets have a domain with keys that rows have; each row's key must lie in it."""
    seen = 0
    found = domains_of(grouping, Public(tables, declared))
    for chosen, domain in zip(grouping.sets, found, strict=True):
        if domain is not None:
            keys = {tuple(key[at] for at in chosen) for key in keys_in(grouping, tables)}
            assert keys <= set(domain)
            assert len(set(domain)) == len(domain)
            seen += bool(keys and chosen)
    return seen


def test_every_key_lies_in_the_domain_of_random_groupings():
    seen = 0
    for seed in range(400):
        seen += check_keys(accepted_grouping(Trees(seed)), tables_of(seed), TABLES)
    assert seen > 40


@pytest.mark.parametrize("number", EXPECTED)
def test_every_key_of_tpch_lies_in_its_domain(number):
    grouping = checked(QUERIES[number], TPCH).answer.grouping
    for seed in range(3):
        check_keys(grouping, tpch_tables(seed), TPCH.tables)


WRITTEN = {
    "SELECT ward, COUNT(*) FROM visits GROUP BY ward": [("north",), ("south",), ("it's",)],
    "SELECT outcome, COUNT(*) FROM visits GROUP BY outcome": [("good",), ("bad",), (None,)],
    "SELECT outcome, COUNT(*) FROM visits WHERE outcome <> 'bad' GROUP BY outcome": [("good",)],
    "SELECT outcome, COUNT(*) FROM visits WHERE outcome IS NULL GROUP BY outcome": [(None,)],
    "SELECT outcome, COUNT(*) FROM visits WHERE outcome = 'bad' OR score > 3 GROUP BY outcome": [
        ("good",),
        ("bad",),
        (None,),
    ],
    "SELECT urgent, COUNT(*) FROM visits GROUP BY urgent": [(False,), (True,), (None,)],
    "SELECT score > 3 AS high, COUNT(*) FROM visits GROUP BY 1": [(False,), (True,), (None,)],
    "SELECT CASE WHEN score > 3 THEN 'high' ELSE 'low' END AS s, COUNT(*) FROM visits GROUP BY 1": [
        ("high",),
        ("low",),
    ],
    "SELECT age, COUNT(*) FROM visits WHERE age >= 3 AND age < 6 AND age <> 4 GROUP BY age": [(3,), (5,)],
    "SELECT EXTRACT(month FROM seen) AS m, COUNT(*) FROM visits WHERE seen < DATE '2020-03-01' GROUP BY 1": [
        (1,),
        (2,),
    ],
    "SELECT m, COUNT(*) FROM (SELECT EXTRACT(month FROM seen) AS m FROM visits) AS v WHERE m IN (2, 7) GROUP BY m": [
        (2,),
        (7,),
    ],
    "SELECT x, COUNT(*) FROM (SELECT 1 AS x, score FROM visits) AS v GROUP BY x": [(1,)],
    "SELECT note, COUNT(*) FROM visits GROUP BY note": None,
    "SELECT score, COUNT(*) FROM visits GROUP BY score": None,
    "SELECT EXTRACT(year FROM arrived) AS y, COUNT(*) FROM visits GROUP BY 1": [
        *((y,) for y in range(1, 10000)),
        (None,),
    ],
    "SELECT age, seen, COUNT(*) FROM visits GROUP BY age, seen": None,
}


@pytest.mark.parametrize("sql", WRITTEN)
def test_domains_of_written_keys(sql):
    grouping = accepted(sql).grouping
    tables = some_tables(0)
    (found,) = domains_of(grouping, Public(tables, CLINIC.tables))
    assert found == (None if WRITTEN[sql] is None else tuple(WRITTEN[sql]))
    check_keys(grouping, tables, CLINIC.tables)


WARDS = [
    {"name": "south", "beds": 9, "town": "Bath"},
    {"name": "north", "beds": 5, "town": "York"},
    {"name": "it's", "beds": 9, "town": "Bath"},
    {"name": "east", "beds": 7, "town": "Hull"},
]
INNER = "FROM visits AS v JOIN wards AS w ON v.ward = w.name"
LEFT = "FROM visits AS v LEFT JOIN wards AS w ON v.ward = w.name"
HALF = "FROM visits AS v LEFT JOIN (SELECT * FROM wards WHERE beds = 9) AS w ON v.ward = w.name"
PUBLIC = {
    f"SELECT w.town, COUNT(*) {INNER} GROUP BY w.town": [("Bath",), ("York",)],
    f"SELECT w.town, COUNT(*) {LEFT} GROUP BY w.town": [("Bath",), ("Hull",), ("York",), (None,)],
    f"SELECT w.town, COUNT(*) {HALF} GROUP BY w.town": [("Bath",), (None,)],
    f"SELECT w.town, COUNT(*) {LEFT} WHERE w.beds > 5 GROUP BY w.town": [("Bath",), ("Hull",)],
    f"SELECT w.town, beds, COUNT(*) {INNER} WHERE v.ward <> 'it''s' GROUP BY w.town, beds": [("Bath", 9), ("York", 5)],
    f"SELECT COALESCE(w.town, '?') AS n, COUNT(*) {LEFT} GROUP BY 1": [("?",), ("Bath",), ("Hull",), ("York",)],
    f"SELECT v.ward, beds, COUNT(*) {INNER} GROUP BY v.ward, beds": [("north", 5), ("south", 9), ("it's", 9)],
    "SELECT size, COUNT(*) FROM visits JOIN (SELECT name AS w, beds * 2 AS size FROM wards WHERE beds < 9) AS x"
    " ON visits.ward = x.w GROUP BY size": [(10,)],
}


@pytest.mark.parametrize("sql", PUBLIC)
def test_domains_of_public_tables(sql):
    """A row that a LEFT JOIN keeps without a partner has the key NULL."""
    tables = some_tables(0) | {"open/wards": WARDS}
    grouping = accepted(sql).grouping
    assert domains_of(grouping, Public(tables, CLINIC.tables)) == (tuple(PUBLIC[sql]),)
    check_keys(grouping, tables, CLINIC.tables)


def test_each_grouping_set_has_a_domain_of_its_own():
    grouping = accepted("SELECT ward, note, COUNT(*) FROM visits GROUP BY ROLLUP (ward, note)").grouping
    by_both, by_ward, in_all = domains_of(grouping, {})
    assert (by_both, len(by_ward), in_all) == (None, 3, ((),))


def test_too_many_rows_or_cells_leave_it_to_a_threshold(monkeypatch):
    grouping = checked(QUERIES[21], TPCH).answer.grouping
    assert domains_of(grouping, {}) == (None,)
    monkeypatch.setattr(domains, "MAX_ROWS", SUPPLIERS - 1)
    assert domains_of(grouping, specified()) == (None,)
    monkeypatch.undo()
    monkeypatch.setattr(domains, "MAX_CELLS", 1)
    assert domains_of(grouping, specified()) == (None,)


def test_a_table_that_only_narrows_is_left_out_when_it_is_too_large(monkeypatch):
    """More keys are then shown than could be, never fewer."""
    grouping = checked(QUERIES[5], TPCH).answer.grouping
    monkeypatch.setattr(domains, "MAX_ROWS", SUPPLIERS - 1)
    assert domains_of(grouping, specified()) == (tuple((each,) for each in ASIA),)
    monkeypatch.setattr(domains, "MAX_STEPS", 0)
    assert domains_of(grouping, specified()) == (None,)


def test_one_unit_less_is_the_same_domain_and_the_same_ends():
    """R10: they are of declarations, the text and public rows; `Public` fails for whoever asks for others."""
    tables = some_tables(1)
    fewer = {
        asset: [row for row in rows if asset not in UNITS or row[UNITS[asset]] != "p0"]
        for asset, rows in tables.items()
    }
    assert fewer != tables
    for sql in [*WRITTEN, *PUBLIC]:
        grouping = accepted(sql).grouping
        found = domains_of(grouping, Public(tables, CLINIC.tables)), narrowed_arguments(grouping)
        again = accepted(sql).grouping
        assert found == (domains_of(again, Public(fewer, CLINIC.tables)), narrowed_arguments(again))


def hostile(width):
    """Conditions, keys and selections in numbers."""
    conditions = " AND ".join(f"(age <> {at} OR ward <> 'north')" for at in range(width))
    shown = ", ".join(f"age + {at} AS a{at}" for at in range(min(width, 60)))
    return f"SELECT a1, COUNT(*) FROM (SELECT {shown} FROM visits WHERE {conditions}) AS v GROUP BY a1"


def test_effort_is_bounded_whatever_the_public_tables_hold():
    """A condition that costs too much is left out, which shows more keys; the count of steps is the same on every machine."""
    rows = [{"name": f"w{at}", "beds": 1 + at % 100, "town": f"t{at % 50}"} for at in range(99_000)]
    conditions = " AND ".join(f"beds * {at} + beds <> 1" for at in range(1, 300))
    grouping = accepted(f"SELECT w.town, COUNT(*) {INNER} WHERE {conditions} GROUP BY w.town").grouping
    started = time.process_time()
    (found,) = domains_of(grouping, {"open/wards": [*rows, *WARDS]})
    assert set(found or ()) >= {("Bath",), ("York",)}
    assert time.process_time() - started < 10


def test_time_grows_with_the_text():
    spent = []
    for width in (50, 200):
        grouping = accepted(hostile(width)).grouping
        started = time.process_time()
        domains_of(grouping, {})
        spent.append(time.process_time() - started)
    assert spent[1] < 12 * spent[0] + 0.2
