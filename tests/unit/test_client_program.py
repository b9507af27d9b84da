"""A program in a job file: what is sent, what is refused before anything is sent, and where a refusal points."""

from __future__ import annotations

import datetime as dt
import math
import os
import re
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from banyan.errors import Refused
from banyan.jobfile import JobFile, load_job, parse_job
from banyan.program_file import MAX_PROGRAM_BYTES
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.request import parsed

EXAMPLES = Path(__file__).parents[2] / "examples"
PROGRAM = """\
import numpy as np
\tfrom nowhere import x


def analyse(tables, params):
    return {"coef": [1, 2], "auc": 0.7}
"""
JOB = """\
asset: finance/applicants
purpose: research
program: model.py
params: {penalty: 0.1, deep: {names: [a, "no"], rates: [1, 2.5, null, true]}}
outputs:
  coef: {length: 2, lower: -3.0, upper: +3, default: 0, aggregate: mean}
  auc:
    lower: 0.5
    upper: 1
    default: 0.50
    aggregate: median
blocks: auto
accuracy: {coef: 0.050}
seconds_per_block: 0.5
epsilon: 2.0
"""


@pytest.fixture
def job(tmp_path: Path) -> Path:
    (tmp_path / "model.py").write_text(PROGRAM)
    (tmp_path / "model.yaml").write_text(JOB)
    return tmp_path / "model.yaml"


def refusal(path: Path) -> Refused:
    with pytest.raises(Refused) as caught:
        load_job(path)
    return caught.value


def place(file: JobFile, **where: Any) -> tuple[str, int, int] | None:
    found = file.excerpt(where)
    return None if found is None else (found.file, found.line, found.column)


def test_it_is_sent_with_its_text_and_every_number_as_it_was_written(job: Path) -> None:
    assert load_job(job).body == {
        "asset": "finance/applicants",
        "purpose": "research",
        "program": {"name": "model.py", "text": PROGRAM},
        "params": {"penalty": 0.1, "deep": {"names": ["a", "no"], "rates": [1, 2.5, None, True]}},
        "outputs": {
            "coef": {"length": 2, "lower": "-3.0", "upper": "+3", "default": "0", "aggregate": "mean"},
            "auc": {"lower": "0.5", "upper": "1", "default": "0.50", "aggregate": "median"},
        },
        "blocks": "auto",
        "accuracy": {"coef": "0.050"},
        "seconds_per_block": "0.5",
        "epsilon": "2.0",
    }


@pytest.mark.parametrize("name", [str(path.relative_to(EXAMPLES)) for path in sorted(EXAMPLES.glob("*/*.yaml"))])
def test_the_server_reads_what_is_sent(name: str) -> None:
    if (
        not re.search("^epsilon: [0-9]", text := (EXAMPLES / name).read_text(), re.MULTILINE)
        or "\npurpose: " not in text
    ):
        with pytest.raises(Refused):
            load_job(EXAMPLES / name)
        return
    file = load_job(EXAMPLES / name)
    asked = parsed(file.body)
    known_by = {"query": "query", "program": "program", "compute": "encrypted"}
    assert asked.kind == next(kind for field, kind in known_by.items() if field in file.body)
    assert parsed(asked.to_json()) == asked


def test_several_assets_are_a_list(job: Path) -> None:
    text = JOB.replace("asset: finance/applicants", "assets: [a/patients, a/visits]")
    job.write_text(text)
    assert parsed(load_job(job).body).assets == ("a/patients", "a/visits")
    for wrong in ("assets: a/patients", "assets: []", "assets: [[a/b]]"):
        job.write_text(text.replace("assets: [a/patients, a/visits]", wrong))
        assert (refusal(job).code, place_of(refusal(job))[0]) == ("job.wrong_shape", 1)


def place_of(error: Refused) -> tuple[int, int]:
    assert error.excerpt is not None
    return error.excerpt.line, error.excerpt.column


# What JSON can say and YAML writes: numbers as both read them, names and texts of any letters.
LETTERS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Co", "Cn"]), max_size=8)
PARAMS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | LETTERS
    | st.sampled_from(["no", "1:30", "012", "2020-01-01", "1e-3", "null", "~", "", ".nan", "0x1F", "1_0", "<<", "="]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(LETTERS, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


class Quoting(yaml.SafeDumper):
    """Writes every text in quotes."""


Quoting.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


@settings(deadline=None)  # a busy machine is no failure
@given(st.dictionaries(LETTERS, PARAMS, max_size=4), st.sampled_from([None, True, False]))
def test_params_reach_the_server_as_they_are(params: dict[str, Any], flow: bool | None) -> None:
    fields = {"asset": "a/b", "purpose": "research", "outputs": {"a": {"lower": 0}}, "epsilon": 1}
    job = {**fields, "program": "p.py", "params": params}
    text = yaml.dump(job, Dumper=Quoting, default_flow_style=flow, allow_unicode=True)
    program = {"name": "p.py", "text": "x"}
    in_python = load_job({**fields, "program": program, "params": params}).body["params"]
    assert same(parse_job(text, "f").body["params"], params)
    assert same(in_python, params)
    # Where its writer saw no need of quotes, a value is still itself, or refused: never another one.
    with suppress(Refused):
        assert same(parse_job(yaml.safe_dump(job, allow_unicode=True), "f").body["params"], params)


def same(one: Any, other: Any) -> bool:
    """Equal, and of one type: 1 is not 1.0 and not True to a program."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@pytest.mark.parametrize(
    ("written", "value"),
    [
        *(("1.0e-3", 0.001), ("1.5E+5", 150000.0), (".5", 0.5), ("-2.", -2.0), ("+7", 7), ("-0", 0)),
        *(("True", True), ("~", None), ("yep", "yep"), ("'no'", "no"), ('"1:30"', "1:30"), ("1.2.3", "1.2.3")),
        *(("|-\n    12", "12"), ("!!str 12", "12")),
    ],
)
def test_a_param_is_what_everybody_takes_it_for(written: str, value: object) -> None:
    found = parse_job(JOB.replace("params: {", "params:\n  x: " + written + "\n#"), "f").body["params"]["x"]
    assert same(found, value)


@pytest.mark.parametrize(
    "written",
    [
        *(
            "1e-3",
            "1E50",
            "no",
            "on",
            "Yes",
            "1:30",
            "012",
            "01.5",
            "0x1F",
            "1_0",
            "2020-01-01",
            ".nan",
            "-.inf",
            "1e999",
        ),
        *("[1, .NaN]", "{a: [off]}", "{1: a}", "{no: a}", "{a: 1, a: 2}", "{[a]: 1}", "&a [*a]", "9" * 500),
        *("!!binary aGk=", "!!set {a}", "!!omap [a: 1]"),
    ],
)
def test_a_param_that_is_read_in_two_ways_or_cannot_be_sent_is_refused_with_its_place(written: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_job(JOB.replace("params: {", "params:\n  x: " + written + "\n#"), "f")
    assert caught.value.code == "params.invalid"
    assert place_of(caught.value) >= (5, 6)


def test_params_that_alias_each_other_without_end_are_refused() -> None:
    bomb = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
        f"  {name}: &{name} [{', '.join(['*' + before] * 10)}]\n" for before, name in zip("abcde", "bcdef", strict=True)
    )
    with pytest.raises(Refused, match="params hold too much"):
        parse_job(JOB.replace("params: {", "params:\n  " + bomb + "\n#"), "f")
    with pytest.raises(Refused, match=r"params must be\s+names with values"):
        parse_job(JOB.replace("params: {", "params: 3\n#"), "f")
    assert "params" not in parse_job(JOB.replace("params: {", "params: ~\n#"), "f").body


@pytest.mark.parametrize(
    ("change", "code", "line_column", "way_out"),
    [
        (("seconds_per_block", "second_per_block"), "job.unknown_field", (14, 1), 'write "seconds_per_block"'),
        (("aggregate: mean", "agregate: mean"), "job.unknown_field", (6, 57), 'write "aggregate"'),
        (("    lower: 0.5", "    lowwer: 0.5"), "job.unknown_field", (8, 5), 'write "lower"'),
        (("    upper: 1", "    zzz: 1"), "job.unknown_field", (9, 5), "the fields are length, lower"),
        (("length: 2,", "length: 2, length: 2,"), "job.duplicate_field", (6, 21), "keep one"),
        (("  auc:", "  coef:"), "job.duplicate_field", (7, 3), "keep one"),
        (("{coef: 0.050}", "{coef: 1, coef: 2}"), "job.duplicate_field", (13, 21), "keep one"),
        (("coef: {length", "coef: 3 #"), "job.wrong_shape", (6, 9), "outputs: {slope"),
        (("lower: 0.5", "lower: [0.5]"), "job.wrong_shape", (8, 12), None),
        (("{coef: 0.050}", "0.05"), "job.wrong_shape", (13, 11), "accuracy: {slope: 0.1}"),
        (("program: model.py", "program: {name: model.py}"), "job.wrong_shape", (3, 10), None),
        (("blocks: auto", "bounds: {max_groups_per_unit: 3}"), "job.kind", (12, 9), "either a query"),
        (("blocks: auto", "query: SELECT 1"), "job.kind", (12, 8), "either a query"),
        (("program: model.py", "query: SELECT 1"), "job.kind", None, "either a query"),
        (("program: model.py", ""), "job.missing", None, "add program: …"),
        (("program: model.py", 'program: ""'), "job.missing", None, "add program: …"),
        (("epsilon: 2.0", 'policy: "\\ud800"\nepsilon: 2'), "job.not_text", None, None),
    ],
)
def test_a_job_that_is_no_program_is_refused_with_its_place(
    change: tuple[str, str], code: str, line_column: tuple[int, int] | None, way_out: str | None
) -> None:
    assert change[0] in JOB
    with pytest.raises(Refused) as caught:
        parse_job(JOB.replace(*change, 1), "f")
    assert caught.value.code == code
    assert line_column is None or place_of(caught.value) == line_column
    assert way_out is None or way_out in str(caught.value.way_out)


def test_what_is_missing_is_told_by_kind() -> None:
    with pytest.raises(Refused, match=r"lacks program and\s+outputs"):
        parse_job("asset: a/b\npurpose: research\nepsilon: 1\nblocks: 3\n", "f")
    with pytest.raises(Refused) as caught:
        parse_job("policy: x\n", "f")
    assert caught.value.text == "f lacks asset and purpose and query and epsilon"
    assert "or program: … and outputs: …" in str(caught.value.way_out)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("program", ("model.yaml", 3, 10)),
        ("outputs.coef.lower", ("model.yaml", 6, 28)),
        ("outputs.auc.upper", ("model.yaml", 9, 12)),
        ("outputs.auc.length", ("model.yaml", 8, 5)),
        ("outputs.auc", ("model.yaml", 8, 5)),
        ("outputs", ("model.yaml", 6, 3)),
        ("accuracy.coef", ("model.yaml", 13, 18)),
        ("accuracy.auc", ("model.yaml", 13, 11)),
        ("params", ("model.yaml", 4, 9)),
        ("blocks", ("model.yaml", 12, 9)),
        ("seconds_per_block", ("model.yaml", 14, 20)),
        ("delta", None),
    ],
)
def test_a_refused_field_is_shown_in_the_job_file(job: Path, field: str, expected: tuple[str, int, int] | None) -> None:
    assert place(load_job(job), field=field) == expected


def test_a_refused_line_is_shown_in_the_program(job: Path) -> None:
    file = load_job(job)
    error = Refused("program.import", "the image has no nowhere", {"field": "program", "line": 2, "column": 2}, "numpy")
    assert str(file.located(error)).split("\n") == [
        "refused  program.import         model.py line 2, column 2",
        "  from nowhere import x",
        "  ^^^^",
        "  the image has no nowhere",
        "  What would pass: numpy",
    ]
    assert place(file, line=5, column=5) == ("model.py", 5, 5)
    assert place(file, field="program", line=6) == ("model.py", 6, 1)
    for line in (0, 8, -1):
        assert place(file, field="program", line=line, column=1) is None


def test_lines_are_counted_as_python_counts_them(job: Path) -> None:
    text = "a = 1\r\nb = '\u2028\x0c\x1c'\rc = (\n"
    (job.parent / "model.py").write_bytes(text.encode())
    file = load_job(job)
    with pytest.raises(SyntaxError) as caught:
        compile(text, "model.py", "exec")
    found = file.excerpt({"field": "program", "line": caught.value.lineno, "column": caught.value.offset})
    assert found is not None
    assert found.source == "c = ("


def test_the_file_is_sent_byte_for_byte_but_for_a_byte_order_mark(job: Path) -> None:
    source = "# 航班\r\nx = 1\r\n"
    (job.parent / "model.py").write_bytes(source.encode())
    assert load_job(job).body["program"]["text"] == source
    (job.parent / "model.py").write_bytes(b"\xef\xbb\xbf" + source.encode())
    assert load_job(job).body["program"]["text"] == source


def test_the_longest_program_is_sent_and_a_longer_one_is_not(job: Path) -> None:
    (job.parent / "model.py").write_bytes(b"#" * MAX_PROGRAM_BYTES)
    parsed(load_job(job).body)
    (job.parent / "model.py").write_bytes(b"#" * (MAX_PROGRAM_BYTES + 1))
    assert refusal(job).code == "program.too_long"
    with pytest.raises(Exception, match="longer than 1 MiB"):
        parsed({**load_job_of_text("#" * (MAX_PROGRAM_BYTES + 1)).body})


def load_job_of_text(text: str) -> JobFile:
    outputs = {"a": {"lower": 0, "upper": 1, "default": 0}}
    program = {"name": "p.py", "text": text}
    return load_job({"asset": "a/b", "purpose": "research", "program": program, "outputs": outputs, "epsilon": 1})


@pytest.mark.parametrize(
    ("content", "code", "told"),
    [
        (b"x = 1\ny = '\xff'\n", "program.not_text", "line 2"),
        ("# größer".encode("latin-1"), "program.not_text", "line 1"),
        ("x = 1".encode("utf-16"), "program.not_text", "UTF-8"),
        (b"\x7fELF\x00\x00", "program.not_text", "not a text file"),
        (b"\xed\xa0\x80", "program.not_text", "line 1"),
        (None, "file.unusable", "no such file"),
    ],
)
def test_a_file_that_is_no_program_is_refused_with_the_place_of_its_name(
    job: Path, content: bytes | None, code: str, told: str
) -> None:
    (job.parent / "model.py").unlink()
    if content is not None:
        (job.parent / "model.py").write_bytes(content)
    error = refusal(job)
    assert error.code == code
    assert told in error.text
    assert str(error.excerpt) == "model.yaml line 3, column 10"


def test_what_is_no_regular_file_is_not_waited_for(job: Path) -> None:
    (job.parent / "model.py").unlink()
    os.mkfifo(job.parent / "model.py")
    assert "not a regular file" in refusal(job).text
    for name, told in (("/dev/zero", "not a regular file"), (".", "not a regular file"), ('"a\\0b"', "cannot be used")):
        job.write_text(JOB.replace("model.py", name))
        assert refusal(job).code == "file.unusable"
        assert told in refusal(job).text


def test_a_program_is_found_beside_its_job_file_wherever_that_is(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "model.py").rename(tmp_path / "elsewhere" / "model.py")
    job.write_text(JOB.replace("model.py", "elsewhere/model.py"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_job("../model.yaml").body["program"] == {"name": "model.py", "text": PROGRAM}


def test_a_mapping_names_a_file_or_holds_the_text(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields: dict[str, Any] = {"asset": "a/b", "purpose": "research", "outputs": {"a": {"lower": 0}}, "epsilon": 1}
    monkeypatch.chdir(job.parent)
    for program in ("model.py", Path("model.py"), job.parent / "model.py", {"name": "model.py", "text": PROGRAM}):
        file = load_job({**fields, "program": program})
        assert file.body["program"] == {"name": "model.py", "text": PROGRAM}
        assert place(file, field="program", line=2, column=2) == ("model.py", 2, 2)
        assert place(file, field="outputs.a.lower") is None
    with pytest.raises(Refused) as caught:
        load_job({**fields, "program": "none.py"})
    assert (caught.value.code, caught.value.where, caught.value.excerpt) == (
        "file.unusable",
        {"field": "program"},
        None,
    )
    for wrong in ({"name": "a.py"}, {"name": "a.py", "text": b"x"}, ["model.py"]):
        with pytest.raises(Refused, match="program must hold one value"):
            load_job({**fields, "program": wrong})


def test_a_mapping_holds_numbers_of_python_exactly() -> None:
    outputs = {"a": {"lower": -1e-9, "upper": Decimal("1E+3"), "default": np.float64(0.25), "length": np.int64(3)}}
    job = load_job_of_text("x").body | {"outputs": outputs, "blocks": 16, "params": {"n": np.int64(3), "t": (1, 2)}}
    body = load_job(job).body
    assert body["outputs"] == {"a": {"lower": "-0.000000001", "upper": "1000", "default": "0.25", "length": 3}}
    assert (body["blocks"], body["params"]) == (16, {"n": 3, "t": [1, 2]})
    parsed(body)


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, Decimal("0.1"), dt.date(2020, 1, 1), b"x", {1, 2}, {1: 2}, object(), 10**400]
)
def test_a_mappings_params_are_what_json_can_say(value: object) -> None:
    with pytest.raises(Refused) as caught:
        load_job({**load_job_of_text("x").body, "params": {"x": value}})
    assert (caught.value.code, caught.value.where) == ("params.invalid", {"field": "params"})


def test_a_mapping_nested_in_itself_is_refused() -> None:
    params: dict[str, Any] = {}
    params["again"] = params
    with pytest.raises(Refused, match=r"without\s+end"):
        load_job({**load_job_of_text("x").body, "params": params})


def test_a_mapping_is_held_to_the_same_form() -> None:
    good = load_job_of_text("x").body
    for change, code, field in (
        ({"outputs": {"a": {"lowwer": 0}}}, "job.unknown_field", "outputs.a.lowwer"),
        ({"bounds": {"max_groups_per_unit": 1}}, "job.kind", "bounds"),
        ({"outputs": 3}, "job.wrong_shape", "outputs"),
        ({"outputs": None}, "job.missing", "outputs"),
    ):
        with pytest.raises(Refused) as caught:
            load_job({**good, **change})
        assert (caught.value.code, caught.value.where) == (code, {"field": field})
