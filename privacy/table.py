"""A released table, of whatever kind of job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SCHEMA = "banyan.table/1"


@dataclass(frozen=True)
class ReleasedTable:
    """A released table: a differentially private value in every cell, and what noise may have done to it."""

    columns: tuple[Mapping[str, str], ...]
    rows: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The JSON form of `banyan.table/1`."""
        return {
            "schema": SCHEMA,
            "columns": [dict(column) for column in self.columns],
            "rows": [dict(row) for row in self.rows],
            "notes": list(self.notes),
        }
