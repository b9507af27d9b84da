"""Whose failure is it: what a dying, refusing or talkative engine does is ours, and carries nothing that a program wrote.

An engine that dies between the start and the end of a container once looked exactly like a program that failed: its blocks
would have been released as their defaults. So the engine here is a script that can stop at any point.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import Unavailable
from sandbox.docker_runtime import DockerRuntime
from sandbox.runtime import End, Outcome
from sandbox.spec import OWNER, ContainerSpec

SECRET = "value-of-a-protected-row"
SPEC = ContainerSpec(
    image="sha256:" + "a" * 64, command=("program",), labels={OWNER: "test"}, wall_seconds=5.0, output_bytes=100
)


class ScriptedEngine:
    """Speaks just enough of the Docker Engine API on a Unix socket, and misbehaves as told.

    answers   (method and last word of the path) -> list of (status, explanation), the last one repeated
    streams   what the attach stream carries before it closes; None keeps it open until the container is removed
    exit_code what `wait` says once the stream is closed or the container removed; None closes the connection instead
    wait_dies `wait` does so right after the start, while the stream stays open
    """

    def __init__(self, folder: Path) -> None:
        self.url = f"unix://{folder}/engine.sock"
        self.answers: dict[str, list[tuple[int, str]]] = {}
        self.streams: bytes | None = b""
        self.exit_code: int | None = 0
        self.wait_dies = False
        self.asked: list[str] = []
        self._started, self._over, self._connections = threading.Event(), threading.Event(), []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(f"{folder}/engine.sock")
        self._listening.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def stop_listening(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listening.close()

    def close(self) -> None:
        self._started.set()
        self._over.set()
        self.stop_listening()
        for connection in self._connections:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection.makefile("rb") as requests:
                while line := requests.readline():
                    method, path, _ = line.decode().split(" ")
                    headers = {}
                    while (header := requests.readline().decode().strip()) != "":
                        name, _, value = header.partition(":")
                        headers[name.lower()] = value.strip()
                    requests.read(int(headers.get("content-length", 0)))
                    if not self._answer(connection, method, path.partition("?")[0].rstrip("/").rpartition("/")[2]):
                        return
        except OSError:
            pass
        finally:
            connection.close()

    def _answer(self, connection: socket.socket, method: str, word: str) -> bool:
        what = f"{method} {word}"
        self.asked.append(what)
        planned = self.answers.get(what, [])
        status, explanation = (planned.pop(0) if len(planned) > 1 else planned[0]) if planned else (0, "")
        if what == "POST start":
            self._started.set()
        if status < 0:
            return False
        if status:
            self._say(connection, status, {"message": explanation})
        elif what == "GET version":
            self._say(connection, 200, {"ApiVersion": "1.41"})
        elif what == "POST create":
            self._say(connection, 201, {"Id": "c" * 64, "Warnings": []})
        elif what == "POST attach":
            connection.sendall(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
            self._started.wait(5)
            self._stream(connection)
            return False
        elif what == "POST wait":
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            (self._started if self.wait_dies else self._over).wait(10)
            if self.exit_code is None:
                return False
            body = json.dumps({"StatusCode": self.exit_code, "Error": None}).encode()
            connection.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        elif what == "GET _ping":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")
        elif what == f"DELETE {'c' * 64}":
            self._over.set()
            self._say(connection, 204, None)
        else:
            self._say(connection, 204, None)
        return True

    def _stream(self, connection: socket.socket) -> None:
        if self.streams is None:
            self._over.wait(10)
        else:
            connection.sendall(self.streams)
            self._over.set()

    @staticmethod
    def _say(connection: socket.socket, status: int, body: object) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n"
        length = "" if body is None else f"Content-Length: {len(data)}\r\n"
        connection.sendall(f"{head}{length}\r\n".encode() + data)


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    with tempfile.TemporaryDirectory(prefix="bn") as folder:  # a short path: AF_UNIX holds 107 bytes
        made = ScriptedEngine(Path(folder))
        yield made
        made.close()


def frame(side: int, data: bytes) -> bytes:
    return struct.pack(">BxxxI", side, len(data)) + data


def run(engine: ScriptedEngine, **changes: object) -> Outcome:
    spec = ContainerSpec(**{name: getattr(SPEC, name) for name in SPEC.__dataclass_fields__} | changes)
    return DockerRuntime(engine.url).run(spec, b"instruction", lambda: False)


def failed(engine: ScriptedEngine) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        run(engine)
    problem = caught.value
    told = [
        str(problem),
        repr(problem),
        problem.text,
        str(problem.detail),
        str(problem.where),
        str(problem.way_out),
        str(problem.__cause__),
    ]
    assert not any(SECRET in text for text in told)
    return problem


def test_the_usual_course(engine: ScriptedEngine) -> None:
    engine.streams = frame(1, b"out") + frame(2, b"err") + frame(1, b"put")
    assert run(engine) == Outcome(End.COMPLETED, b"output", b"err")
    assert engine.asked == ["GET version", "POST create", "POST attach", "POST wait", "POST start"]


def test_an_exit_code_is_the_programs(engine: ScriptedEngine) -> None:
    engine.exit_code, engine.streams = 137, frame(1, b"done so far")
    assert run(engine) == Outcome(End.FAILED, b"done so far", b"")
    assert engine.asked[-1] == "GET _ping"


def test_an_engine_that_dies_is_not_a_program_that_failed(engine: ScriptedEngine) -> None:
    engine.exit_code, engine.streams = None, frame(1, SECRET.encode())
    assert failed(engine).code == "engine.unreachable"


def test_an_engine_that_dies_while_the_program_is_silent_is_noticed(engine: ScriptedEngine) -> None:
    engine.exit_code, engine.streams, engine.wait_dies = None, None, True
    started = time.monotonic()
    assert failed(engine).code == "engine.unreachable"
    assert time.monotonic() - started < 2


def test_an_engine_that_shuts_down_is_not_a_program_that_failed(engine: ScriptedEngine) -> None:
    # On SIGTERM the engine stops listening, ends every container, and still says their exit codes to whoever waits (20.10).
    engine.exit_code = 143
    original = engine._stream

    def stream(connection: socket.socket) -> None:
        engine.stop_listening()
        original(connection)

    engine._stream = stream
    assert failed(engine).code == "engine.unreachable"


def test_a_stream_without_sense_is_the_engines_fault(engine: ScriptedEngine) -> None:
    engine.streams, engine.exit_code = frame(9, SECRET.encode()), None
    assert failed(engine).code == "engine.unreachable"
    assert engine.asked[-1] == f"DELETE {'c' * 64}"


def test_a_missing_image(engine: ScriptedEngine) -> None:
    engine.answers["POST create"] = [(404, "No such image: sha256:aa")]
    problem = failed(engine)
    assert (problem.code, problem.where) == ("engine.image_missing", {"image": SPEC.image})


@pytest.mark.parametrize("step", ["POST create", "POST start"])
def test_a_refusal_before_the_program_ran_is_explained_to_the_operator(engine: ScriptedEngine, step: str) -> None:
    engine.answers[step] = [(400, "bind source path does not exist: /data/0\n\x1b[31m" + "x" * 1000)]
    problem = failed(engine)
    assert problem.code == "engine.refused"
    assert problem.detail.startswith("status 400: bind source path does not exist: /data/0  [31m")
    assert len(problem.detail) < 350
    assert "/data/0" not in str(problem.public())


def test_an_explanation_after_the_start_is_dropped(engine: ScriptedEngine) -> None:
    engine.streams = None
    engine.answers[f"DELETE {'c' * 64}"] = [(500, f"could not kill: {SECRET}")]
    with pytest.raises(Unavailable) as caught:
        run(engine, wall_seconds=0.2)
    assert (caught.value.code, caught.value.detail) == ("engine.refused", "status 500: ")


def test_a_removal_that_is_under_way_is_waited_for(engine: ScriptedEngine) -> None:
    engine.streams = None
    engine.answers[f"DELETE {'c' * 64}"] = [(409, "removal of container is already in progress")] * 3 + [
        (404, "No such container")
    ]
    assert run(engine, wall_seconds=0.2).end is End.TIMED_OUT
    assert engine.asked.count(f"DELETE {'c' * 64}") == 4


@pytest.mark.parametrize("step", ["POST attach", "POST wait", "POST start"])
@pytest.mark.parametrize("status", [404, 409])
def test_a_container_removed_before_its_start_has_failed(engine: ScriptedEngine, step: str, status: int) -> None:
    engine.answers[step] = [(status, "No such container, or marked for removal")]
    engine.answers["GET json"] = [(404, "No such container")]
    assert run(engine) == Outcome(End.FAILED, b"", b"")


def test_a_404_about_something_else_is_not_a_removal(engine: ScriptedEngine) -> None:
    engine.answers["POST start"] = [(404, "network none not found")]
    engine.answers["GET json"] = [(200, "still here")]
    assert failed(engine).code == "engine.refused"


def test_the_attach_stream_is_closed_before_the_kill(engine: ScriptedEngine) -> None:
    """An open stream that nobody reads keeps the engine from noticing that the process is dead."""
    order: list[str] = []

    def stream(connection: socket.socket) -> None:
        connection.settimeout(5)
        try:
            while connection.recv(4096):
                pass
        except OSError:
            pass
        order.append("closed")

    original = engine._answer

    def answer(connection: socket.socket, method: str, word: str) -> bool:
        if method == "DELETE":
            time.sleep(0.1)
            order.append("killed")
        return original(connection, method, word)

    engine._stream, engine._answer, engine.exit_code = stream, answer, 137
    assert run(engine, wall_seconds=0.2).end is End.TIMED_OUT
    assert order == ["closed", "killed"]


def test_one_client_serves_a_process(engine: ScriptedEngine) -> None:
    engine.answers["GET json"] = [(404, "No such image")]
    for _ in range(3):
        assert DockerRuntime(engine.url).image_id("x") is None
    assert engine.asked.count("GET version") == 1


@pytest.mark.parametrize(
    ("own", "asked", "chosen"),
    [(None, None, None), ("crun", None, "crun"), (None, "runsc", "runsc"), ("crun", "runsc", "runsc")],
)
def test_the_specification_has_the_last_word_on_the_oci_runtime(own: str, asked: str, chosen: str) -> None:
    config = DockerRuntime("unix:///nowhere.sock", own)._config(replace(SPEC, oci_runtime=asked))
    assert config["HostConfig"].get("Runtime") == chosen
