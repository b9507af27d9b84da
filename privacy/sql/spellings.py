"""How allowed functions are spelled: which class of the parser's tree is which function, and which of its arguments are understood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlglot import exp


@dataclass(frozen=True)
class Spelling:
    """A function, and the arguments of the parser's class that are its own, in order.

    `ignored` arguments say nothing that changes the meaning; `negated` is for a class that means the opposite.
    """

    function: str
    args: tuple[str, ...] = ("this", "expression")
    ignored: tuple[str, ...] = ()
    negated: bool = False


_ONE = ("this",)
_MANY = ("this", "expressions")

SPELLINGS: Mapping[type[exp.Expr], Spelling] = {
    exp.Add: Spelling("plus"),
    exp.Sub: Spelling("minus"),
    exp.Mul: Spelling("times"),
    exp.Div: Spelling("divide"),
    exp.IntDiv: Spelling("whole_quotient"),
    exp.Mod: Spelling("remainder"),
    exp.Neg: Spelling("negate", _ONE),
    exp.Abs: Spelling("abs", _ONE),
    exp.Sign: Spelling("sign", _ONE),
    exp.Round: Spelling("round", ("this", "decimals")),
    exp.Trunc: Spelling("trunc", ("this", "decimals")),
    exp.Floor: Spelling("floor", _ONE),
    exp.Ceil: Spelling("ceil", _ONE),
    exp.EQ: Spelling("eq"),
    exp.NEQ: Spelling("ne"),
    exp.LT: Spelling("lt"),
    exp.LTE: Spelling("le"),
    exp.GT: Spelling("gt"),
    exp.GTE: Spelling("ge"),
    exp.NullSafeNEQ: Spelling("is_distinct"),
    exp.NullSafeEQ: Spelling("is_distinct", negated=True),
    exp.Coalesce: Spelling("coalesce", _MANY),
    exp.Nullif: Spelling("null_if"),
    exp.Greatest: Spelling("greatest", _MANY, ("ignore_nulls",)),
    exp.Least: Spelling("least", _MANY, ("ignore_nulls",)),
    exp.Lower: Spelling("lower", _ONE),
    exp.Upper: Spelling("upper", _ONE),
    exp.Length: Spelling("length", _ONE),
    exp.Substring: Spelling("substring", ("this", "start", "length")),
    exp.Left: Spelling("left"),
    exp.Right: Spelling("right"),
    exp.StrPosition: Spelling("strpos", ("this", "substr")),
    exp.Contains: Spelling("contains"),
    exp.StartsWith: Spelling("starts_with"),
    exp.EndsWith: Spelling("ends_with"),
    exp.Replace: Spelling("replace", ("this", "expression", "replacement")),
    exp.DPipe: Spelling("concat", ignored=("safe",)),
}

# Functions that the parser has no class for.
ALIASES: Mapping[str, str] = {
    "bin": "bin",
    "prefix": "starts_with",
    "suffix": "ends_with",
}
