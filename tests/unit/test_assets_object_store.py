"""An object is whole and durable, or absent; a full disk is said to be one."""

import errno
import os
from pathlib import Path

import pytest

from assets.object_store import LocalObjectStore
from core.errors import Unavailable


@pytest.fixture
def store(tmp_path):
    return LocalObjectStore(tmp_path / "store")


def test_what_was_put_is_there_and_private(store, tmp_path):
    store.put("blocks/v-one/0.block", b"bytes")
    assert store.get("blocks/v-one/0.block") == b"bytes"
    assert (tmp_path / "store/blocks/v-one").stat().st_mode & 0o077 == 0
    assert list(store.folders("blocks")) == ["v-one"]


def test_removing_a_folder_is_idempotent_and_leaves_its_neighbours(store):
    store.put("blocks/v-one/0.block", b"1")
    store.put("blocks/v-two/0.block", b"2")
    store.remove_folder("blocks/v-one")
    store.remove_folder("blocks/v-one")
    assert list(store.folders("blocks")) == ["v-two"]
    assert store.folders("nothing") == {}
    with pytest.raises(Unavailable) as caught:
        store.get("blocks/v-one/0.block")
    assert caught.value.code == "storage.unreachable"


def test_bytes_are_synced_before_they_get_their_name_and_names_after(store, tmp_path, monkeypatch):
    seen = []
    real = os.fsync

    def note(descriptor):
        seen.append(
            (Path(f"/proc/self/fd/{descriptor}").readlink().name, (tmp_path / "store/blocks/v/0.block").exists())
        )
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    store.put("blocks/v/0.block", b"bytes")
    (first, named), *folders = seen
    assert first.startswith(".")
    assert not named
    assert folders == [("v", True), ("blocks", True), ("store", True)]


@pytest.mark.parametrize("problem", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_named_and_leaves_nothing(store, tmp_path, monkeypatch, problem):
    def full(_descriptor):
        raise OSError(problem, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable) as caught:
        store.put("blocks/v/0.block", b"bytes")
    assert caught.value.code == "ingest.storage_full"
    assert list((tmp_path / "store/blocks/v").iterdir()) == []


def test_another_fault_of_storage_is_not_called_a_full_disk(store, tmp_path):
    (tmp_path / "store").write_text("a file, not a folder")
    with pytest.raises(Unavailable) as caught:
        store.put("blocks/v/0.block", b"bytes")
    assert caught.value.code == "storage.unreachable"


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../b", "a//b", ".hidden"])
def test_a_path_cannot_leave_the_store(store, path):
    for act in (lambda: store.get(path), lambda: store.put(path, b""), lambda: store.remove_folder(path)):
        with pytest.raises(ValueError, match="not a path"):
            act()
