"""A small catalogue with every type and every way to join: people and their visits are protected, wards and days are public."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from core.errors import Invalid
from privacy.schema import Column, ColumnType, Reference, TableSchema
from privacy.sql.asked import Answer
from privacy.sql.checked import checked
from privacy.sql.names_in_scope import Catalogue, Table

INT, STRING = ColumnType.INT, ColumnType.STRING

PEOPLE = TableSchema(
    "people",
    "person",
    (
        Column("person", STRING, max_length=20),
        Column("born", ColumnType.DATE, nullable=True, lower=date(1900, 1, 1), upper=date(2020, 12, 31)),
        Column("town", STRING, nullable=True, max_length=30),
        Column("weight", ColumnType.DECIMAL, nullable=True, scale=1, lower=Decimal(0), upper=Decimal(300)),
    ),
    rows=1000,
    units=1000,
    rows_per_unit=1,
)
VISITS = TableSchema(
    "visits",
    "patient",
    (
        Column("visit", INT, lower=0, upper=10**6),
        Column("patient", STRING, max_length=20),
        Column("ward", ColumnType.CATEGORY, public=True, values=("north", "south", "it's")),
        Column("outcome", ColumnType.CATEGORY, nullable=True, public=True, values=("good", "bad")),
        Column("age", INT, lower=0, upper=110, public=True),
        Column("score", INT, nullable=True, lower=-7, upper=12),
        Column("cost", ColumnType.DECIMAL, nullable=True, scale=2, lower=Decimal("-2.50"), upper=Decimal("99.99")),
        Column("urgent", ColumnType.BOOL, nullable=True, public=True),
        Column("seen", ColumnType.DATE, lower=date(2020, 1, 1), upper=date(2020, 12, 31)),
        Column("arrived", ColumnType.TIMESTAMP, nullable=True),
        Column("note", STRING, nullable=True, max_length=40),
    ),
    rows=5000,
    units=1000,
    keys=(("visit",),),
)
DRUGS = TableSchema(
    "drugs",
    "holder",
    (
        Column("visit", INT, lower=0, upper=10**6),
        Column("holder", STRING, max_length=20),
        Column("line", INT, lower=1, upper=20),
        Column("drug", STRING, max_length=10),
        Column("doses", INT, lower=0, upper=50),
    ),
    rows=9000,
    units=1000,
    keys=(("visit", "line"),),
    references=(Reference(("visit",), "clinic/visits", ("visit",)),),
)
WARDS = TableSchema(
    "wards",
    "name",
    (
        Column("name", STRING, max_length=10),
        Column("beds", INT, lower=1, upper=100),
        Column("town", STRING, max_length=30),
    ),
    rows=3,
    units=3,
    rows_per_unit=1,
)
PRICES = TableSchema(
    "prices",
    "drug",
    (
        Column("drug", STRING, max_length=10),
        Column("year", INT, lower=2000, upper=2030),
        Column("price", ColumnType.DECIMAL, scale=2, lower=Decimal(0), upper=Decimal(1000)),
    ),
    rows=500,
    units=100,
    keys=(("drug", "year"),),
)
CLINIC = Catalogue(
    tuple(Table(f"clinic/{schema.name}", schema, private=True) for schema in (PEOPLE, VISITS, DRUGS))
    + tuple(Table(f"open/{schema.name}", schema, private=False) for schema in (WARDS, PRICES))
)

UNITS = {"clinic/people": "person", "clinic/visits": "patient", "clinic/drugs": "holder"}
TYPES = {
    ColumnType.INT: "BIGINT",
    ColumnType.STRING: "VARCHAR",
    ColumnType.CATEGORY: "VARCHAR",
    ColumnType.BOOL: "BOOLEAN",
    ColumnType.DATE: "DATE",
    ColumnType.TIMESTAMP: "TIMESTAMPTZ",
}


def some_tables(seed: int, people: int = 6) -> dict[str, list[dict]]:
    """Rows that meet the declarations, with NULL wherever it may stand; small, so that every case comes up."""
    pick = random.Random(seed)

    def maybe(value):
        return None if pick.random() < 0.25 else value

    persons = [
        {
            "person": f"p{at}",
            "born": maybe(date(1950 + pick.randrange(60), 5, 17)),
            "town": maybe(pick.choice(("Ulm", "Bonn"))),
            "weight": maybe(Decimal(pick.randrange(600, 1000)) / 10),
        }
        for at in range(people)
        if pick.random() < 0.8
    ]
    visits = [
        {
            "visit": at,
            "patient": f"p{pick.randrange(people)}",
            "ward": pick.choice(("north", "south", "it's")),
            "outcome": maybe(pick.choice(("good", "bad"))),
            "age": pick.choice((0, 1, 3, 30, 110)),
            "score": maybe(pick.randint(-7, 12)),
            "cost": maybe(Decimal(pick.randint(-250, 9999)) / 100),
            "urgent": maybe(pick.random() < 0.5),
            "seen": date(2020, pick.randint(1, 3), pick.randint(1, 28)),
            "arrived": maybe(datetime(2020, 1, pick.randint(1, 28), 12, 30, tzinfo=UTC)),
            "note": maybe(pick.choice(("ibu", "asp", "Ulm"))),
        }
        for at in range(pick.randrange(12))
    ]
    drugs = [
        {
            "visit": visit["visit"],
            "holder": visit["patient"],
            "line": line,
            "drug": pick.choice(("ibu", "asp")),
            "doses": pick.randint(0, 5),
        }
        for visit in visits
        for line in range(1, pick.randint(1, 4))
    ]
    wards = [{"name": name, "beds": pick.randint(1, 5), "town": "Ulm"} for name in ("north", "south")]
    prices = [
        {"drug": drug, "year": year, "price": Decimal(pick.randrange(1000)) / 100}
        for drug in ("ibu", "asp")
        for year in (2019, 2020)
    ]
    return {
        "clinic/people": persons,
        "clinic/visits": visits,
        "clinic/drugs": drugs,
        "open/wards": wards,
        "open/prices": prices,
    }


def in_duckdb(connection, tables: dict[str, list[dict]]) -> None:
    """The same tables in a database, under their names."""
    connection.execute("SET TimeZone = 'UTC'")
    for table in CLINIC.tables:
        columns = table.schema.columns
        types = [TYPES.get(column.type, f"DECIMAL(18, {column.scale})") for column in columns]
        made = ", ".join(f"{column.name} {type_}" for column, type_ in zip(columns, types, strict=True))
        connection.execute(f"CREATE OR REPLACE TABLE {table.schema.name} ({made})")
        rows = [[row[column.name] for column in columns] for row in tables[table.asset]]
        if rows:
            connection.executemany(f"INSERT INTO {table.schema.name} VALUES ({', '.join('?' for _ in columns)})", rows)


def refusal(sql: str, catalogue: Catalogue = CLINIC) -> Invalid:
    """What is refused at the ^ in the text."""
    with pytest.raises(Invalid) as caught:
        checked(sql.replace("^", "", 1), catalogue)
    before = sql.split("^", 1)[0]
    where = {"field": "query", "line": before.count("\n") + 1, "column": len(before) - (before.rfind("\n") + 1) + 1}
    assert caught.value.where == where, caught.value.text
    assert caught.value.way_out
    return caught.value


def accepted(sql: str, catalogue: Catalogue = CLINIC) -> Answer:
    """The checked query."""
    return checked(sql, catalogue).answer
