"""The catalogue: an asset is registered once, never changes, and shows what its declaration says and nothing else."""

import pytest
from sqlalchemy import select

from assets.catalogue import entry, get, listing
from assets.records import assets
from assets.source import Format
from assets.versions import latest_version, version
from audit.events import EventType
from audit.log import entries_from, size_of
from core.errors import Conflict, Invalid, NotFound
from tests.assets_builders import ACTOR, VISITS, csv_of, declared, example, server_in, visit

SECOND = VISITS.replace("medical/visits", "medical/second")


@pytest.fixture
def server(tmp_path):
    with server_in(tmp_path) as server:
        yield server


def events(server):
    with server.journal.reading() as connection:
        return [each.content for each in entries_from(connection, 0, 100)]


def test_registering_says_so_in_the_log_and_stores_what_was_declared(server):
    asset = server.register(declared())
    with server.journal.reading() as connection:
        assert get(connection, "medical/visits") == asset
        row = connection.execute(select(assets)).one()
    assert asset.declaration == declared()
    assert (asset.id, asset.block_count, row.registered_by) == ("medical/visits", 8, ACTOR)
    (event,) = events(server)
    assert (event["type"], event["subject"], event["actor"]) == (EventType.ASSET_REGISTERED, "medical/visits", ACTOR)
    assert event["facts"] == {"declaration": declared().digest, "level": "S2", "population": "patients"}


def test_the_same_declaration_again_changes_nothing(server):
    first = server.register(declared())
    with server.journal.reading() as connection:
        before = size_of(connection)
    assert server.register(declared(text=VISITS + "# a comment\n")) == first
    with server.journal.reading() as connection:
        assert size_of(connection) == before


def test_another_declaration_under_the_same_name_is_refused_with_a_way_out(server):
    server.register(declared())
    with pytest.raises(Conflict) as caught:
        server.register(declared(level="S1"))
    assert caught.value.code == "asset.registered"
    assert "another name" in caught.value.way_out
    with server.journal.reading() as connection:
        assert get(connection, "medical/visits").declaration.level == "S2"


def test_assets_of_one_population_share_block_count_and_kind_of_unit(server):
    server.register(declared())
    larger = declared(text=SECOND, size="{rows: 5000000, units: 40}")
    assert server.register(larger).block_count == 8
    alone = declared(
        text=SECOND.replace("second", "third"),
        size="{rows: 5000000, units: 40}",
        population="{name: others, id_namespace: b, unit: pid}",
    )
    assert server.register(alone).block_count == 64


def test_an_asset_whose_blocks_would_be_too_large_is_refused(server):
    server.register(declared())
    with pytest.raises(Invalid) as caught:
        server.register(declared(text=SECOND, size="{rows: 1000000000, units: 40}"))
    assert caught.value.code == "asset.too_large"
    with server.journal.reading() as connection:
        assert len(listing(connection)) == 1


@pytest.mark.parametrize(
    "changes",
    [{"pid": "{type: int, unit: true}"}, {"population": "{name: patients, id_namespace: other, unit: pid}"}],
)
def test_a_second_asset_that_means_other_units_by_the_population_is_refused(server, changes):
    server.register(declared())
    with pytest.raises(Conflict) as caught:
        server.register(declared(text=SECOND, **changes))
    assert caught.value.code == "asset.population"


def test_an_unknown_asset_or_version_is_not_found(server):
    server.register(declared())
    with server.journal.reading() as connection:
        with pytest.raises(NotFound) as caught:
            get(connection, "medical/nothing")
        assert (caught.value.code, caught.value.where) == ("asset.unknown", {"field": "asset"})
        with pytest.raises(NotFound) as caught:
            get(connection, "\n" + "x" * 200)
        assert caught.value.text == f"there is no asset ?{'x' * 96}... in the catalogue"
        with pytest.raises(NotFound) as caught:
            version(connection, "medical/visits", 1)
        assert caught.value.code == "version.unknown"
        assert latest_version(connection, "medical/visits") is None


def test_search_finds_by_every_word_in_both_languages(server):
    for declaration in (declared(), example("traffic/flights.yaml"), example("medical/covid_testing.yaml")):
        server.register(declaration)
    with server.journal.reading() as connection:

        def found(text):
            return [asset.id for asset in listing(connection, text)]

        assert found("") == ["medical/covid_testing", "medical/visits", "traffic/flights"]
        assert found("MEDICAL") == ["medical/covid_testing", "medical/visits"]
        assert found("medical ct_result") == ["medical/covid_testing"]
        assert found("航班") == ["traffic/flights"]
        assert found("aircraft medical") == []


def test_the_catalogue_entry_shows_the_declaration_and_nothing_of_the_data(server):
    """Two servers with the same declaration and different data show the same bytes (design R10, R14)."""
    server.register(declared())
    shown = []
    for rows in ([visit(pid=f"p{i}") for i in range(40)], [visit(pid=f"p{i}", age="999") for i in range(39)]):
        made = server.ingest.version("medical/visits", csv_of(*rows), Format.CSV, ACTOR)
        with server.journal.reading() as connection:
            shown.append(entry(get(connection, "medical/visits"), made))
    assert shown[0] | {"version": 2} == shown[1]
    with server.journal.reading() as connection:
        assert entry(get(connection, "medical/visits"), None)["version"] is None
    assert set(shown[0]) == {
        "asset", "title", "sector", "level", "population", "size", "columns", "budget", "mock_minimum", "version", "state",
    }  # fmt: skip
    assert shown[0]["mock_minimum"] == 3
    assert shown[0]["size"] == {"rows": 100, "units": 40}
