"""Whatever is sent as a program job is refused with a documented code at its field, or kept exactly through its stored form.

The plain cases are in test_jobs_program_request.py; here are the values that look right, and all others.
"""

import json
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.canonical import canonical
from core.errors import Invalid
from jobs.program_request import PARAMS_BYTES, PROGRAM_BYTES
from jobs.request import parsed
from tests.api_world import DOCUMENTED

AGE = {"lower": 0, "upper": 110, "default": 40}
JOB = {
    "asset": "medical/visits",
    "purpose": "research",
    "program": {"name": "age.py", "text": "def analyse(tables, params): return {'age': 1}\n"},
    "outputs": {"age": AGE},
    "epsilon": 1,
}
PARTS = [*JOB, "params", "blocks", "accuracy", "seconds_per_block", "assets", "query", "bounds", "policy", "delta"]


def program(**changes):
    return {"program": JOB["program"] | changes}


def age(**changes):
    return {"outputs": {"age": {name: value for name, value in (AGE | changes).items() if value is not ...}}}


NO_NUMBERS = ("", "a", "1e3", 1e-9, 1e300, float("nan"), float("-inf"), True, [0], {}, "0x1", "1_0", "٣", " 1", "1\n", "1/2", "½", 10**17)  # fmt: skip
WRONG = [
    *(({"program": value}, "job.missing", "program") for value in ([], 0, False, "")),
    ({"program": {}}, "program.name", "program"),
    ({"program": {"name": "age.py"}}, "program.not_text", "program"),
    *(
        (program(name=name), "program.name", "program")
        for name in (7, "..", "a/age.py", "a\\age.py", "age\n.py", "age\N{RIGHT-TO-LEFT OVERRIDE}yp.exe", "\ud800.py", "a" * 101)
    ),
    *((program(text=text), "program.not_text", "program") for text in (None, b"x = 1", ["x = 1"], "x = '\udc80'")),
    (program(text="x" * (PROGRAM_BYTES + 1)), "program.too_long", "program"),
    *(({"params": value}, "params.invalid", "params") for value in (0, "", {1: 2})),
    *(
        ({"params": {"a": value}}, "params.invalid", "params")
        for value in ({1: 2}, float("inf"), 2**53, -(2**53), 2.0**53, 1e16, -1e20, [[1e18]], b"x", {1, 2}, "\ud800")
    ),
    ({"params": {"\ud800": 1}}, "params.invalid", "params"),
    ({"params": {"a": "\x01" * (PARAMS_BYTES // 6 + 1)}}, "params.too_long", "params"),
    *(({"outputs": value}, "outputs.missing", "outputs") for value in ([], "age", 1)),
    *(
        ({"outputs": {name: AGE}}, "outputs.name", f"outputs.{name[:60]}")
        for name in ("", "1age", "a-b", "alter_é", "age\n", "a" * 41, "a" * 999)
    ),
    *(({"outputs": {"age": value}}, "job.missing", "outputs.age") for value in (5, None, [0, 110])),
    *((age(aggregate=value), "outputs.aggregate", "outputs.age.aggregate") for value in ("MEAN", None, ["mean"], {})),
    *((age(length=value), "outputs.length", "outputs.age.length") for value in (-1, 1025, 2.0, "2", [2], 10**400)),
    *((age(**{part: ...}), f"outputs.{part}", f"outputs.age.{part}") for part in AGE),
    *((age(**{part: value}), f"outputs.{part}", f"outputs.age.{part}") for part in AGE for value in NO_NUMBERS),
    *(({"blocks": value}, "blocks.invalid", "blocks") for value in (-8, 8.0, "8", "Auto", "", True, [], {}, 10**400)),
    *(({"accuracy": value}, "job.missing", "accuracy") for value in (0, False, "", "auto", [], ["age"])),
    *(({"accuracy": {"age": value}}, "accuracy.invalid", "accuracy.age") for value in ("0.0", -1, "a", None, True, [1], "1e-3", float("nan"))),
    *(
        ({"seconds_per_block": value}, "seconds.invalid", "seconds_per_block")
        for value in (-1, "0.0099999999999999", 60.01, "60.0000000000000001", "1e1", float("inf"), True, [1], {}, "")
    ),
    ({"program": None}, "job.kind", "outputs"),
    *(({"asset": None, "assets": value}, "job.assets", "assets") for value in ("medical/visits", {"medical/visits": 1}, ["medical/visits"] * 2)),
    *(
        ({"asset": None, "assets": ["medical/visits", value]}, "job.asset", "assets")
        for value in (None, 5, "", "../people", "medical/people/1", "Medical/people", ["medical/people"])
    ),
]  # fmt: skip


@pytest.mark.parametrize(("change", "code", "field"), WRONG)
def test_what_looks_right_and_is_not_is_refused_with_its_field(change, code, field):
    with pytest.raises(Invalid) as refusal:
        parsed(JOB | change)
    assert (refusal.value.code, refusal.value.where) == (code, {"field": field})
    assert code in DOCUMENTED


def test_the_largest_of_everything_is_accepted():
    text = "é" * (PROGRAM_BYTES // 2)
    assert parsed(JOB | program(text=text)).work.text == text
    assert parsed(JOB | program(name="分析 2.py")).work.name == "分析 2.py"
    fits = "x" * (PARAMS_BYTES - len('{"a":""}'))
    assert parsed(JOB | {"params": {"a": fits}}).work.params == {"a": fits}
    assert len(parsed(JOB | {"outputs": {f"x{i}": AGE for i in range(64)}}).work.outputs) == 64


def test_null_is_the_same_as_nothing():
    nothing = dict.fromkeys(
        ("params", "blocks", "accuracy", "seconds_per_block", "query", "bounds", "assets", "policy")
    )
    assert parsed(JOB | nothing) == parsed(JOB) == parsed(JOB | {"blocks": "auto", "accuracy": {}, "params": {}})


def test_an_accuracy_is_asked_of_means_only():
    both = {"age": AGE, "middle": AGE | {"aggregate": "median"}}
    assert parsed(JOB | {"outputs": both, "accuracy": {"age": 2}}).work.accuracy == (("age", Decimal(2)),)
    with pytest.raises(Invalid) as refusal:
        parsed(JOB | {"outputs": both, "accuracy": {"middle": 2}})
    assert refusal.value.where == {"field": "accuracy.middle"}


def test_the_digest_is_that_of_the_text():
    work = parsed(JOB).work
    assert parsed(JOB | program(name="other.py")).work.digest == work.digest
    assert parsed(JOB | program(text=work.text + " ")).work.digest != work.digest


NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,39}", fullmatch=True)
PLAIN = st.decimals(-(10**15), 10**15, places=4, allow_nan=False).map(lambda number: f"{number:f}")
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
# Floats up to 2^53: beyond it some are refused.
FLOATS = st.floats(-(2.0**52), 2.0**52) | st.floats(1e21, 1e308) | st.floats(-1e308, -1e21)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | FLOATS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=4,
)
OUTPUTS = st.dictionaries(
    NAMES,
    st.fixed_dictionaries(
        {"lower": PLAIN, "upper": PLAIN, "default": PLAIN},
        optional={"length": st.none() | st.integers(1, 1024), "aggregate": st.sampled_from(["mean", "median"])},
    ),
    min_size=1,
    max_size=3,
)
SECONDS = st.decimals("0.01", "60", places=16, allow_nan=False).map(lambda number: f"{number:f}")


@settings(deadline=None, max_examples=60)
@given(
    st.fixed_dictionaries(
        {"outputs": OUTPUTS},
        optional={
            "params": st.dictionaries(TEXTS, VALUES, max_size=3),
            "blocks": st.just("auto") | st.integers(1, 100_000),
            "seconds_per_block": SECONDS,
            "program": st.fixed_dictionaries({"name": NAMES, "text": TEXTS}),
        },
    )
)
@example({"seconds_per_block": "0.0100000000000001"})
@example({"seconds_per_block": "59.9999999999999999"})
@example({"seconds_per_block": 0.1})
@example({"outputs": {"a": {"lower": "-.5", "upper": "+5.", "default": "-0"}}})
@example({"params": {"a": -0.0, "b": 1.0, "é": [{}], "c": 1e21, "d": 2.0**53 - 1}})
def test_what_is_accepted_is_kept_exactly_through_its_stored_form(change):
    asked = parsed(JOB | change)
    again = parsed(json.loads(canonical(asked.to_json())))
    assert canonical(again.to_json()) == canonical(asked.to_json())
    assert (again.work.seconds, again.work.digest) == (asked.work.seconds, asked.work.digest)
    assert json.dumps(again.work.params, sort_keys=True) == json.dumps(asked.work.params, sort_keys=True)
    assert {each.name: each for each in again.work.outputs} == {each.name: each for each in asked.work.outputs}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=8) | st.sampled_from([*AGE, "name", "text", "age", "length"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(PARTS), ANYTHING)
@example("params", {"": 2.0**53})
@example("params", {"": 1e16})
def test_anything_in_a_field_is_understood_or_refused_there(field, value):
    try:
        asked = parsed(JOB | {field: value})
    except Invalid as refusal:
        assert refusal.code in DOCUMENTED  # noqa: PT017
        # Where a program or an asset is missing, it is another field that does not fit.
        assert refusal.where["field"].startswith(field) or field in ("program", "asset", "assets", "query", "bounds")  # noqa: PT017
    else:
        assert canonical(parsed(json.loads(canonical(asked.to_json()))).to_json()) == canonical(asked.to_json())
