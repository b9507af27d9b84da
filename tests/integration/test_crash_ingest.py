"""A disk that fills up during ingest: the file is refused, the earlier version goes on, and nothing half is there."""

import shutil
import subprocess

import pytest
from banyan.errors import Refused

from tests.town import ROWS, UNHURRIED, town_in

pytestmark = [pytest.mark.docker, pytest.mark.ray]


@pytest.fixture
def narrow(tmp_path, prepared, docker_host):
    """A town whose blocks lie on a disk with room for one and a half versions."""
    with town_in(tmp_path, prepared, docker_host, **UNHURRIED) as made:
        blocks, kept = made.state / "blocks", made.folder / "kept"
        blocks.rename(kept)
        blocks.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size_of(kept) * 3 // 2}", "banyan-test", str(blocks)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("mounting a tmpfs needs root")
        shutil.copytree(kept, blocks, dirs_exist_ok=True)
        yield made
        made.stop()
        subprocess.run(["umount", "--lazy", str(blocks)], check=True)


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def stored(town):
    return {path.relative_to(town.state): path.read_bytes() for path in (town.state / "blocks").rglob("*.block")}


@pytest.mark.slow
def test_a_full_disk_refuses_the_file_harms_nothing_and_with_room_the_same_file_is_taken(narrow, tmp_path):
    town = narrow.up()
    before, olga, data = stored(town), town.client("olga"), tmp_path / "rides.csv"
    data.write_text(ROWS)
    with pytest.raises(Refused) as full:
        olga.ingest("traffic/rides", data)
    assert full.value.code == "ingest.storage_full"
    assert "earlier versions are as they were" in full.value.text
    assert stored(town) == before
    assert len(town.rows("SELECT id FROM asset_versions")) == 1
    assert [entry["facts"] for entry in town.events("version:refused")] == [{"code": "ingest.storage_full"}]
    assert not town.plaintext()
    assert olga.asset("traffic/rides")["version"] == 1

    job = town.submit(10)
    assert town.wait(job.id) == "released"
    assert job.refresh().plan.data["version"] == 1

    subprocess.run(["mount", "-o", "remount,size=64m", str(town.state / "blocks")], check=True)
    assert olga.ingest("traffic/rides", data)["version"] == 2
    later = town.submit(20)
    assert town.wait(later.id) == "released"
    assert later.refresh().plan.data["version"] == 2
    town.check_nothing_defaulted(job.id, later.id)
