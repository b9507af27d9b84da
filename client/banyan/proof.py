"""Puts in plain words what a verified receipt proves, and what no receipt can."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from banyan.verify import Verified

# What a statement's members are called for people; a member without a name here is shown by its own.
_NAMES = {
    "ledger": "its budget events are the log's entries",
    "code": "digest of the query or program",
    "request": "digest of the whole request",
    "plan": "digest of the plan",
    "version_root": "root of the data version",
    "image": "container image",
    "reuse": "copy of an identical job's earlier release",
    "submitted_by": "submitted by",
}
_IN_THE_ORDER = ("schema", "release", "job")
_APPROVAL = ("policy", "approv", "review", "purpose")
_BUDGET = ("guarantee", "epsilon", "delta", "rho", "price", "loss", "charge", "population", "ledger", "spend", "budget")

NOT_PROVED = (
    "that the server ran this code on this data and drew the noise that it states: the log binds what the server said",
    "that the log shown to you is the one shown to others: compare its checkpoint with somebody, or ask a witness",
    "the hour: times are the server's own",
)


def proved(found: Verified) -> list[tuple[str, str]]:
    """What was proved, each part under a short name."""
    groups: dict[str, list[str]] = {"Approval": [], "Budget": [], "Work": []}
    for path, value in _flat(found.statement):
        if path not in _IN_THE_ORDER:
            groups[_group(path)].append(f"{_NAMES.get(path, path)}: {value}")
    parts = [("Order", _order(found))]
    parts += [(name, "\n".join(lines)) for name, lines in groups.items() if lines]
    compared = (
        "the file at hand is the table that was released" if found.result_checked else "not compared: give --result"
    )
    return [*parts, ("Output", f"{found.entry['facts']['output']}\n{compared}")]


def _order(found: Verified) -> str:
    return (
        f"release {found.release} of job {found.job} is entry {found.index:,} (counted from 0) of the {found.size:,} entries "
        f'that the log "{found.key.name}" had when its key signed their root: no entry up to there can be changed, left out '
        f"or moved without another root. It was logged by {found.entry.get('actor')} at {found.entry.get('time')}."
    )


def _group(path: str) -> str:
    top = path.split(".", 1)[0]
    for name, words in (("Approval", _APPROVAL), ("Budget", _BUDGET)):
        if any(word in top for word in words):
            return name
    return "Work"


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every bound fact with its dotted path, in the statement's order."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list) and any(isinstance(inner, Mapping | list) for inner in value):
        for number, inner in enumerate(value):
            yield from _flat(inner, f"{path}[{number}]")
    elif isinstance(value, list):
        yield path, ", ".join(str(inner) for inner in value) or "none"
    else:
        yield path, _word(value)


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None or value == {} else str(value)
