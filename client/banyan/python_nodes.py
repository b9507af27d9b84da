"""Decides how a job given as a Python mapping is written as a job file would write it, so that both are read by one reader."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from os import PathLike
from typing import Any

import yaml

_TAG = "tag:yaml.org,2002:"
MAX_DEPTH = 100


def node_of(value: Any, depth: int = 0) -> yaml.Node:
    """The YAML node of a Python value; numbers by their exact decimal text, never rounded. It stands in no file.

    Raises RecursionError for what is nested without end.
    """
    if depth > MAX_DEPTH:
        raise RecursionError
    if isinstance(value, Mapping):
        pairs = [(node_of(name, depth + 1), node_of(each, depth + 1)) for name, each in value.items()]
        return yaml.MappingNode(_TAG + "map", pairs)
    if isinstance(value, list | tuple):
        return yaml.SequenceNode(_TAG + "seq", [node_of(each, depth + 1) for each in value])
    kind, write, is_quoted = next(found for known, found in _SCALARS if isinstance(value, known))
    return yaml.ScalarNode(_TAG + kind, write(value), style='"' if is_quoted else None)


def _plain(value: Decimal) -> str:
    """Digits and a point, as the server reads numbers; of an enormous exponent as it is."""
    is_short = value.is_finite() and abs(value.adjusted()) < MAX_DEPTH
    return f"{value:f}" if is_short else str(value)


def _with_point(text: str) -> str:
    """A float stays one where only digits are left of it."""
    return f"{text}.0" if text.lstrip("-").isdigit() else text


# Types with their tag, how they are written, and whether quoted: what is quoted is a text whatever it looks like.
_SCALARS: tuple[tuple[type, tuple[str, Callable[[Any], str], bool]], ...] = (
    (type(None), ("null", lambda _: "null", False)),
    (str, ("str", str, True)),
    (bool, ("bool", lambda value: str(value).lower(), False)),
    (numbers.Integral, ("int", lambda value: str(int(value)), False)),
    (float, ("float", lambda value: _with_point(_plain(Decimal(repr(float(value))))), False)),
    (Decimal, ("python/decimal", _plain, True)),
    (Fraction, ("python/fraction", str, True)),
    (PathLike, ("str", str, True)),
    (object, ("python/other", str, True)),
)
