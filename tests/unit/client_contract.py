"""A small real HTTP server that speaks the REST contract, for tests of the SDK and the command line: state in memory, no room imported."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.unit.receipts_by_hand import Log, receipt_of

TOKEN = "t-secret-of-the-test"
CHINESE = "新冠检测"

TABLE: dict[str, Any] = {
    "schema": "banyan.table/1",
    "columns": [
        {"name": "carrier", "role": "key", "type": "category"},
        {"name": "flights", "role": "value", "type": "int"},
        {"name": "mean_delay", "role": "value", "type": "decimal"},
    ],
    "rows": [
        {
            "carrier": "UA",
            "flights": {"value": 19930, "standard_error": 56.1, "low": 19820, "high": 20040},
            "mean_delay": {"value": 14.2134, "standard_error": 0.45, "low": 13.33, "high": 15.0968},
        },
        {
            "carrier": None,
            "flights": {"value": -3, "standard_error": 56.1, "low": -113, "high": 107},
            "mean_delay": {"value": None, "standard_error": None, "low": None, "high": None},
        },
    ],
    "notes": ["about 2 of 16 carriers were expected to be lost to the threshold"],
}
SENTENCE = "(ε 0.5, δ 1e-8)-DP for each aircraft with all its flights, add/remove one; Gaussian, zCDP"
GUARANTEE = {"epsilon": "0.5", "delta": "0.00000001", "unit": "aircraft"}
PLAN: dict[str, Any] = {
    "asset": "traffic/flights",
    "version": 3,
    "level": "S1",
    "rows": 330000,
    "units": 4000,
    "unit": "tailnum",
    "population": "aircraft",
    "price": {"epsilon": "0.5", "delta": "0.00000001"},
    "left_after": {"population": {"epsilon": "9.5", "of": "10"}, "yours": {"epsilon": "3.5", "of": "4"}},
    "outputs": [
        {"name": "flights", "kind": "count", "noise_95": 109.3, "clipping": "unknown"},
        {"name": "mean_delay", "kind": "avg", "noise_95": None, "clipping": "unknown"},
    ],
    "keys": [{"name": "carrier", "public": False}],
    "cells": None,
    "threshold": {"units": 229.2},
    "bounds": {"max_groups_per_unit": 6, "max_rows_per_group": 60},
    "seconds": 2.0,
    "memory_bytes": 644245094,
    "lanes": 2,
    "tasks": 2,
    "policy": "traffic-research-2026",
    "needs": [],
    "tips": ['"max_groups_per_unit: 2" would cut the noise by 40 %'],
}
PROGRAM = {"name": "delay_regression.py", "digest": "sha256:" + "d" * 64}
PROGRAM_PLAN: dict[str, Any] = {
    **{name: value for name, value in PLAN.items() if name not in ("outputs", "keys", "cells", "threshold", "bounds")},
    "kind": "program",
    "joined": [],
    "outputs": [
        {"name": "per_minute", "kind": "mean", "width": 1, "noise_95": "0.023", "noise_ranks": None},
        {"name": "coefficients", "kind": "mean", "width": 3, "noise_95": "0.14", "noise_ranks": None},
        {
            "name": "auc",
            "kind": "median",
            "width": 1,
            "noise_95": None,
            "noise_ranks": "between the 38th and the 62nd percentile of the block answers",
        },
    ],
    "blocks": 400,
    "units_per_block": "10",
    "rows_per_block": "840",
    "trade": [
        "More blocks: less noise, but each answer is computed on fewer units and so is further from the answer on all data.",
        "The price is shared by 5 numbers: with fewer outputs each has less noise.",
    ],
    "seconds_per_block": "0.2",
    "block_memory_bytes": 738197504,
    "isolation": "zygote",
    "oci_runtime": None,
    "program": PROGRAM,
    "seconds": 58.3,
    "tips": [],
}
PROGRAM_TABLE: dict[str, Any] = {
    "schema": "banyan.table/1",
    "columns": [
        {"name": "output", "role": "key", "type": "string"},
        {"name": "element", "role": "key", "type": "int"},
        {"name": "value", "role": "value", "type": "decimal"},
    ],
    "rows": [
        {
            "output": "per_minute",
            "element": None,
            "value": {"value": 1.0183, "standard_error": 0.0094, "low": 0.9953, "high": 1.0413},
        },
        {
            "output": "pair",
            "element": 0,
            "value": {"value": -2.51, "standard_error": 0.2, "low": -2.96, "high": -2.06},
        },
        {"output": "pair", "element": 1, "value": {"value": 10, "standard_error": 0.2, "low": 9.55, "high": 10}},
        {
            "output": "auc",
            "element": None,
            "value": {"value": 0.6295, "standard_error": None, "low": None, "high": None},
        },
    ],
    "notes": ["A block that gave no valid answer counts as the declared default."],
}
MOCK = {
    "blocks": 8,
    "limits": {"processor_seconds": "0.2", "seconds": 0.2700000000000001, "memory_bytes": 738197504},
    "answered": 7,
    "answers": [
        {"auc": 0.6, "pair": [1, 2.25], "per_minute": 1.0312},
        None,
        {"auc": 0.7, "pair": [1, 2], "per_minute": 0.98},
        *[{"auc": 0.7, "pair": [1, 2], "per_minute": 0.98}] * 5,
    ],
    "log": 'fitting\tnow\r\nTraceback (most recent call last):\n  File "delay_regression.py", line 16, in analyse\n'
    "ValueError: \x1b]0;owned\x07\u202e\n",
}
BUDGET = {
    "population": "aircraft",
    "unit": "tailnum",
    "accountant": "zcdp",
    "limit": {"epsilon": "10", "delta": "0.000001"},
    "spent": {"epsilon": "1/3", "delta": "0.00000001"},
    "left": {"epsilon": "29/3", "delta": "0.00000099"},
    "yours": [
        {
            "policy": "traffic-research-2026",
            "spent": {"epsilon": "1/3"},
            "limit": {"epsilon": "4"},
            "left": {"epsilon": "11/3"},
            "per_job": {"epsilon": "1"},
            "runs_left": None,
        }
    ],
}
ASSET = {
    "asset": "traffic/flights",
    "title": {"en": "Flights", "zh": "航班"},
    "level": "S1",
    "version": 3,
    "columns": [
        {"name": "carrier", "type": "string", "max_length": 2},
        {"name": "month", "type": "int", "lower": 1, "upper": 12, "public": True},
        {"name": "late", "type": "category", "values": ["no", "yes"], "nullable": True},
    ],
}


def policy(state: str = "proposed") -> dict[str, Any]:
    return {
        "name": "traffic-research-2026",
        "version": 1,
        "digest": "sha256:" + "5" * 64,
        "state": state,
        "approvals": 1 if state == "active" else 0,
        "needed": 1,
        "policy": {"assets": ["traffic/flights"], "epsilon": {"total": "4"}},
    }


def problem(status: int, code: str, title: str, **members: Any) -> tuple[int, str, bytes]:
    body = {"type": f"urn:banyan:error:{code}", "title": title, "status": status, "code": code, **members}
    return status, "application/problem+json", json.dumps(body).encode()


def moment(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


class Contract:
    """The state of one test server; `requests` records what was asked."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, list[str]], bytes]] = []
        self.headers: list[dict[str, str]] = []
        self.answers: dict[tuple[str, str], Callable[[], tuple[int, str, bytes]]] = {}
        self.looks = 0
        self.states: list[dict[str, Any]] = [
            {"state": "queued", "waiting": "waiting for approval by 1 of 2 (policy review, asked 09:02)"},
            {"state": "running", "waiting": "running: release planned 09:12:30", "release_at": moment(0.2)},
            {"state": "released"},
        ]
        self.receipts_pending = 0
        self.job: dict[str, Any] = {}
        self.result: dict[str, Any] = {
            **TABLE, "mode": "real", "guarantee": {"sentence": SENTENCE, **GUARANTEE}, "receipt": "r-1",
        }  # fmt: skip
        self.log = Log("banyan.test/log")
        self.receipt = receipt_of(
            self.log, TABLE, guarantee={"sentence": SENTENCE, **GUARANTEE}, release="r-1", job="j-1"
        )
        self.url = ""

    @property
    def last(self) -> tuple[str, str, dict[str, list[str]], bytes]:
        return self.requests[-1]

    def refuse(self, method: str, path: str, *answer: Any, **members: Any) -> None:
        self.answers[method, path] = lambda: problem(*answer, **members)

    def view(self, state: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": "j-1",
            "mode": "real",
            "asset": "traffic/flights",
            "submitted_at": moment(0),
            "waiting": None,
            "release_at": None,
            "refusal": None,
            "epsilon": "0.5",
            "plan": PLAN,
            **self.job,
            **state,
        }

    def answer(self, method: str, path: str, query: dict[str, list[str]]) -> tuple[int, str, bytes]:
        special = self.answers.get((method, path))
        if special is not None:
            return special()
        found = self._known(method, path, query)
        if found is None:
            return problem(404, "request.no_such_address", "Not Found")
        if isinstance(found, bytes):
            return 200, "application/octet-stream", found
        if isinstance(found, str):
            return 200, "text/plain", found.encode()
        return (201 if method == "POST" else 200), "application/json", json.dumps(found).encode()

    def _known(self, method: str, path: str, query: dict[str, list[str]]) -> Any:
        match (method, *path.removeprefix("/v1/").split("/")):
            case ("GET", "whoami"):
                return {"principal": "p-1", "name": "Lin", "roles": ["researcher"], "organisation": "fzu"}
            case ("GET", "assets"):
                return {
                    "items": [
                        ASSET,
                        {"asset": "medical/covid_testing", "title": CHINESE, "level": "S2", "version": None},
                    ]
                }
            case ("POST", "assets") | ("GET", "assets", "traffic", "flights"):
                return ASSET
            case ("POST", "assets", "traffic", "flights", "versions"):
                return {"asset": "traffic/flights", "version": 4, "id": "v-1", "state": "ready"}
            case ("GET", "assets", "traffic", "flights", "versions", _, "report"):
                rejected = [{"column": "tailnum", "reason": "null unit", "rows": 2512}]
                return {"rows_read": 336776, "rows_kept": 334264, "rejected": rejected, "advice": ["declare more"]}
            case ("GET", "assets", "traffic", "flights", "mock"):
                return b"PAR1" + query["rows"][0].encode()
            case ("GET", "policies"):
                return {"items": [policy()]}
            case ("GET", "policies", _):
                return policy()
            case ("POST", "policies"):
                return policy()
            case ("POST", "policies", _, verb):
                return policy(
                    {"approve": "active", "reject": "rejected", "suspend": "suspended", "revoke": "revoked"}[verb]
                )
            case ("POST", "plans"):
                return PLAN
            case ("POST", "jobs"):
                return self.view({**self.states[0], "mode": "mock" if query["mock"] == ["true"] else "real"})
            case ("GET", "jobs"):
                return {"items": [self.view(self.states[0])]}
            case ("GET", "jobs", "j-1"):
                self.looks += 1
                return self.view(self.states[min(self.looks, len(self.states)) - 1])
            case ("POST", "jobs", "j-1", "cancel"):
                return self.view({"state": "running", "waiting": "cancelling: shown 09:13:00"})
            case ("GET", "jobs", "j-1", "result"):
                return self._result(query["format"][0])
            case ("GET", "jobs", "j-1", "receipt"):
                return self.receipt
            case ("GET", "budget"):
                return {"items": [BUDGET]}
            case ("GET", "log", "checkpoint"):
                return self.receipt["checkpoint"]
            case ("GET", "log", "key"):
                return self.log.key + "\n"
            case ("GET", "log", "entries"):
                start, limit = int(query["start"][0]), int(query["limit"][0])
                items = [{"index": at, "entry": json.loads(leaf)} for at, leaf in enumerate(self.log.leaves)]
                return {"size": len(items), "items": items[start : start + limit]}
        return None

    def _result(self, file_format: str) -> Any:
        if file_format == "parquet":
            return b"PAR1 the result"
        return {**self.result, "job": "j-1"}


@contextmanager
def contract_server() -> Iterator[Contract]:
    """The server on a free port of this machine, in a thread; `contract.url` is its address."""
    contract = Contract()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            query = parse_qs(parts.query)
            contract.requests.append((self.command, unquote(parts.path), query, body))
            contract.headers.append(dict(self.headers))
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                status, kind, content = problem(401, "token.unknown", "this token is not valid")
            elif contract.receipts_pending and parts.path.endswith("/receipt"):
                contract.receipts_pending -= 1
                status, kind, content = problem(409, "receipt.pending", "the release has no signed checkpoint yet")
            else:
                status, kind, content = contract.answer(self.command, unquote(parts.path), query)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _handle

        def log_message(self, *arguments: Any) -> None:
            """Tests are quiet."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that goes away is part of some tests; anything else shows in the client's own error."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    contract.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield contract
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
