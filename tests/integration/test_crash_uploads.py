"""Uploads lie in the clear while they are read: nothing of them outlives its server, and no server harms another's."""

import socket
import time

import pytest

from tests.town import ROWS, STOP_SECONDS, until

pytestmark = pytest.mark.docker


class Upload:
    """A version that is being sent slowly."""

    def __init__(self, town):
        self._body = ROWS.encode()
        self._socket = socket.create_connection(("127.0.0.1", town.port), timeout=60)
        head = (
            "POST /v1/assets/traffic/rides/versions?format=csv HTTP/1.1\r\nHost: here\r\nConnection: close\r\n"
            f"Authorization: Bearer {town.tokens['olga']}\r\nContent-Length: {len(self._body)}\r\n\r\n"
        )
        self._socket.sendall(head.encode() + self._body[:1000])
        until(town.plaintext)

    def finish(self):
        """Send the rest; the status of the answer."""
        self._socket.sendall(self._body[1000:])
        answer = b""
        while piece := self._socket.recv(65536):
            answer += piece
        self._socket.close()
        return int(answer.split()[1])

    def give_up(self):
        self._socket.close()


@pytest.mark.slow
def test_uploads_outlive_no_server_and_are_safe_from_the_one_beside(another_town):
    first, second = another_town.start(wait=False), another_town.beside()
    upload = Upload(first)
    second.start(wait=False)
    assert upload.finish() == 201
    assert first.rows("SELECT number FROM asset_versions ORDER BY number") == [{"number": 1}, {"number": 2}]
    until(lambda: not first.plaintext(), 5)

    upload = Upload(first)
    first.kill()
    upload.give_up()
    assert first.plaintext()
    first.start(wait=False)
    assert not first.plaintext()

    upload, begun = Upload(first), time.monotonic()
    assert first.stop() == 0
    assert time.monotonic() - begun < STOP_SECONDS
    assert not first.plaintext()
    upload.give_up()
    assert len(second.rows("SELECT number FROM asset_versions")) == 2
