"""What an encrypted asset's declaration says to people: groups and bounds as they were declared, not as whole numbers on a grid."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any


def fields(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Named fields of what the catalogue tells of the encryption. Raises KeyError, TypeError or ValueError for what is of another form."""
    terms = told["terms"]
    stored = "yes" if told["stored"] else "no: each job is encrypted for (banyan calls)"
    found = {
        "provider": str(terms["provider"]),
        "signing_key": str(told["signing_key"]),
        "profile": str(terms["profile"]),
        "stored": stored,
        "groups": _groups(terms),
        "totals": "\n".join(_bounded(each) for each in terms["totals"]) or "none",
        "squares": ", ".join(terms["squares"]) or "none",
        "least_squares": _regression(terms["least_squares"]),
    }
    return [(f"encrypted.{name}", text) for name, text in found.items()]


def _groups(terms: Mapping[str, Any]) -> str:
    if terms["group_by"] is None:
        return "one for all"
    most, count = int(terms["max_groups"]), len(terms["groups"])
    return (
        f"{terms['group_by']}: {', '.join(terms['groups'])}\neach {terms['unit']} counts in at most {most} of {count}"
    )


def _regression(told: Mapping[str, Any] | None) -> str:
    if told is None:
        return "none"
    return "\n".join([f"of {_bounded(told['target'])}", *(f"on {_bounded(each)}" for each in told["features"])])


def _bounded(each: Mapping[str, Any]) -> str:
    lower, upper = (f"{Decimal(int(each[end])).scaleb(-int(each['scale'])):f}" for end in ("lower", "upper"))
    return f"{each['column']} {lower} … {upper}"
