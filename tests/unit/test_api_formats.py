"""What the API hands out as files: one table in every format, and nothing in it that a reader's program would run."""

import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.result_files import as_parquet
from tests.api_world import VISITS, ApiWorld, job, visits
from tests.policies_world import quick_folder

MANY = VISITS.replace("rows: 300, units: 100", "rows: 2400, units: 1200").replace("1e-6", "1e-7")
QUERY = "SELECT clinic, COUNT(*) AS n, AVG(cost) AS mean, SUM(cost) AS total FROM visits GROUP BY clinic"
CLINICS = ("=1+1", "+cmd", "-x", "@sum", "plain")


@pytest.fixture(scope="module")
def world():
    # Enough units in each group for the key threshold to let it pass, whatever the noise.
    data = visits(range(1200), rows=2)
    for number, clinic in enumerate(("=1+1", "+cmd", "-x", "@sum")):
        data = data.replace(f"clinic-{number},".encode(), f"{clinic},".encode())
    with quick_folder() as folder, ApiWorld(folder) as made:
        made.furnish(data, MANY)
        made.job = made.run(job(query=QUERY, epsilon="4", bounds={"max_groups_per_unit": 1, "max_rows_per_group": 2}))
        yield made


def result(world, form="json"):
    answer = world.get("rob", f"/v1/jobs/{world.job}/result", format=form)
    assert answer.status == 200
    return answer


def test_json_is_the_released_table(world):
    found = result(world).json
    assert found["schema"] == "banyan.table/1"
    assert [column["name"] for column in found["columns"]] == ["clinic", "n", "mean", "total"]
    assert {row["clinic"] for row in found["rows"]} == set(CLINICS[:4])
    assert found["guarantee"]["sentence"]
    assert found["job"] == world.job


def test_every_format_holds_the_same_figures(world):
    found = result(world).json
    table = pq.read_table(io.BytesIO(result(world, "parquet").body))
    rows = list(csv.DictReader(io.StringIO(result(world, "csv").text)))
    assert len(table) == len(rows) == len(found["rows"])
    for row, flat, text in zip(found["rows"], table.to_pylist(), rows, strict=True):
        assert flat["clinic"] == row["clinic"]
        for name in ("n", "mean", "total"):
            for part, suffix in (
                ("value", ""),
                ("standard_error", "_standard_error"),
                ("low", "_low"),
                ("high", "_high"),
            ):
                assert flat[name + suffix] == row[name][part]
                assert float(text[name + suffix]) == row[name][part]


def test_media_types_are_told(world):
    assert result(world).headers["content-type"] == "application/json"
    assert result(world, "csv").headers["content-type"] == "text/csv; charset=utf-8"
    assert result(world, "parquet").headers["content-type"] == "application/vnd.apache.parquet"


def test_a_spreadsheet_runs_nothing(world):
    """A key that begins like a formula is text in CSV, and only there."""
    shown = {row["clinic"] for row in csv.DictReader(io.StringIO(result(world, "csv").text))}
    assert shown == {f"'{clinic}" for clinic in CLINICS[:4]}


def test_a_parquet_file_carries_its_guarantee(world):
    told = json.loads(pq.read_schema(io.BytesIO(result(world, "parquet").body)).metadata[b"banyan"])
    found = result(world).json
    assert told == {name: found[name] for name in ("job", "mode", "guarantee", "notes", "receipt", "reused")}


CELL = {"value": 3, "standard_error": 1.5, "low": 1, "high": 5}
FIGURES = {
    "whole": [
        {
            "day": "2020-02-29",
            "size": 1,
            "ok": True,
            "n": CELL,
            "mean": {"value": 0, "standard_error": 2, "low": 0, "high": 7},
        }
    ],
    "fractions": [{"day": None, "size": None, "ok": None, "n": CELL, "mean": dict.fromkeys(CELL, 1.25)}],
    "beyond JSON": [{"day": "x", "size": str(2**62), "ok": False, "n": CELL, "mean": CELL}],
    "no group passed": [],
}


@pytest.mark.parametrize("name", FIGURES)
def test_the_types_of_a_parquet_file_follow_from_the_plan_not_from_the_figures(name):
    """Otherwise a mean that noise made whole would change the file's form, and an empty table would have none."""
    columns = [
        ("day", "key", "date"),
        ("size", "key", "int"),
        ("ok", "key", "bool"),
        ("n", "value", "int"),
        ("mean", "value", "decimal"),
    ]
    told = {"job": "j", "mode": "real", "guarantee": {}, "notes": [], "receipt": None, "reused": False}
    described = [{"name": column, "role": role, "type": kind} for column, role, kind in columns]
    table = pq.read_table(io.BytesIO(as_parquet({"columns": described, "rows": FIGURES[name], **told})))
    assert [str(field.type) for field in table.schema] == [
        "string",
        "int64",
        "bool",
        "int64",
        "double",
        "int64",
        "int64",
        *["double"] * 4,
    ]
    assert table.column("size").to_pylist() == [
        None if row["size"] is None else int(row["size"]) for row in FIGURES[name]
    ]


def test_every_reading_gives_the_same_bytes(world):
    for form in ("json", "csv", "parquet"):
        assert result(world, form).body == result(world, form).body


def test_a_mock_result_says_that_it_is_one(world):
    mock = world.run(job(query=QUERY), mock="true")
    found = world.get("rob", f"/v1/jobs/{mock}/result").json
    assert (found["mode"], found["receipt"]) == ("mock", None)
    assert world.get("rob", f"/v1/jobs/{mock}/receipt").code == "receipt.mock"


@pytest.mark.parametrize(
    ("form", "kind"), [("csv", "text/csv; charset=utf-8"), ("parquet", "application/vnd.apache.parquet")]
)
def test_mock_data_comes_in_the_asked_form(world, form, kind):
    answer = world.get("rob", "/v1/assets/medical/visits/mock", rows=20, format=form)
    assert answer.headers["content-type"] == kind
    if form == "csv":
        assert len(list(csv.DictReader(io.StringIO(answer.text)))) == 20
    else:
        assert pq.read_table(io.BytesIO(answer.body)).schema.field("cost").type == pa.decimal128(18, 2)


def test_the_log_is_served_as_text(world):
    for path, begin in (("checkpoint", "banyan.local/log\n"), ("key", "banyan.local/log+")):
        answer = world.get("rob", f"/v1/log/{path}")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.text.startswith(begin)
