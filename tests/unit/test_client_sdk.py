"""The SDK against a real HTTP server that speaks the contract."""

from __future__ import annotations

import gc
import json
import sys
import time
import types
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import banyan
import httpx
import pytest
from banyan.client import Client
from banyan.connection import Connection
from banyan.credentials import Credentials
from banyan.errors import NotFound, Refused, StillWaiting, Unauthenticated, Unreachable

from tests.unit.client_contract import (
    ASSET,
    BUDGET,
    GUARANTEE,
    PLAN,
    SENTENCE,
    TABLE,
    TOKEN,
    Contract,
    contract_server,
    problem,
)
from tests.unit.test_client_jobfile import DELAYS


@pytest.fixture
def contract() -> Iterator[Contract]:
    with contract_server() as found:
        yield found


@pytest.fixture
def client(contract: Contract) -> Iterator[Client]:
    with Client(contract.url, TOKEN) as found:
        yield found


@pytest.fixture
def delays(tmp_path: Path) -> Path:
    path = tmp_path / "delays.yaml"
    path.write_text(DELAYS)
    return path


def test_reading_methods_ask_the_contracts_addresses(client: Client, contract: Contract) -> None:
    assert client.whoami()["name"] == "Lin"
    assert client.asset("traffic/flights") == ASSET
    assert client.assets("flug & co")[0] == ASSET
    assert contract.last[:3] == ("GET", "/v1/assets", {"search": ["flug & co"]})
    assert client.report("traffic/flights", 4)["rows_kept"] == 334264
    assert contract.last[1] == "/v1/assets/traffic/flights/versions/4/report"
    assert client.budget() == [BUDGET]
    assert client.jobs()[0].id == "j-1"
    assert client.checkpoint().startswith("banyan.test/log\n9\n")
    assert client.log_key() == contract.log.key
    assert client.log_entries(5, 2)["items"][0]["entry"]["type"] == "release:issued"
    assert all(headers["Authorization"] == f"Bearer {TOKEN}" for headers in contract.headers)


def test_mock_data_comes_as_asked(client: Client, contract: Contract) -> None:
    assert client.mock("traffic/flights", 1000, seed=7) == b"PAR11000"
    assert contract.last[2] == {"rows": ["1000"], "format": ["parquet"], "seed": ["7"]}


def test_a_plan_reads_in_the_words_of_the_command_line(client: Client, contract: Contract, delays: Path) -> None:
    plan = client.plan(delays)
    assert json.loads(contract.last[3])["epsilon"] == "0.50"
    assert plan.epsilon == "0.5"
    assert plan.needs == []
    assert str(plan).split("\n") == [
        "Plan    query on traffic/flights v3 (level S1, about 330,000 rows, 4,000",
        "        aircraft)",
        'Price   ε 0.5, δ 1e-8 of the population "aircraft"',
        "        (left after this: ε 9.5 of 10; yours 3.5 of 4)",
        "Error   expected, 95 %     noise   clipping",
        "          flights          ± 110   unknown",
        "          mean_delay     unknown   unknown",
        "        groups by carrier: those of fewer than about 230 aircraft are likely to",
        "        be lost",
        "Bounds  6 groups per tailnum, 60 rows of it per group",
        "Time    released 2 s after start · memory 0.6 GiB · 2 lanes",
        "Needs   nothing more: policy traffic-research-2026 allows it",
        'Tip     "max_groups_per_unit: 2" would cut the noise by 40 %',
    ]
    assert all(len(line) <= 80 for line in str(plan).split("\n"))
    assert "<pre>" in plan._repr_html_()


def test_a_plan_of_declared_groups_and_missing_approvals_says_so() -> None:
    keys = [{"name": "month", "public": True}]
    plan = banyan.Plan(
        {**PLAN, "keys": keys, "cells": 12, "threshold": None, "needs": ["approval by 1 of 2"], "left_after": None}
    )
    assert "every declared group is shown: 12 rows" in str(plan)
    assert "Needs   approval by 1 of 2" in str(plan)
    assert "left after" not in str(plan)
    assert "Needs" not in str(banyan.Plan({name: value for name, value in PLAN.items() if name != "needs"}))
    assert "traffic/flights with no data yet" in str(banyan.Plan({**PLAN, "version": None}))
    assert "groups by" not in str(banyan.Plan({**PLAN, "keys": [], "threshold": None, "cells": 1}))


def test_submit_wait_result_follow_the_states(client: Client, contract: Contract, delays: Path) -> None:
    told: list[str] = []
    job = client.submit(delays)
    assert contract.last[2] == {"mock": ["false"]}
    assert job.wait(timeout=10, on_change=lambda changed: told.append(changed.status)) is job
    planned = datetime.fromisoformat(contract.states[1]["release_at"]).astimezone()
    assert told == [
        "queued: waiting for approval by 1 of 2 (policy review, asked 09:02)",
        f"running: release planned {planned:%H:%M:%S}",
        "released",
    ]
    assert job.result.rows == TABLE["rows"]
    assert job.result.guarantee == {"sentence": SENTENCE, **GUARANTEE}
    assert job.receipt["release"] == "r-1"
    assert job.plan.data == PLAN


def test_a_mock_job_says_so(client: Client, contract: Contract, delays: Path) -> None:
    assert client.submit(delays, mock=True).data["mode"] == "mock"
    assert contract.last[2] == {"mock": ["true"]}


def test_a_job_that_was_refused_raises_its_refusal(client: Client, contract: Contract, delays: Path) -> None:
    told = {"code": "policy.expired", "title": "the policy ended", "status": 403, "way_out": "a new version"}
    contract.states = [{"state": "refused", "refusal": told}]
    job = client.submit(delays).wait(timeout=5)
    assert job.status == "refused policy.expired"
    with pytest.raises(banyan.Forbidden) as caught:
        _ = job.result
    assert (caught.value.code, caught.value.text, caught.value.way_out) == (
        "policy.expired",
        "the policy ended",
        "a new version",
    )


def test_waiting_ends_with_the_time_that_was_given(client: Client, contract: Contract, delays: Path) -> None:
    contract.states = [{"state": "queued", "waiting": "queued: lane"}]
    began = time.monotonic()
    with pytest.raises(StillWaiting, match="j-1 is queued: lane") as caught:
        client.submit(delays).wait(timeout=0.3)
    assert 0.25 < time.monotonic() - began < 20
    assert isinstance(caught.value, TimeoutError)


def test_waiting_outlasts_a_server_that_is_away_for_a_moment(client: Client, contract: Contract, delays: Path) -> None:
    job, away = client.submit(delays), [1, 2, 3]

    def restarting() -> tuple[int, str, bytes]:
        if away.pop() == 1:
            del contract.answers["GET", "/v1/jobs/j-1"]
        return 503, "text/html", b"<html>bad gateway</html>"

    contract.answers["GET", "/v1/jobs/j-1"] = restarting
    assert job.wait(timeout=10).state == "released"
    contract.answers["GET", "/v1/jobs/j-1"] = lambda: (502, "text/html", b"")
    with pytest.raises(Unreachable):
        client.submit(delays).wait(timeout=10, patience=0.2)


def test_a_cancelled_job_shows_when_it_will_end(client: Client) -> None:
    assert client.cancel("j-1").status == "cancelling: shown 09:13:00"
    assert client.job("j-1").cancel().status == "cancelling: shown 09:13:00"


def test_a_receipt_is_waited_for_until_its_checkpoint_is_signed(client: Client, contract: Contract) -> None:
    contract.states = [{"state": "released"}]
    contract.receipts_pending = 2
    assert client.receipt("j-1")["release"] == "r-1"


def test_the_receipt_of_a_job_that_is_not_released_is_not_waited_for(client: Client, contract: Contract) -> None:
    contract.states = [{"state": "running"}]
    contract.receipts_pending = 1000
    began = time.monotonic()
    with pytest.raises(Refused) as caught:
        client.receipt("j-1")
    assert caught.value.code == "receipt.pending"
    assert time.monotonic() - began < 9


def test_a_refused_query_points_into_the_callers_own_file(client: Client, contract: Contract, delays: Path) -> None:
    where = {"field": "query", "line": 2, "column": 27}
    contract.refuse(
        "POST", "/v1/plans", 422, "sql.not_allowed", "MAX would show one value", where=where, way_out="a quantile"
    )
    contract.refuse("POST", "/v1/jobs", 409, "budget.person", "ε 3 asked, 1.5 left to you", way_out="ε ≤ 1.5")
    with pytest.raises(banyan.Refused) as caught:
        client.plan(str(delays))
    assert str(caught.value.excerpt) == "delays.yaml line 8, column 29"
    assert (caught.value.status, caught.value.where) == (422, where)
    with pytest.raises(banyan.Refused) as caught:
        client.submit(delays)
    assert str(caught.value) == "refused  budget.person          ε 3 asked, 1.5 left to you\n  What would pass: ε ≤ 1.5"


def test_a_declaration_is_sent_as_text_and_its_errors_point_into_it(
    client: Client, contract: Contract, tmp_path: Path
) -> None:
    path = tmp_path / "flights.yaml"
    path.write_text("asset: traffic/flights\nlevel: S9\nsize: {}\n")
    assert client.register(path)["asset"] == "traffic/flights"
    assert contract.last[:3] == ("POST", "/v1/assets", {"filename": ["flights.yaml"]})
    assert contract.last[3] == path.read_bytes()
    first = {"code": "declaration.level", "text": "no level S9", "line": 2, "column": 8}
    second = {"code": "declaration.missing_field", "text": "size lacks rows", "line": 3, "column": 1}
    where = {"file": "flights.yaml", "line": 2, "column": 8, "field": "level", "problems": [first, second]}
    contract.refuse("POST", "/v1/assets", 422, "declaration.level", "no level S9", where=where)
    with pytest.raises(Refused) as caught:
        client.register(path)
    assert str(caught.value).split("\n") == [
        "refused  declaration.level      flights.yaml line 2, column 8",
        "  level: S9",
        "         ^^",
        "  no level S9",
        "  also line 3, column 1: size lacks rows",
    ]


def test_a_file_is_streamed_with_its_progress(client: Client, contract: Contract, tmp_path: Path) -> None:
    path = tmp_path / "flights.csv"
    content = b"carrier,flights\n" * 200_000
    path.write_bytes(content)
    told: list[tuple[int, int]] = []
    assert client.ingest("traffic/flights", path, progress=lambda sent, size: told.append((sent, size)))["version"] == 4
    assert contract.last == ("POST", "/v1/assets/traffic/flights/versions", {"format": ["csv"]}, content)
    assert contract.headers[-1]["Content-Length"] == str(len(content))
    assert told[-1] == (len(content), len(content))
    assert len(told) == 4


def test_a_file_that_shrinks_while_it_is_sent_is_refused(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "flights.csv"
    path.write_bytes(b"x" * 3_000_000)

    def shrink(sent: int, size: int) -> None:
        path.write_bytes(b"")

    with pytest.raises(Refused) as caught:
        client.ingest("traffic/flights", path, progress=shrink)
    assert caught.value.code == "file.changed"


def test_files_that_cannot_be_sent_are_refused_before_anything_is_sent(
    client: Client, contract: Contract, tmp_path: Path
) -> None:
    for path, code in ((tmp_path / "none.csv", "file.unusable"), (tmp_path / "data.xls", "file.format")):
        with pytest.raises(Refused) as caught:
            client.ingest("traffic/flights", path)
        assert caught.value.code == code
    assert contract.requests == []


def test_decisions_name_what_was_read(client: Client, contract: Contract, tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("name: traffic-research-2026\n")
    assert client.policies.propose(path)["state"] == "proposed"
    assert contract.last[1:] == ("/v1/policies", {"filename": ["policy.yaml"]}, path.read_bytes())
    assert client.policies.list()[0]["name"] == client.policies.show("traffic-research-2026")["name"]
    for verb, state in (("approve", "active"), ("reject", "rejected"), ("suspend", "suspended"), ("revoke", "revoked")):
        decided = getattr(client.policies, verb)("traffic-research-2026", "sha256:5", "because")
        assert decided["state"] == state
        assert contract.last[:2] == ("POST", f"/v1/policies/traffic-research-2026/{verb}")
        assert json.loads(contract.last[3]) == {"digest": "sha256:5", "reason": "because"}
    where = {"file": "policy.yaml", "line": 1, "column": 7, "field": "name"}
    contract.refuse("POST", "/v1/policies", 422, "policy.value", "no name", where=where)
    with pytest.raises(Refused, match=r"policy\.yaml line 1, column 7"):
        client.policies.propose(path)


@pytest.mark.parametrize("name", ["", "flights", "a/b/c", "../jobs", "a/..", "a/", "/b", "a\\b/c"])
def test_a_name_never_becomes_another_path(client: Client, contract: Contract, name: str) -> None:
    with pytest.raises(Refused) as caught:
        client.asset(name)
    assert caught.value.code == "name.invalid"
    assert contract.requests == []


def test_a_name_with_odd_letters_is_one_segment(client: Client, contract: Contract) -> None:
    with pytest.raises(NotFound):
        client.asset("traffic/a?b#c d%2F")
    assert contract.last[1] == "/v1/assets/traffic/a?b#c d%2F"


def test_a_wrong_token_is_unauthenticated_and_never_shown(contract: Contract) -> None:
    with Client(contract.url, "t-wrong") as client, pytest.raises(Unauthenticated) as caught:
        client.whoami()
    assert (caught.value.code, caught.value.status) == ("token.unknown", 401)
    assert "banyan login" in str(caught.value)
    assert "t-wrong" not in str(caught.value) + repr(caught.value) + repr(Credentials("http://x", "t-wrong"))


def test_no_server_is_unreachable() -> None:
    with Client("http://127.0.0.1:9", TOKEN) as client, pytest.raises(Unreachable) as caught:
        client.whoami()
    assert caught.value.code == "server.unreachable"


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        ((200, "text/html", b"<html>"), Refused, "server.strange_answer"),
        ((200, "application/json", b"[]"), Refused, "server.strange_answer"),
        ((302, "text/html", b""), Refused, "server.strange_answer"),
        ((404, "text/html", b"nginx"), Refused, "server.strange_answer"),
        ((500, "text/plain", b"Internal Server Error"), Refused, "server.failed"),
        ((504, "text/html", b""), Unreachable, "server.unreachable"),
        (problem(503, "engine.unreachable", "no engine"), Refused, "engine.unreachable"),
        (problem(404, "asset.unknown", "no such asset"), NotFound, "asset.unknown"),
        ((422, "application/json", b'{"detail": []}'), Refused, "server.strange_answer"),
        ((400, "application/problem+json", b'{"code": 7, "status": "x", "where": 3}'), Refused, "7"),
    ],
)
def test_every_answer_becomes_one_kind_of_error(
    client: Client, contract: Contract, answer: tuple[int, str, bytes], kind: type[Exception], code: str
) -> None:
    contract.answers["GET", "/v1/whoami"] = lambda: answer
    with pytest.raises(banyan.BanyanError) as caught:
        client.whoami()
    assert type(caught.value) is kind
    assert caught.value.code == code


def test_a_redirect_never_carries_the_token_on(contract: Contract) -> None:
    seen: list[httpx.Request] = []

    def elsewhere(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(307, headers={"Location": "http://elsewhere.example/v1/whoami"})

    with (
        Client("http://banyan.test", TOKEN, transport=httpx.MockTransport(elsewhere)) as client,
        pytest.raises(Refused),
    ):
        client.whoami()
    assert [request.url.host for request in seen] == ["banyan.test"]


def test_slow_and_broken_connections_are_unreachable() -> None:
    for error, code in (
        (httpx.ReadTimeout, "server.slow"),
        (httpx.ConnectTimeout, "server.unreachable"),
        (httpx.ReadError, "server.unreachable"),
    ):

        def failing(request: httpx.Request, error: type[httpx.TransportError] = error) -> httpx.Response:
            raise error("broken")

        with (
            Client("http://banyan.test", TOKEN, transport=httpx.MockTransport(failing)) as client,
            pytest.raises(Unreachable) as caught,
        ):
            client.whoami()
        assert caught.value.code == code


def test_the_countdown_follows_the_servers_clock() -> None:
    """A server an hour ahead of this machine: what is left is counted by its Date header."""
    served = "Wed, 25 Nov 2026 09:12:00 GMT"

    def answer(request: httpx.Request) -> httpx.Response:
        view = {"id": "j-1", "state": "running", "release_at": "2026-11-25T09:12:30.000000Z"}
        return httpx.Response(200, json=view, headers={"Date": served})

    with Client("http://banyan.test", TOKEN, transport=httpx.MockTransport(answer)) as client:
        assert client.server_now() is None
        left = client.job("j-1").seconds_left
    assert left is not None
    assert 20 < left <= 30


def test_the_best_known_server_time_is_kept_within_a_second() -> None:
    served = ["Wed, 25 Nov 2026 09:12:00 GMT"]
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json={}, headers={"Date": served[0]}))
    connection = Connection(Credentials("http://banyan.test", TOKEN), transport)
    connection.json("GET", "/")
    time.sleep(0.3)
    connection.json("GET", "/")
    now = connection.server_now()
    assert now is not None
    assert now >= datetime(2026, 11, 25, 9, 12, 0, 300_000, tzinfo=UTC)
    served[0] = "Wed, 25 Nov 2026 09:00:00 GMT"
    connection.json("GET", "/")
    now = connection.server_now()
    assert now is not None
    assert now < datetime(2026, 11, 25, 9, 1, tzinfo=UTC)
    connection.close()


def test_a_result_is_saved_in_three_forms(client: Client, tmp_path: Path) -> None:
    result = client.result("j-1")
    lines = result.save(tmp_path / "f.csv").read_text().split("\n")
    parts = ("", "_standard_error", "_low", "_high")
    assert lines[0] == ",".join(["carrier", *(name + part for name in ("flights", "mean_delay") for part in parts)])
    assert lines[1:] == [
        "UA,19930,56.1,19820,20040,14.2134,0.45,13.33,15.0968",
        ",-3,56.1,-113,107,,,,",
        "",
    ]
    saved = json.loads(result.save(str(tmp_path / "f.json")).read_text())
    assert saved == result.data
    assert result.save(tmp_path / "f.parquet").read_bytes() == b"PAR1 the result"
    with pytest.raises(Refused, match=r"f\.xlsx"):
        result.save(tmp_path / "f.xlsx")
    with pytest.raises(Refused, match=r"file\.unusable"):
        result.save(tmp_path / "none" / "f.csv")


def test_a_closed_client_says_so(client: Client, tmp_path: Path) -> None:
    result = client.result("j-1")
    client.close()
    assert result.save(tmp_path / "f.csv").exists()
    with pytest.raises(banyan.BanyanError) as caught:
        result.save(tmp_path / "f.parquet")
    assert caught.value.code == "client.closed"


def test_a_data_frame_is_made_where_pandas_is(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    result = client.result("j-1")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(banyan.BanyanError) as caught:
        result.to_pandas()
    assert caught.value.code == "pandas.missing"
    made: list[Any] = []
    module = types.SimpleNamespace(DataFrame=lambda rows, columns: made.append((rows, columns)))
    monkeypatch.setitem(sys.modules, "pandas", module)
    result.to_pandas()
    assert made == [(result.flat()[1], result.flat()[0])]


def test_an_unclosed_client_leaves_no_socket_open_after_close(contract: Contract) -> None:
    client = Client(contract.url, TOKEN)
    client.whoami()
    client.close()
    del client
    gc.collect()  # an open socket would warn here, and warnings are errors
