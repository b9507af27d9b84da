"""Plan, price, mock data and catalogue come from the declaration alone: with the data away, replaced or changed by a unit, not a byte
of them is different (design R10; peer faults T05 and T28)."""

import csv
import io
import time
from fractions import Fraction

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets.keys import KeyRing
from assets.object_store import LocalObjectStore
from tests.api_world import CHECKOUT, COUNT, VISITS, ApiWorld, job, visits, without
from tests.policies_world import quick_folder

QUERIES = {
    "COUNT": "SELECT COUNT(*) AS n FROM visits",
    "COUNT of a column": "SELECT COUNT(age) AS n FROM visits",
    "COUNT of units": "SELECT COUNT(DISTINCT pid) AS n FROM visits WHERE age > 20",
    "SUM": "SELECT SUM(cost) AS total FROM visits",
    "AVG": "SELECT AVG(age) AS mean FROM visits",
    "two aggregates": "SELECT COUNT(*) AS n, AVG(cost) AS mean FROM visits",
    "GROUP BY a public column": "SELECT result, SUM(age) AS total FROM visits GROUP BY result",
    "GROUP BY a private column": "SELECT clinic, COUNT(*) AS n, AVG(cost) AS mean FROM visits GROUP BY clinic",
    "GROUP BY both": "SELECT clinic, result, COUNT(DISTINCT pid) AS n FROM visits GROUP BY clinic, result",
}
DOORS_TO_DATA = [(LocalObjectStore, "get")] + [
    (KeyRing, name) for name in ("unwrap", "unseal", "placement_key", "sketch_key")
]
FLIGHTS = (CHECKOUT / "examples" / "traffic" / "flights.yaml").read_text()
ZCDP = (
    VISITS.replace("accountant: basic", "accountant: zcdp")
    .replace("/visits", "/stays")
    .replace("name: patients", "name: guests")
)


@pytest.fixture(scope="module")
def world():
    with quick_folder() as folder, ApiWorld(folder) as made:
        made.furnish()
        made.register(ZCDP.replace("hospital-pid", "guest-pid"))
        made.ingest(visits(range(900, 960)), "medical/stays")
        made.allow(name="stays", assets="[medical/stays]")
        yield made


def public_answers(world, *, mock_rows=(1, 10, 1000)):
    """Everything that a researcher may ask of an asset before a job has touched it, byte for byte."""
    found = {"entry": world.get("rob", "/v1/assets/medical/visits").body, "list": world.get("rob", "/v1/assets").body}
    for name, query in QUERIES.items():
        for epsilon in ("0.5", "0.013"):
            found[name, epsilon] = world.post("rob", "/v1/plans", job(query=query, epsilon=epsilon)).body
    for rows in mock_rows:
        for form in ("csv", "parquet"):
            answer = world.get("rob", "/v1/assets/medical/visits/mock", rows=rows, seed=7, format=form)
            found["mock", rows, form] = answer.body
    found["budget"] = world.get("rob", "/v1/budget").body
    return found


# T05: the data is away


def test_with_the_data_moved_away_every_answer_is_the_same(world):
    before = public_answers(world)
    assert all(b'"status":4' not in body for body in before.values())
    blocks = world.state / "blocks"
    blocks.rename(world.state / "elsewhere")
    try:
        assert public_answers(world) == before
    finally:
        (world.state / "elsewhere").rename(blocks)


def test_a_plan_opens_no_block_no_key_and_nothing_sealed(monkeypatch):
    """On a server that was asked nothing before: what it might remember cannot hide that it looked."""

    def touched(*_):
        raise AssertionError("a plan touched data")

    with quick_folder() as folder, ApiWorld(folder) as fresh:
        fresh.furnish()
        with monkeypatch.context() as patch:
            for owner, name in DOORS_TO_DATA:
                patch.setattr(owner, name, touched)
            found = public_answers(fresh)
            fresh.submit()
            with pytest.raises(AssertionError, match="touched data"):
                fresh.reconciler.step()  # the doors are those that a job goes through
        assert all(b'"status":4' not in body and b'"status":5' not in body for body in found.values())
    with quick_folder() as folder, ApiWorld(folder) as usual:
        assert public_answers(usual.furnish()) == found


@pytest.mark.parametrize("asset", ["medical/visits", "medical/stays"])
@pytest.mark.parametrize("name", QUERIES)
def test_what_a_plan_says_is_exactly_what_is_charged(world, name, asset):
    """As rationals, under both accountants: nothing is rounded on the way from the plan to the ledger."""
    policy = "visits-research" if asset == "medical/visits" else "stays"
    delta = "1e-8" if asset == "medical/stays" or "clinic" in QUERIES[name] else None
    query = QUERIES[name].replace("FROM visits", f"FROM {asset.partition('/')[2]}")
    asked = job(asset=asset, query=query, epsilon="0.07", policy=policy, delta=delta)
    plan = world.post("rob", "/v1/plans", asked).json
    world.submit(asked)
    charged = next(e["facts"] for e in reversed(world.entries()) if e["type"] == "budget:reserved")
    exactly = {part: Fraction(text) for part, text in charged["loss"].items()}
    assert exactly == {part: Fraction(text) for part, text in plan["query"]["price"].items()}
    assert {part: Fraction(text) for part, text in charged["asked"].items()} == {
        part: Fraction(text) for part, text in plan["price"].items()
    }
    if asset == "medical/visits":
        assert exactly["epsilon"] == Fraction(plan["price"]["epsilon"]) == Fraction("0.07")
        assert exactly["delta"] == Fraction(plan["price"]["delta"])
    else:
        assert exactly["rho"] > 0
    after = {item["population"]: item for item in world.get("rob", "/v1/budget").json["items"]}
    left = after[plan["population"]]["left"]["epsilon"]
    assert left == plan["left_after"]["population"]["epsilon"]
    world.finish()


def test_a_default_delta_is_made_from_the_declared_size():
    """Of few people or many, the plan says the same; declare ten times as many, and it is smaller."""
    found = []
    for units, data in (("100", range(90)), ("100", range(5)), ("100", range(190)), ("150", range(90))):
        with quick_folder() as folder, ApiWorld(folder) as world:
            world.register(VISITS.replace("units: 100", f"units: {units}"))
            world.ingest(visits(data, rows=1))
            plan = world.post("rob", "/v1/plans", job(query=QUERIES["GROUP BY a private column"])).json
            found.append(plan["price"]["delta"])
    assert found == ["0.000001", "0.000001", "0.000001", "0.0000001"]


# R10: neighbours


def test_one_unit_less_changes_no_byte_of_what_anybody_sees_before_a_job():
    """Neither does half of the data, nor nearly twice as much: the number of rows, units and groups is in nothing public."""
    whole = visits(range(90))
    versions = [
        whole,
        without(whole, "p0"),
        without(whole, "p89"),
        visits(range(45)),
        visits(range(190)),
        visits(range(1), rows=1),
    ]
    found = []
    for data in versions:
        with quick_folder() as folder, ApiWorld(folder) as world:
            world.register()
            world.ingest(data)
            world.allow()
            found.append(public_answers(world, mock_rows=(10,)))
    for other in found[1:]:
        assert other == found[0]


# T28: mock data


@pytest.fixture(scope="module")
def flights():
    with quick_folder() as folder, ApiWorld(folder) as made:
        made.register(FLIGHTS)
        yield made


def mock(world, rows, form="parquet", seed=1, asset="traffic/flights"):
    answer = world.get("rob", f"/v1/assets/{asset}/mock", rows=rows, seed=seed, format=form)
    assert answer.status == 200
    return answer.body


def table(data):
    return pq.read_table(io.BytesIO(data))


@pytest.mark.parametrize("rows", [1, 10, 1000])
def test_mock_data_has_exactly_the_rows_asked_for_and_comes_at_once(flights, rows):
    begun = time.monotonic()
    assert len(table(mock(flights, rows))) == rows
    assert len(list(csv.DictReader(io.StringIO(mock(flights, rows, "csv").decode())))) == rows
    assert time.monotonic() - begun < 2 * 2  # two seconds each


def test_whole_numbers_with_nulls_stay_whole_numbers(flights):
    found = table(mock(flights, 1000))
    for name in ("dep_delay", "arr_delay", "air_time"):
        column = found.column(name)
        assert column.type == pa.int64()
        assert column.null_count > 0
    lines = csv.DictReader(io.StringIO(mock(flights, 1000, "csv").decode()))
    cells = {line["dep_delay"] for line in lines}
    assert "" in cells
    assert all("." not in cell for cell in cells)


def test_the_edge_cases_are_complete_from_the_number_that_the_catalogue_names(flights):
    entry = flights.get("rob", "/v1/assets/traffic/flights").json
    least, columns = entry["mock_minimum"], {column["name"]: column for column in entry["columns"]}
    for seed in (1, 2, 3):
        found = table(mock(flights, least, seed=seed))
        assert len(found) == least
        assert set(found.column("carrier").to_pylist()) == set(columns["carrier"]["values"])
        for name, lower, upper in (("dep_delay", -60, 1500), ("distance", 0, 6000)):
            values = found.column(name).to_pylist()
            assert {lower, upper} <= set(values)
        assert None in found.column("air_time").to_pylist()
    assert len(table(mock(flights, least - 1))) == least - 1


def test_mock_data_is_the_same_with_other_data_and_without(world):
    before = {
        (rows, form): mock(world, rows, form, 5, "medical/visits")
        for rows in (1, 10, 1000)
        for form in ("csv", "parquet")
    }
    world.ingest(visits(range(10, 20), rows=1))
    blocks = world.state / "blocks"
    blocks.rename(world.state / "elsewhere")
    try:
        for (rows, form), body in before.items():
            assert mock(world, rows, form, 5, "medical/visits") == body
    finally:
        (world.state / "elsewhere").rename(blocks)


def test_another_seed_gives_other_rows_of_the_same_form(flights):
    one, two = (table(mock(flights, 50, seed=seed)) for seed in (1, 2))
    assert one.schema == two.schema
    assert one != two


def test_a_mock_job_takes_the_way_of_a_real_one_on_mock_rows_only(world):
    """Same container code, same gate, same form; and the real blocks are not needed for it."""
    blocks = world.state / "blocks"
    blocks.rename(world.state / "elsewhere")
    try:
        found = world.get("rob", f"/v1/jobs/{world.run(COUNT, mock='true')}/result").json
    finally:
        (world.state / "elsewhere").rename(blocks)
    real = world.get("rob", f"/v1/jobs/{world.run(job(epsilon='0.2'))}/result").json
    assert found["columns"] == real["columns"]
    assert [row["result"] for row in found["rows"]] == [row["result"] for row in real["rows"]]
    assert set(found) == set(real)
