"""The Python SDK: one method for each thing a person may ask of a Banyan server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from banyan import credentials
from banyan.connection import Connection, asset_path, segment
from banyan.errors import Refused
from banyan.file_kind import LOOKED_AT, check_hev, check_kind, format_of
from banyan.job import RELEASED, Job
from banyan.jobfile import JobFile, load_job
from banyan.plan import Plan
from banyan.policies import YAML, Policies
from banyan.result import Result
from banyan.textfile import place_told, read_bytes, read_text, unreadable

_CHUNK_BYTES = 1 << 20
RECEIPT_PENDING = "receipt.pending"
_RECEIPT_PAUSE = 0.2
Progress = Callable[[int, int], None]


class Client:
    """A connection to one server, with the token of one person.

    Server and token come from the arguments, else from BANYAN_SERVER and BANYAN_TOKEN, else from `banyan login`. Every method
    raises an error of `banyan.errors`. `transport` replaces the network in tests.
    """

    def __init__(
        self, server: str | None = None, token: str | None = None, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._connection = Connection(credentials.find(server, token), transport)
        self.policies = Policies(self._connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the sockets."""
        self._connection.close()

    @property
    def server(self) -> str:
        """The address spoken to."""
        return self._connection.server

    def server_now(self) -> datetime | None:
        """The server's present time as its answers told it, exact to a second."""
        return self._connection.server_now()

    def whoami(self) -> dict[str, Any]:
        """Who the token speaks for, and in which roles."""
        return self._connection.json("GET", "/v1/whoami")

    # Assets

    def assets(self, search: str = "") -> list[dict[str, Any]]:
        """The catalogue's assets whose name, title or columns hold `search`."""
        return self._connection.items("/v1/assets", params={"search": search} if search else {})

    def asset(self, name: str) -> dict[str, Any]:
        """One asset's declaration and newest version."""
        return self._connection.json("GET", asset_path(name))

    def register(self, declaration: str | Path) -> dict[str, Any]:
        """Register the asset that a declaration file declares. Raises Refused with the place in the file."""
        path = Path(declaration)
        text = read_text(path)
        try:
            return self._connection.json(
                "POST", "/v1/assets", params={"filename": path.name}, content=text.encode(), headers=YAML
            )
        except Refused as refused:
            refused.excerpt = place_told(path.name, text, refused.where)
            raise

    def ingest(
        self, asset: str, path: str | Path, *, file_format: str | None = None, progress: Progress | None = None
    ) -> dict[str, Any]:
        """Stream a data file as a new version of `asset`; `progress` is called with bytes sent and bytes in all.

        `file_format` is csv, parquet or arrow for rows, or hev for what `banyan encrypt` wrote. Raises Refused before a byte is sent for
        what the asset does not take (`asset.encrypted`, `asset.not_encrypted`, `upload.not_hev`).
        """
        path = Path(path)
        file_format = file_format or format_of(path)
        check_kind(path, read_bytes(path, LOOKED_AT), file_format, self.asset(asset))
        return self._sent("POST", asset_path(asset) + "/versions", path, {"format": file_format}, progress)

    def _sent(
        self, method: str, url: str, path: Path, params: Mapping[str, str], progress: Progress | None
    ) -> dict[str, Any]:
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                chunks = _chunks(file.read, size, progress)
                return self._connection.upload(method, url, chunks, size, params)
        except OSError as problem:
            raise unreadable(path, problem) from None

    def calls(self, asset: str) -> list[dict[str, Any]]:
        """What waiting jobs ask of the provider of an encrypted asset that is not stored, the oldest first."""
        return list(self._connection.json("GET", f"{asset_path(asset)}/calls")["items"])

    def call(self, asset: str, job: str) -> dict[str, Any]:
        """What one waiting job asks of the provider of an asset."""
        return self._connection.json("GET", f"{asset_path(asset)}/calls/{segment(job)}")

    def contribute(self, asset: str, job: str, path: str | Path, *, progress: Progress | None = None) -> dict[str, Any]:
        """Send what `banyan encrypt --job` wrote for a job; anything else is refused before a byte is sent."""
        path = Path(path)
        check_hev(path, read_bytes(path, LOOKED_AT))
        return self._sent("PUT", f"{asset_path(asset)}/calls/{segment(job)}", path, {}, progress)

    def context(self, asset: str) -> bytes:
        """The key holder's signed public context under which the provider of an encrypted asset encrypts."""
        return self._connection.content(f"{asset_path(asset)}/context")

    def report(self, asset: str, version: int) -> dict[str, Any]:
        """What an ingest rejected, by column and reason; for operators, and each reading is an event in the log."""
        return self._connection.json("GET", f"{asset_path(asset)}/versions/{version}/report")

    def mock(self, asset: str, rows: int, *, seed: int | None = None, file_format: str = "parquet") -> bytes:
        """Exactly `rows` made-up rows in the declared form, as a Parquet or CSV file."""
        params = {"rows": rows, "format": file_format} | ({} if seed is None else {"seed": seed})
        return self._connection.content(f"{asset_path(asset)}/mock", params=params)

    # Jobs

    def plan(self, job: str | Path | Mapping[str, Any]) -> Plan:
        """What a job (a YAML file's path, or a mapping with its fields) would cost and give. Touches no data."""
        with _placed(load_job(job)) as file:
            return Plan(self._connection.json("POST", "/v1/plans", json=file.body))

    def submit(self, job: str | Path | Mapping[str, Any], *, mock: bool = False) -> Job:
        """Submit a job; with `mock`, run it on made-up rows at no cost."""
        with _placed(load_job(job)) as file:
            params = {"mock": "true" if mock else "false"}
            return Job(self, self._connection.json("POST", "/v1/jobs", params=params, json=file.body))

    def job(self, job_id: str) -> Job:
        """One job of the caller."""
        return Job(self, self._connection.json("GET", f"/v1/jobs/{segment(job_id)}"))

    def jobs(self) -> list[Job]:
        """The caller's jobs."""
        return [Job(self, view) for view in self._connection.items("/v1/jobs")]

    def cancel(self, job_id: str) -> Job:
        """Ask for a job to be ended."""
        return Job(self, self._connection.json("POST", f"/v1/jobs/{segment(job_id)}/cancel"))

    def result(self, job_id: str) -> Result:
        """What a job released."""
        data = self._connection.json("GET", f"/v1/jobs/{segment(job_id)}/result", params={"format": "json"})
        return Result(data, lambda: self.result_file(job_id, "parquet"))

    def result_file(self, job_id: str, file_format: str) -> bytes:
        """What a job released, as the server writes it: json, csv or parquet."""
        return self._connection.content(f"/v1/jobs/{segment(job_id)}/result", params={"format": file_format})

    def receipt(self, job_id: str, *, patience: float = 10.0) -> dict[str, Any]:
        """The signed proof of how a job's release came about.

        It is complete when the log's next checkpoint is signed, a moment after the release: that is waited for.
        """
        began = time.monotonic()
        while True:
            try:
                return self._connection.json("GET", f"/v1/jobs/{segment(job_id)}/receipt")
            except Refused as refused:
                if refused.code != RECEIPT_PENDING or time.monotonic() - began > patience:
                    raise
                if self.job(job_id).state != RELEASED:
                    raise
            time.sleep(_RECEIPT_PAUSE)

    def budget(self) -> list[dict[str, Any]]:
        """Each population's limit, what is spent and left, and the caller's own part."""
        return self._connection.items("/v1/budget")

    # The log

    def checkpoint(self) -> str:
        """The log's newest checkpoint, a signed note."""
        return self._connection.content("/v1/log/checkpoint").decode("utf-8", "replace")

    def log_key(self) -> str:
        """The verifier key of the log. Trust it as far as you trust this connection."""
        return self._connection.content("/v1/log/key").decode("utf-8", "replace").strip()

    def log_entries(self, start: int = 0, limit: int = 100) -> dict[str, Any]:
        """The log's size, and its entries from `start` on; for auditors."""
        return self._connection.json("GET", "/v1/log/entries", params={"start": start, "limit": limit})


@contextmanager
def _placed(file: JobFile) -> Iterator[JobFile]:
    """A refusal that passes through learns its place in the job file."""
    try:
        yield file
    except Refused as refused:
        file.located(refused)
        raise


def _chunks(read: Callable[[int], bytes], size: int, progress: Progress | None) -> Iterator[bytes]:
    sent = 0
    while sent < size and (chunk := read(min(_CHUNK_BYTES, size - sent))):
        yield chunk
        sent += len(chunk)
        if progress is not None:
            progress(sent, size)
    if sent < size:
        raise Refused("file.changed", "the file became shorter while it was being sent", way_out="send it again")
