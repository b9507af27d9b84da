"""How figures, tables and results look to people, and that foreign text cannot steer what shows it."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from banyan import chart, figures, layout
from banyan.errors import Excerpt, Refused, StillWaiting, Unreachable, VerificationError, refusal
from banyan.result import Result
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tests.unit.client_contract import SENTENCE, TABLE

RESULT = {**TABLE, "job": "j-1", "mode": "real", "guarantee": {"sentence": SENTENCE}, "receipt": "r-1"}


def test_a_result_prints_as_the_table_of_the_command_line() -> None:
    assert Result(RESULT).lines(80) == [
        "carrier        flights     mean_delay",
        "UA        19,930 ± 110   14.21 ± 0.89",
        "NULL           0 ± 110              –",
        "about 2 of 16 carriers were expected to be lost to the threshold",
        "Guarantee  (ε 0.5, δ 1e-8)-DP for each aircraft with all its flights, add/remove",
        "           one; Gaussian, zCDP",
    ]


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (19930, 19820, 20040, "19,930 ± 110"),
        (14.2134, 13.33, 15.0968, "14.21 ± 0.89"),
        (14.2, 14.0, 16.8, "14.2 [14.0, 16.8]"),
        (0.000123, 0.000023, 0.000223, "0.00012 ± 0.00010"),
        (1234567, 1134567, 1334567, "1,230,000 ± 100,000"),
        (-3, -113, 107, "0 ± 110"),
        (5, 5, 5, "5"),
        (5, None, None, "5"),
        (None, None, None, "–"),
        ("12.50", "12.40", "12.60", "12.50 ± 0.10"),
        (1e300, 0.9e300, 1.1e300, None),
        (0, -1e-300, 1e-300, None),
    ],
)
def test_a_value_shows_no_more_digits_than_its_interval_carries(
    value: Any, low: Any, high: Any, text: str | None
) -> None:
    found = figures.with_interval(value, low, high)
    assert text is None or found == text


@pytest.mark.parametrize(
    ("value", "rounding", "text"),
    [
        ("0.5", figures.NEAREST, "0.5"),
        ("0.00000001", figures.UP, "1e-8"),
        ("1/3", figures.UP, "0.3334"),
        ("1/3", figures.DOWN, "0.3333"),
        ("29/3", figures.DOWN, "9.666"),
        (2, figures.NEAREST, "2"),
        (0, figures.NEAREST, "0"),
        ("0", figures.UP, "0"),
        ("10", figures.NEAREST, "10"),
        ("0.99999999", figures.UP, "1"),
        ("0.00099999999", figures.UP, "0.001"),
        (12345.678, figures.NEAREST, "12,346"),
        (None, figures.NEAREST, "–"),
        ("nonsense", figures.NEAREST, "nonsense"),
        ("1/0", figures.NEAREST, "1/0"),
        ("NaN", figures.NEAREST, "NaN"),
        (True, figures.NEAREST, "True"),
    ],
)
def test_amounts(value: Any, rounding: str, text: str) -> None:
    assert figures.amount(value, rounding) == text


@given(st.fractions(min_value=0, max_value=100))
def test_a_price_is_never_shown_below_and_a_rest_never_above_what_it_is(value: Fraction) -> None:
    text = f"{value.numerator}/{value.denominator}"
    up, down = (Fraction(Decimal(figures.amount(text, way).replace(",", ""))) for way in (figures.UP, figures.DOWN))
    slack = Fraction(1, 10**40)  # a ratio is taken with sixty digits before it is rounded
    assert down - slack <= value <= up + slack
    assert up - down <= value / 500 + slack


@given(
    st.decimals(-(10**12), 10**12, allow_nan=False),
    st.decimals(0, 10**6, allow_nan=False),
    st.decimals(0, 10**6, allow_nan=False),
)
def test_a_shown_symmetric_interval_covers_the_half_width(value: Decimal, below: Decimal, above: Decimal) -> None:
    text = figures.with_interval(value, value - below, value + above)
    if "±" in text:
        half = Decimal(text.partition("± ")[2].replace(",", ""))
        assert half >= max(below, above) * Decimal("0.9999999")


@pytest.mark.parametrize(
    ("value", "text"),
    [(109.3, "± 110"), (0.91, "± 0.91"), (0, "none"), (None, "unknown"), ("x", "unknown"), (1e-9, "± 0.0000000010")],
)
def test_half_widths_are_rounded_up(value: Any, text: str) -> None:
    assert figures.half_width(value) == text


def test_counts_and_memory() -> None:
    assert figures.count(330000) == "330,000"
    assert figures.count(1.5) == "1.5"
    assert figures.memory(644245094) == "0.6 GiB"
    assert figures.memory(1) == "0.1 GiB"
    assert figures.memory(None) == "–"


STEERING = "\x1b]0;owned\x07\u202e\r\n[bold]x[/bold]<b>&"


def test_text_from_data_cannot_steer_a_terminal_or_a_page() -> None:
    column = {"name": "name\x1b[2J", "role": "key", "type": "string"}
    value = {"name": "n", "role": "value", "type": "int"}
    row = {column["name"]: STEERING, "n": {"value": 5, "low": 1, "high": 9}}
    result = Result({"columns": [column, value], "rows": [row, row], "guarantee": {"sentence": STEERING}})
    text = str(result)
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    assert "\\x1b]0;owned\\x07\\u202e\\r\\n[bold]x[/bold]<b>&" in text
    page = result._repr_html_()
    assert "<b>" not in page
    assert "&lt;b&gt;&amp;" in page


def test_a_result_shows_itself_in_a_notebook_with_bars_and_its_guarantee() -> None:
    rows = [
        {"carrier": name, "flights": {"value": n, "low": n - 5, "high": n + 5}, "mean_delay": None}
        for name, n in (("UA", 20), ("B6", -3))
    ]
    page = Result({**RESULT, "rows": rows})._repr_html_()
    assert page.count("<rect") == page.count("<line") == 2
    assert SENTENCE.split(";", maxsplit=1)[0] in page
    assert "20.0 ± 5.0" in page
    assert "<svg" not in Result({**RESULT, "rows": rows[:1]})._repr_html_()
    assert "<svg" not in Result({**RESULT, "rows": rows * 21})._repr_html_()


def test_bars_stay_inside_the_drawing_whatever_the_values() -> None:
    drawn = chart.svg([chart.Bar("a", -5, -9, 1), chart.Bar("b", 0, 0, 0), chart.Bar("c", 1e9, 0, 2e9)])
    for mark in ("x", "x1", "x2"):
        for part in drawn.split(f' {mark}="')[1:]:
            assert 0 <= float(part.split('"')[0]) <= chart._LEFT + chart._WIDTH
    assert "width=" in chart.svg([chart.Bar("a", 0, 0, 0), chart.Bar("b", 0, 0, 0)])


@pytest.mark.parametrize("key", ["=cmd()", "+1", "-1", "@x", "\tx"])
def test_a_key_that_a_spreadsheet_would_run_is_quoted(key: str, tmp_path: Path) -> None:
    rows = [{"carrier": key, "flights": {"value": -5}, "mean_delay": None}]
    saved = Result({**RESULT, "rows": rows}).save(tmp_path / "f.csv").read_text()
    assert saved.split("\n")[1] == f"'{key},-5,,,,,,,"


def test_zero_as_an_end_of_an_interval_is_kept() -> None:
    rows = [{"carrier": "UA", "flights": {"value": -5, "low": -10, "high": 0}}]
    assert Result({**RESULT, "rows": rows}).bars()[0].high == 0


def test_mock_results_promise_nothing() -> None:
    text = str(Result({**RESULT, "mode": "mock", "guarantee": None}))
    assert "made-up rows" in text
    assert "DP" not in text


def test_a_table_without_keys_or_rows_is_shown() -> None:
    value = {"name": "n", "role": "value", "type": "int"}
    assert str(Result({"columns": [value], "rows": [{"n": {"value": 5, "low": 1, "high": 9}}]})).startswith(
        "        n\n5.0 ± 4.0\n"
    )
    assert str(Result({"columns": [value], "rows": []})).startswith("n\n")
    assert Result({"columns": [value], "rows": [{}]}).bars() == []
    assert Result({}).rows == []


def test_a_wide_result_is_split_and_keys_lead_each_part() -> None:
    names = [f"measure_{number}" for number in range(9)]
    columns = [{"name": "carrier", "role": "key"}, *({"name": name, "role": "value"} for name in names)]
    row = {"carrier": "UA", **{name: {"value": 1000, "low": 900, "high": 1100} for name in names}}
    lines = Result({"columns": columns, "rows": [row] * 3}).lines(80)
    assert all(cell_len(line) <= 80 for line in lines)
    heads = [line.split() for line in lines if line.startswith("carrier")]
    assert len(heads) == 2
    assert [name for head in heads for name in head[1:]] == names


def test_rows_beyond_the_limit_are_counted() -> None:
    lines = Result({**RESULT, "rows": TABLE["rows"] * 30}).lines(80, limit=50)
    assert "… 10 more rows" in lines


@given(
    st.lists(
        st.tuples(st.text(max_size=40), st.text("漢字ab ", max_size=60), st.integers(0, 10**9).map(str)), max_size=5
    ),
    st.integers(40, 120),
)
def test_tables_keep_within_the_width_and_lose_no_letter(rows: list[tuple[str, str, str]], width: int) -> None:
    lines = layout.table(("one", "two", "three"), rows, (2,), width)
    assert all(cell_len(line) <= width for line in lines)
    shown = "".join("".join(lines).split())
    for letter in {letter for row in rows for cell in row for letter in layout.clean(cell) if not letter.isspace()}:
        assert letter in shown


def test_in_a_pipe_a_row_is_one_line() -> None:
    assert len(layout.table(("a", "b"), [("x" * 300, "y " * 200)])) == 2


def test_fields_hang_under_their_names() -> None:
    assert layout.fields([("Key", "one two three four"), ("Longer", "x\ny")], 20) == [
        "Key     one two",
        "        three four",
        "Longer  x",
        "        y",
    ]


def test_a_digest_is_never_broken_and_still_fits() -> None:
    digest = "sha256:" + "5" * 64
    assert layout.fields([("digest of all", digest), ("b", f"x: {digest} y")], 80) == [
        "digest of all",
        " " * 6 + digest,
        "b" + " " * 14 + "x:",
        " " * 6 + digest,
        " " * 15 + "y",
    ]


def test_errors_print_in_one_form() -> None:
    assert (
        str(Unreachable("server.unreachable", "no answer", "start it"))
        == "unreachable  server.unreachable\n  no answer\n  start it"
    )
    assert str(StillWaiting("job.still_waiting", "j-1 is queued")) == "waiting  job.still_waiting\n  j-1 is queued"
    assert str(VerificationError("3 signature", "does not fit")) == "NOT VERIFIED  3 signature\n  does not fit"
    assert str(Refused("a.b", "t", {"field": "epsilon"})) == "refused  a.b                    epsilon\n  t"
    assert (
        str(Refused("a.b", "t", {"file": "f.yaml", "line": 3})) == "refused  a.b                    f.yaml line 3\n  t"
    )
    long = Refused("a.b", "word " * 40)
    assert all(len(line) <= 80 for line in str(long).split("\n"))
    assert str(long).startswith("refused  a.b\n  word word")
    assert Excerpt("f", 1, 99, "ab").marked() == ["ab", "  ^"]
    assert Excerpt("f", 1, 1, "  ab").marked()[1].strip() == "^"


def test_many_problems_of_one_file_are_listed_and_then_counted() -> None:
    problems = [{"line": number, "column": 1, "text": "wrong"} for number in range(20)]
    text = str(refusal({"code": "declaration.x", "title": "wrong", "where": {"line": 0, "problems": problems}}, 422))
    assert text.count("also line") == 10
    assert text.endswith("and 9 more")
