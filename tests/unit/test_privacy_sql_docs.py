"""docs/reference/sql.md says what the planner does: its queries are planned, its refusals refused in its words, its codes all there."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import pytest

from assets.declaration import parse_declaration
from core.errors import Invalid
from privacy.accountant import Accountant
from privacy.schema import EXCESS
from privacy.sql import key_plan, parse_check, plan, predicates, text
from privacy.sql.plan import QueryRequest, plan_query
from privacy.sql.refusal import CODES

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "sql.md").read_text(encoding="utf-8")
FLIGHTS = ROOT / "examples" / "traffic" / "flights.yaml"
SCHEMA = parse_declaration(FLIGHTS.read_text(encoding="utf-8"), FLIGHTS.name).schema
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
REFUSED = re.findall(r"^\| `(SELECT .*?)` \| (.*?) \|$", PAGE, re.MULTILINE)


def planned(sql: str):
    return plan_query(QueryRequest(sql, Fraction(1), None, 3, 50, Accountant.BASIC), SCHEMA)


@pytest.mark.parametrize("sql", QUERIES)
def test_every_query_on_the_page_is_accepted(sql):
    assert planned(sql).price.epsilon == 1


@pytest.mark.parametrize(("sql", "way_out"), REFUSED)
def test_every_refusal_on_the_page_has_its_way_out(sql, way_out):
    with pytest.raises(Invalid) as caught:
        planned(sql)
    assert way_out in caught.value.way_out


def test_the_page_has_examples_of_both():
    assert len(QUERIES) >= 3
    assert len(REFUSED) >= 8


def test_the_page_lists_every_code_and_limit():
    assert {code for code in CODES if f"`{code}`" not in PAGE} == set()
    for number in (plan.MAX_GROUPS, plan.MAX_ROWS, text.MAX_TOKENS, predicates.MAX_LIST, key_plan.MAX_CELLS):
        assert f"{number:,}" in PAGE
    for words in (
        f"{text.MAX_NESTING} levels",
        f"At most {parse_check.MAX_OUTPUTS} columns, {parse_check.MAX_KEYS} of them keys",
        "64 KiB",
    ):
        assert words in PAGE
    assert text.MAX_BYTES == 64 * 1024
    assert EXCESS == 2


def test_the_queries_of_the_examples_are_accepted():
    for job in sorted((ROOT / "examples").glob("*/*.yaml")):
        found = re.search(r"^query: \|\n((?:  .*\n)+)", job.read_text(encoding="utf-8"), re.MULTILINE)
        if found is None:
            continue
        asset = re.search(r"^asset: \w+/(\w+)", job.read_text(encoding="utf-8"), re.MULTILINE).group(1)
        declaration = job.parent / f"{asset}.yaml"
        schema = parse_declaration(declaration.read_text(encoding="utf-8"), declaration.name).schema
        assert plan_query(QueryRequest(found.group(1), Fraction(1, 2), None, 3, 50, Accountant.BASIC), schema)
