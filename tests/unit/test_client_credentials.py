"""Which server is spoken to with which token, and how this machine's memory is kept."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from banyan import credentials
from banyan.credentials import Credentials, find
from banyan.errors import Refused, Unauthenticated


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("BANYAN_SERVER", raising=False)
    monkeypatch.delenv("BANYAN_TOKEN", raising=False)
    return tmp_path / "config" / "banyan"


def test_arguments_win_over_the_environment_which_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    credentials.remember(Credentials("https://kept.example", "t-kept"))
    assert find() == Credentials("https://kept.example", "t-kept")
    monkeypatch.setenv("BANYAN_TOKEN", "t-env")
    assert find() == Credentials("https://kept.example", "t-env")
    monkeypatch.setenv("BANYAN_SERVER", "https://env.example/")
    assert find() == Credentials("https://env.example", "t-env")
    assert find("https://given.example", "t-given") == Credentials("https://given.example", "t-given")


def test_the_kept_token_never_goes_to_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    credentials.remember(Credentials("https://kept.example", "t-kept"))
    with pytest.raises(Unauthenticated):
        find("https://other.example")
    monkeypatch.setenv("BANYAN_SERVER", "https://other.example")
    with pytest.raises(Unauthenticated):
        find()
    monkeypatch.setenv("BANYAN_SERVER", "https://kept.example/")
    assert find().token == "t-kept"


def test_without_a_server_or_a_token_the_way_out_is_told() -> None:
    with pytest.raises(Refused, match="banyan login"):
        find()
    with pytest.raises(Refused, match="banyan login"):
        find(token="t-1")
    with pytest.raises(Unauthenticated, match="banyan login"):
        find("https://x.example")


def test_what_is_kept_only_its_owner_reads(home: Path) -> None:
    path = credentials.remember(Credentials("https://kept.example", "t-kept"))
    assert path == home / "credentials.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert sorted(found.name for found in home.iterdir()) == ["credentials.json"]
    path.chmod(0o640)
    with pytest.raises(Refused, match="chmod 600"):
        find()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"server": 1'])
def test_a_damaged_memory_is_told_and_not_guessed(home: Path, content: str) -> None:
    path = credentials.remember(Credentials("https://kept.example", "t-kept"))
    path.write_text(content)
    with pytest.raises(Refused, match="damaged"):
        find()


def test_a_folder_that_cannot_be_written_is_refused(home: Path) -> None:
    home.parent.mkdir(parents=True)
    home.write_text("a file where the folder should be")
    with pytest.raises(Refused) as caught:
        credentials.remember(Credentials("https://kept.example", "t-kept"))
    assert caught.value.code == "file.unusable"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host",
        "ftp://host",
        "https://",
        "https://u:p@host",
        "https://host?x=1",
        "https://host#f",
        "http://[::1",
        "http://h:x",
    ],
)
def test_a_server_must_be_a_plain_url(url: str) -> None:
    with pytest.raises(Refused) as caught:
        credentials.checked_server(url)
    assert caught.value.code == "login.bad_server"


@pytest.mark.parametrize("token", [" ", "a b", "tök", "a\nb", "\x00"])
def test_a_token_that_no_header_can_carry_is_refused(token: str) -> None:
    with pytest.raises(Refused) as caught:
        find("https://x.example", token)
    assert caught.value.code == "login.bad_token"
    assert find("https://x.example", " t-1\n").token == "t-1"


@pytest.mark.parametrize(
    ("server", "in_clear"),
    [
        ("http://127.0.0.1:8000", False),
        ("http://localhost", False),
        ("https://far", False),
        ("http://far", True),
        ("http://[::1]:80", False),
    ],
)
def test_a_token_in_clear_over_a_network_is_noticed(server: str, in_clear: bool) -> None:
    assert Credentials(server, "t").in_clear is in_clear


def test_log_keys_are_remembered_by_the_logs_name(home: Path) -> None:
    assert credentials.known_log_key("a") is None
    credentials.remember_log_key("a", "a+1+x")
    credentials.remember_log_key("b", "b+1+x")
    credentials.remember_log_key("a", "a+2+x")
    assert (credentials.known_log_key("a"), credentials.known_log_key("b")) == ("a+2+x", "b+1+x")
    assert json.loads((home / "known_logs.json").read_text()) == {"a": "a+2+x", "b": "b+1+x"}


def test_without_an_absolute_xdg_folder_the_home_folder_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CONFIG_HOME", value)
        assert credentials.folder() == tmp_path / ".config" / "banyan"
