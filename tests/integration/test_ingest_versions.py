"""A file becomes a whole encrypted version and its event, or nothing at all; earlier versions are as they were."""

import io
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import func, select

from assets import versions
from assets.blocks import Place, check_digest, open_block, padded_bytes
from assets.catalogue import get
from assets.keys import KeyRing
from assets.object_store import LocalObjectStore
from assets.placement import blocks_of
from assets.records import asset_versions, blocks
from assets.report import read_report
from assets.source import Format
from audit.log import Journal, entries_from
from core.canonical import digest
from core.errors import Conflict, Invalid, NotFound, Unavailable
from tests.assets_builders import ACTOR, VISITS, csv_of, declared, server_in, visit

ASSET = "medical/visits"
ROWS = [visit(pid=f"p{i % 40}", age=str(i), cost=f"{i}.005") for i in range(90)]


@pytest.fixture
def server(tmp_path):
    with server_in(tmp_path) as server:
        server.register(declared())
        yield server


def ingest(server, content, form=Format.CSV):
    return server.ingest.version(ASSET, content, form, ACTOR)


def tables(server, version):
    """The version's blocks as a node would open them: digest, key, place."""
    with server.journal.reading() as connection:
        found = versions.version_blocks(connection, version.id)
        key = server.keys.unwrap(version.id, versions.wrapped_key(connection, version.id))
    opened = []
    for block in found:
        ciphertext = server.store.get(block.path)
        check_digest(ciphertext, block)
        opened.append(open_block(ciphertext, key, Place(version.id, block.index, len(found))))
    return [pq.read_table(io.BytesIO(content)) for content in opened]


def state(server):
    """Everything that is kept of versions: files with their bytes, and rows."""
    files = {str(path): path.read_bytes() for path in (server.folder / "store").rglob("*") if path.is_file()}
    with server.journal.reading() as connection:
        return files, connection.execute(select(asset_versions)).all(), connection.execute(select(blocks)).all()


def events(server, kind):
    with server.journal.reading() as connection:
        return [e.content for e in entries_from(connection, 0, 1000) if e.content["type"] == kind]


def test_a_file_becomes_a_version_that_a_node_can_open(server):
    made = ingest(server, csv_of(*ROWS))
    assert (made.asset, made.number, made.state) == (ASSET, 1, versions.VersionState.READY)
    opened = tables(server, made)
    rows = [row for table in opened for row in table.to_pylist()]
    assert len(rows) == 90
    assert {row["pid"] for row in rows} == {f"p{i}" for i in range(40)}
    key = server.keys.placement_key("patients", "hospital-pid")
    for index, table in enumerate(opened):
        units = [unit.encode() for unit in table.column("pid").to_pylist()]
        assert set(blocks_of(units, key, 8).tolist()) <= {index}


def test_the_event_the_root_and_the_rows_agree_and_tell_nothing_of_the_data(server):
    made = ingest(server, csv_of(*ROWS))
    (event,) = events(server, "version:ingested")
    assert event["facts"] == {"version": made.id, "root": made.root, "blocks": 8}
    with server.journal.reading() as connection:
        found = versions.version_blocks(connection, made.id)
    assert made.root == digest(["banyan.version/1", made.id, [block.digest for block in found]])
    again = ingest(server, csv_of(*ROWS))
    assert again.root != made.root
    with server.journal.reading() as connection:
        other = versions.version_blocks(connection, again.id)
    assert not {block.digest for block in found} & {block.digest for block in other}


def test_without_one_unit_everything_that_storage_and_log_show_has_the_same_form(server):
    """Sizes and counts come from the declaration: one unit less, or no rows at all, looks the same (design R10, R14, R15)."""
    made = [ingest(server, csv_of(*rows)) for rows in (ROWS, [r for r in ROWS if r["pid"] != "p17"], [visit(pid=None)])]
    forms = []
    for version in made:
        with server.journal.reading() as connection:
            row = connection.execute(select(asset_versions).where(asset_versions.c.id == version.id)).one()
            sizes = [block.size_bytes for block in versions.version_blocks(connection, version.id)]
        files = sorted((p.name, p.stat().st_size) for p in (server.folder / f"store/blocks/{version.id}").iterdir())
        forms.append((sizes, files, len(row.report), len(row.wrapped_key), len(row.root)))
    assert forms[0] == forms[1] == forms[2]
    expected = padded_bytes(declared().schema, 8) + 12 + 16
    assert forms[0][0] == [expected] * 8


def test_nothing_of_the_data_is_at_rest_in_the_clear(server):
    secret = "Zhanghuai"
    ingest(server, csv_of(*(visit(pid=f"{secret[:6]}{i}") for i in range(9))))
    for path in server.folder.rglob("*"):
        if path.is_file():
            assert secret[:6].encode() not in path.read_bytes(), path


def test_the_same_rows_in_another_order_and_format_give_the_same_plaintext(server):
    typed = pa.Table.from_pylist(ROWS[::-1])
    sink = pa.BufferOutputStream()
    pq.write_table(typed, sink)
    first, second = ingest(server, csv_of(*ROWS)), ingest(server, sink.getvalue().to_pybytes(), Format.PARQUET)
    assert all(a.equals(b) for a, b in zip(tables(server, first), tables(server, second), strict=True))


def test_assets_of_one_population_place_a_unit_in_the_same_block(server):
    server.register(declared(text=VISITS.replace("medical/visits", "medical/second")))
    first = ingest(server, csv_of(*ROWS))
    second = server.ingest.version("medical/second", csv_of(*ROWS[:50]), Format.CSV, ACTOR)
    for one, other in zip(tables(server, first), tables(server, second), strict=True):
        assert set(other.column("pid").to_pylist()) <= set(one.column("pid").to_pylist())


def test_the_report_is_exact_sealed_and_each_reading_is_an_event(server):
    made = ingest(server, csv_of(*ROWS, visit(age="111"), visit(age="112"), visit(pid=None, age="113")))
    with server.journal.reading() as connection:
        sealed = versions.sealed_report(connection, made.id)
    assert b"above_upper" not in sealed
    for count in (1, 2):
        with server.journal.writing() as tx:
            report = read_report(tx, server.keys, made, "p-auditor")
        assert (report["rows_read"], report["rows_kept"], report["units"]) == (93, 90, 40)
        assert report["rejected"] == [
            {"column": "pid", "reason": "unit_missing", "rows": 1},
            {"column": "age", "reason": "above_upper", "rows": 2},
        ]
        read = events(server, "report:read")
        assert len(read) == count
        assert (read[-1]["actor"], read[-1]["facts"]) == ("p-auditor", {"version": made.id})


def test_a_reading_that_is_rolled_back_is_not_recorded_as_one(server):
    made = ingest(server, csv_of(*ROWS))

    def read_and_fail():
        with server.journal.writing() as tx:
            read_report(tx, server.keys, made, ACTOR)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        read_and_fail()
    assert events(server, "report:read") == []


REFUSED = {
    "truncated": (lambda: csv_of(*ROWS)[:-3].rpartition(b",")[0] + b"\n", Invalid, "ingest.unreadable"),
    "wrong format": (lambda: b"PAR1 not really", Invalid, "ingest.unreadable"),
    "missing column": (lambda: csv_of(*({"pid": "p1"},)), Invalid, "ingest.unreadable"),
    "not utf-8": (lambda: csv_of(*ROWS).replace(b"p3", b"\xff\xfe"), Invalid, "ingest.unreadable"),
    "too large": (
        lambda: csv_of(*(visit(pid="p1", ward=w, age=str(i % 110), cost=f"{i * 7919 % 500}.{i * 31 % 100:02}",
                              seen=f"2024-01-01T00:00:00.{i * 7919 % 1_000_000:06}Z")
                         for i in range(40_000) for w in (f"{i * 2654435761 % 10**4:04}",))),
        Conflict,
        "ingest.too_large",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(REFUSED))
def test_a_refused_file_leaves_no_trace_but_its_event(server, name):
    make, kind, code = REFUSED[name]
    ingest(server, csv_of(*ROWS))
    before = state(server)
    with pytest.raises(kind) as caught:
        ingest(server, make())
    assert caught.value.code == code
    assert state(server) == before
    (event,) = events(server, "version:refused")
    assert (event["subject"], event["facts"]) == (ASSET, {"code": code})
    assert ingest(server, csv_of(*ROWS)).number == 2


def test_an_unknown_asset_is_refused(server):
    with pytest.raises(NotFound):
        server.ingest.version("medical/nothing", csv_of(*ROWS), Format.CSV, ACTOR)


class Failing(LocalObjectStore):
    """A store whose n-th object fails."""

    def __init__(self, root, after, problem):
        super().__init__(root)
        self.left, self.problem = after, problem

    def put(self, path, content):
        if self.left == 0:
            raise self.problem
        self.left -= 1
        super().put(path, content)


@pytest.mark.parametrize("problem", [Unavailable("ingest.storage_full", "full"), KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("after", [0, 3, 8])
def test_whatever_ends_an_ingest_midway_removes_what_was_written(server, after, problem):
    ingest(server, csv_of(*ROWS))
    before = state(server)
    server.store = Failing(server.folder / "store", after, problem)
    with pytest.raises(type(problem)):
        ingest(server, csv_of(*ROWS))
    assert state(server) == before


def test_a_failure_after_the_commit_does_not_take_the_blocks_away(server):
    class Interrupted(Journal):
        @contextmanager
        def writing(self):
            with super().writing() as tx:
                yield tx
            raise KeyboardInterrupt

    whole = server.journal
    server.journal = Interrupted(whole.engine, whole.clock, whole.signer)
    with pytest.raises(KeyboardInterrupt):
        ingest(server, csv_of(*ROWS))
    server.journal = whole
    with whole.reading() as connection:
        made = versions.latest_version(connection, ASSET)
    assert sum(table.num_rows for table in tables(server, made)) == 90


def test_parallel_ingests_get_different_numbers_and_all_open(server):
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: ingest(server, csv_of(*ROWS)), range(6)))
    assert sorted(version.number for version in made) == [1, 2, 3, 4, 5, 6]
    assert all(sum(table.num_rows for table in tables(server, version)) == 90 for version in made)
    with server.journal.reading() as connection:
        assert versions.latest_version(connection, ASSET).number == 6
        assert versions.version(connection, ASSET, 3).id in {version.id for version in made}


def test_what_a_crash_left_behind_is_removed_after_a_day_and_nothing_else(server):
    made = ingest(server, csv_of(*ROWS))
    for name in ("v-crashed", "v-running"):
        server.store.put(f"blocks/{name}/0.block", b"half")
    now = datetime(2026, 11, 25, tzinfo=UTC)
    for name, age in ((made.id, 30), ("v-crashed", 30), ("v-running", 1)):
        then = (now - timedelta(hours=age)).timestamp()
        os.utime(server.folder / "store/blocks" / name, (then, then))
    assert server.ingest.remove_orphans() == 1
    assert set(server.store.folders("blocks")) == {made.id, "v-running"}
    assert server.ingest.remove_orphans() == 0


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs of 8 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "banyan-test", str(path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield path
    # Lazily: a test that failed may still hold a file open, and must not leave the mount behind.
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def test_a_full_disk_refuses_the_file_and_harms_no_earlier_version(tmp_path, small_disk):
    with server_in(tmp_path, store=small_disk / "store") as server:
        server.register(declared())
        first = ingest(server, csv_of(*ROWS))
        kept = {path: path.read_bytes() for path in small_disk.rglob("*.block")}
        assert len(kept) == 8
        (small_disk / "filler").write_bytes(b"x" * (5 << 20))
        with pytest.raises(Unavailable) as caught:
            ingest(server, csv_of(*ROWS))
        assert caught.value.code == "ingest.storage_full"
        assert "earlier versions are as they were" in caught.value.text
        assert {
            path: path.read_bytes() for path in small_disk.rglob("*") if path.is_file() and path.suffix == ".block"
        } == kept
        assert list(server.store.folders("blocks")) == [first.id]
        assert sum(table.num_rows for table in tables(server, first)) == 90
        with server.journal.reading() as connection:
            assert connection.execute(select(func.count()).select_from(asset_versions)).scalar() == 1
        (small_disk / "filler").unlink()
        assert ingest(server, csv_of(*ROWS)).number == 2


def fill(disk):
    """Take all the room there is."""
    with (disk / "filler").open("ab", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096):
            pass


class Filling(LocalObjectStore):
    """A store that leaves no room to the database: it fills the disk after the last object of a version."""

    def put(self, path, content):
        super().put(path, content)
        if path.endswith("units.sketch"):
            fill(self._root.parent)


@pytest.mark.parametrize("moment", ["before the blocks", "after the blocks"])
def test_a_full_disk_that_the_database_shares_is_refused_alike(small_disk, moment):
    with server_in(small_disk) as server:
        server.register(declared())
        first = ingest(server, csv_of(*ROWS))
        if moment == "before the blocks":
            fill(small_disk)
        else:
            server.store = Filling(small_disk / "store")
        with pytest.raises(Unavailable) as caught:
            ingest(server, csv_of(*ROWS))
        assert caught.value.code == "ingest.storage_full"
        (small_disk / "filler").unlink()
        assert list(server.store.folders("blocks")) == [first.id]
        assert sum(table.num_rows for table in tables(server, first)) == 90
        server.store = LocalObjectStore(small_disk / "store")
        assert ingest(server, csv_of(*ROWS)).number == 2


def test_a_version_is_readable_by_a_second_process_with_the_key_file_only(server):
    made = ingest(server, csv_of(*ROWS))
    server.keys = KeyRing.open(server.folder / "master.key")
    assert sum(table.num_rows for table in tables(server, made)) == 90
    server.keys = KeyRing(b"x" * 32)
    with pytest.raises(Unavailable):
        tables(server, made)
    with server.journal.reading() as connection:
        assert json.dumps(get(connection, ASSET).declaration.to_json())
