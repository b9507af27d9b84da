"""A provider's own account: what answers have cost, by what was really asked, and every way to spend more than it allows."""

import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction

import pytest
from banyan.encrypt.calls import account_of, check_stored, price_of, remember, share_of
from banyan.encrypt.memory import COUNT, MEMORY, held, read
from banyan.encrypt.spending import Account, Budget, down, said_budget, up
from banyan.errors import Refused

from privacy.accountant import Accountant, Capacity
from tests.unit.encrypted_world import signing
from tests.unit.test_client_contribution import KEYS, call, put, terms

ASSET, DELTA = "medical/a", Fraction(1, 10**6)
FOUR = Budget(Fraction(4), DELTA)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "banyan"


def answer(
    folder, job, rho, *, asset=ASSET, population="patients", declared=FOUR, said=None, key="hospital-a", **changed
):
    """ρ is that of each of two vectors."""
    asked, own = call(job=job, rho=Fraction(rho), **changed), terms("hospital-a", population=population)
    assert share_of(asked, own)
    return remember(folder, asset, asked, own, signing(key), declared=declared, said=said)


def refused(code, asked, *arguments, **named):
    with pytest.raises(Refused) as found:
        asked(*arguments, **named)
    assert found.value.code == code
    assert found.value.way_out
    return found.value


# What a budget is


@pytest.mark.parametrize("epsilon", ["1/2", "1", "4", "10", "100"])
@pytest.mark.parametrize("delta", ["1/1000000", "1/1001", "1/10000000000"])
def test_a_budget_is_the_capacity_of_the_services_ledger(epsilon, delta):
    epsilon, delta = Fraction(epsilon), Fraction(delta)
    budget, capacity = Budget(epsilon, delta), Capacity.of(Accountant.ZCDP, epsilon, delta)
    assert budget.limit == capacity.limit.rho
    assert budget.epsilon_of(budget.limit) <= epsilon
    for rho in (Fraction(0), Fraction(1, 7), Fraction(3), Fraction(10) ** 50, Fraction(1, 10**30)):
        assert budget.epsilon_of(rho) == capacity.converted(type(capacity.limit)(rho=rho))[0]


@pytest.mark.parametrize(("epsilon", "delta"), [("0", "1/9999"), ("-1", "1/9999"), ("101", "1/9999"), ("1", "0"), ("1", "-1/9999"), ("1", "1/1000"), ("1", "1")])  # fmt: skip
def test_what_is_no_budget_is_refused(epsilon, delta):
    with pytest.raises(ValueError):
        Budget(Fraction(epsilon), Fraction(delta))


@pytest.mark.parametrize(
    ("said", "present", "budget"),
    [
        ("10", FOUR, ("10", "1/1000000")), ("0.5", FOUR, ("1/2", "1/1000000")), ("10:1e-9", FOUR, ("10", "1/1000000000")),
        ("4:0.00001", None, ("4", "1/100000")), ("100:1/2000", None, ("100", "1/2000")),
    ],
)  # fmt: skip
def test_a_provider_says_a_budget(said, present, budget):
    assert said_budget(said, present) == Budget(*map(Fraction, budget))


@pytest.mark.parametrize("said", ["", "4:", ":1e-6", "-4", "0", "1e9", "nan", "inf", "٤", "4,5", "4:1", "4:0", "4:0.001", "101", "4:1e-6:1", "4 ", "9" * 5000])  # fmt: skip
def test_what_is_said_and_is_none_is_refused(said):
    assert "1e-6" in refused("option.budget", said_budget, said, FOUR).way_out


def test_without_a_delta_no_budget_is_known():
    refused("option.budget", said_budget, "4", None)


@pytest.mark.parametrize(
    ("amount", "above", "below"),
    [("0", "0", "0"), ("1/3", "0.333334", "0.333333"), ("10", "10", "10"), ("2/10000000", "0.000001", "0"), ("12345678901", "more than 1000000000", "more than 1000000000"), ("1/2", "0.5", "0.5")],
)  # fmt: skip
def test_amounts_are_told_rounded_to_the_careful_side(amount, above, below):
    assert (up(Fraction(amount)), down(Fraction(amount))) == (above, below)


# What is spent


def test_what_is_asked_is_added_exactly_and_told(folder):
    first = answer(folder, "j-1", Fraction(1, 30))
    assert (first.asked, first.account.spent, first.first) == (Fraction(1, 15), Fraction(1, 15), True)
    second = answer(folder, "j-2", Fraction(0.01))
    assert second.account.spent == Fraction(1, 15) + 2 * Fraction(0.01)
    assert not second.first
    assert read(folder).spent("patients") == second.account.spent
    assert account_of(folder, "patients", None) == second.account
    assert second.account.left == FOUR.limit - second.account.spent
    assert second.account.told() == (
        "spent of patients: ε 2.3294 of ε 4 at δ 1e-6 (ρ 0.086667 of 0.243192); left for one more job: ε 3.1704 (ρ 0.156526)"
    )  # fmt: skip


def test_as_many_jobs_as_one_likes_spend_no_more_than_the_budget(folder):
    """Service and key holder invent jobs, each with a new id and an honest price."""
    least = Fraction(1, 100)
    for at in range(12):
        answer(folder, f"j-{at}", least)
    assert read(folder).spent("patients") == 24 * least <= FOUR.limit
    before = (folder / MEMORY).read_bytes()
    for at in range(12, 40):
        found = refused("call.over_budget", answer, folder, f"j-{at}", least)
        for part in ("asks for ε 1.", "(ρ 0.02)", "spent is ε 3.9", "(ρ 0.24)", "ε 4 at δ 1e-6", "(ρ 0.243192)", "left for one more job is ε 0.4", "(ρ 0.003192)"):  # fmt: skip
            assert part in found.text
        assert "--budget" in found.way_out
    assert (folder / MEMORY).read_bytes() == before
    assert answer(folder, "j-small", Fraction(1, 1000)).account.left > 0, "what still fits is answered"


def test_the_very_last_bit_of_the_budget_may_be_spent_and_no_more(folder):
    half = FOUR.limit / 2
    refused("call.over_budget", answer, folder, "j-1", half + Fraction(1, 10**30))
    assert answer(folder, "j-1", half).account.left == 0
    refused("call.over_budget", answer, folder, "j-2", Fraction(1, 10**9))


@pytest.mark.parametrize("rho", [Fraction(1), Fraction(100), Fraction(10) ** 300])
def test_a_huge_price_beside_a_small_epsilon_is_refused(folder, rho):
    """With nearly no noise, which is right for that price: the shown ε is the service's word, and is not believed."""
    asked = call(rho=rho, epsilon="0.01")
    assert share_of(asked, terms())
    found = refused("call.over_budget", remember, folder, ASSET, asked, terms(), signing("hospital-a"), declared=FOUR)
    assert "0.01" not in found.text
    assert not (folder / MEMORY).exists()


def test_a_small_price_beside_little_noise_is_refused_as_before():
    asked = call(rho=Fraction(1))
    for at in range(2):
        asked = put(asked, "vectors", at, "rho", "1/1000")
    refused("call.too_little_noise", share_of, asked, terms())


def test_every_vector_counts_and_one_named_twice_counts_twice():
    asked = call(rho=Fraction(1, 10), names=("units", "sum:cost", "square:cost"))
    assert price_of(asked) == Fraction(3, 10)
    assert price_of(put(asked, "vectors", 1, "name", "units")) == Fraction(3, 10)


@pytest.mark.parametrize("rho", ["", "-1", "1e3", "0.5", "1/0", None, 1, "9" * 401])
def test_a_price_that_cannot_be_read_is_strange(rho):
    refused("call.strange", price_of, put(call(), "vectors", 0, "rho", rho))


def test_prices_that_add_up_to_more_digits_than_are_remembered_are_strange():
    asked = put(put(call(), "vectors", 0, "rho", f"1/{3**800}"), "vectors", 1, "rho", f"1/{7**400}")
    refused("call.strange", price_of, asked)


@pytest.mark.parametrize("asked", [{}, {"vectors": None}, {"vectors": [1]}, {"vectors": [{}]}, []])
def test_a_call_without_prices_is_strange(asked):
    refused("call.strange", price_of, asked)


def test_another_key_spends_of_the_same_account(folder):
    """The units are the same: a new key is no new budget."""
    answer(folder, "j-1", FOUR.limit / 2)
    fresh = [{"provider": "hospital-a", "signing_key": KEYS["hospital-b"]}, {"provider": "hospital-c", "signing_key": KEYS["hospital-c"]}]  # fmt: skip
    asked = call(job="j-2", partners=("hospital-a", "hospital-c"), rho=Fraction(1, 10**6)) | {"partners": fresh}
    refused("call.over_budget", remember, folder, ASSET, asked, terms(), signing("hospital-b"), declared=FOUR)


# Whose word the budget is


def test_the_first_budget_stays_whatever_the_service_declares_later(folder):
    answer(folder, "j-1", Fraction(1, 10))
    more = Budget(Fraction(100), Fraction(1, 1001))
    refused("call.over_budget", answer, folder, "j-2", Fraction(1, 10), declared=more)
    assert answer(folder, "j-3", Fraction(1, 1000), declared=more).account.budget == FOUR
    assert answer(folder, "j-4", Fraction(1, 1000), declared=None).account.budget == FOUR


def test_the_provider_says_another_budget_and_it_stays(folder):
    answer(folder, "j-1", Fraction(1, 10))
    assert answer(folder, "j-2", Fraction(1, 10), said="10").account.budget == Budget(Fraction(10), DELTA)
    assert answer(folder, "j-3", Fraction(1, 10)).account.spent == Fraction(6, 10)
    refused("call.over_budget", answer, folder, "j-4", Fraction(1, 10**6), said="2")
    assert read(folder).budgets["patients"].epsilon == 10, "what is refused changes nothing"
    assert Account("patients", FOUR, Fraction(6, 10)).left == 0


def test_a_first_budget_that_is_said_is_not_the_declared_one(folder):
    refused("call.over_budget", answer, folder, "j-1", Fraction(1, 10), said="1")
    found = answer(folder, "j-1", Fraction(1, 1000), said="1")
    assert found.account.budget == Budget(Fraction(1), DELTA)


def test_without_any_budget_nothing_is_answered(folder):
    found = refused("option.budget", answer, folder, "j-1", Fraction(1, 10), declared=None)
    assert "zcdp" in found.text
    assert not (folder / MEMORY).exists()
    assert answer(folder, "j-1", Fraction(1, 10), declared=None, said="4:1e-6").first


def test_another_population_for_the_same_asset_is_no_new_account(folder):
    """The service names the population, and would have a fresh account with every name."""
    answer(folder, "j-1", Fraction(1, 10))
    found = refused("call.population_changed", answer, folder, "j-2", Fraction(1, 10), population="patients-2")
    assert MEMORY in found.way_out
    assert answer(folder, "j-2", Fraction(1, 10), asset="medical/b", population="patients-2").first
    refused("call.over_budget", answer, folder, "j-3", Fraction(1, 10), asset="medical/c")


def test_an_asset_that_was_not_stored_cannot_become_one_that_is(folder):
    """Its totals would go out without any noise of the provider's own, for service and key holder to open."""
    check_stored(folder, ASSET, "patients", stored=True)
    assert not folder.exists(), "a provider whose uploads are stored needs no memory"
    check_stored(folder, ASSET, "patients", stored=False)
    assert ASSET in refused("call.stored", check_stored, folder, ASSET, "patients", stored=True).text
    refused("call.population_changed", check_stored, folder, ASSET, "others", stored=False)
    check_stored(folder, "medical/b", "patients", stored=True)
    answer(folder, "j-1", Fraction(1, 10), asset="medical/c")
    refused("call.stored", check_stored, folder, "medical/c", "patients", stored=True)


# The file


def test_a_lost_file_is_told_and_nothing_is_answered(folder):
    answer(folder, "j-1", Fraction(1, 100))
    answer(folder, "j-2", Fraction(1, 100))
    kept = (folder / MEMORY).read_bytes()
    (folder / MEMORY).unlink()
    for asked in (lambda: answer(folder, "j-3", Fraction(1, 100)), lambda: account_of(folder, "patients", FOUR), lambda: check_stored(folder, ASSET, "patients", stored=True)):  # fmt: skip
        found = refused("call.memory", asked)
        assert "is gone" in found.text
        assert "which 2 jobs" in found.text
        assert COUNT in found.way_out
    (folder / MEMORY).write_bytes(kept)
    assert answer(folder, "j-3", Fraction(1, 100)).account.spent == Fraction(6, 100)


def test_an_older_copy_of_the_file_is_told(folder):
    answer(folder, "j-1", Fraction(1, 100))
    older = (folder / MEMORY).read_bytes()
    answer(folder, "j-2", Fraction(1, 100))
    (folder / MEMORY).write_bytes(older)
    assert "1 answers, and there were 2" in refused("call.memory", answer, folder, "j-3", Fraction(1, 100)).text


def test_an_answer_that_was_taken_out_is_told(folder):
    answer(folder, "j-1", Fraction(1, 100))
    answer(folder, "j-2", Fraction(1, 100))
    found = json.loads((folder / MEMORY).read_text())
    del found["jobs"][KEYS["hospital-a"]]["j-1"]
    (folder / MEMORY).write_text(json.dumps(found))
    refused("call.memory", answer, folder, "j-3", Fraction(1, 100))


def test_a_key_that_was_taken_out_by_hand_as_told_to_is_nothing_lost(folder):
    answer(folder, "j-1", Fraction(1, 100))
    found = json.loads((folder / MEMORY).read_text())
    del found["partners"]["patients"]["hospital-c"]
    (folder / MEMORY).write_text(json.dumps(found))
    assert answer(folder, "j-2", Fraction(1, 100)).fresh == ("hospital-c",)


@pytest.mark.parametrize("content", ["", "two", "-1", "2.0", "9" * 19, "٢"])
def test_a_count_that_is_none_answers_nothing(folder, content):
    answer(folder, "j-1", Fraction(1, 100))
    (folder / COUNT).write_text(content)
    refused("call.memory", answer, folder, "j-2", Fraction(1, 100))


def test_without_the_count_the_file_is_enough_and_it_is_made_again(folder):
    answer(folder, "j-1", Fraction(1, 100))
    (folder / COUNT).unlink()
    assert answer(folder, "j-2", Fraction(1, 100)).account.spent == Fraction(4, 100)
    assert (folder / COUNT).read_text() == "2\n"


def test_what_cannot_be_written_is_not_answered(folder, monkeypatch):
    answer(folder, "j-1", Fraction(1, 100))

    def fail(_file):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(Refused, match="no room left"):
            answer(folder, "j-2", Fraction(1, 100))
    assert read(folder).spent("patients") == Fraction(2, 100)


# More than one at once

PROGRAM = """
import sys, time
from fractions import Fraction
from pathlib import Path
from banyan.encrypt import memory

wait, ready, job = float(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
reading = memory.read
def slowly(folder):
    found = reading(folder)
    ready.write_text("")
    time.sleep(wait)
    return found
memory.read = slowly
from banyan.encrypt.spending import Account, Budget
four = Budget(Fraction(4), Fraction(1, 10**6))
with memory.held(Path(sys.argv[1])) as found:
    account = Account("patients", four, found.spent("patients")).after(four.limit * 2 / 3)
    found.budgets["patients"] = four
    found.jobs.setdefault("key", {})[job] = ("patients", four.limit * 2 / 3)
"""


def process(folder, wait, job):
    ready = folder.parent / f"{job}.ready"
    words = [sys.executable, "-W", "ignore", "-c", PROGRAM, folder, str(wait), ready, job]
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True), ready


def seen(path):
    until = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_of_two_at_once_that_each_fit_alone_one_is_answered(folder):
    """Each has the time to read before the other writes."""
    both = [process(folder, 0.7, job)[0] for job in ("j-1", "j-2")]
    ended = sorted((each.communicate(timeout=60)[1], each.returncode) for each in both)
    assert [code for _, code in ended] == [0, 1]
    assert "call.over_budget" in ended[1][0]
    assert read(folder).answers == 1
    assert read(folder).spent("patients") == FOUR.limit * 2 / 3


def test_a_killed_process_keeps_nobody_out(folder):
    killed, ready = process(folder, 60, "j-1")
    seen(ready)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=30)
    assert answer(folder, "j-2", Fraction(1, 100)).first


def test_who_waits_too_long_is_told(folder, monkeypatch):
    monkeypatch.setattr("banyan.encrypt.memory.WAIT_SECONDS", 0.1)
    with held(folder):
        refused("call.memory_busy", answer, folder, "j-1", Fraction(1, 100))
    assert answer(folder, "j-1", Fraction(1, 100)).first
