"""What one researcher sees of a server, from the first look at the catalogue to the receipts, in a form in which two can be compared.

Taken out is only what is random by promise: identifiers, digests, signatures, salts, wall-clock times, and the noised figures of
released tables. Statuses, headers, texts, orders, lengths, states and what follows what all stay.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow.parquet as pq

from tests.api_world import job

ID = re.compile(r"\b[jrvsytpn]-[2-9a-hjkmnp-z]{16}\b")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
MOMENT = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
PLANNED = re.compile(r"\b\d\d:\d\d:\d\d\b")
FINAL = {"released", "refused", "cancelled", "failed"}
PUBLIC = job(query="SELECT result, COUNT(*) AS n, SUM(cost) AS total, AVG(cost) AS mean FROM visits GROUP BY result")
PRIVATE = job(query="SELECT clinic, COUNT(*) AS n FROM visits GROUP BY clinic", epsilon="1", delta="1e-7")
CANCELLED = job(query="SELECT COUNT(DISTINCT pid) AS n FROM visits", epsilon="0.3")
REFUSED: Mapping[str, dict[str, Any]] = {
    "syntax": job(query="SELECT COUNT(* FROM visits"),
    "not allowed": job(query="SELECT MAX(age) AS a FROM visits"),
    "unit": job(query="SELECT pid, COUNT(*) AS n FROM visits GROUP BY pid"),
    "unknown column": job(query="SELECT COUNT(ages) AS n FROM visits"),
    "unbounded": job(query="SELECT SUM(weight) AS s FROM visits"),
    "no delta": PRIVATE | {"delta": 0},
    "epsilon": job(epsilon="0"),
    "too dear": job(epsilon="5"),
    "purpose": job(purpose="audit"),
    "policy": job(policy="other"),
    "asset": job(asset="medical/other"),
    "malformed": {"asset": 1},
}
ADDRESSES = (
    "/v1/whoami", "/v1/assets", "/v1/assets?search=visits", "/v1/assets/medical/visits", "/v1/assets/medical/other", "/v1/policies",
    "/v1/policies/visits-research", "/v1/policies/other", "/v1/budget", "/v1/log/checkpoint", "/v1/log/key", "/v1/log/entries",
    "/v1/jobs", "/v1/assets/medical/visits/versions/1/report", "/v1/assets/medical/visits/mock?rows=20&format=csv",
    "/v1/assets/medical/visits/mock?rows=20", "/v1/assets/medical/visits/mock?rows=0", "/v1/jobs/j-2222222222222222", "/v1/nothing",
)  # fmt: skip
PLACES = ("", "/result", "/result?format=csv", "/result?format=parquet", "/result?format=xml", "/receipt", "/sealed")


class Researcher:
    """One person on one server. `call(method, path, body)` asks it, `pause()` lets time go by.

    On a real server `quiet()` waits until a checkpoint covers the log; and since nobody can tell how soon a queue is looked at there,
    what is shown while a job is queued is left out.
    """

    def __init__(
        self, call: Callable[[str, str, Any], Any], pause: Callable[[], None], quiet: Callable[[], None] | None = None
    ) -> None:
        self._call, self._pause, self._quiet = call, pause, quiet
        self.seen: list[tuple[str, Any]] = []

    def ask(self, label: str, method: str, path: str, body: Any = None) -> Any:
        """One request; what came back is noted under `label`."""
        answer = self._call(method, path, body)
        self.seen.append((f"{label}: {method} {path}", answer))
        return answer

    def look_around(self, label: str) -> None:
        if self._quiet is not None:
            self._quiet()
        for address in ADDRESSES:
            self.ask(label, "GET", address)

    def plan(self) -> None:
        for name, document in {"public": PUBLIC, "private": PRIVATE, "cancelled": CANCELLED, **REFUSED}.items():
            self.ask(f"plan {name}", "POST", "/v1/plans", document)

    def submit(self, label: str, document: Mapping[str, Any], mock: str = "false") -> str:
        return str(self.ask(label, "POST", f"/v1/jobs?mock={mock}", dict(document)).json["id"])

    def look_at(self, label: str, job_id: str) -> None:
        for place in PLACES:
            self.ask(label, "GET", f"/v1/jobs/{job_id}{place}")

    def follow(self, label: str, job_id: str, then: Callable[[str], None] | None = None) -> None:
        """Poll a job to its end; each change of what is shown is noted once. `then` is done when it first runs."""
        before = None
        for _ in range(4000):
            answer = self._call("GET", f"/v1/jobs/{job_id}", None)
            view = answer.json
            shown = (view["state"], re.sub(PLANNED, "T", view["waiting"] or ""))
            if shown != before and (self._quiet is None or view["state"] != "queued"):
                self.seen.append((f"{label} is now", answer))
                if view["state"] == "running" and then is not None:
                    then(job_id)
                    then = None
            before = shown
            if view["state"] in FINAL:
                return
            self._pause()
        raise AssertionError(f"{label} does not end")

    def settle(self, job_id: str) -> None:
        """Wait for the checkpoint that completes a receipt."""
        for _ in range(4000):
            if self._call("GET", f"/v1/jobs/{job_id}/receipt", None).code != "receipt.pending":
                return
            self._pause()

    def whole_story(self) -> None:
        """Everything that a researcher can call, in every state of a job."""
        self.look_around("at first")
        self.plan()
        for name, document in REFUSED.items():
            self.ask(f"submit {name}", "POST", "/v1/jobs", document)
        self.story()
        self.run("again", PUBLIC)
        self.cancelled()
        mock = self.submit("mock", PUBLIC, "true")
        self.follow("mock", mock)
        self.look_at("mock released", mock)
        self.plan()
        self.look_around("at last")

    def story(self) -> None:
        """One job with public keys, watched closely, and one with private keys."""
        first = self.submit("public", PUBLIC)
        if self._quiet is None:
            self.look_at("public queued", first)
        self.follow("public", first, lambda job_id: self.look_at("public running", job_id))
        self.settle(first)
        self.look_at("public released", first)
        self.ask("too late", "POST", f"/v1/jobs/{first}/cancel")
        self.run("private", PRIVATE)
        self.look_around("after both")

    def run(self, label: str, document: Mapping[str, Any]) -> None:
        made = self.submit(label, document)
        self.follow(label, made)
        self.settle(made)
        self.look_at(f"{label} released", made)

    def cancelled(self) -> None:
        made = self.submit("cancelled", CANCELLED)
        self.follow("cancelled", made, lambda job_id: self.ask("cancel", "POST", f"/v1/jobs/{job_id}/cancel"))
        self.look_at("cancelled", made)


class Comparable:
    """Puts the same words in place of what is random; an identifier keeps its number, so that who refers to whom stays."""

    def __init__(self, *, times: bool) -> None:
        self._times, self._names = times, {}

    def transcript(self, seen: list[tuple[str, Any]]) -> list[Any]:
        return [
            (self.text(label), answer.status, self._headers(label, answer), self._body(answer))
            for label, answer in seen
        ]

    def text(self, text: str) -> str:
        text = ID.sub(lambda found: self._names.setdefault(found[0], f"{found[0][0]}-#{len(self._names)}"), text)
        text = DIGEST.sub("DIGEST", text)
        return text if self._times else PLANNED.sub("HH:MM:SS", MOMENT.sub("MOMENT", text))

    def _headers(self, label: str, answer: Any) -> dict[str, str]:
        found = {name: value for name, value in answer.headers.items() if name != "date"}
        if answer.status == 200 and "/result" in label:
            found.pop("content-length", None)  # the figures have more digits or fewer
        return found

    def _body(self, answer: Any) -> Any:
        kind = answer.headers.get("content-type", "")
        if kind.startswith("application/vnd.apache.parquet"):
            return self._parquet(answer.body)
        if kind.startswith("text/csv"):
            return self._csv(answer.body.decode())
        if kind.startswith("text/plain"):
            return self.note(answer.body.decode())
        return self.value(json.loads(answer.body))

    def value(self, value: Any) -> Any:
        """A JSON value; a released table and a receipt are opened first."""
        if isinstance(value, dict):
            if value.get("schema") == "banyan.table/1":
                value = value | {"rows": list(_rows(value))}
            if value.get("schema") == "banyan.receipt/1":
                value = value | self._receipt(value)
            return {self.text(name): self.value(part) for name, part in value.items()}
        if isinstance(value, list):
            return [self.value(part) for part in value]
        return self.text(value) if isinstance(value, str) else value

    def _receipt(self, receipt: Mapping[str, Any]) -> dict[str, Any]:
        entry = json.loads(base64.b64decode(receipt["entry"]["bytes"]))
        return {
            "entry": {"index": receipt["entry"]["index"], "bytes": entry},
            "output": {"salt": len(receipt["output"]["salt"]), "digest": "DIGEST"},
            "inclusion": [len(node) for node in receipt["inclusion"]],
            "checkpoint": self.note(receipt["checkpoint"]),
            "log_key": self.note(receipt["log_key"]),
        }

    def note(self, text: str) -> str:
        """A signed note or a key: its origin and size stay."""
        return self.text(re.sub(r"[A-Za-z0-9+/]{43,}={0,2}", "BASE64", re.sub(r"\+[0-9a-f]{8}\+", "+KEY+", text)))

    def _csv(self, text: str) -> list[Any]:
        """Mock data as it is; of a result the names, and the keys of its rows if they are public."""
        lines = list(csv.reader(io.StringIO(text)))
        if "pid" in lines[0]:
            return lines
        return [lines[0], [line[0] for line in lines[1:]] if lines[0][0] == "result" else []]

    def _parquet(self, data: bytes) -> Any:
        table = pq.read_table(io.BytesIO(data))
        if "pid" in table.column_names:
            return data
        told = json.loads(table.schema.metadata[b"banyan"])
        keys = table.column(0).to_pylist() if table.column_names[0] == "result" else []
        return str(table.schema.remove_metadata()), self.value(told), keys


def _rows(table: Mapping[str, Any]) -> Iterator[Any]:
    """Rows with the kinds of their figures; of a table whose keys passed a threshold, none: which ones pass is noise as well."""
    if any(column["role"] == "key" and column["name"] != "result" for column in table["columns"]):
        return
    for row in table["rows"]:
        yield {name: dict.fromkeys(cell, "a figure") if isinstance(cell, dict) else cell for name, cell in row.items()}


def log_of(entries: list[dict[str, Any]], form: Comparable) -> list[Any]:
    """The entries as an auditor reads them, in a comparable form."""
    return [form.value(entry) for entry in entries]
