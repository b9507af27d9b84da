"""A specification that could open a container cannot be made."""

from __future__ import annotations

import pickle

import pytest

from core.errors import Invalid
from sandbox.spec import OWNER, ContainerSpec, ReadOnlyMount, check_labels

IMAGE = "sha256:" + "a" * 64


def spec(**changes) -> ContainerSpec:
    return ContainerSpec(**({"image": IMAGE, "command": ("python3",), "labels": {OWNER: "test"}} | changes))


def refused(**changes) -> str:
    with pytest.raises(Invalid) as caught:
        spec(**changes)
    assert caught.value.code == "container.invalid"
    return caught.value.where["field"]


def test_defaults_are_small_and_closed() -> None:
    made = spec()
    assert made.mounts == ()
    assert (made.cpus, made.pids, made.memory_bytes) == (1.0, 64, 512 << 20)
    assert (made.namespaces, made.oci_runtime) == (False, None)


@pytest.mark.parametrize(
    "image", ["python", "python:3", "sha256:abc", "sha256:" + "A" * 64, "", "x@sha256:" + "a" * 64]
)
def test_an_image_is_named_by_its_content_only(image: str) -> None:
    assert refused(image=image) == "image"


@pytest.mark.parametrize("command", [(), ("",), ("python3", ""), ("a\0b",)])
def test_a_command_names_a_program(command: tuple[str, ...]) -> None:
    assert refused(command=command) == "command"


@pytest.mark.parametrize("labels", [{}, {"banyan.job": "j"}, {OWNER: ""}, {OWNER: "a b"}, {OWNER: "x", "other": "y"}])
def test_labels_are_ours_and_name_the_owner(labels: dict[str, str]) -> None:
    assert refused(labels=labels) == "labels"


def test_no_selection_of_labels_matches_everything() -> None:
    for labels in ({}, {"com.docker.compose.project": "theirs"}, {OWNER: "x\ny"}):
        with pytest.raises(Invalid):
            check_labels(labels)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("cpus", [0, -1, float("nan"), float("inf"), True]),
        ("memory_bytes", [0, 1024, -1, 1 << 60, 1e9]),
        ("pids", [0, -1, 2.5]),
        ("tmpfs_bytes", [0, -1]),
        ("tmpfs_inodes", [0, -1]),
        ("open_files", [0, 1 << 30]),
        ("wall_seconds", [0, -1, float("nan"), float("inf")]),
        ("output_bytes", [-1, 1 << 40]),
        ("cpuset", ["", "a", "0;1", "-1", "0-"]),
        ("namespaces", [None, 1, "yes"]),
        ("oci_runtime", ["", "a b", "../runc", "-x", "x\n", "x" * 62]),
    ],
)
def test_limits_cannot_be_switched_off(field: str, values: list[object]) -> None:
    # 0 and -1 mean "without limit" to the engine, NaN passes every comparison that is written the other way round.
    for value in values:
        assert refused(**{field: value}) == field


@pytest.mark.parametrize(
    "source",
    [
        "/", "/etc", "/etc/shadow", "/proc/1", "/sys", "/dev", "/dev/shm", "/run", "/var", "/home", "/root", "/usr", "/tmp", "/boot/x",
        "/var/run/docker.sock", "/run/x/../docker.sock", "relative", "/a//b", "/a/", "/a/../b", "/a\nb", "",
    ],
)  # fmt: skip
def test_the_machine_cannot_be_mounted(source: str) -> None:
    with pytest.raises(Invalid):
        ReadOnlyMount(source, "/blocks/0.parquet")


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/opt/x",
        "/banyan/runner.py",
        "/usr/lib/x",
        "/etc/passwd",
        "/tmp/x",
        "/proc/x",
        "/dev/x",
        "blocks/0",
        "/a/../etc/x",
    ],
)
def test_a_mount_covers_nothing_of_the_image(target: str) -> None:
    with pytest.raises(Invalid):
        ReadOnlyMount("/data/0.parquet", target)


def test_staging_places_can_be_mounted() -> None:
    for source in ("/dev/shm/banyan/0.parquet", "/run/banyan-1/0.parquet", "/tmp/x/0.parquet", "/srv/data/block"):
        assert ReadOnlyMount(source, "/blocks/0.parquet").source == source


def test_mounts_do_not_cover_each_other() -> None:
    a, b, c = (ReadOnlyMount("/data/x", target) for target in ("/blocks/a", "/blocks/a", "/blocks/a/b"))
    assert refused(mounts=(a, b)) == "mounts"
    assert refused(mounts=(a, c)) == "mounts"


def test_a_specification_travels_and_does_not_change() -> None:
    labels = {OWNER: "test"}
    made = spec(labels=labels)
    labels["banyan.job"] = "another"
    assert made.labels == {OWNER: "test"}
    assert pickle.loads(pickle.dumps(made)) == made  # what Ray does with it
    with pytest.raises(AttributeError):
        made.pids = 10_000
