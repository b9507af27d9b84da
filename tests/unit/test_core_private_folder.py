"""A folder on a tmpfs that everybody may write to is used only if it is ours alone."""

import os

import pytest

from core.errors import Unavailable
from core.private_folder import private_folder


def test_it_is_made_for_us_alone_and_used_again(tmp_path):
    made = private_folder(tmp_path / "a" / "b")
    assert made.stat().st_mode & 0o777 == 0o700
    assert private_folder(made) == made


def opened(path):
    path.mkdir()
    path.chmod(0o755)


def linked(path):
    (path.parent / "elsewhere").mkdir(mode=0o700)
    path.symlink_to(path.parent / "elsewhere")


def foreign(path):
    path.mkdir(mode=0o700)
    os.chown(path, 65534, 65534)


@pytest.mark.parametrize("prepare", [opened, linked, foreign, lambda path: path.write_text("")])
def test_one_that_somebody_else_prepared_is_refused(tmp_path, prepare):
    if prepare is foreign and os.geteuid():
        pytest.skip("only root can give a folder away")
    prepare(tmp_path / "trap")
    with pytest.raises(Unavailable) as refusal:
        private_folder(tmp_path / "trap")
    assert refusal.value.code == "folder.not_private"
