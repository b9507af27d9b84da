"""Runs containers on a Docker engine: how they are started, attended and ended. The only module that speaks Docker."""

from __future__ import annotations

import contextlib
import functools
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.client import CONFLICT, NOT_FOUND
from typing import Any, Final

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException, NotFound

from core.errors import Invalid, Unavailable
from sandbox import failure
from sandbox.hardening import Config, engine_config
from sandbox.runtime import FLOOD_BYTES, INSTRUCTION_BYTES, POLL_SECONDS, SEALED_BYTES, End, Outcome
from sandbox.spec import LABELS, ContainerSpec, check_labels
from sandbox.streams import BrokenStream, Streams

# Longest wait, in seconds, for one answer of the engine, and for a killed container to be gone.
ENGINE_SECONDS: Final = 30
GONE_SECONDS: Final = 30
_PIECE_BYTES: Final = 1 << 16


class DockerRuntime:
    """The Runtime port on a Docker engine; the port's text says what it does, sandbox.hardening how it confines.

    url          where the engine listens, such as unix:///var/run/docker.sock
    oci_runtime  name of an OCI runtime that the engine has (runsc, kata, crun), for specifications that name none; None for
                 the engine's default

    Holds no connection, so it can be sent to another process; each process has one client for each url.
    """

    def __init__(self, url: str, oci_runtime: str | None = None) -> None:
        self._url = url
        self._oci_runtime = oci_runtime

    def run(self, spec: ContainerSpec, instruction: bytes, cancelled: Callable[[], bool]) -> Outcome:
        """See Runtime.run."""
        if len(instruction) > INSTRUCTION_BYTES:
            raise Invalid("container.invalid", "the instruction is too long", where={"field": "instruction"})
        if cancelled():
            return Outcome(End.CANCELLED, b"", b"")
        container = self._made(spec)
        try:
            outcome = container.attended(spec, instruction, cancelled)
        except BaseException:
            with contextlib.suppress(Unavailable):
                container.end()
            raise
        container.end()
        if outcome.end is End.FAILED:
            self._check_alive()
        return outcome

    def _check_alive(self) -> None:
        """Raises Unavailable if the engine is shutting down.

        It then ends containers itself, which must not look like programs that failed: their blocks would be released as
        defaults. It stops listening before it ends the first one (seen on 20.10).
        """
        with _speaking():
            self._client().ping()

    def _made(self, spec: ContainerSpec) -> _Container:
        with _speaking(explain=True):
            api = self._client()
            try:
                made = api.create_container_from_config(self._config(spec))  # type: ignore[no-untyped-call]  # the stubs lack it
            except NotFound:
                raise failure.image_missing(spec.image) from None
        return _Container(api, made["Id"])

    def _client(self) -> docker.APIClient:
        _knock(self._url)
        return _client(self._url, os.getpid())

    def _config(self, spec: ContainerSpec) -> Config:
        config = engine_config(spec)
        if chosen := spec.oci_runtime or self._oci_runtime:
            config["HostConfig"]["Runtime"] = chosen
        return config

    def remove(self, labels: Mapping[str, str]) -> int:
        """See Runtime.remove."""
        found = self._found(labels)
        for entry in found:
            with _speaking():
                container = _Container(self._client(), entry["Id"])
            container.end()
        return len(found)

    def listing(self, labels: Mapping[str, str]) -> list[dict[str, str]]:
        """See Runtime.listing."""
        return [
            # An image's labels show among those of its containers.
            {key: value for key, value in (entry.get("Labels") or {}).items() if key in LABELS}
            for entry in self._found(labels)
        ]

    def _found(self, labels: Mapping[str, str]) -> list[Any]:
        check_labels(labels)
        wanted = [f"{key}={value}" for key, value in labels.items()]
        with _speaking():
            return list(self._client().containers(all=True, filters={"label": wanted}))

    def image_id(self, reference: str) -> str | None:
        """See Runtime.image_id."""
        with _speaking():
            try:
                return str(self._client().inspect_image(reference)["Id"])  # type: ignore[no-untyped-call]  # the stubs lack it
            except NotFound:
                return None


class _Removed(Exception):
    """Somebody removed the container before it was started: an end like any other."""


class _Container:
    """One container that was made: started, attended, ended."""

    def __init__(self, api: docker.APIClient, identity: str) -> None:
        self._api, self._id = api, identity
        self._gone = threading.Event()
        self._exit_code: int | None = None

    def attended(self, spec: ContainerSpec, instruction: bytes, cancelled: Callable[[], bool]) -> Outcome:
        """Starts it and stays with it until it has ended or must be ended; see Runtime.run. Raises Unavailable."""
        streams = Streams(spec.output_bytes, SEALED_BYTES, FLOOD_BYTES)
        with contextlib.suppress(_Removed):
            return self._from_start_to_end(spec, instruction, streams, cancelled)
        return Outcome(End.FAILED, b"", b"")

    def _from_start_to_end(
        self, spec: ContainerSpec, instruction: bytes, streams: Streams, cancelled: Callable[[], bool]
    ) -> Outcome:
        with self._attached() as channel:
            self._watch()
            with self._speaking_of_it():
                self._api.start(self._id)
            deadline = time.monotonic() + spec.wall_seconds
            end = self._converse(channel, instruction, streams, deadline, cancelled)
        # Only now, with the attach stream closed, may anybody kill it: an open stream that nobody reads keeps the engine from
        # noticing that the process is dead (20.10; kill and wait then hang for minutes).
        return Outcome(end or self._ended(deadline, cancelled), streams.output, streams.sealed)

    @contextlib.contextmanager
    def _attached(self) -> Iterator[socket.socket]:
        """stdin, stdout and stderr of the container as one stream. Attached before the start, so that no byte is missed."""
        with self._speaking_of_it():
            attached: Any = self._api.attach_socket(
                self._id, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
            )
        # Over HTTP (unix and tcp) the SDK hands out a SocketIO with the hijacked socket and the response inside.
        channel: socket.socket = attached._sock  # noqa: SLF001 - the SDK has no public name for it
        channel.setblocking(False)
        try:
            yield channel
        finally:
            with contextlib.suppress(OSError):
                channel.shutdown(socket.SHUT_RDWR)
            attached._response.close()  # noqa: SLF001 - the SDK keeps the connection alive through it
            channel.close()

    def _watch(self) -> None:
        """Asks the engine to say when the container is gone, and with which exit code.

        Asked before the start: an auto-removed container can be gone before anybody could ask after it. The engine answers
        with its headers at once and with the body at the end, so the question has arrived when this returns.
        """
        with self._speaking_of_it():
            answer = self._api.post(
                f"{self._api.base_url}/v{self._api.api_version}/containers/{self._id}/wait",
                params={"condition": "removed"},
                stream=True,
                timeout=(ENGINE_SECONDS, None),
            )
            if not answer.ok:
                answer.close()
                raise APIError(answer.reason, response=answer)
        threading.Thread(target=self._await, args=(answer,), name=f"banyan-wait-{self._id[:12]}", daemon=True).start()

    def _await(self, answer: requests.Response) -> None:
        with contextlib.closing(answer), contextlib.suppress(OSError, ValueError, urllib3.exceptions.HTTPError):
            said = answer.json()
            if not said.get("Error"):
                self._exit_code = int(said["StatusCode"])
        self._gone.set()

    @contextlib.contextmanager
    def _speaking_of_it(self) -> Iterator[None]:
        """As `_speaking`, for what comes before the start; raises _Removed where the container was removed meanwhile."""
        with _speaking(explain=True):
            try:
                yield
            except APIError as problem:
                if problem.response is not None:
                    problem.response.close()  # the SDK leaves it open where it was to become a stream
                if problem.status_code == CONFLICT or (problem.status_code == NOT_FOUND and not self._exists()):
                    raise _Removed from None
                raise

    def _exists(self) -> bool:
        try:
            self._api.inspect_container(self._id)
        except NotFound:
            return False
        return True

    def _converse(
        self,
        channel: socket.socket,
        instruction: bytes,
        streams: Streams,
        deadline: float,
        cancelled: Callable[[], bool],
    ) -> End | None:
        """Writes the instruction and reads both streams, at once; why to end it, or None when it has closed them."""
        conversation = _Conversation(channel, instruction, streams)
        next_question = time.monotonic() + POLL_SECONDS
        with contextlib.closing(conversation):
            while True:
                now = time.monotonic()
                if now >= deadline:
                    return End.TIMED_OUT
                if now >= next_question:
                    if cancelled():
                        return End.CANCELLED
                    if self._gone.is_set() and self._exit_code is None:
                        raise failure.unreachable()
                    next_question = now + POLL_SECONDS
                if not conversation.step(min(next_question, deadline) - now):
                    return None
                if streams.exceeded:
                    return End.OUTPUT_EXCEEDED

    def _ended(self, deadline: float, cancelled: Callable[[], bool]) -> End:
        """The end of a container that has closed its streams. It may have done that and live on: the wall limit holds."""
        while not self._gone.wait(max(0.0, min(POLL_SECONDS, deadline - time.monotonic()))):
            if cancelled():
                return End.CANCELLED
            if time.monotonic() >= deadline:
                return End.TIMED_OUT
        if self._exit_code is None:
            raise failure.unreachable()
        return failure.end_of(self._exit_code)

    def end(self) -> None:
        """Kills it if it runs, and removes it; it does not exist afterwards. Idempotent. Raises Unavailable.

        The kill is SIGKILL: a program can ignore SIGTERM, and `stop` would wait for it.
        """
        deadline = time.monotonic() + GONE_SECONDS
        while self._exit_code is None:
            with _speaking():
                try:
                    self._api.remove_container(self._id, force=True, v=True)
                except NotFound:
                    return
                except APIError as problem:
                    # The engine's own removal is under way (auto-remove), or it has not yet seen the process die.
                    if problem.status_code != CONFLICT or time.monotonic() > deadline:
                        raise
                else:
                    return
            time.sleep(POLL_SECONDS / 5)


class _Conversation:
    """Both directions of an attach stream, a step at a time, so that neither side can block the other."""

    def __init__(self, channel: socket.socket, instruction: bytes, streams: Streams) -> None:
        self._channel, self._unsent, self._streams = channel, memoryview(instruction), streams
        self._selector = selectors.DefaultSelector()
        self._selector.register(channel, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def step(self, seconds: float) -> bool:
        """Moves what can be moved now, waiting at most `seconds`. False when the other side has closed."""
        for _, events in self._selector.select(max(0.0, seconds)):
            if events & selectors.EVENT_WRITE:
                self._write()
            if events & selectors.EVENT_READ:
                return self._read()
        return True

    def _write(self) -> None:
        try:
            self._unsent = self._unsent[self._channel.send(self._unsent[:_PIECE_BYTES]) :]
        except BlockingIOError:
            return
        except OSError:
            # It does not read its instruction: that is its affair, and what it has written is still to be read.
            self._unsent = self._unsent[:0]
        if not self._unsent:
            # stdin stays open: its end would tell PID 1 that this process is gone.
            self._selector.modify(self._channel, selectors.EVENT_READ)

    def _read(self) -> bool:
        try:
            data = self._channel.recv(_PIECE_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        try:
            self._streams.feed(data)
        except BrokenStream as problem:
            raise failure.unreachable(problem) from None
        return bool(data)

    def close(self) -> None:
        """Lets go of the selector; the channel is its owner's."""
        self._selector.close()


@functools.cache
def _client(url: str, _process: int) -> docker.APIClient:
    """The one client of this process for `url`. A forked child has another process id and so does not share a connection."""
    return docker.APIClient(base_url=url, version="auto", timeout=ENGINE_SECONDS)


def _knock(url: str) -> None:
    """Raises OSError where nobody listens. The SDK finds that out as well, but leaks a socket each time (7.2.0)."""
    scheme, _, path = url.partition("://")
    if scheme == "unix":
        with socket.socket(socket.AF_UNIX) as knocking:
            knocking.settimeout(ENGINE_SECONDS)
            knocking.connect(path)


@contextlib.contextmanager
def _speaking(*, explain: bool = False) -> Iterator[None]:
    """Turns whatever goes wrong between us and the engine into Unavailable.

    explain: keep the engine's explanation for the operator; only where the program has not run yet, see failure.refused.
    """
    try:
        yield
    except APIError as problem:
        raise failure.refused(problem.status_code, str(problem.explanation) if explain else "") from None
    except (DockerException, OSError, urllib3.exceptions.HTTPError) as problem:
        raise failure.unreachable(problem) from None
