"""Decides which fields a job has, of which form each is, and which belong together."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Text:
    """One value, sent as the text that the person wrote: 0.3 means 3/10 everywhere."""


@dataclass(frozen=True)
class Whole:
    """A whole number, sent as a number; anything else is left to the server to refuse."""


@dataclass(frozen=True)
class Flag:
    """true or false; anything else is left to the server to refuse."""


@dataclass(frozen=True)
class Texts:
    """A list of texts, of exactly `count` if that is given."""

    says: str
    example: str
    count: int | None = None


@dataclass(frozen=True)
class Params:
    """What JSON can say: read by the program alone."""


@dataclass(frozen=True)
class Group:
    """Fields of known names."""

    fields: Mapping[str, Form]
    example: str


@dataclass(frozen=True)
class Each:
    """Fields of any name, all of one form."""

    form: Form
    example: str


Form = Text | Whole | Flag | Texts | Params | Group | Each

_CLIP = Texts("two numbers a column", "clip: {dep_delay: [-30, 120]}", 2)
_BOUNDS = "bounds: {max_groups_per_unit: 3, max_rows_per_group: 50}"
_OUTPUTS = "outputs: {slope: {lower: -3, upper: 3, default: 0, aggregate: mean}}"
_OUTPUT = Group({"length": Whole(), "lower": Text(), "upper": Text(), "default": Text(), "aggregate": Text()}, _OUTPUTS)
_QUERY: Mapping[str, Form] = {
    "query": Text(),
    "bounds": Group(
        {"max_groups_per_unit": Whole(), "max_rows_per_group": Whole(), "clip": Each(_CLIP, _CLIP.example)}, _BOUNDS
    ),
}
_PROGRAM: Mapping[str, Form] = {
    "program": Text(),
    "params": Params(),
    "outputs": Each(_OUTPUT, _OUTPUTS),
    "blocks": Whole(),
    "accuracy": Each(Text(), "accuracy: {slope: 0.1}"),
    "seconds_per_block": Text(),
}
_COLUMNS = Texts("a list of columns", "sum: [cost]")
_COMPUTE = "compute: {count: true, sum: [cost], mean: [cost]}"
_ENCRYPTED: Mapping[str, Form] = {
    "compute": Group(
        {
            "count": Flag(),
            "sum": _COLUMNS,
            "mean": _COLUMNS,
            "variance": _COLUMNS,
            "least_squares": Flag(),
        },
        _COMPUTE,
    )
}
_FIELDS_OF = {"program": _PROGRAM, "compute": _ENCRYPTED, "query": _QUERY}
JOB = Group(
    MappingProxyType(
        {
            "asset": Text(),
            "assets": Texts("a list of assets", "assets: [medical/patients, medical/visits]"),
            "purpose": Text(),
            "policy": Text(),
            **_QUERY,
            **_PROGRAM,
            **_ENCRYPTED,
            "epsilon": Text(),
            "delta": Text(),
        }
    ),
    "asset: …",
)


def unknown(name: str, group: Group, path: str) -> tuple[str, str]:
    """What is wrong with a field of this name inside `path`, and what to write instead."""
    near = difflib.get_close_matches(name, group.fields, n=1)
    way_out = f'write "{near[0]}"' if near else "the fields are " + ", ".join(group.fields)
    return f'"{name}" is not a field of {path or "a job"}', way_out


def of_another_kind(given: Collection[str]) -> tuple[str, str] | None:
    """A given field that does not go with the job's kind, and what the kind is known by; None if all go together."""
    kind = next((kind for kind in _FIELDS_OF if kind in given), None)
    if kind is None:
        return None
    others = (name for other, fields in _FIELDS_OF.items() if other != kind for name in fields)
    return next(((name, kind) for name in others if name in given), None)


def missing(given: Collection[str]) -> list[str]:
    """The fields without which there is no job of this kind."""
    is_program = any(name in given for name in _PROGRAM)
    first = ["program", "outputs"] if is_program else ["compute"] if "compute" in given else ["query"]
    lacking = [name for name in ["purpose", *first, "epsilon"] if name not in given]
    return [*([] if {"asset", "assets"} & set(given) else ["asset"]), *lacking]


def added(names: Sequence[str]) -> str:
    """What adds the missing fields, as a person writes it."""
    told = "add " + " and ".join(f"{name}: …" for name in names)
    return f"{told} (or program: … and outputs: …, or compute: …, in place of a query)" if "query" in names else told
