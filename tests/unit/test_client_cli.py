"""The command line against a real HTTP server that speaks the contract: words, files, exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from banyan import credentials
from banyan.cli import main

from tests.unit.client_contract import (
    ASSET,
    MOCK,
    PLAN,
    PROGRAM,
    PROGRAM_PLAN,
    PROGRAM_TABLE,
    TABLE,
    TOKEN,
    Contract,
    contract_server,
    moment,
    problem,
)
from tests.unit.receipts_by_hand import Log
from tests.unit.test_client_jobfile import DELAYS


class Done(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Contract]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TZ", "UTC")
    (tmp_path / "delays.yaml").write_text(DELAYS)
    with contract_server() as found:
        monkeypatch.setenv("BANYAN_SERVER", found.url)
        monkeypatch.setenv("BANYAN_TOKEN", TOKEN)
        yield found


@pytest.fixture
def run(contract: Contract, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: str) -> Done:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = capsys.readouterr()
        assert "\nTraceback" not in f"\n{out}\n{err}"  # one of ours; a program's own is indented
        assert TOKEN not in out + err
        return Done(int(ended.value.code or 0), out, err)

    return command


def test_login_keeps_server_token_and_log_key(run: Run, contract: Contract, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BANYAN_SERVER")
    done = run("login", contract.url)
    assert done.code == 0, done.err
    assert "you are Lin of fzu (p-1; researcher)" in done.out
    assert contract.log.key in done.out
    monkeypatch.delenv("BANYAN_TOKEN")
    assert run("whoami").out == f"Lin of fzu (p-1; researcher) at {contract.url}\n"
    assert credentials.known_log_key("banyan.test/log") == contract.log.key


def test_login_with_a_wrong_token_keeps_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANYAN_TOKEN", "t-wrong")
    done = run("login")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("refused  token.unknown")
    assert not credentials.folder().exists()


def test_a_changed_log_key_is_an_alarm_until_the_operator_confirmed_it(run: Run, contract: Contract) -> None:
    assert run("login").code == 0
    contract.log = Log("banyan.test/log", b"\x09" * 32)
    done = run("login")
    assert done.code == 1
    assert "log.key_changed" in done.err
    assert credentials.known_log_key("banyan.test/log") != contract.log.key
    assert run("login", "--new-log-key").code == 0
    assert credentials.known_log_key("banyan.test/log") == contract.log.key


def test_the_token_comes_from_standard_input_never_from_an_argument(contract: Contract, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "BANYAN_TOKEN"}
    done = subprocess.run(
        [sys.executable, "-c", "from banyan.cli import main; main()", "login", contract.url],
        input=f"{TOKEN}\n", capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert credentials.find(contract.url, None).token == TOKEN


@pytest.mark.parametrize(
    "arguments", [(), ("nothing",), ("plan",), ("plan", "a", "b"), ("jobs", "--nothing"), ("run", "delays.yaml")]
)
def test_wrong_usage_exits_with_two(run: Run, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert "Usage: banyan" in done.err


def test_an_unreachable_server_exits_with_three(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANYAN_SERVER", "http://127.0.0.1:9")
    for arguments in (("whoami",), ("plan", "delays.yaml"), ("submit", "delays.yaml", "--wait")):
        done = run(*arguments)
        assert (done.code, done.out) == (3, "")
        assert done.err.startswith("unreachable  server.unreachable\n")


def test_a_refusal_points_into_the_file_and_exits_with_one(run: Run, contract: Contract) -> None:
    where = {"field": "query", "line": 2, "column": 27}
    contract.refuse(
        "POST",
        "/v1/plans",
        422,
        "sql.not_allowed",
        "MAX would show one aircraft's value.",
        where=where,
        way_out="a quantile",
    )
    done = run("plan", "delays.yaml")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "refused  sql.not_allowed        delays.yaml line 8, column 29\n"
        "  SELECT carrier, COUNT(*), MAX(dep_delay)\n"
        "                            ^^^\n"
        "  MAX would show one aircraft's value.\n"
        "  What would pass: a quantile\n"
    )


def test_a_missing_file_is_refused_without_a_traceback(run: Run) -> None:
    for arguments in (
        ("plan", "none.yaml"),
        ("submit", "none.yaml"),
        ("verify", "none.json"),
        ("assets", "register", "none.yaml"),
    ):
        done = run(*arguments)
        assert done.code == 1
        assert "none." in done.err


def test_plan_prints_for_people_and_for_programs(run: Run) -> None:
    done = run("plan", "delays.yaml")
    assert done.code == 0
    assert 'Price   ε 0.5, δ 1e-8 of the population "aircraft"' in done.out
    assert json.loads(run("plan", "delays.yaml", "--json").out) == PLAN


def test_submit_says_what_to_do_next(run: Run) -> None:
    done = run("submit", "delays.yaml")
    assert done.code == 0
    assert done.out.startswith("submitted  j-1  queued: waiting for approval by 1 of 2")
    assert "banyan result j-1" in done.out
    assert json.loads(run("submit", "delays.yaml", "--json").out)["id"] == "j-1"


def test_submit_and_wait_tells_each_change_on_standard_error_and_prints_the_result(run: Run) -> None:
    done = run("submit", "delays.yaml", "--wait")
    assert done.code == 0
    states = done.err.strip().split("\n")
    assert [state.split()[1].rstrip(":") for state in states] == ["queued", "running", "released"]
    assert "UA        19,930 ± 110   14.21 ± 0.89\n" in done.out
    assert "Guarantee  (ε 0.5, δ 1e-8)-DP" in done.out
    assert "Receipt    r-1 (save it: banyan receipt j-1)" in done.out


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (
            {"state": "refused", "refusal": {"code": "policy.expired", "title": "it ended", "status": 403}},
            "refused  policy.expired",
        ),
        (
            {"state": "failed", "refusal": {"code": "job.infrastructure", "title": "the operator ended it"}},
            "refused  job.infrastructure",
        ),
        ({"state": "cancelled"}, "failed   job.cancelled"),
    ],
)
def test_submit_and_wait_exits_with_one_unless_released(
    run: Run, contract: Contract, state: dict[str, object], shown: str
) -> None:
    contract.states = [{"state": "queued"}, state]
    done = run("submit", "delays.yaml", "--wait")
    assert (done.code, done.out) == (1, "")
    assert shown in done.err
    contract.looks = 0
    done = run("submit", "delays.yaml", "--wait", "--json")
    assert done.code == 1
    assert json.loads(done.out)["state"] == state["state"]


def test_run_takes_made_up_rows_and_saves_the_same_form(run: Run, contract: Contract) -> None:
    done = run("run", "delays.yaml", "--mock", "-o", "mock.csv")
    assert done.code == 0
    assert contract.requests[0][2] == {"mock": ["true"]}
    assert Path("mock.csv").read_text().startswith("carrier,flights,")


@pytest.fixture
def program(contract: Contract, tmp_path: Path) -> Contract:
    (tmp_path / "delay_regression.py").write_text("def analyse(tables, params):\n    return {}\n" + "# long\n" * 1000)
    (tmp_path / "delay_regression.yaml").write_text(
        "asset: traffic/flights\npurpose: research\nprogram: delay_regression.py\nepsilon: 1\n"
        "outputs: {auc: {lower: 0, upper: 1, default: 0.5}}\n"
    )
    contract.job = {"kind": "program", "query": None, "program": PROGRAM, "plan": PROGRAM_PLAN, "joined": ["a/b"]}
    contract.result = {**PROGRAM_TABLE, "mode": "mock", "guarantee": {"blocks": 8}, "receipt": None, "mock": MOCK}
    contract.states = [{"state": "queued"}, {"state": "released"}]
    return contract


def test_a_program_on_made_up_rows_shows_what_its_blocks_did_and_the_table(run: Run, program: Contract) -> None:
    done = run("run", "delay_regression.yaml", "--mock")
    assert done.code == 0, done.err
    assert json.loads(program.requests[0][3])["program"]["name"] == "delay_regression.py"
    shown = done.out.split("\n")
    assert shown[:6] == [
        "Printed and raised in the blocks",
        "  fitting now",
        "  Traceback (most recent call last):",
        '    File "delay_regression.py", line 16, in analyse',
        "  ValueError: \\x1b]0;owned\\x07\\u202e",
        "Blocks     7 of 8 made-up blocks answered",
    ]
    assert "per_minute                   1.018 ± 0.023" in shown
    assert "made-up rows: the figures mean nothing" in done.out
    assert run("run", "delay_regression.yaml", "--mock", "-o", "m.csv").out.endswith("\n4 rows in m.csv\n")


@pytest.mark.parametrize(
    "answers", [[None] * 8, [None, {"auc": "nan", "pair": [1, 2], "per_minute": 1}], [{"auc": 1, "pair": [1, "inf"]}]]
)
def test_a_program_without_an_answer_is_told_so_and_exits_with_one(
    run: Run, program: Contract, answers: list[object]
) -> None:
    program.result["mock"] = {**MOCK, "answered": 0, "answers": answers}
    done = run("run", "delay_regression.yaml", "--mock", "-o", "m.csv")
    assert done.code == 1
    assert "line 16, in analyse" in done.out
    assert "per_minute   " not in done.out
    assert "\nfailed   mock.no_answer\n" in done.err
    assert not Path("m.csv").exists()


def test_a_program_is_listed_by_its_name_and_never_shown_whole(run: Run, program: Contract) -> None:
    assert "delay_regression.py on 2 assets: traffic/flights" in run("jobs").out
    done = run("show", "j-1")
    assert done.out.split("\n")[1].startswith("delay_regression.py on traffic/flights, a/b, ε 0.5, submitted ")
    assert f"\n  {PROGRAM['digest']}\n" in done.out
    assert "Plan    program delay_regression.py on traffic/flights v3" in done.out
    assert len(done.out.split("\n")) < 40
    program.job = {"query": "SELECT a\nFROM b"}
    assert "query on traffic/flights" in run("jobs").out
    assert "\n  SELECT a\n  FROM b\n" in run("show", "j-1").out


def test_no_file_is_written_over_unless_that_is_asked_for(run: Run, contract: Contract) -> None:
    contract.states = [{"state": "released"}]
    for words in (("result", "j-1"), ("mock", "traffic/flights"), ("receipt", "j-1"), ("run", "delays.yaml", "--mock")):
        Path("f.csv").write_text("mine")
        asked = len(contract.requests)
        done = run(*words, "-o", "f.csv")
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith("refused  file.exists")
        assert Path("f.csv").read_text() == "mine"
        assert len(contract.requests) == asked, "refused before anything is asked"
        assert run(*words, "-o", "f.csv", "--force").code == 0
        assert Path("f.csv").read_text() != "mine"
    Path("r-1.json").write_text("mine")
    for words in (("receipt", "j-1"), ("result", "j-1", "-o", "g.csv", "--receipt")):
        assert "file.exists" in run(*words).err
        assert Path("r-1.json").read_text() == "mine"
    assert run("receipt", "j-1", "--force").code == 0
    assert run("receipt", "j-1").code == 0, "the same receipt may be saved again"


def test_the_version_is_told(run: Run) -> None:
    assert re.fullmatch(r"banyan \d+\.\d+\.\d+\n", run("--version").out)


def test_jobs_show_cancel(run: Run, contract: Contract) -> None:
    done = run("jobs")
    assert done.out.split("\n")[0].split() == ["job", "state", "what", "ε", "submitted"]
    assert "queued: waiting for approval" in done.out
    assert json.loads(run("jobs", "--json").out)["items"][0]["id"] == "j-1"
    done = run("show", "j-1")
    assert done.out.startswith("j-1  queued: waiting for approval")
    assert "Price   ε 0.5" in done.out
    assert json.loads(run("show", "j-1", "--json").out)["id"] == "j-1"
    contract.states = [{"state": "refused", "refusal": {"code": "policy.expired", "title": "it ended"}}]
    done = run("show", "j-1")
    assert done.code == 0
    assert "refused  policy.expired         it ended" in done.out
    assert run("cancel", "j-1").out == "j-1  cancelling: shown 09:13:00\n"
    assert run("show", "j-2").code == 1


def test_result_is_shown_or_saved_with_its_receipt_beside_it(run: Run, contract: Contract) -> None:
    contract.states = [{"state": "released"}]
    Path("out").mkdir()
    assert json.loads(run("result", "j-1", "--json").out)["rows"] == TABLE["rows"]
    for suffix in ("csv", "json", "parquet"):
        done = run("result", "j-1", "-o", f"out/f.{suffix}", "--receipt")
        assert done.code == 0, done.err
        assert done.out == (
            f"2 rows in out/f.{suffix}\n"
            "Receipt    out/r-1.json (log entry 5 of 9)\n"
            "           check it offline: banyan verify out/r-1.json\n"
        )
        assert Path(f"out/f.{suffix}").stat().st_size
    assert json.loads(Path("out/r-1.json").read_text()) == contract.receipt
    assert run("result", "j-1", "-o", "f.xlsx").code == 1


def test_a_receipt_is_saved_here_whatever_name_a_server_gives_it(run: Run, contract: Contract) -> None:
    contract.states = [{"state": "released"}]
    assert run("receipt", "j-1").code == 0
    assert Path("r-1.json").exists()
    contract.receipt = {**contract.receipt, "release": "../../evil"}
    assert run("receipt", "j-1").code == 0
    assert Path("evil.json").exists()
    assert run("receipt", "j-1", "-o", "none/r.json").code == 1


def test_verify_works_offline_from_the_first_use_on(
    run: Run, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract.states = [{"state": "released"}]
    run("result", "j-1", "-o", "f.json", "--receipt")
    monkeypatch.setenv("BANYAN_SERVER", "http://127.0.0.1:9")
    done = run("verify", "r-1.json")
    assert done.code == 0, done.err
    assert done.out.startswith("verified  r-1  (offline)\n")
    assert "taken from this receipt itself, on this first use" in done.out
    assert done.out.index("Proved\n") < done.out.index("Not proved\n")
    assert "that the server ran this code on this data" in done.out
    assert "not compared: give --result" in done.out
    done = run("verify", "r-1.json", "--result", "f.json")
    assert "remembered on this machine" in done.out
    assert "the file at hand is the table that was released" in done.out
    done = run("verify", "r-1.json", "--key", contract.log.key, "--json")
    facts = json.loads(done.out)
    assert (facts["verified"], facts["key_source"], facts["index"], facts["size"]) == (True, "given with --key", 5, 9)


def test_verify_refuses_what_does_not_hold_and_remembers_nothing_of_it(run: Run, contract: Contract) -> None:
    Path("r.json").write_text(json.dumps({**contract.receipt, "job": "j-2"}))
    done = run("verify", "r.json")
    assert (done.code, done.out) == (1, "")
    assert done.err == "NOT VERIFIED  6 entry\n  the entry is about another job\n"
    assert credentials.known_log_key("banyan.test/log") is None
    credentials.remember_log_key("banyan.test/log", Log("banyan.test/log", b"\x09" * 32).key)
    Path("r.json").write_text(json.dumps(contract.receipt))
    done = run("verify", "r.json")
    assert done.code == 1
    assert done.err.startswith("NOT VERIFIED  2 key\n")
    assert "Ask the operator" in done.err
    assert run("verify", "r.json", "--key", contract.log.key).code == 0
    assert run("verify", "r.json", "--key", "nonsense").code == 1
    Path("result.json").write_text(json.dumps({**TABLE, "rows": []}))
    assert "9 result" in run("verify", "r.json", "--key", contract.log.key, "--result", "result.json").err


def test_verify_says_which_result_it_needs(run: Run, contract: Contract) -> None:
    Path("r.json").write_text(json.dumps(contract.receipt))
    for name in ("result.csv", "result.PARQUET"):
        Path(name).write_text("output,element,value\n")
        done = run("verify", "r.json", "--result", name, "--key", contract.log.key)
        assert (done.code, done.out) == (2, "")
        assert "NOT VERIFIED" not in done.err
        assert f"--result: {name} is no .json;\na receipt is of the result as banyan result" in done.err
    Path("result.json").write_text("output,element,value\n")
    done = run("verify", "r.json", "--result", "result.json", "--key", contract.log.key)
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "NOT VERIFIED  9 result\n  it is not JSON\n  It must be the file that banyan result JOB -o FILE.json saved, unchanged.\n"
    )


def test_verify_needs_no_place_to_write(run: Run, contract: Contract, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a file where the folder should be")
    Path("r.json").write_text(json.dumps(contract.receipt))
    done = run("verify", "r.json", "--key", contract.log.key)
    assert (done.code, done.err) == (0, "")
    done = run("verify", "r.json")
    assert done.code == 0
    assert "could not be remembered" in done.err


def test_assets(run: Run, contract: Contract) -> None:
    done = run("assets", "search", "flights")
    assert done.out.split("\n")[:3] == [
        "asset                   title      level   version",
        "traffic/flights         Flights    S1      v3",
        "medical/covid_testing   新冠检测   S2      none yet",
    ]
    assert run("assets").out == done.out
    assert json.loads(run("assets", "search", "--json").out)["items"][0] == ASSET
    done = run("assets", "show", "traffic/flights")
    assert "title.zh  航班" in done.out
    assert "month     int        1 … 12            public" in done.out
    assert "late      category   no, yes or NULL   private" in done.out
    assert json.loads(run("assets", "show", "traffic/flights", "--json").out) == ASSET


def test_register_ingest_report(run: Run, contract: Contract) -> None:
    Path("flights.yaml").write_text("asset: traffic/flights\n")
    Path("flights.csv").write_text("carrier\nUA\n")
    assert "registered traffic/flights" in run("assets", "register", "flights.yaml").out
    done = run("assets", "ingest", "traffic/flights", "flights.csv")
    assert done.out.startswith("traffic/flights v4 is ready\n")
    assert contract.last[3] == b"carrier\nUA\n"
    done = run("assets", "report", "traffic/flights")
    assert contract.last[1] == "/v1/assets/traffic/flights/versions/3/report"
    assert "334,264 of 336,776 rows kept" in done.out
    assert "tailnum   null unit           2,512" in done.out
    assert "Advice  declare more" in done.out
    for command in ("register", "ingest", "report"):
        file = {
            "register": ["flights.yaml"],
            "ingest": ["traffic/flights", "flights.csv"],
            "report": ["traffic/flights"],
        }[command]
        json.loads(run("assets", command, *file, "--json").out)


def test_mock_writes_the_file_asked_for(run: Run, contract: Contract) -> None:
    done = run("mock", "traffic/flights", "-n", "10", "-o", "f.parquet", "--seed", "7")
    assert done.out == "10 made-up rows of traffic/flights in f.parquet\n"
    assert contract.last[2] == {"rows": ["10"], "format": ["parquet"], "seed": ["7"]}
    assert Path("f.parquet").read_bytes() == b"PAR110"
    assert run("mock", "traffic/flights", "-o", "f.xls").code == 1
    assert run("mock", "traffic/flights", "-n", "0", "-o", "f.csv").code == 2
    assert run("mock", "traffic/flights", "-o", "none/f.csv").code == 1


def test_budget_rounds_what_is_left_down(run: Run) -> None:
    done = run("budget")
    assert "aircraft     ε 9.666, δ 9.9e-7   ε 10, δ 1e-6   ε 3.666 left of 4 (traffic-research-2026)" in done.out
    assert json.loads(run("budget", "--json").out)["items"][0]["population"] == "aircraft"


def test_policies_are_proposed_and_decided_by_digest(run: Run, contract: Contract) -> None:
    Path("policy.yaml").write_text("name: traffic-research-2026\n")
    assert run("policies", "propose", "policy.yaml").out == "traffic-research-2026 is proposed (0 of 1 approvals)\n"
    assert "traffic-research-2026   proposed   0 of 1" in run("policies").out == run("policies", "list").out
    assert f"digest                sha256:{'5' * 64}" in run("policies", "show", "traffic-research-2026").out
    asked = run("policies", "approve", "traffic-research-2026")
    assert asked.code == 2
    assert "--digest" in asked.err
    assert (
        run("policies", "approve", "traffic-research-2026", "--yes").out
        == "traffic-research-2026 is active (1 of 1 approvals)\n"
    )
    assert json.loads(contract.last[3]) == {"digest": "sha256:" + "5" * 64, "reason": ""}
    run("policies", "approve", "traffic-research-2026", "--digest", "sha256:77")
    assert json.loads(contract.last[3])["digest"] == "sha256:77"
    for verb, state in (("reject", "rejected"), ("suspend", "suspended"), ("revoke", "revoked")):
        assert run("policies", verb, "traffic-research-2026").code == 2
        done = run("policies", verb, "traffic-research-2026", "--reason", "because")
        assert f"is {state}" in done.out
        assert json.loads(contract.last[3]) == {"digest": "sha256:" + "5" * 64, "reason": "because"}
    for command in ("list", "show", "propose", "approve"):
        more = {"list": [], "show": ["p"], "propose": ["policy.yaml"], "approve": ["p", "--yes"]}[command]
        json.loads(run("policies", command, *more, "--json").out)


def test_audit_tail_shows_the_newest_entries(run: Run, contract: Contract) -> None:
    done = run("audit", "tail", "-n", "4")
    assert [line.split()[0] for line in done.out.strip().split("\n")] == ["entry", "6", "7", "8"]
    assert "release:issued" in run("audit", "tail").out
    assert json.loads(run("audit", "tail", "--json").out)["size"] == 9
    contract.refuse("GET", "/v1/log/entries", 403, "role.missing", "your roles (researcher) do not allow it")
    assert run("audit", "tail").code == 1


def test_an_empty_list_says_none(run: Run, contract: Contract) -> None:
    contract.answers["GET", "/v1/jobs"] = lambda: (200, "application/json", b'{"items": []}')
    assert run("jobs").out == "none\n"


def test_a_servers_text_cannot_steer_the_terminal(run: Run, contract: Contract) -> None:
    steering = "\x1b]0;owned\x07[bold]\u202e"
    contract.answers["GET", "/v1/whoami"] = lambda: problem(
        403, steering, steering, where={"field": steering}, way_out=steering
    )
    done = run("whoami")
    assert done.code == 1
    assert "\x1b" not in done.err
    assert "\u202e" not in done.err
    assert "[bold]" in done.err


TERMINAL = """
import os, sys
os.environ["TERM"] = "xterm-256color"
from banyan.cli import main
main(sys.argv[1:])
"""


def in_a_terminal(*arguments: str, columns: int = 80, typed: bytes = b"") -> tuple[int, str]:
    """Run the command with all three streams on a pseudo-terminal; exit code and what it showed."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", TERMINAL, *arguments],
        stdin=child, stdout=child, stderr=child, close_fds=True,
        start_new_session=True,
        env={**os.environ, "COLUMNS": str(columns), "LINES": "40"},
    )  # fmt: skip
    os.close(child)
    shown = b""
    try:
        while select.select([parent], [], [], 60)[0]:
            shown += os.read(parent, 65536)
            if typed and b"Token: " in shown:  # the last space comes when echo is off and earlier input thrown away
                os.write(parent, typed)
                typed = b""
    except OSError:  # Linux says EIO when the last writer is gone
        return process.wait(60), shown.decode()
    finally:
        process.kill()
        process.wait()
        os.close(parent)
    raise AssertionError(f"nothing happened for a minute after {shown!r}")


def test_on_a_terminal_waiting_counts_down_to_the_planned_release(contract: Contract) -> None:
    contract.states = [{"state": "running", "release_at": moment(30)}] * 4 + [{"state": "released"}]
    code, shown = in_a_terminal("submit", "delays.yaml", "--wait")
    assert code == 0
    assert "running: release planned" in shown
    assert any(0 < int(seconds) <= 31 for seconds in re.findall(r"\(in (\d+) s\)", shown))
    assert "19,930 ± 110" in shown


def test_on_a_terminal_the_token_is_asked_for_and_not_echoed(
    contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BANYAN_TOKEN")
    code, shown = in_a_terminal("login", typed=TOKEN.encode() + b"\n")
    assert code == 0, shown
    assert "you are Lin" in shown
    assert TOKEN not in shown


def test_on_a_terminal_sending_a_file_shows_a_bar(contract: Contract) -> None:
    Path("flights.csv").write_bytes(b"x" * 3_000_000)
    code, shown = in_a_terminal("assets", "ingest", "traffic/flights", "flights.csv")
    assert code == 0
    assert "3.0/3.0 MB" in shown
    assert "traffic/flights v4 is ready" in shown


def test_an_interrupt_ends_the_watching_and_not_the_job(contract: Contract) -> None:
    contract.states = [{"state": "queued", "waiting": "queued: lane"}]
    process = subprocess.Popen(
        [sys.executable, "-c", "from banyan.cli import main; main()", "submit", "delays.yaml", "--wait"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    assert process.stderr.readline() == "j-1  queued: lane\n"
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=60)
    assert (process.returncode, shown) == (130, "j-1 goes on: banyan show j-1\n")


def test_on_a_narrow_terminal_nothing_is_wider_than_it(contract: Contract) -> None:
    for arguments in (
        ("plan", "delays.yaml"),
        ("jobs",),
        ("budget",),
        ("show", "j-1"),
        ("policies",),
        ("audit", "tail"),
    ):
        code, shown = in_a_terminal(*arguments)
        assert code == 0
        plain = shown.replace("\x1b[1m", "").replace("\x1b[0m", "").replace("\r", "")
        assert all(len(line) <= 80 for line in plain.split("\n")), plain


ID = re.compile(r"\b[a-z]-[2-9a-z]{16}\b")


def test_on_a_narrow_terminal_no_id_and_no_digest_is_broken(contract: Contract) -> None:
    job, person = "j-s5jzy8gm5vvjjhaj", "p-eycn844bn4eakwpx"
    contract.states = [{"state": "running", "waiting": "running: release planned 09:12:30"}]
    contract.job = {"id": job, "kind": "program", "program": PROGRAM | {"name": "a_long_name_of_mine.py"}}
    for kind in ("budget:committed", "release:issued"):
        entry = {"type": kind, "subject": job, "actor": person, "time": moment(0), "facts": {}}
        contract.log.leaves.append(json.dumps(entry).encode())
    Path("r.json").write_text(json.dumps(contract.receipt))
    for arguments, ids, whole in (
        (("jobs",), 1, 0),
        (("audit", "tail"), 4, 0),
        (("policies", "show", "traffic-research-2026"), 0, 1),
        (("verify", "r.json"), 0, 5),
    ):
        code, shown = in_a_terminal(*arguments)
        assert code == 0, shown
        plain = shown.replace("\x1b[1m", "").replace("\x1b[0m", "").replace("\r", "")
        assert len(ID.findall(plain)) == ids
        assert all(len(line) <= 80 for line in plain.split("\n")), plain
        digests = re.findall(r"sha256:[0-9a-f]*", plain)
        assert [len(digest) for digest in digests] == [71] * whole


def test_output_that_a_terminal_cannot_show_becomes_a_question_mark(contract: Contract) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from banyan.cli import main; main()", "plan", "delays.yaml"],
        capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"Price   ? 0.5" in done.stdout


def test_a_reader_that_goes_away_is_no_traceback(contract: Contract) -> None:
    command = f'{sys.executable} -c "from banyan.cli import main; main()" assets show traffic/flights | true'
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""
