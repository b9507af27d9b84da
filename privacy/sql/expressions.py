"""What an expression is once it is checked: literals, columns of the relation it stands over, and calls of allowed functions.

Expressions share their parts freely (they are directed acyclic graphs), so size, depth and hash are taken while they are built:
none of them ever walks the tree that a graph stands for, which can be exponentially larger (design R8).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

Value = bool | int | Decimal | str | date | datetime | None

MAX_SIZE = 10_000  # nodes of the expanded tree
MAX_DEPTH = 150  # far below what the interpreter's stack and DuckDB's (1,000) take


@dataclass(frozen=True, eq=False)
class Literal:
    """A value as written. Moments carry the time zone UTC; numbers are never binary floats.

    Two literals are equal where type and value are: TRUE is not 1, and 1 is not 1.0.
    """

    value: Value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Literal) and type(self.value) is type(other.value) and self.value == other.value

    def __hash__(self) -> int:
        return hash((type(self.value).__name__, self.value))


@dataclass(frozen=True)
class ColumnRef:
    """A column of the input relation, by its position."""

    index: int


@dataclass(frozen=True)
class Call:
    """A function of FUNCTIONS with its arguments; CASE is `case` (condition, value, …, else)."""

    function: str
    args: tuple[Expression, ...]
    size: int = field(init=False, compare=False, repr=False)
    depth: int = field(init=False, compare=False, repr=False)
    _hash: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", 1 + sum(size(arg) for arg in self.args))
        object.__setattr__(self, "depth", 1 + max((depth(arg) for arg in self.args), default=0))
        object.__setattr__(self, "_hash", hash((self.function, self.args)))

    def __hash__(self) -> int:
        return self._hash


Expression = Literal | ColumnRef | Call


def size(expression: Expression) -> int:
    """How many nodes the expression has when every shared part is written out."""
    return expression.size if isinstance(expression, Call) else 1


def depth(expression: Expression) -> int:
    """How deep the calls are nested; 0 for a literal or a column."""
    return expression.depth if isinstance(expression, Call) else 0


def parts_of(expression: Expression) -> tuple[Expression, ...]:
    """Every part once, each after its own arguments; the expression itself comes last. Linear in the graph, without recursion."""
    order: list[Expression] = []
    done = set[int]()
    rest: list[tuple[Expression, bool]] = [(expression, False)]
    while rest:
        part, entered = rest.pop()
        if id(part) in done:
            continue
        if isinstance(part, Call) and not entered:
            rest.append((part, True))
            rest.extend((arg, False) for arg in reversed(part.args))
            continue
        done.add(id(part))
        order.append(part)
    return tuple(order)


def columns_in(expression: Expression) -> frozenset[int]:
    """The positions of all columns that the expression reads."""
    return frozenset(part.index for part in parts_of(expression) if isinstance(part, ColumnRef))
