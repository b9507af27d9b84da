"""Decimals as whole numbers of their steps: no value that ingest lets in may make a block fail (R8)."""

from decimal import Decimal

import duckdb
import pytest

from privacy.sql.emit import _on_grid

LARGEST = 2**53 - 1


@pytest.mark.parametrize("scale", range(1, 13))
def test_every_decimal_that_ingest_lets_in_has_its_whole_number_of_steps(scale):
    steps = sorted(
        {
            *(sign * 10**power + near for power in range(16) for sign in (1, -1) for near in (-1, 0, 1)),
            LARGEST,
            -LARGEST,
            0,
        }
    )
    steps = [step for step in steps if abs(step) <= LARGEST]
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE t (n INTEGER, x DECIMAL(18, {scale}))")
        connection.executemany(
            "INSERT INTO t VALUES (?, ?)", [(at, Decimal(step).scaleb(-scale)) for at, step in enumerate(steps)]
        )
        found = connection.execute(f"SELECT {_on_grid('x', scale)} FROM t ORDER BY n").fetchall()
    assert [value for (value,) in found] == steps
