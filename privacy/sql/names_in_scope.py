"""Which names a query may use: tables of the catalogue, and columns of what stands in FROM, found as written or by nearest spelling.

Every column of everything in FROM, at any depth of the query, has a number of its own. Expressions are checked over these numbers;
only when the joins are put in order do they become positions in a relation. A number that a subquery does not have is the outer query's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from sqlglot import exp

from core.errors import Invalid
from privacy.schema import EXCESS, TableSchema
from privacy.sql.algebra import UNIT, Relation, Scan, scan_of
from privacy.sql.expressions import ColumnRef, Expression
from privacy.sql.facts import Facts
from privacy.sql.locality import Determining, determining_of, moved
from privacy.sql.refusal import Text, listed, nearest, quoted

MAX_GROWTH = 16


@dataclass(frozen=True)
class Table:
    """A table that may be asked; `asset` is its full name. Public ones belong to no population or to another one."""

    asset: str
    schema: TableSchema
    private: bool


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The tables that a query may name; all private ones hold the same population's units."""

    tables: tuple[Table, ...]

    def named(self, name: str) -> Table | None:
        """The table of this name, or with this full name. Raises ValueError where several have it."""
        found = [table for table in self.tables if table.asset == name]
        found = found or [table for table in self.tables if table.schema.name.lower() == name.lower()]
        if len(found) > 1:
            raise ValueError(f"{listed(sorted(table.asset for table in found))} have this name")
        return found[0] if found else None

    @property
    def rows(self) -> int:
        """The most rows that all tables together can have."""
        return EXCESS * sum(table.schema.rows for table in self.tables)

    @property
    def names(self) -> tuple[str, ...]:
        """What the tables are called."""
        return tuple(table.schema.name for table in self.tables)


@dataclass(frozen=True, eq=False)
class Source:
    """A relation that can stand in FROM: which of its columns have a name there, and which of them determine the unit."""

    relation: Relation
    names: tuple[tuple[str, int], ...]
    determining: tuple[Determining, ...] = ()
    table: TableSchema | None = None  # where it is a stored table


@dataclass(frozen=True, eq=False)
class Part:
    """A source in FROM. Its column i has the number `first` + i.

    `kept_on` is None where rows without a partner are dropped; of a LEFT JOIN it holds the equalities, outer side first, by number.
    """

    name: str
    source: Source
    first: int
    at: int
    kept_on: tuple[tuple[Expression, Expression], ...] | None = None

    @property
    def relation(self) -> Relation:
        """The relation itself."""
        return self.source.relation

    @property
    def numbers(self) -> range:
        """The numbers of its columns."""
        return range(self.first, self.first + len(self.relation.columns))

    @property
    def unit(self) -> int | None:
        """The number of its unit; None where it is public."""
        return self.first + UNIT if self.relation.private else None

    @property
    def determining(self) -> tuple[Determining, ...]:
        """What determines the unit, by number."""
        return moved(self.source.determining, {at: self.first + at for at in range(len(self.relation.columns))})


Nested = Callable[[exp.Expr, "Context"], Source]
Subquery = Callable[[exp.Expr, "Scope"], Expression]


@dataclass(frozen=True, eq=False)
class Context:
    """What one query's scopes share: its text, the catalogue, what WITH names, the facts of every number, and who reads queries inside.

    `nested` makes a source of a query in FROM or WITH, `subquery` an expression of one in a condition.
    """

    text: Text
    catalogue: Catalogue
    nested: Nested
    subquery: Subquery
    with_: Mapping[str, Source] = field(default_factory=dict)
    facts: list[Facts] = field(default_factory=list)
    scans: dict[str, Scan] = field(default_factory=dict)
    tips: list[str] = field(default_factory=list)
    level: list[int] = field(
        default_factory=lambda: [0]
    )  # how deep the expressions are that are being read, subqueries included

    def check_rows(self, relation: Relation, at: int) -> None:
        """Refuses a relation that could have many times the rows of all tables: UNION ALL of UNION ALL doubles each time."""
        if relation.rows > MAX_GROWTH * self.catalogue.rows:
            reason = f"this could have more than {MAX_GROWTH} times the rows of all tables"
            raise self.text.refuse("sql.too_wide", reason, at, "put fewer tables together, or summarise them first")

    def knowing(self, name: str, source: Source) -> Context:
        """The same, where WITH names one more source."""
        return replace(self, with_={**self.with_, name.lower(): source})

    def stored(self, table: Table) -> Source:
        """A table of the catalogue; read once, however often it is named."""
        scan = self.scans.get(table.asset)
        if scan is None:
            scan = scan_of(len(self.scans), table.asset, table.schema, private=table.private)
            self.scans[table.asset] = scan
        places = {column.name: at for at, column in enumerate(scan.columns)}
        names = tuple(
            (column.name, places[column.name]) for column in table.schema.columns
        )  # as declared: * and AS follow it
        determining = determining_of(table.asset, table.schema) if table.private else ()
        return Source(scan, names, determining, table.schema)


class Scope:
    """The sources of one FROM, by name, and the query around them if there is one."""

    def __init__(self, context: Context, outer: Scope | None = None) -> None:
        self.context = context
        self.outer = outer
        self.parts: list[Part] = []
        self._merged: dict[str, int] = {}

    @property
    def text(self) -> Text:
        """The query's text."""
        return self.context.text

    def enter(self, name: str, source: Source, at: int, *, keeps: bool = False) -> Part:
        """Puts a source into FROM; its columns can be NULL where it `keeps` rows of the others."""
        part = Part(name, source, len(self.context.facts), at)
        for column in source.relation.columns:
            nullable = column.facts.nullable or keeps
            self.context.facts.append(replace(column.facts, nullable=nullable))
        self.parts.append(part)
        return part

    def settle(
        self, part: Part, kept_on: tuple[tuple[Expression, Expression], ...], source: Source | None = None
    ) -> None:
        """Says on what a part is LEFT JOINed, and which of its rows are."""
        self.parts[self.parts.index(part)] = replace(part, kept_on=kept_on, source=source or part.source)

    def part_of(self, parts: list[Part]) -> Scope:
        """A scope of these parts of it alone, with what USING has merged of them."""
        found = Scope(self.context)
        found.parts = parts
        numbers = {number for part in parts for number in part.numbers}
        found._merged = {name: number for name, number in self._merged.items() if number in numbers}
        return found

    def merge(self, name: str, number: int) -> None:
        """USING (name): the name alone means this column, not the other side's equal one."""
        self._merged[name.lower()] = number

    def shown(self, name: str, number: int) -> bool:
        """Whether * gives this column: of columns that USING merged, the first."""
        return self._merged.get(name.lower(), number) == number

    def called(self, number: int) -> str:
        """What a column of this FROM is called, as declared or as AS spells it."""
        part = self.owner(number)
        names = () if part is None else part.source.names
        return next((name for name, at in names if part is not None and part.first + at == number), "")

    def owner(self, number: int) -> Part | None:
        """Whose column this number is; None where it is not of this FROM."""
        return next((part for part in self.parts if number in part.numbers), None)

    def is_unit(self, number: int) -> bool:
        """Whether this is the unit of a private part, here or outside."""
        part = self.owner(number)
        if part is None:
            return self.outer is not None and self.outer.is_unit(number)
        return part.unit == number

    def resolve(self, node: exp.Expr) -> int:
        """The number of the column that a parsed one means. Raises Invalid."""
        self.text.only(node, "this", "table", what="a name of more than two parts", way_out=self._columns())
        name, table = node.this, node.args.get("table")
        if not isinstance(name, exp.Identifier):
            raise self.text.refuse_node(node, "every column has to be named", self._columns())
        found = self.find(name, table)
        if found is None:
            raise self._unknown(name, table)
        self._check_kept(node, found)
        return found

    def value(self, node: exp.Expr) -> ColumnRef:
        """The column that a parsed one means, as a value, which the unit is not. Raises Invalid."""
        number = self.resolve(node)
        if self.is_unit(number):
            raise self.unit_refused(node)
        return ColumnRef(number)

    def unit_refused(self, node: exp.Expr) -> Invalid:
        """The refusal of the unit's column as a value."""
        reason = f"{quoted(node.name)} names the unit that is protected; no answer or condition may depend on one unit"
        way_out = f"COUNT(DISTINCT {quoted(node.name)}) counts units; a join may compare it with another table's unit"
        return self.text.refuse_node(node, reason, way_out, code="sql.unit_column")

    def find(self, name: exp.Identifier, table: exp.Expr | None) -> int | None:
        """The number of a column by its name, here or else outside; None where there is none. Raises Invalid for an ambiguous one."""
        parts = self.parts
        if table is not None:
            parts = [part for part in self.parts if part.name.lower() == table.name.lower()]
        elif name.name.lower() in self._merged:
            return self._merged[name.name.lower()]
        found = _numbers(name.name, parts)
        if len(found) > 1:
            if not all(map(self.is_unit, found)):
                raise self._ambiguous(name, found)
            # Joined tables have one unit, whichever of them names it; where a LEFT JOIN found no row it is not named.
            found = sorted(found, key=self._is_kept)[:1]
        if found or self.outer is None or (table is not None and parts):
            return found[0] if found else None
        return self.outer.find(name, table)

    def _is_kept(self, number: int) -> bool:
        part = self.owner(number)
        return part is not None and part.kept_on is not None

    def _check_kept(self, node: exp.Expr, number: int) -> None:
        """A unit is not missing where a LEFT JOIN finds nothing: it is that of the first table, so the other's cannot be asked for."""
        if self.is_unit(number) and self._is_kept(number):
            reason = f"{quoted(node.name)} can be missing after the LEFT JOIN"
            way_out = "name the unit of the first table; IS NULL of another column finds rows without a partner"
            raise self.text.refuse_node(node, reason, way_out, code="sql.join")

    def _ambiguous(self, name: exp.Identifier, found: list[int]) -> Invalid:
        owners = [self.owner(number) for number in found]
        ways = [f"{part.name}.{name.name}" for part in owners if part is not None]
        reason = f"{quoted(name.name)} is a column of several tables"
        return self.text.refuse_node(name, reason, f"write {listed(ways)}", code="sql.unknown_column")

    def _unknown(self, name: exp.Identifier, table: exp.Expr | None) -> Invalid:
        parts = [*self.parts, *(self.outer.parts if self.outer is not None else ())]
        called = [part.name for part in parts if part.name]
        if table is not None and table.name.lower() not in map(str.lower, called):
            reason = f"the query has no table {quoted(table.name)} here"
            return self.text.refuse_node(table, reason, f"the tables are {listed(called)}", code="sql.unknown_table")
        parts = [part for part in parts if table is None or part.name.lower() == table.name.lower()]
        where = quoted(parts[0].name) if len(parts) == 1 and parts[0].name else "the query"
        names = [each for part in parts for each, _ in part.source.names]
        close = nearest(name.name, names)
        way_out = f"did you mean {close}?" if close is not None else f"the columns are {listed(names)}"
        reason = f"{where} has no column {quoted(name.name)}"
        return self.text.refuse("sql.unknown_column", reason, self.text.offset_of(name), way_out)

    def _columns(self) -> str:
        return f"the columns are {listed(name for part in self.parts for name, _ in part.source.names)}"


def _numbers(name: str, parts: list[Part]) -> list[int]:
    """Columns with exactly this name, else those that differ in the case of ASCII letters only."""
    every = [(known, part.first + at) for part in parts for known, at in part.source.names]
    exact = [number for known, number in every if known == name]
    # ASCII only: lower() of letters such as the Kelvin sign would make two names one.
    return exact or [number for known, number in every if name.isascii() and known.lower() == name.lower()]
