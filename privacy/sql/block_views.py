"""What stands between block SQL and a stored table: a view with its columns in the held form, which the runner makes of a block."""

from __future__ import annotations

from dataclasses import dataclass

from privacy.sql.algebra import UNIT, Relation, Scan
from privacy.sql.codes import code_type, coded, listed_texts
from privacy.sql.columns_read import Stored, columns_read
from privacy.sql.facts import Facts
from privacy.sql.functions import sql_type
from privacy.sql.relation_graph import relations_in


@dataclass(frozen=True)
class ViewColumn:
    """A column of a view: the declared column `stored`, in the held form that `facts` says, of DuckDB's `type`."""

    name: str
    stored: str
    facts: Facts
    type: str


@dataclass(frozen=True)
class CodeColumn:
    """A column of a view: the place of a declared column's value in the list `values`, from 0."""

    name: str
    stored: str
    values: tuple[str, ...]
    type: str


@dataclass(frozen=True)
class View:
    """What the runner makes of a stored table before block SQL reads it.

    A private one, whose stored column `unit` says whose a row is, has a column `u` too: INTEGER, never NULL, the unit's ordinal among
    all units of the block, the same in all its tables; the rows of a unit lie together, in the order of `u`.
    """

    name: str
    asset: str
    unit: str | None
    columns: tuple[ViewColumn, ...]
    codes: tuple[CodeColumn, ...]

    @property
    def private(self) -> bool:
        """Whether it has units."""
        return self.unit is not None


def view_name(scan: Scan) -> str:
    """What block SQL calls a stored table."""
    return f"t{scan.table}"


def views_of(relation: Relation, wanted: frozenset[Stored] | None = None) -> tuple[View, ...]:
    """The stored tables that the relation reads, once each; with the columns that it reads for `wanted` of its own, or with all."""
    carried = coded(relation)
    read = None if wanted is None else columns_read(relation, wanted)
    scans = (part for part in relations_in(relation) if isinstance(part, Scan))
    return tuple(_view(scan, carried[id(scan)], None if read is None else read[id(scan)]) for scan in scans)


def _view(scan: Scan, carried: frozenset[int], read: frozenset[Stored] | None) -> View:
    columns, codes = list[ViewColumn](), list[CodeColumn]()
    for at, field in enumerate(scan.columns):
        value, place = Stored("c", at), Stored("e", at)
        if not (scan.private and at == UNIT) and (read is None or value in read):
            columns.append(ViewColumn(value.name, field.name, field.facts, sql_type(field.facts)))
        if at in carried and (read is None or place in read):
            values = listed_texts(field.facts) or ()
            codes.append(CodeColumn(place.name, field.name, values, code_type(values)))
    unit = scan.columns[UNIT].name if scan.private else None
    return View(view_name(scan), scan.asset, unit, tuple(columns), tuple(codes))
