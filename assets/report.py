"""What an operator is told of an ingest, and only the operator: exact counts are sealed, and each reading is an event (design R14)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from assets.cells import Reason
from assets.declaration_model import Declaration
from assets.judge_batches import Counts
from assets.keys import KeyRing
from assets.versions import Version, sealed_report
from audit.events import Event, EventType
from audit.log import Transaction
from core.canonical import canonical
from core.yaml_positions import printable

PURPOSE = "ingest-report"
MAX_IGNORED = 20
# A declared size is an approximation that everybody sees; beyond these ratios it misleads plans and prices.
_FAR = (Fraction(4, 5), Fraction(5, 4))


def report_of(declaration: Declaration, counts: Counts, ignored: Sequence[str]) -> dict[str, Any]:
    """The exact figures, and advice. `ignored` are columns of the file that are not declared, which were not kept."""
    return {
        "rows_read": counts.rows_read,
        "rows_kept": counts.rows_kept,
        "units": counts.units,
        "rejected": [
            {"column": found.column, "reason": found.reason.value, "rows": found.rows} for found in counts.rejected
        ],
        "columns_ignored": [printable(name, 63) for name in ignored[:MAX_IGNORED]],
        "advice": [
            *_size_advice("rows", counts.rows_kept, declaration.rows),
            *_size_advice("units", counts.units, declaration.units),
        ],
    }


def _size_advice(name: str, true: int, declared: int) -> list[str]:
    low, high = _FAR
    if low * declared <= true <= high * declared:
        return []
    direction = "fewer" if true < declared else "more"
    text = f"the version has far {direction} {name} than the {declared} declared"
    return [f"{text}: plans, prices and delta follow the declared number, so consider an asset with a truer one"]


def report_bytes(declaration: Declaration) -> int:
    """The padded size of a sealed report, from the declaration alone: room for every reason in every column."""
    return 8192 + len(Reason) * 128 * len(declaration.columns)


def seal_report(keys: KeyRing, version: str, declaration: Declaration, report: dict[str, Any]) -> bytes:
    """The report, encrypted and padded, as the version keeps it."""
    return keys.seal(PURPOSE, version, canonical(report), report_bytes(declaration))


def read_report(tx: Transaction, keys: KeyRing, version: Version, actor: str) -> dict[str, Any]:
    """Open the report for an operator; who may ask is policies' to decide. The reading is recorded in the same transaction."""
    report: dict[str, Any] = json.loads(keys.unseal(PURPOSE, version.id, sealed_report(tx.connection, version.id)))
    tx.record(Event(EventType.REPORT_READ, version.asset, actor, {"version": version.id}))
    return report
