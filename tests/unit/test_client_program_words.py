"""What people read of a program: its plan, its run on made-up rows, its result; and that its text cannot steer what shows it."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
from banyan import mock_report
from banyan.plan import Plan
from banyan.result import Result
from rich.cells import cell_len

from tests.unit.client_contract import MOCK, PROGRAM_PLAN, PROGRAM_TABLE

GUARANTEE = {"sentence": "(ε 1)-DP for each tailnum; sample and aggregate over 400 blocks", "blocks": 400}
RESULT = {**PROGRAM_TABLE, "job": "j-1", "mode": "real", "guarantee": GUARANTEE, "receipt": "r-1", "reused": False}


def test_a_plan_says_what_a_program_costs_how_exact_it_is_and_what_stands_between_its_blocks() -> None:
    assert str(Plan(PROGRAM_PLAN)).split("\n") == [
        "Plan    program delay_regression.py on traffic/flights v3 (level S1, about",
        "        330,000 rows, 4,000 aircraft)",
        'Price   ε 0.5, δ 1e-8 of the population "aircraft"',
        "        (left after this: ε 9.5 of 10; yours 3.5 of 4)",
        "Error   expected, 95 %               noise",
        "          per_minute                 ± 0.023",
        "          coefficients (3 numbers)   ± 0.14 each",
        "          auc                        between the 38th and the 62nd percentile of",
        "                                     the block answers",
        "Blocks  400, each about 10 aircraft with about 840 rows",
        "        More blocks: less noise, but each answer is computed on fewer units and",
        "        so is further from the answer on all data.",
        "        The price is shared by 5 numbers: with fewer outputs each has less",
        "        noise.",
        "Runs    at most 0.2 s of processor time and 704 MiB of memory a block",
        "        each block in fresh namespaces of its own, one after the other in a",
        "        container without network",
        "Time    released 58.3 s after start · memory 0.6 GiB · 2 lanes",
        "Needs   nothing more: policy traffic-research-2026 allows it",
    ]


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"joined": [{"asset": "traffic/planes", "version": 2}]}, "on traffic/flights v3 and traffic/planes v2 ("),
        ({"joined": [{"asset": "traffic/planes", "version": None}]}, "and traffic/planes with no data yet"),
        ({"isolation": "container"}, "each block in a container of its own, without network"),
        ({"isolation": "container", "oci_runtime": "runsc"}, "without network (runsc)"),
        ({"isolation": "moat"}, "        moat"),
        ({"block_memory_bytes": None}, "Runs    at most 0.2 s of processor time a block"),
        ({"block_memory_bytes": (1 << 30) - 1}, "0.2 s of processor time and 1,023 MiB of memory a block"),
        ({"needs": ["approval by 1 of 2"]}, "Needs   approval by 1 of 2"),
        ({"outputs": [{"name": "x", "width": 1, "noise_95": None, "noise_ranks": None}]}, "x              unknown"),
    ],
)
def test_a_plan_says_it_in_plain_words(change: dict[str, Any], shown: str) -> None:
    assert shown in "\n".join(Plan({**PROGRAM_PLAN, **change}).lines())


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_plan_keeps_within_the_width(width: int) -> None:
    outputs = [{**output, "name": "o" * 40} for output in PROGRAM_PLAN["outputs"]]
    lines = Plan({**PROGRAM_PLAN, "outputs": outputs}).lines(width)
    assert all(cell_len(line) <= width for line in lines)


def test_a_result_shows_elements_and_no_interval_where_there_is_none() -> None:
    assert Result(RESULT).lines(80) == [
        "output       element                 value",
        "per_minute                   1.018 ± 0.023",
        "pair         0                -2.51 ± 0.45",
        "pair         1         10.00 [9.55, 10.00]",
        "auc                                 0.6295",
        "A block that gave no valid answer counts as the declared default.",
        "Guarantee  (ε 1)-DP for each tailnum; sample and aggregate over 400 blocks",
    ]


def test_a_query_may_have_a_column_called_element_and_a_null_in_it() -> None:
    query = {**RESULT, "guarantee": {"sentence": "x"}}
    assert "NULL" in str(Result(query))
    assert "NULL" not in str(Result(RESULT))


def test_a_copy_of_an_earlier_release_says_so() -> None:
    assert "Reused" not in str(Result(RESULT))
    shown = Result({**RESULT, "reused": True})
    assert shown.is_reused
    assert "Reused     a copy of an identical job's earlier release" in str(shown)
    assert "earlier release" in shown._repr_html_()


def test_csv_leaves_empty_what_a_median_has_not(tmp_path: Path) -> None:
    saved = Result(RESULT).save(tmp_path / "f.csv").read_text()
    assert saved.split("\n") == [
        "output,element,value,value_standard_error,value_low,value_high",
        "per_minute,,1.0183,0.0094,0.9953,1.0413",
        "pair,0,-2.51,0.2,-2.96,-2.06",
        "pair,1,10,0.2,9.55,10",
        "auc,,0.6295,,,",
        "",
    ]


@pytest.mark.parametrize(
    ("rows", "types_told"),
    [
        (slice(None), {"element": "Int64"}),
        (slice(3, None), {"element": "Int64", "value_standard_error": "float64"} | {f"value_{end}": "float64" for end in ("low", "high")}),
        (slice(1, 3), {}),
    ],
)  # fmt: skip
def test_a_data_frame_keeps_whole_elements_and_numbers(
    monkeypatch: pytest.MonkeyPatch, rows: slice, types_told: dict[str, str]
) -> None:
    class Frame:
        types: dict[str, str]

        def __init__(self, rows: list[list[Any]], columns: list[str]) -> None:
            self.rows, self.columns, self.types = rows, columns, {}

        def astype(self, types: dict[str, str]) -> Frame:
            self.types = types
            return self

    monkeypatch.setitem(sys.modules, "pandas", types.SimpleNamespace(DataFrame=Frame))
    frame = Result({**RESULT, "rows": PROGRAM_TABLE["rows"][rows]}).to_pandas()
    assert frame.columns[:3] == ["output", "element", "value"]
    assert frame.types == types_told


def test_a_chart_names_its_bars_without_holes() -> None:
    labels = [bar.label for bar in Result(RESULT).bars()]
    assert labels == ["per_minute", "pair · 0", "pair · 1", "auc"]


def mock(**changes: Any) -> Result:
    return Result({**RESULT, "mode": "mock", "receipt": None, "mock": {**MOCK, **changes}})


def test_a_mock_run_shows_what_was_printed_raised_and_answered() -> None:
    assert mock_report.lines(mock(), 80) == [
        "Printed and raised in the blocks",
        "  fitting now",
        "  Traceback (most recent call last):",
        '    File "delay_regression.py", line 16, in analyse',
        "  ValueError: \\x1b]0;owned\\x07\\u202e",
        "Blocks     7 of 8 made-up blocks answered",
        "           on real data a block without an answer counts as the defaults",
        "           block 1 gave no answer and no traceback, for one of these reasons:",
        "           the processor time was over (seconds_per_block, 0.2 s); the time on",
        "           the clock was over (0.27 s), by waiting or on a busy machine; the",
        "           memory was not enough (704 MiB); the process crashed, or the program",
        "           ended it",
        "           block 0: per_minute 1.031 · pair [1, 2.25] · auc 0.6",
        "           block 1: no answer",
        "           block 2: per_minute 0.98 · pair [1, 2] · auc 0.7",
    ]
    assert mock().mock == MOCK
    assert Result(RESULT).mock is None


def test_what_many_blocks_raised_alike_is_shown_once() -> None:
    raised = 'Traceback (most recent call last):\n  File "a.py"\n\nKeyError: 1\n'
    log = "".join(f"--- block {block}\n{text}" for block, text in ((0, raised), (2, "hm\n"), (1, raised), (3, raised)))
    told = mock(blocks=6, answered=0, answers=[None] * 6, log=log + "\n--- block x\n", limits=None)
    assert mock_report.lines(told, 80) == [
        "Printed and raised in the blocks",
        "  --- blocks 0 and 1",
        "  Traceback (most recent call last):",
        '    File "a.py"',
        "",
        "  KeyError: 1",
        "  --- block 2",
        "  hm",
        "  --- block 3",
        "  Traceback (most recent call last):",
        '    File "a.py"',
        "",
        "  KeyError: 1",
        "",
        "  --- block x",
        "Blocks     0 of 6 made-up blocks answered",
        "           on real data a block without an answer counts as the defaults",
        "           blocks 2, 4 and 5 gave no answer and no traceback, for one of these",
        "           reasons: the processor time was over (seconds_per_block); the time on",
        "           the clock was over, by waiting or on a busy machine; the memory was",
        "           not enough; the process crashed, or the program ended it",
        "           block 0: no answer",
        "           block 1: no answer",
        "           block 2: no answer",
    ]


@pytest.mark.parametrize(
    ("log", "more"),
    [
        (
            "block 1 was not run: what was before it was not gone in time\n",
            "it was not run, since what was before it was not",
        ),
        ("--- block 0\n" + "x" * 16_384, "so much was printed that the traceback was cut off"),
    ],
)
def test_what_can_only_sometimes_be_the_reason_is_said_then_only(log: str, more: str) -> None:
    assert more in "\n".join(mock_report.lines(mock(log=log)))
    assert more not in "\n".join(mock_report.lines(mock(log="")))


def test_the_processor_time_of_a_block_that_ended_silently_is_told() -> None:
    took = ["0.0131"] * 8
    shown = " ".join(" ".join(mock_report.lines(mock(took=[took[0], "0.0152", *took[2:]], log=""))).split())
    assert "block 1 gave no answer and no traceback, after 0.0152 s of processor time, for one of" in shown
    assert "seconds_per_block" not in shown
    assert "reasons: the time on the clock was over (0.27 s)" in shown
    for most in ("0.19", "0.2013"):
        assert "over (seconds_per_block, 0.2 s)" in "\n".join(
            mock_report.lines(mock(took=[took[0], most, *took[2:]], log=""))
        )


@pytest.mark.parametrize(
    ("took", "shown"),
    [
        ("0.0013", "0.0131 s of processor time: seconds_per_block: 0.03 would do, twice as much, where 0.2 is asked"),
        ("0.0496", "0.0496 s of processor time: seconds_per_block: 0.1 would do"),
        ("0.0501", None),
        (None, None),
    ],
)
def test_what_would_do_is_told_where_it_is_far_less_than_asked(took: str | None, shown: str | None) -> None:
    answers = [{"auc": 0.6, "pair": [1, 2], "per_minute": 1}] * 8
    told = mock(answered=8, answers=answers, log="", took=["0.0131"] * 7 + [took])
    lines = "\n".join(mock_report.lines(told))
    assert (shown in lines) if shown else ("would do" not in lines)
    failed = mock(answered=7, answers=[None, *answers[1:]], log="", took=["0.0131"] * 8)
    assert "would do" not in "\n".join(mock_report.lines(failed))


def test_an_answer_that_is_no_number_is_told_as_such() -> None:
    answers = [
        {"auc": "nan", "pair": [1, "-inf"], "per_minute": 1},
        {"auc": 1, "pair": list(range(9)), "per_minute": 1},
    ]
    result = mock(blocks=2, answered=2, answers=answers, log="")
    assert mock_report.lines(result, 80) == [
        "Blocks     2 of 2 made-up blocks answered",
        "           1 of them with what is no finite number: such a block counts as the",
        "           defaults",
        "           block 0: per_minute 1 · pair [1, -inf] · auc nan",
        "           block 1: per_minute 1 · pair [0, 1, 2, 3, … (9 numbers)] · auc 1",
    ]
    assert mock_report.valid_answers(result.mock or {}) == 1


def test_a_report_of_another_form_is_shown_all_the_same() -> None:
    shown = mock_report.lines(mock(answers=None, answered=None, log=None))
    assert shown == ["Blocks     – of 8 made-up blocks answered"]
    steering = mock(answers=[{"\x1b[2J": "\x1b[2J"}], log="\x1b[2J")
    assert all(letter.isprintable() for line in mock_report.lines(steering) for letter in line)
