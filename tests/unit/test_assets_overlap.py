"""People who are in one population are not let into another of the same namespace, where each would be spent twice (I17)."""

from fractions import Fraction
from itertools import pairwise

import pytest

from assets.overlap import Sketch
from assets.source import Format
from assets.versions import latest_version
from core.errors import Conflict, Unavailable
from tests.assets_builders import ACTOR, VISITS, csv_of, declared, server_in, visit

KEY = b"k" * 32


def sketch(start, stop, most=1 << 16):
    return Sketch.of([f"p{i}".encode() for i in range(start, stop)], KEY, most)


def test_whole_sketches_give_the_exact_share_of_the_smaller():
    assert sketch(0, 1000).overlap(sketch(990, 3000)) == Fraction(10, 1000)
    assert sketch(0, 1000).overlap(sketch(1000, 1100)) == 0
    assert sketch(0, 1000).overlap(sketch(500, 600)) == 1
    assert sketch(0, 0).overlap(sketch(0, 10)) == 0


def test_cut_sketches_give_nearly_the_share():
    large = sketch(0, 20_000, most=1000)
    assert len(large.hashes) == 1000
    assert abs(large.overlap(sketch(0, 20_000, most=500)) - 1) == 0
    assert abs(large.overlap(sketch(10_000, 30_000, most=1000)) - Fraction(1, 2)) < Fraction(1, 10)
    assert large.overlap(sketch(50_000, 90_000, most=2000)) == 0


def test_sketches_of_parts_join_to_the_sketch_of_all():
    """Block by block, however few hashes are kept: among others as many as one part, and one more or less."""
    bounds = [0, 0, 7, 400, 401, 1000]
    for most in (1, 2, 6, 7, 8, 393, 394, 999, 1000, 1001):
        joined = sketch(0, 0, most)
        for start, stop in pairwise(bounds):
            joined = joined.joined(sketch(start, stop, most), most)
        whole = sketch(0, 1000, most)
        assert joined.horizon == whole.horizon
        assert joined.hashes.tolist() == whole.hashes.tolist() == sorted(whole.hashes.tolist())


def test_a_sketch_is_the_same_after_storage():
    for made in (sketch(0, 10), sketch(0, 100, most=7)):
        again = Sketch.from_bytes(made.to_bytes())
        assert again.horizon == made.horizon
        assert again.hashes.tolist() == made.hashes.tolist()


@pytest.fixture
def server(tmp_path):
    with server_in(tmp_path) as server:
        server.register(declared())
        yield server


def ingest(server, asset, start, stop):
    rows = [visit(pid=f"p{i}") for i in range(start, stop)]
    return server.ingest.version(asset, csv_of(*rows), Format.CSV, ACTOR)


def other(server, name="second", population="others", namespace="hospital-pid"):
    text = VISITS.replace("medical/visits", f"medical/{name}")
    server.register(declared(text=text, population=f"{{name: {population}, id_namespace: {namespace}, unit: pid}}"))
    return f"medical/{name}"


def test_the_same_people_under_another_population_are_refused_and_the_way_out_is_named(server):
    ingest(server, "medical/visits", 0, 40)
    asset = other(server)
    with pytest.raises(Conflict) as caught:
        ingest(server, asset, 39, 80)
    assert caught.value.code == "ingest.population_overlap"
    assert "population patients" in caught.value.way_out
    with server.journal.reading() as connection:
        assert latest_version(connection, asset) is None
    assert len(server.store.folders("blocks")) == 1
    ingest(server, asset, 40, 80)


def test_an_older_version_counts_as_well(server):
    ingest(server, "medical/visits", 0, 40)
    ingest(server, "medical/visits", 100, 140)
    with pytest.raises(Conflict):
        ingest(server, other(server), 0, 40)


def test_the_same_population_or_another_namespace_is_no_overlap(server):
    ingest(server, "medical/visits", 0, 40)
    ingest(server, other(server, "second", "patients"), 0, 40)
    ingest(server, other(server, "third", "foreigners", "another-city"), 0, 40)


def test_a_sketch_that_cannot_be_read_refuses_the_ingest(server):
    made = ingest(server, "medical/visits", 0, 40)
    (server.folder / f"store/blocks/{made.id}/units.sketch").unlink()
    with pytest.raises(Unavailable):
        ingest(server, other(server), 50, 60)
