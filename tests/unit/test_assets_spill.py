"""What is set aside comes back whole, cannot be read by anybody else, and is gone with the process."""

import subprocess
from pathlib import Path

import pyarrow as pa
import pytest

from assets import spill as spilling
from assets.spill import spill_in
from core.errors import Unavailable

SECRET = "Zhanghuaiming"


def batch(start, stop):
    return pa.record_batch({"pid": [f"{SECRET}{i}" for i in range(start, stop)], "n": list(range(start, stop))})


SCHEMA = batch(0, 1).schema


@pytest.fixture(autouse=True)
def little_memory(monkeypatch):
    monkeypatch.setattr(spilling, "PENDING_BYTES", 2000)


def on_disk(folder):
    """The bytes of every file without a name in the folder that this process holds open."""
    found = b""
    for link in (Path("/proc/self/fd")).iterdir():
        try:
            if "(deleted)" in str(link.readlink()) and str(link.readlink()).startswith(str(folder)):
                found += link.read_bytes()
        except OSError:
            continue
    return found


def test_each_part_comes_back_in_the_order_in_which_it_was_added(tmp_path):
    with spill_in(tmp_path, SCHEMA, 3) as spill:
        for start in range(0, 500, 10):
            spill.add(start // 10 % 2, batch(start, start + 10))
        for part in (0, 1):
            wanted = [n for start in range(10 * part, 500, 20) for n in range(start, start + 10)]
            assert spill.rows(part).column("n").to_pylist() == wanted
            assert spill.rows(part).column("pid").to_pylist() == [f"{SECRET}{n}" for n in wanted]
            assert spill.size(part) >= 250 * 8
        assert spill.rows(2).num_rows == spill.size(2) == 0
        assert spill.rows(2).schema.equals(SCHEMA)


def test_slices_of_a_larger_batch_are_set_aside_without_the_rest(tmp_path):
    whole = batch(0, 10_000)
    with spill_in(tmp_path, SCHEMA, 1) as spill:
        for start in range(0, 1000, 100):
            spill.add(0, whole.slice(start, 100))
        assert spill.rows(0).column("n").to_pylist() == list(range(1000))
        assert len(on_disk(tmp_path)) < 100_000


def test_nothing_on_the_disk_has_a_name_or_can_be_read(tmp_path):
    with spill_in(tmp_path / "aside", SCHEMA, 2) as spill:
        for start in range(0, 500, 100):
            spill.add(start // 100 % 2, batch(start, start + 100))
        assert list((tmp_path / "aside").iterdir()) == []
        content = on_disk(tmp_path)
        assert len(content) > 5000
        assert SECRET.encode() not in content
    assert on_disk(tmp_path) == b""


def test_a_disk_that_gives_back_something_else_is_found_out(tmp_path):
    with spill_in(tmp_path, SCHEMA, 2) as spill:
        spill.add(0, batch(0, 200))
        spill.add(1, batch(0, 200))
        spill._file.seek(300)
        spill._file.write(b"\0\0")
        with pytest.raises(Unavailable) as caught:
            spill.rows(0)
        assert caught.value.code == "ingest.spill_damaged"
        spill._written[0] = spill._written[1]
        with pytest.raises(Unavailable):
            spill.rows(0)
        assert spill.rows(1).num_rows == 200


def test_a_spill_is_opened_by_its_own_key_only(tmp_path):
    with spill_in(tmp_path, SCHEMA, 1) as one, spill_in(tmp_path, SCHEMA, 1) as other:
        for spill in (one, other):
            spill.add(0, batch(0, 200))
        assert one._file.read() == b""
        one._file.seek(0)
        content = one._file.read()
        other._file.seek(0)
        assert other._file.read() != content
        other._file.seek(0)
        other._file.write(content)
        with pytest.raises(Unavailable):
            other.rows(0)


def test_a_disk_that_is_full_or_away_is_named_as_such(tmp_path):
    small = tmp_path / "disk"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "banyan-test", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        with pytest.raises(Unavailable) as caught, spill_in(small, SCHEMA, 1) as spill:
            for start in range(0, 100_000, 1000):
                spill.add(0, batch(start, start + 1000))
        assert caught.value.code == "ingest.storage_full"
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable) as caught, spill_in(tmp_path / "file" / "aside", SCHEMA, 1):
        raise AssertionError("a file is no folder")
    assert caught.value.code == "storage.unreachable"
