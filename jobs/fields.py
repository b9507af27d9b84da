"""How a field of a job is read: what is missing, unknown or of the wrong kind is refused by name, with what would be accepted."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from core.errors import Invalid

_NUMBER = re.compile(r"[-+]?([0-9]{1,16}(\.[0-9]{0,16})?|\.[0-9]{1,16})")


def mapping(value: object, field: str, known: tuple[str, ...], example: str | None = None) -> Mapping[str, Any]:
    """A set of fields, none of them unknown. Raises Invalid (`job.missing`, `job.unknown_field`)."""
    if not isinstance(value, Mapping):
        raise Invalid(
            "job.missing",
            f"{field} must be a set of fields: {', '.join(known)}",
            where={"field": field},
            way_out=example,
        )
    for name in value:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            inside = "" if field == "job" else f"{field}."
            raise Invalid(
                "job.unknown_field",
                f"{field} has no field of that name; it knows {', '.join(known)}",
                where={"field": f"{inside}{str(name)[:60]}"},
                way_out=f"did you mean {near[0]}?" if near else None,
            )
    return value


def text(job: Mapping[str, Any], field: str) -> str:
    """A text that is not blank. Raises Invalid (`job.missing`)."""
    value = job.get(field)
    if not isinstance(value, str) or not value.strip():
        raise Invalid("job.missing", f"the job must say {field} as text", where={"field": field})
    return value


def whole(value: object, field: str, code: str, most: int) -> int:
    """A whole number from 1 to `most`. Raises Invalid (`code`)."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        name = field.rpartition(".")[2]
        raise Invalid(code, f"{name} must be a whole number from 1 to {most:,}", where={"field": field})
    return value


def decimal(value: object, field: str, code: str, way_out: str | None = None) -> Decimal:
    """A plain decimal number of at most 16 digits before and after the point. Raises Invalid (`code`)."""
    written = repr(value) if isinstance(value, float) else str(value)
    if isinstance(value, bool) or not _NUMBER.fullmatch(written):
        name = field.rpartition(".")[2]
        raise Invalid(code, f"{name} must be a plain decimal number", where={"field": field}, way_out=way_out)
    return Decimal(written)
