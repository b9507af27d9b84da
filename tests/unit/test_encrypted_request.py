"""What an encrypted job asks: read strictly, refused by name and field, and turned into the vectors that it needs and no others."""

import pytest

from core.errors import Invalid
from privacy.encrypted.request import MOST_COLUMNS, Compute, read_compute
from tests.unit.encrypted_world import terms


def refused(asked):
    with pytest.raises(Invalid) as found:
        read_compute(asked)
    return found.value.code, found.value.where["field"]


@pytest.mark.parametrize(
    "asked",
    [
        {"count": True}, {"sum": ["cost"]}, {"mean": ["cost", "stay"]}, {"variance": ["cost"]}, {"least_squares": True},
        {"sum": ["stay"], "mean": ["cost"], "variance": ["cost"], "count": True},
    ],
)  # fmt: skip
def test_what_is_asked_comes_back_from_its_canonical_form(asked):
    found = read_compute(asked)
    assert found.to_json() == asked
    assert Compute.from_json(found.to_json()) == found
    assert hash(found) == hash(read_compute(asked))


@pytest.mark.parametrize(
    "asked", [{"count": True, "sum": None}, {"count": True, "least_squares": False}, {"count": True, "mean": None}]
)
def test_nothing_asked_of_a_statistic_is_as_if_it_were_not_named(asked):
    assert read_compute(asked) == read_compute({"count": True})


@pytest.mark.parametrize(
    ("asked", "code", "field"),
    [
        (None, "compute.invalid", "compute"), ([], "compute.invalid", "compute"), ("count", "compute.invalid", "compute"), ({}, "compute.invalid", "compute"),
        ({"count": False}, "compute.invalid", "compute"), ({"sum": None}, "compute.invalid", "compute"), ({"median": ["cost"]}, "compute.unknown", "compute.median"),
        ({7: True}, "compute.unknown", "compute.7"), ({"x" * 90: 1}, "compute.unknown", "compute." + "x" * 40), ({"count": 1}, "compute.flag", "compute.count"),
        ({"count": "yes"}, "compute.flag", "compute.count"), ({"least_squares": ["cost"]}, "compute.flag", "compute.least_squares"),
        ({"sum": "cost"}, "compute.columns", "compute.sum"), ({"sum": ("cost",)}, "compute.columns", "compute.sum"), ({"mean": []}, "compute.columns", "compute.mean"),
        ({"mean": [1]}, "compute.columns", "compute.mean"), ({"mean": True}, "compute.columns", "compute.mean"),
        ({"variance": ["cost", "cost"]}, "compute.columns", "compute.variance"),
        ({"sum": [f"c{number}" for number in range(MOST_COLUMNS + 1)]}, "compute.columns", "compute.sum"),
        ({"least_squares": True, "count": True}, "compute.least_squares", "compute.least_squares"),
        ({"least_squares": True, "sum": ["cost"]}, "compute.least_squares", "compute.least_squares"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_by_name_and_field(asked, code, field):
    assert refused(asked) == (code, field)


@pytest.mark.parametrize(
    ("asked", "vectors"),
    [
        ({"count": True}, ("units",)), ({"sum": ["stay"]}, ("sum:stay",)), ({"sum": ["stay", "cost"]}, ("sum:cost", "sum:stay")),
        ({"mean": ["stay"]}, ("units", "sum:stay")), ({"variance": ["cost"]}, ("units", "sum:cost", "square:cost")), ({"least_squares": True}, ("gram",)),
        ({"count": True, "sum": ["cost"], "mean": ["cost"], "variance": ["cost"]}, ("units", "sum:cost", "square:cost")),
    ],
)  # fmt: skip
def test_a_job_needs_each_vector_once_in_the_order_of_the_terms_and_no_other(asked, vectors):
    assert read_compute(asked).vectors(terms()) == vectors


@pytest.mark.parametrize(
    ("asked", "changed", "code", "field"),
    [
        ({"sum": ["age"]}, {}, "compute.column", "compute.sum"), ({"mean": ["pid"]}, {}, "compute.column", "compute.mean"),
        ({"variance": ["stay"]}, {}, "compute.column", "compute.variance"), ({"sum": ["cost"]}, {"totals": (), "squares": ()}, "compute.column", "compute.sum"),
        ({"least_squares": True}, {"least_squares": None}, "compute.least_squares", "compute.least_squares"),
    ],
)  # fmt: skip
def test_what_the_providers_did_not_encrypt_cannot_be_asked(asked, changed, code, field):
    with pytest.raises(Invalid) as found:
        read_compute(asked).vectors(terms(**changed))
    assert (found.value.code, found.value.where["field"]) == (code, field)


def test_a_refusal_says_which_columns_there_are():
    with pytest.raises(Invalid, match="cost, stay"):
        read_compute({"sum": ["age"]}).vectors(terms())
    with pytest.raises(Invalid, match="squares were encrypted: cost"):
        read_compute({"variance": ["stay"]}).vectors(terms())
    with pytest.raises(Invalid, match="none"):
        read_compute({"sum": ["age"]}).vectors(terms(totals=(), squares=()))
