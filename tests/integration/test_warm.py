"""Whether a file of the image is in the page cache tells one block what another one read, unless all of them always are (R11)."""

import json
import os
import subprocess
from itertools import islice
from pathlib import Path

import pytest

from sandbox.docker_runtime import DockerRuntime
from sandbox.warm import warm

pytestmark = [pytest.mark.docker, pytest.mark.timeout(120)]


def layers(engine, image):
    """Where the layers of an image lie on this machine."""
    asked = ["docker", "-H", engine, "image", "inspect", image, "--format", "{{json .GraphDriver.Data}}"]
    data = json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
    return [Path(folder) for folder in (*data.get("LowerDir", "").split(":"), data["UpperDir"]) if folder]


def is_cached(descriptor):
    try:
        os.preadv(descriptor, [bytearray(4096)], 0, os.RWF_NOWAIT)
    except BlockingIOError:
        return False
    return True


def test_every_file_of_the_image_is_read_before_a_block_runs(docker_host, python_image):
    places = [
        place for folder in layers(docker_host, python_image) if folder.is_dir() for place in folder.rglob("*.so*")
    ]
    libraries = [
        place for place in places if place.is_file() and not place.is_symlink() and place.stat().st_size > 4096
    ]
    assert len(libraries) > 300
    opened = [os.open(place, os.O_RDONLY) for place in islice(libraries, 0, None, 10)]
    try:
        for descriptor in opened:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        assert not all(is_cached(descriptor) for descriptor in opened), (
            "this file system keeps what it is told to forget"
        )
        warm(DockerRuntime(docker_host), python_image, {"banyan.owner": "warm-test"})
        assert [
            place
            for place, descriptor in zip(islice(libraries, 0, None, 10), opened, strict=True)
            if not is_cached(descriptor)
        ] == []
    finally:
        for descriptor in opened:
            os.close(descriptor)
