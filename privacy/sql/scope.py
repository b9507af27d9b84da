"""Which names a query may use: the table's declared columns, found as written or by the nearest spelling."""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp

from core.errors import Invalid
from privacy.schema import Column, TableSchema
from privacy.sql.refusal import Text, listed, nearest, quoted


@dataclass(frozen=True)
class Scope:
    """The query's text, the table it asks, and the names by which it may call that table."""

    text: Text
    schema: TableSchema
    tables: frozenset[str]

    def is_unit(self, node: exp.Expr) -> bool:
        """Whether this is the privacy unit's column."""
        return isinstance(node, exp.Column) and self.column(node).name == self.schema.unit

    def column(self, node: exp.Expr) -> Column:
        """The declared column that a parsed one means; the unit's too."""
        if any(node.args.get(part) is not None for part in ("db", "catalog", "join_mark")):
            raise self.text.refuse_node(node, "a column is named alone or after its table", self._columns())
        table = node.args.get("table")
        if table is not None and table.name.lower() not in self.tables:
            reason = f"the query has no table {quoted(table.name)}"
            raise self.text.refuse_node(table, reason, f"the table is {self.schema.name}")
        name = node.this
        if not isinstance(name, exp.Identifier):
            raise self.text.refuse_node(node, "every column has to be named", self._columns())
        return self._declared(name)

    def value_column(self, node: exp.Expr) -> Column:
        """The declared column that a parsed one means, which must not be the unit's."""
        column = self.column(node)
        if column.name == self.schema.unit:
            reason = f"{column.name} names the unit that is protected; no answer or condition may depend on one unit"
            raise self.text.refuse(
                "sql.unit_column", reason, self.text.offset_of(node), f"COUNT(DISTINCT {column.name}) counts units"
            )
        return column

    def _declared(self, name: exp.Identifier) -> Column:
        names = [column.name for column in self.schema.columns]
        if name.name in names:
            return self.schema.column(name.name)
        # ASCII only: lower() of letters such as the Kelvin sign would make two names one.
        alike = [known for known in names if name.name.isascii() and known.lower() == name.name.lower()]
        if len(alike) == 1:
            return self.schema.column(alike[0])
        raise self._unknown(name, names)

    def _unknown(self, name: exp.Identifier, names: list[str]) -> Invalid:
        reason = f"{self.schema.name} has no column {quoted(name.name)}"
        close = nearest(name.name, names)
        way_out = f"did you mean {close}?" if close is not None else self._columns()
        return self.text.refuse("sql.unknown_column", reason, self.text.offset_of(name), way_out)

    def _columns(self) -> str:
        return f"the columns are {listed(column.name for column in self.schema.columns)}"
