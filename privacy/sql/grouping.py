"""Which keys a grouping has, by column, expression, alias or number of the select list, and which of them each grouping set takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, product

from sqlglot import exp

from core.errors import Invalid
from privacy.sql.check_aggregates import has_aggregate
from privacy.sql.check_expression import reader_of
from privacy.sql.expressions import ColumnRef, Expression
from privacy.sql.names_in_scope import Scope
from privacy.sql.refusal import quoted

MAX_KEYS = 8
MAX_SETS = 16
_TOO_MANY = f"at most {MAX_SETS} grouping sets are answered in one query"


@dataclass(frozen=True)
class Keyed:
    """A key as it is written: over the numbers of the scope, what it is called, and the part of the text that it is."""

    expression: Expression
    name: str
    node: exp.Expr


@dataclass(frozen=True)
class Keys:
    """All keys of a GROUP BY, and for each grouping set the positions of its own, in order."""

    keys: tuple[Keyed, ...]
    sets: tuple[tuple[int, ...], ...]


def keys_of(select: exp.Select, scope: Scope) -> Keys:
    """The keys of a SELECT; of one without GROUP BY, one set without keys. Raises Invalid."""
    group = select.args.get("group")
    if group is None:
        return Keys((), ((),))
    scope.text.only(group, "expressions", what="GROUP BY ALL", way_out="GROUP BY the columns by name")
    reading = _Reading(scope, select.expressions)
    sets: list[tuple[int, ...]] = [()]
    for node in group.expressions:
        found = reading.sets(node)
        if len(sets) * len(found) > MAX_SETS:
            raise scope.text.refuse_node(node, f"there are more than {MAX_SETS} grouping sets", _TOO_MANY)
        sets = [(*first, *second) for first, second in product(sets, found)]
    ordered = tuple(dict.fromkeys(tuple(sorted(set(each))) for each in sets))
    return Keys(tuple(reading.keys), ordered)


class _Reading:
    def __init__(self, scope: Scope, items: Sequence[exp.Expr]) -> None:
        self.scope = scope
        self.items = items
        self.keys: list[Keyed] = []

    def sets(self, node: exp.Expr) -> list[tuple[int, ...]]:
        """The sets that one term of GROUP BY stands for."""
        text = self.scope.text
        if isinstance(node, exp.Rollup | exp.Cube | exp.GroupingSets):
            text.only(node, "expressions")
            parts = [self._several(part) for part in node.expressions]
            if len(parts) > MAX_KEYS:
                raise text.refuse_node(node.expressions[MAX_KEYS], f"more than {MAX_KEYS} group keys", "use fewer")
            if isinstance(node, exp.GroupingSets):
                return [_flat(part) for part in parts]
            if isinstance(node, exp.Rollup):
                return [_flat(parts[:count]) for count in range(len(parts), -1, -1)]
            return [_flat(chosen) for count in range(len(parts), -1, -1) for chosen in combinations(parts, count)]
        return [tuple(self._several(node))]

    def _several(self, node: exp.Expr) -> list[int]:
        """Positions of a key, or of the keys in brackets."""
        if isinstance(node, exp.Tuple):
            self.scope.text.only(node, "expressions")
            return [at for part in node.expressions for at in self._several(part)]
        return [self._key(node.unnest())]

    def _key(self, node: exp.Expr) -> int:
        found = self._read(node)
        for at, key in enumerate(self.keys):
            if key.expression == found.expression:
                return at
        if len(self.keys) == MAX_KEYS:
            raise self.scope.text.refuse_node(node, f"more than {MAX_KEYS} group keys", "use fewer")
        self.keys.append(found)
        return len(self.keys) - 1

    def _read(self, node: exp.Expr) -> Keyed:
        text = self.scope.text
        if isinstance(node, exp.Literal) and not node.is_string and node.this.isdigit():
            return self._numbered(node)
        if isinstance(node, exp.Column):
            return self._named(node)
        if has_aggregate(node):
            raise text.refuse_node(node, "a group key is no aggregate", "GROUP BY a column or an expression of columns")
        expression = reader_of(self.scope, subqueries=False).read(node)
        if not isinstance(expression, ColumnRef) and node.find(exp.Column) is None:
            raise text.refuse_node(node, "a group key that is always the same", "GROUP BY a column")
        return Keyed(expression, self._alias(node), node)

    def _named(self, node: exp.Column) -> Keyed:
        """A column, or else what the select list calls by this name."""
        items = [item for item in self.items if isinstance(item, exp.Alias) and item.alias.lower() == node.name.lower()]
        try:
            number = self.scope.resolve(node)
        except Invalid:
            if len(items) != 1 or node.args.get("table") is not None:
                raise
            return self._item(items[0], node)
        return Keyed(ColumnRef(number), node.name, node)

    def _numbered(self, node: exp.Literal) -> Keyed:
        number = int(node.this) if len(node.this) <= 3 else 0
        if not 1 <= number <= len(self.items):
            reason = f"the select list has no number {quoted(node.this)}"
            raise self.scope.text.refuse_node(node, reason, "GROUP BY a column by its name")
        return self._item(self.items[number - 1], node)

    def _item(self, item: exp.Expr, at: exp.Expr) -> Keyed:
        inner = item.this if isinstance(item, exp.Alias) else item
        if has_aggregate(inner) or isinstance(inner.unnest(), exp.Literal | exp.Star):
            reason = f"{quoted(at.name)} of the select list is no group key"
            raise self.scope.text.refuse_node(at, reason, "GROUP BY a column by its name")
        bare = inner.unnest()
        alias = item.alias if isinstance(item, exp.Alias) else ""
        if isinstance(bare, exp.Column):
            return Keyed(ColumnRef(self.scope.resolve(bare)), alias or bare.name, at)
        return Keyed(reader_of(self.scope, subqueries=False).read(bare), alias, at)

    def _alias(self, node: exp.Expr) -> str:
        """What the select list calls an equal expression; else nothing."""
        return next((item.alias for item in self.items if isinstance(item, exp.Alias) and item.this == node), "")


def _flat(parts: Iterable[Iterable[int]] | list[int]) -> tuple[int, ...]:
    return tuple(at for part in parts for at in ((part,) if isinstance(part, int) else part))
