"""What a job file says, and where in it a refusal points."""

from __future__ import annotations

import textwrap
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
import yaml
from banyan.errors import Refused
from banyan.jobfile import load_job, parse_job
from banyan.yaml_places import WHITE
from hypothesis import given, settings
from hypothesis import strategies as st

DELAYS = """\
# delays.yaml
asset: traffic/flights            # a comment
purpose: research
policy: traffic-research-2026     # optional when only one fits

query: |
  -- per carrier
  SELECT carrier, COUNT(*), MAX(dep_delay)
  FROM flights GROUP BY carrier
epsilon: 0.50
bounds: {max_groups_per_unit: 6, max_rows_per_group: 60}
"""


def at(text: str, line: int, column: int, field: str = "query") -> str:
    """The text from the place on that `where` points to."""
    place = parse_job(text, "f.yaml").excerpt({"field": field, "line": line, "column": column})
    assert place is not None
    assert place.source == text.split("\n")[place.line - 1]
    return place.source[place.column - 1 :]


def job(query: str) -> str:
    return f"asset: a/b\npurpose: research\nepsilon: 1\nquery: {query}"


def refusal(text: str) -> Refused:
    with pytest.raises(Refused) as caught:
        parse_job(text, "f.yaml")
    return caught.value


def test_a_job_file_is_sent_as_it_was_written() -> None:
    assert parse_job(DELAYS, "delays.yaml").body == {
        "asset": "traffic/flights",
        "purpose": "research",
        "policy": "traffic-research-2026",
        "query": "-- per carrier\nSELECT carrier, COUNT(*), MAX(dep_delay)\nFROM flights GROUP BY carrier\n",
        "epsilon": "0.50",
        "bounds": {"max_groups_per_unit": 6, "max_rows_per_group": 60},
    }


@pytest.mark.parametrize(
    "written", ["0.3", "1e-1", ".nan", "1e309", "-1", "abc", '"0.3"', "0.1234567890123456789", "1_0", "0x1"]
)
def test_epsilon_reaches_the_server_digit_for_digit(written: str) -> None:
    assert parse_job(job("q\n").replace("epsilon: 1", f"epsilon: {written}"), "f").body["epsilon"] == written.strip('"')


def test_bounds_that_are_no_numbers_are_left_for_the_server_to_refuse() -> None:
    body = parse_job(DELAYS.replace("unit: 6", "unit: auto").replace("group: 60", 'group: "60"'), "f").body
    assert body["bounds"] == {"max_groups_per_unit": "auto", "max_rows_per_group": "60"}


def test_an_empty_field_is_as_if_it_were_not_there() -> None:
    assert "policy" not in parse_job(DELAYS.replace("policy: traffic-research-2026", "policy:"), "f").body


def test_a_refusal_prints_with_the_line_and_the_word_marked() -> None:
    file = parse_job(DELAYS, "delays.yaml")
    error = Refused(
        "sql.not_allowed",
        "MAX would show one aircraft's value.",
        {"field": "query", "line": 2, "column": 27},
        "QUANTILE(dep_delay, 0.99)",
        422,
    )
    assert str(file.located(error)) == textwrap.dedent("""\
        refused  sql.not_allowed        delays.yaml line 8, column 29
          SELECT carrier, COUNT(*), MAX(dep_delay)
                                    ^^^
          MAX would show one aircraft's value.
          What would pass: QUANTILE(dep_delay, 0.99)""")


@pytest.mark.parametrize(
    ("query", "line", "column", "rest"),
    [
        ("|\n   SELECT\n\n     MAX(x)\n", 3, 3, "MAX(x)"),
        ("|-  # header\n\n\n  SELECT\n  MAX(x)", 4, 1, "MAX(x)"),
        ("|2\n   SELECT MAX(x)\n", 1, 9, "MAX(x)"),
        (">\n  SELECT\n  MAX(x)\n  FROM t\n", 1, 8, "MAX(x)"),
        (">\n  SELECT\n\n  MAX(x)\n  FROM t\n", 2, 1, "MAX(x)"),
        (">-\n  SELECT\n    more indented\n  MAX(x)\n", 3, 1, "MAX(x)"),
        ("SELECT a, MAX(x) FROM t  # comment", 1, 11, "MAX(x) FROM t  # comment"),
        ("SELECT a,\n  b,\n  MAX(x)\n", 1, 14, "MAX(x)"),
        ("'SELECT ''it'', MAX(x)'\n", 1, 14, "MAX(x)'"),
        ("'SELECT\n\n  ''it'',\n  MAX(x)'\n", 2, 7, "MAX(x)'"),
        ('"SELECT \\"it\\", MAX(x)"\n', 1, 14, 'MAX(x)"'),
        ('"SELECT\\n\\tMAX(x)"\n', 2, 2, 'MAX(x)"'),
        ('"SELECT \\x41\\u0042\\U00000043 MAX(x)"\n', 1, 12, 'MAX(x)"'),
        ('"SELECT \\\n   MAX(x)"\n', 1, 8, 'MAX(x)"'),
        ("&name |\n  MAX(x)\n", 1, 1, "MAX(x)"),
        ("!!str 'MAX(x)'\n", 1, 1, "MAX(x)'"),
        ("|\n  SELECT '航班', MAX(x)\n", 1, 14, "MAX(x)"),
    ],
)
def test_every_way_to_write_a_query_keeps_its_places(query: str, line: int, column: int, rest: str) -> None:
    assert at(job(query), line, column) == rest


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc", "Co", "Cn"]) | st.just("\n"), max_size=12), max_size=8
    ),
    st.sampled_from(["|", ">", "'", '"', ""]),
    st.integers(20, 90),
    st.data(),
)
def test_every_visible_character_of_a_dumped_query_is_found_in_the_file(
    words: list[str], style: str, width: int, data: st.DataObject
) -> None:
    query = " ".join(["SELECT", *words])
    fields = {"asset": "a/b", "purpose": "research", "epsilon": 1, "query": query}
    text = yaml.dump(fields, default_style=style, width=width, allow_unicode=True, sort_keys=False)
    file = parse_job(text.replace('"1"', "1"), "f")
    assert file.body["query"] == query
    visible = [index for index, letter in enumerate(query) if letter not in WHITE]
    index = data.draw(st.sampled_from(visible))
    line, column = query.count("\n", 0, index) + 1, index - query.rfind("\n", 0, index)
    place = file.excerpt({"field": "query", "line": line, "column": column})
    assert place is not None
    found = place.source[place.column - 1]
    assert found == query[index] or found == "\\"
    assert str(Refused("c", "t", excerpt=place))


def test_a_place_beyond_the_query_is_its_end() -> None:
    assert at(job("|\n  SELECT a\n"), 9, 9) == ""
    assert at(job("|\n  SELECT a\n"), 1, 99) == ""


@pytest.mark.parametrize(
    ("where", "place"),
    [
        ({"field": "epsilon"}, (10, 10)),
        ({"field": "bounds"}, (11, 9)),
        ({"field": "bounds.max_rows_per_group"}, (11, 54)),
        ({"field": "query"}, (7, 3)),
        ({"line": 2, "column": 1}, (8, 3)),
        ({"field": "delta"}, None),
        ({"rule": "policy.none"}, None),
        ({}, None),
    ],
)
def test_a_refused_field_is_found(where: dict[str, object], place: tuple[int, int] | None) -> None:
    found = parse_job(DELAYS, "delays.yaml").excerpt(where)
    assert (None if found is None else (found.line, found.column)) == place


def test_a_wide_script_and_tabs_do_not_shift_the_mark() -> None:
    file = parse_job(job("|\n  SELECT '航班',\tMAX(x)\n"), "f")
    error = file.located(Refused("c", "t", {"field": "query", "line": 1, "column": 14}))
    source, mark = str(error).split("\n")[1:3]
    assert source == "  SELECT '航班', MAX(x)"
    assert mark == "  " + " " * 15 + "^^^"  # the two wide letters take two cells each


def test_a_long_line_is_cut_around_the_mark() -> None:
    query = "SELECT " + ", ".join(f"column{number}" for number in range(100)) + ", MAX(x) FROM t"
    error = parse_job(job(query), "f").located(
        Refused("c", "t", {"field": "query", "line": 1, "column": query.index("MAX") + 1})
    )
    source, mark = str(error).split("\n")[1:3]
    assert len(source) <= 80
    assert source[mark.index("^") :].startswith("MAX(x)")


@pytest.mark.parametrize(
    ("text", "code", "place", "way_out"),
    [
        (DELAYS.replace("epsilon:", "epsilom:"), "job.unknown_field", (10, 1), 'write "epsilon"'),
        (
            DELAYS.replace("max_rows_per_group", "max_row_per_group"),
            "job.unknown_field",
            (11, 34),
            'write "max_rows_per_group"',
        ),
        (DELAYS + "zzz: 1\n", "job.unknown_field", (12, 1), "the fields are asset, assets, purpose"),
        (DELAYS + "query: SELECT\n", "job.duplicate_field", (12, 1), "keep one"),
        (DELAYS.replace("0.50", "[1]"), "job.wrong_shape", (10, 10), None),
        (DELAYS.replace("{max_groups_per_unit: 6, max_rows_per_group: 60}", "6"), "job.wrong_shape", (11, 9), None),
        (DELAYS.replace("purpose: research", "purpose: : research"), "job.not_yaml", (3, 10), None),
        (DELAYS.replace("purpose: research", "purpose: 'research"), "job.not_yaml", None, None),
        (DELAYS + "---\nasset: b\n", "job.not_yaml", None, None),
        ("asset: a/b\npurpose: x\nquery: q\n", "job.missing", None, "add epsilon"),
        ("", "job.not_a_mapping", None, "asset"),
        ("- 1\n", "job.not_a_mapping", None, "asset"),
        ("a: " + "[" * 1500, "job.not_yaml", None, None),
        ("a: \x00", "job.not_yaml", None, None),
        ("? [a, b]\n: 1\n", "job.unknown_field", (1, 3), None),
    ],
)
def test_a_file_that_is_no_job_is_refused_with_its_place(
    text: str, code: str, place: tuple[int, int] | None, way_out: str | None
) -> None:
    error = refusal(text)
    assert error.code == code
    assert error.status is None
    if place is not None:
        assert error.excerpt is not None
        assert (error.excerpt.line, error.excerpt.column) == place
    if way_out is not None:
        assert way_out in str(error.way_out)


def test_a_job_may_be_a_mapping_with_exact_numbers() -> None:
    body = load_job(
        {"asset": "a/b", "purpose": "research", "query": "q", "epsilon": 0.1, "delta": Decimal("1e-9"), "policy": None}
    ).body
    assert body == {"asset": "a/b", "purpose": "research", "query": "q", "epsilon": "0.1", "delta": "0.000000001"}
    bounds = {"max_groups_per_unit": 3}
    given_bounds = load_job(
        {"asset": "a/b", "purpose": "r", "query": "q", "epsilon": Fraction(1, 3), "bounds": bounds}
    ).body
    assert (given_bounds["epsilon"], given_bounds["bounds"]) == ("1/3", bounds)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"epsilom": 1}, "job.unknown_field"),
        ({"bounds": {"max_groups": 1}}, "job.unknown_field"),
        ({"query": None}, "job.missing"),
    ],
)
def test_a_mapping_is_held_to_the_same_form(change: dict[str, object], code: str) -> None:
    with pytest.raises(Refused) as caught:
        load_job({"asset": "a/b", "purpose": "research", "query": "q", "epsilon": 1, **change})
    assert caught.value.code == code


def test_a_refusal_of_a_mapping_shows_the_line_of_its_query() -> None:
    file = load_job({"asset": "a/b", "purpose": "research", "query": "SELECT\n  MAX(x)", "epsilon": 1})
    text = str(file.located(Refused("c", "t", {"field": "query", "line": 2, "column": 3})))
    assert text.split("\n")[:3] == ["refused  c                      query line 2, column 3", "  MAX(x)", "  ^^^"]
    assert file.located(Refused("c", "t", {"field": "query", "line": 9, "column": 3})).excerpt is None


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"asset: \xff")
    (tmp_path / "large.yaml").write_bytes(b"#" * 1_000_001)
    for name, code in (
        ("none.yaml", "file.unusable"),
        ("latin.yaml", "file.not_text"),
        ("large.yaml", "file.too_large"),
    ):
        with pytest.raises(Refused) as caught:
            load_job(tmp_path / name)
        assert caught.value.code == code
        assert name in caught.value.text
    with pytest.raises(Refused, match=r"this is a\s+folder"):
        load_job(str(tmp_path))


def test_windows_line_ends_and_a_byte_order_mark_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "delays.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + DELAYS.replace("\n", "\r\n").encode())
    file = load_job(path)
    assert file.body == parse_job(DELAYS, "delays.yaml").body
    place = file.excerpt({"field": "query", "line": 2, "column": 27})
    assert place is not None
    assert (place.file, place.line, place.column) == ("delays.yaml", 8, 29)
