"""Decides what DuckDB can reach and in which form it sees a block: one connection a sheaf, views over its Parquet files, Arrow batches out.

The SQL is our planner's and names views alone; still the connection opens no other file, loads nothing and changes no setting. Numbers
of a view are whole steps of their grid, dates days, moments microseconds, and no conversion can fail on a value that ingest lets in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

BATCH_ROWS = 65_536
SEARCHED = 24  # in no longer list is a text searched for one by one: it costs 1 ns a row for each, a hash 20
_CONFIG = {
    "threads": 1,
    "temp_directory": "",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_unsigned_extensions": "false",
    "python_enable_replacements": "false",
    # Joins are linear as they are written; the database could put them in an order in which many rows meet many.
    "disabled_optimizers": "join_order",
}
_PLACES = ("SMALLINT", "INTEGER")  # how a block may hold the place of a text in its declared list


class RowStage:
    """The rows of a sheaf's blocks, one block after the other.

    stage         `sql`, and the `views` that it reads (privacy/sql/instruction.py, `row_stage`)
    public        the files of each public asset that is read
    blocks        for each block of the sheaf the file of each private asset that is read
    memory_bytes  the most that DuckDB may hold

    Paths are the server's own: no sign in them stands for several files.
    """

    def __init__(
        self,
        stage: Mapping[str, Any],
        public: Mapping[str, Sequence[str]],
        blocks: Sequence[Mapping[str, str]],
        memory_bytes: int,
    ) -> None:
        self._sql: str = stage["sql"]
        self._private = [view for view in stage["views"] if view["unit"] is not None]
        self._stored: dict[str, dict[str, str]] = {}
        files = [path for paths in public.values() for path in paths] + [path for of in blocks for path in of.values()]
        self._connection = duckdb.connect(":memory:", config=_CONFIG | {"memory_limit": f"{memory_bytes}B"})
        self._connection.execute("SET TimeZone = 'UTC'")
        self._connection.execute(f"SET allowed_paths = {_list(files)}")
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")
        for view in stage["views"]:
            if view["unit"] is None:  # read once, not once a block
                source = _parquet(public[view["asset"]])
                self._connection.execute(f"CREATE TEMP TABLE {view['name']} AS {self._view(view, source)}")

    def block(self, files: Mapping[str, str]) -> tuple[pa.StringArray, Iterator[pa.RecordBatch]]:
        """What each unit of the block is called, by its ordinal; and the rows of the SQL, which are read before the next block.

        Units are told apart by their texts, in all tables of the block together and whatever the order of rows.
        """
        sources = {view["asset"]: _parquet([files[view["asset"]]]) for view in self._private}
        texts = " UNION ".join(
            f"SELECT {_name(view['unit'])} AS unit FROM {sources[view['asset']]}" for view in self._private
        )
        ordinal = "CAST(row_number() OVER (ORDER BY unit) - 1 AS INTEGER)"
        self._connection.execute(
            f"CREATE OR REPLACE TEMP TABLE units AS SELECT {ordinal} AS u, unit "
            f"FROM (SELECT DISTINCT unit FROM ({texts}) WHERE unit IS NOT NULL)"
        )
        for view in self._private:
            made = self._view(view, sources[view["asset"]])
            self._connection.execute(f"CREATE OR REPLACE TEMP VIEW {view['name']} AS {made}")
        called = self._connection.sql("SELECT unit FROM units ORDER BY u").to_arrow_table().column("unit")
        return called.combine_chunks(), iter(self._connection.sql(self._sql).to_arrow_reader(BATCH_ROWS))

    def _view(self, view: Mapping[str, Any], source: str) -> str:
        stored = self._types(view["asset"], source)
        lists = {code["stored"]: code["values"] for code in view["codes"]}
        wanted = [] if view["unit"] is None else ["n.u AS u"]
        for column in view["columns"]:
            text = _held(column, stored[column["stored"]], lists.get(column["stored"]))
            wanted.append(f"CAST({text} AS {column['type']}) AS {column['name']}")
        wanted += [
            f"CAST({_place(code, stored[code['stored']])} AS {code['type']}) AS {code['name']}"
            for code in view["codes"]
        ]
        joined = "" if view["unit"] is None else f" JOIN units AS n ON p.{_name(view['unit'])} = n.unit"
        # A table of which no column is read still has its rows.
        return f"SELECT {', '.join(wanted) or '0 AS nothing'} FROM {source} AS p{joined}"

    def _types(self, asset: str, source: str) -> dict[str, str]:
        """DuckDB's types of the stored columns: those of one version are the same in all blocks."""
        if asset not in self._stored:
            described = self._connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
            self._stored[asset] = {name: kind for name, kind, *_ in described}
        return self._stored[asset]


def _held(column: Mapping[str, Any], stored: str, values: Sequence[str] | None) -> str:
    """A stored column in the form that expressions are written for. Raises ValueError for one that blocks do not have."""
    kind, scale, text = column["kind"], column["scale"], f"p.{_name(column['stored'])}"
    if kind == "number" and stored == f"DECIMAL(18,{scale})":
        # Whole and broken part apart: x * 10^scale leaves 18 digits, and an error of a value would end the block.
        return f"CAST(trunc({text}) AS BIGINT) * {10**scale} + CAST(({text} % 1) * {10**scale} AS BIGINT)"
    if kind == "text" and stored in _PLACES and values is not None:
        return f"list_extract({_list(values)}, {text} + 1)"
    if kind == "timestamp" and stored == "TIMESTAMP WITH TIME ZONE":
        return f"epoch_us({text})"
    if kind == "date" and stored == "DATE":
        return f"({text} - DATE '1970-01-01')"
    # The unit of a public table is stored as its canonical text, whatever its type.
    as_it_is = {"number": ("BIGINT", "VARCHAR"), "text": ("VARCHAR",), "truth": ("BOOLEAN",)}
    if stored not in as_it_is.get(kind, ()):
        raise ValueError(f"a block does not hold a {kind} as {stored}")
    return text


def _place(code: Mapping[str, Any], stored: str) -> str:
    """The place of a text in its declared list, NULL of NULL."""
    text, values = f"p.{_name(code['stored'])}", code["values"]
    if stored in _PLACES:
        return text
    if len(values) <= SEARCHED:
        return f"(list_position({_list(values)}, {text}) - 1)"
    return f"enum_code(TRY_CAST({text} AS ENUM({_texts(values)})))"


def _parquet(paths: Sequence[str]) -> str:
    return f"read_parquet({_list(paths)}, hive_partitioning = false)"


def _list(texts: Sequence[str]) -> str:
    return f"[{_texts(texts)}]"


def _texts(texts: Sequence[str]) -> str:
    return ", ".join("'" + text.replace("'", "''") + "'" for text in texts)


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
