"""In which order what stands in FROM is joined, so that no row meets more than one partner, or a row that is alone meets many once.

All parts are reached from one of them, the spine, over keys that are declared. Where there is none, the query could take more time
than its tables have rows, and is refused with the key that is missing. docs/proofs/locality.md says why nothing else is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from core.errors import Invalid
from privacy.sql.algebra import UNIT, Expand, Filter, Lookup, Relation
from privacy.sql.conjuncts import all_of, placed
from privacy.sql.expressions import Call, ColumnRef, Expression, columns_in
from privacy.sql.locality import Determining, implies_unit, moved
from privacy.sql.names_in_scope import Part, Scope
from privacy.sql.refusal import Text, listed

MAX_PARTS = 16


@dataclass(frozen=True, eq=False)
class Joined:
    """All parts in one relation: at which position each number stands, and what determines the unit there."""

    relation: Relation
    places: dict[int, int]
    determining: tuple[Determining, ...]

    def placed(self, expression: Expression) -> Expression:
        """An expression over numbers as one over the relation's columns."""
        return placed(expression, self.places)


@dataclass(eq=False)
class _Chain:
    """What is joined so far."""

    relation: Relation
    places: dict[int, int]
    determining: list[Determining]  # by number
    used: set[Expression] = field(default_factory=set)


@dataclass(frozen=True, eq=False)
class Joiner:
    """Joins the parts of one FROM; `conditions` are the conjuncts of WHERE and of inner joins."""

    scope: Scope
    conditions: tuple[Expression, ...]

    @property
    def text(self) -> Text:
        """The query's text."""
        return self.scope.text

    @property
    def parts(self) -> list[Part]:
        """What stands in FROM, and what subqueries have added to it."""
        return self.scope.parts

    def joined(self) -> Joined:
        """All parts joined and all conditions applied. Raises Invalid where they cannot be, or not unit by unit."""
        if len(self.parts) > MAX_PARTS:
            reason = f"the query joins more than {MAX_PARTS} tables and subqueries"
            raise self.text.refuse("sql.join", reason, self.parts[MAX_PARTS].at, "join fewer in one query")
        chain = self._spine()
        rest = [part for part in self.conditions if part not in chain.used and not self._same_unit(part)]
        relation = chain.relation
        if rest:
            relation = Filter(relation, all_of([placed(part, chain.places) for part in rest]))
        return Joined(relation, chain.places, moved(chain.determining, chain.places))

    def _spine(self) -> _Chain:
        inner = [part for part in self.parts if part.kept_on is None]
        private = [part for part in inner if part.relation.private]
        if not private and any(part.relation.private for part in self.parts):
            part = next(part for part in self.parts if part.relation.private)
            reason = "rows of a public table would be kept for units that are not there"
            way_out = f"begin FROM with {part.name or 'the private table'}, and LEFT JOIN the public table to it"
            raise self.text.refuse("sql.not_local", reason, part.at, way_out)
        furthest: tuple[_Chain, list[Part]] | None = None
        for expands in (False, True):
            for part in private or inner:
                chain, left = self._from(part, expands=expands)
                if not left:
                    return chain
                if furthest is None or len(left) < len(furthest[1]):
                    furthest = chain, left
        if furthest is None:
            raise ValueError("there is nothing to join")
        raise self._unreached(*furthest)

    def _from(self, spine: Part, *, expands: bool) -> tuple[_Chain, list[Part]]:
        """Joins what can be joined, beginning with `spine`; returns what is left over."""
        places = {number: at for at, number in enumerate(spine.numbers)}
        chain = _Chain(spine.relation, places, list(spine.determining))
        left = [part for part in self.parts if part is not spine]
        while left:
            ready = next((part for part in left if self._attach(chain, part, expands=expands)), None)
            if ready is None:
                return chain, left
            left.remove(ready)
        return chain, left

    def _attach(self, chain: _Chain, part: Part, *, expands: bool) -> bool:
        """Joins one part to the chain if that is possible now."""
        keeps = part.kept_on is not None
        pairs = self._pairs(chain, part)
        if part.relation.private and not chain.relation.private:
            return False
        local = part.relation.private
        if local and not implies_unit(_columns(pairs), chain.determining, part.determining):
            return False
        if keeps and len(pairs) < len(part.kept_on or ()):
            return False  # it waits for what its condition speaks of
        chosen: tuple[type[Lookup | Expand], list[_Pair]] | None = _looked_up(part, pairs, local=local)
        if chosen is None and (expands or keeps):
            chosen = _expanded(chain, pairs, local=local)
        if chosen is None or (not chosen[1] and not local):
            return False
        kind, used = chosen
        if keeps:
            used = [pair for pair in pairs if not (local and _is_unit(pair, part))]
        on = tuple((placed(pair.outer, chain.places), ColumnRef(pair.column - part.first)) for pair in used)
        relation = kind(chain.relation, part.relation, on, keeps, local)
        self.scope.context.check_rows(relation, part.at)
        self._grow(chain, part, relation)
        chain.used.update(pair.conjunct for pair in used if pair.conjunct is not None)
        return True

    @staticmethod
    def _grow(chain: _Chain, part: Part, relation: Lookup | Expand) -> None:
        width, dropped = len(chain.relation.columns), int(part.relation.private)
        for at, number in enumerate(part.numbers):
            chain.places[number] = UNIT if dropped and at == UNIT else width + at - dropped
        chain.relation = relation
        chain.determining += part.determining

    def _pairs(self, chain: _Chain, part: Part) -> list[_Pair]:
        """Equalities of something in the chain with a column of the part."""
        if part.kept_on is not None:
            return [
                _Pair(outer, inner.index, None)
                for outer, inner in part.kept_on
                if isinstance(inner, ColumnRef) and columns_in(outer) <= chain.places.keys()
            ]
        found = list[_Pair]()
        for conjunct in self.conditions:
            if not isinstance(conjunct, Call) or conjunct.function != "eq":
                continue
            for outer, inner in (conjunct.args, conjunct.args[::-1]):
                if (
                    isinstance(inner, ColumnRef)
                    and inner.index in part.numbers
                    and columns_in(outer) <= chain.places.keys()
                ):
                    found.append(_Pair(outer, inner.index, conjunct))
        return found

    def _same_unit(self, part: Expression) -> bool:
        """Whether a condition compares units of parts, which are one unit once all is joined."""
        units = {each.unit for each in self.parts} - {None}
        return (
            isinstance(part, Call)
            and part.function == "eq"
            and all(isinstance(arg, ColumnRef) and arg.index in units for arg in part.args)
        )

    def _unreached(self, chain: _Chain, left: list[Part]) -> Invalid:
        found = [(part, self._pairs(chain, part)) for part in left]
        part, pairs = next((each for each in found if each[1]), found[0])
        if part.relation.private and not implies_unit(_columns(pairs), chain.determining, part.determining):
            return self._not_local(part)
        name = part.name or "the subquery"
        if not pairs:
            reason = f"no condition joins {name} to the other tables: every row would meet every row"
            return self.text.refuse("sql.join", reason, part.at, f"add an equality with a key of {name}")
        called = {at: word for word, at in part.source.names}
        names = listed(dict.fromkeys(called.get(pair.column - part.first, "?") for pair in pairs))
        reason = f"a row could meet many rows of {name}: {names} is not declared as its key"
        way_out = f"join {name} on a declared key, or ask the data operator to declare keys: [[{names}]]"
        return self.text.refuse("sql.join", reason, part.at, way_out)

    def _not_local(self, part: Part) -> Invalid:
        name = part.name or "the subquery"
        unit = next((word for word, at in part.source.names if at == UNIT), "its unit")
        reason = f"{name} is joined without its unit: rows of one protected unit would meet rows of another"
        return self.text.refuse(
            "sql.not_local", reason, part.at, f"add an equality of {name}.{unit} with the unit of another table"
        )


@dataclass(frozen=True, eq=False)
class _Pair:
    outer: Expression
    column: int
    conjunct: Expression | None


def _columns(pairs: Iterable[_Pair]) -> list[tuple[int, int]]:
    return [(pair.outer.index, pair.column) for pair in pairs if isinstance(pair.outer, ColumnRef)]


def _is_unit(pair: _Pair, part: Part) -> bool:
    return pair.column == part.unit


def _looked_up(part: Part, pairs: list[_Pair], *, local: bool) -> tuple[type[Lookup], list[_Pair]] | None:
    """The fewest equalities that find at most one row of the part."""
    by_column = {pair.column - part.first: pair for pair in reversed(pairs)}
    used = _of_key(part.relation, by_column, local=local)
    return None if used is None else (Lookup, used)


def _expanded(chain: _Chain, pairs: list[_Pair], *, local: bool) -> tuple[type[Expand], list[_Pair]] | None:
    """Equalities by which every row of the part finds at most one row of the chain."""
    by_place = {chain.places[pair.outer.index]: pair for pair in reversed(pairs) if isinstance(pair.outer, ColumnRef)}
    used = _of_key(chain.relation, by_place, local=local)
    return None if used is None else (Expand, used)


def _of_key(relation: Relation, by_column: Mapping[int, _Pair], *, local: bool) -> list[_Pair] | None:
    """The equalities of the smallest unique set that they cover, the unit (which is given where `local`) apart."""
    given = by_column.keys() | ({UNIT} if local else set())
    keys = [each for each in relation.unique if each <= given]
    if not keys:
        return None
    key = min(keys, key=lambda each: (len(each), sorted(each)))
    return [by_column[at] for at in sorted(key) if not (local and at == UNIT)]
