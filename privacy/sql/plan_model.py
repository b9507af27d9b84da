"""What a planned query is: everything that the container, the gate and the ledger need, and nothing that depends on data."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Any

from core.units import exact, text_of
from privacy.accountant import Accountant, Loss
from privacy.mechanisms import Noise
from privacy.schema import ColumnType
from privacy.sql.keys import KeyColumn
from privacy.sql.partials import Shape
from privacy.sql.tree import Aggregate
from privacy.thresholds import KeyThreshold

SCHEMA = "banyan.query_plan/1"
MAX_TOTAL = 2**62 - 1  # what any total is clamped to; the plan refuses a query whose honest totals could reach it
MAX_SHOWN = 2**53 - 1  # the largest number in a released table: beyond it JSON numbers lose digits
_CONTAINER_TYPE = {ColumnType.BOOL: "boolean", ColumnType.STRING: "text", ColumnType.CATEGORY: "text"}
_GATE_FORM = _CONTAINER_TYPE | {ColumnType.INT: "integer"}


@dataclass(frozen=True)
class QueryRequest:
    """What a researcher asks: the text, the price they offer, and how much one unit may contribute.

    `clip` gives narrower ends (column, lower, upper) to columns that are added up.
    """

    sql: str
    epsilon: Fraction
    delta: Fraction | None
    max_groups_per_unit: int
    max_rows_per_group: int
    accountant: Accountant
    clip: tuple[tuple[str, Decimal, Decimal], ...] = ()


class MeasureKind(StrEnum):
    """What a partial carries for each group."""

    UNITS = "units"
    ROWS = "rows"
    NONNULL = "nonnull"
    SUM = "sum"


@dataclass(frozen=True)
class Measure:
    """One number per group. One unit changes it in at most L0 groups, by at most `linf` in each.

    `column` counts the measured columns of the block SQL. `centre` is taken from every value of a SUM. `noise` is None where
    the number is not released by itself: distinct units that the key threshold already measures.
    """

    kind: MeasureKind
    column: int | None
    centre: int
    linf: int
    noise: Noise | None


@dataclass(frozen=True)
class OutputColumn:
    """One column of the answer: a key (`key` counts `QueryPlan.keys`) or a value made from `measures`.

    For values `scale` is the number of decimal digits of the integer grid; `lower` and `upper` are what an AVG is clamped to, on
    the grid.
    """

    name: str
    aggregate: Aggregate | None
    type: str
    key: int | None
    measures: tuple[int, ...]
    scale: int
    lower: int
    upper: int


@dataclass(frozen=True)
class Forecast:
    """What can be said of one value column before data is opened: the 95 % half width of its noise, if that is known."""

    name: str
    kind: str
    noise_95: float | None
    clipping: str = "unknown"


@dataclass(frozen=True)
class QueryPlan:
    """A planned query; a function of request and schema only (design R10). The price is what the ledger is charged, exactly."""

    canonical_sql: str
    block_sql: str
    keys: tuple[KeyColumn, ...]
    columns: int
    measures: tuple[Measure, ...]
    max_groups: int
    max_rows: int
    threshold: KeyThreshold | None
    outputs: tuple[OutputColumn, ...]
    accountant: Accountant
    price: Loss
    epsilon: Fraction
    delta: Fraction
    forecast: tuple[Forecast, ...]
    max_groups_in_partial: int

    @property
    def mechanisms(self) -> tuple[Noise | KeyThreshold, ...]:
        """Every mechanism of the release, the threshold first."""
        noises = tuple(measure.noise for measure in self.measures if measure.noise is not None)
        return noises if self.threshold is None else (self.threshold, *noises)

    @property
    def cells(self) -> int | None:
        """How many rows the answer has, where that is known beforehand: all keys public, or no keys at all."""
        count = 1
        for key in self.keys:
            if key.values is None:
                return None
            count *= len(key.values)
        return count

    @property
    def max_partial_bytes(self) -> int:
        """The most bytes that an honest partial of one block can have."""
        return self.shape.max_bytes

    @property
    def shape(self) -> Shape:
        """What the gate lets pass as a partial of this plan."""
        return Shape(
            keys=tuple((_GATE_FORM.get(key.type, key.type.value), key.max_bytes) for key in self.keys),
            measures=tuple(measure.kind.value for measure in self.measures),
            max_groups=self.max_groups_in_partial,
        )

    def instruction(
        self, blocks: Iterable[tuple[int, str]], seed: bytes, cpu_seconds_per_block: float, wall_seconds: float
    ) -> bytes:
        """What the container's runner reads from stdin. `blocks` are (index, path in the container); `seed` is 32 bytes.

        A block that takes more than its seconds ends alone; after `wall_seconds` the container ends itself.
        """
        if len(seed) != 32:
            raise ValueError("the seed is 32 random bytes")
        body = {
            "blocks": [{"index": index, "path": path} for index, path in blocks],
            "sql": self.block_sql,
            "keys": [{"name": key.name, "type": _CONTAINER_TYPE.get(key.type, "integer")} for key in self.keys],
            "columns": self.columns,
            "measures": [
                {"kind": measure.kind.value, "column": measure.column, "centre": str(measure.centre)}
                for measure in self.measures
            ],
            "max_groups": self.max_groups,
            "max_rows": self.max_rows,
            "seed": seed.hex(),
            "cpu_seconds_per_block": cpu_seconds_per_block,
            "wall_seconds": wall_seconds,
            "max_partial_bytes": self.max_partial_bytes,
        }
        data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
        return struct.pack(">I", len(data)) + data

    def to_json(self) -> dict[str, Any]:
        """The JSON form, of which RFC 8785 bytes exist; `QueryPlan.from_json` is its inverse."""
        return {
            "schema": SCHEMA,
            "canonical_sql": self.canonical_sql,
            "block_sql": self.block_sql,
            "keys": [key.to_json() for key in self.keys],
            "columns": self.columns,
            "measures": [_measure_json(measure) for measure in self.measures],
            "max_groups": self.max_groups,
            "max_rows": self.max_rows,
            "threshold": None if self.threshold is None else self.threshold.to_json(),
            "outputs": [_output_json(output) for output in self.outputs],
            "accountant": self.accountant.value,
            "price": self.price.to_json(),
            "epsilon": text_of(self.epsilon),
            "delta": text_of(self.delta),
            "forecast": [
                {"name": entry.name, "kind": entry.kind, "noise_95": entry.noise_95, "clipping": entry.clipping}
                for entry in self.forecast
            ],
            "max_groups_in_partial": self.max_groups_in_partial,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> QueryPlan:
        """Rebuild what `to_json` gave. Raises ValueError or KeyError for anything else."""
        if value["schema"] != SCHEMA:
            raise ValueError("not a query plan of this version")
        threshold = value["threshold"]
        return cls(
            canonical_sql=value["canonical_sql"],
            block_sql=value["block_sql"],
            keys=tuple(KeyColumn.from_json(entry) for entry in value["keys"]),
            columns=value["columns"],
            measures=tuple(_measure_of(entry) for entry in value["measures"]),
            max_groups=value["max_groups"],
            max_rows=value["max_rows"],
            threshold=None if threshold is None else KeyThreshold.from_json(threshold),
            outputs=tuple(_output_of(entry) for entry in value["outputs"]),
            accountant=Accountant(value["accountant"]),
            price=Loss.from_json(value["price"]),
            epsilon=exact(value["epsilon"]),
            delta=exact(value["delta"]),
            forecast=tuple(Forecast(**entry) for entry in value["forecast"]),
            max_groups_in_partial=value["max_groups_in_partial"],
        )


def _measure_json(measure: Measure) -> dict[str, Any]:
    return {
        "kind": measure.kind.value,
        "column": measure.column,
        "centre": str(measure.centre),
        "linf": str(measure.linf),
        "noise": None if measure.noise is None else measure.noise.to_json(),
    }


def _measure_of(entry: Mapping[str, Any]) -> Measure:
    noise = entry["noise"]
    return Measure(
        kind=MeasureKind(entry["kind"]),
        column=entry["column"],
        centre=int(entry["centre"]),
        linf=int(entry["linf"]),
        noise=None if noise is None else Noise.from_json(noise),
    )


def _output_json(output: OutputColumn) -> dict[str, Any]:
    return {
        "name": output.name,
        "aggregate": None if output.aggregate is None else output.aggregate.value,
        "type": output.type,
        "key": output.key,
        "measures": list(output.measures),
        "scale": output.scale,
        "lower": str(output.lower),
        "upper": str(output.upper),
    }


def _output_of(entry: Mapping[str, Any]) -> OutputColumn:
    return OutputColumn(
        name=entry["name"],
        aggregate=None if entry["aggregate"] is None else Aggregate(entry["aggregate"]),
        type=entry["type"],
        key=entry["key"],
        measures=tuple(entry["measures"]),
        scale=entry["scale"],
        lower=int(entry["lower"]),
        upper=int(entry["upper"]),
    )
