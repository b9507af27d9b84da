"""The budget through the whole service: parallel people, several server processes, kill -9; never overspent, never stuck (G3, T03)."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest
from banyan.errors import Refused, Unreachable
from sqlalchemy import create_engine

from tests.policies_world import books_from_log, books_of
from tests.town import RESEARCHERS, job_file, until

pytestmark = [pytest.mark.docker, pytest.mark.ray]
# Twenty different queries, five of each person.
ASKED = [(RESEARCHERS[at % 4], 10 + at) for at in range(20)]


def told(town, person, minutes):
    """The job's id, or the code it was refused with."""
    try:
        return town.client(person).submit(job_file(minutes, epsilon="0.3")).id
    except Refused as refused:
        return refused.code


def check_books(town):
    """The ledger is what its log says, and the population has spent 0.9 of 1."""
    engine = create_engine(f"sqlite:///{town.state / 'banyan.db'}")
    with engine.connect() as connection:
        books = books_of(connection)
    engine.dispose()
    assert books == books_from_log([(e["type"], e["subject"], e["facts"]) for e in town.events()])
    assert books["population:riders"] == (Fraction(9, 10), 0, 0, 3)
    assert len(town.events("budget:committed")) == 3


def check_three_ran(town, answers):
    jobs = [answer for answer in answers if answer.startswith("j-")]
    assert Counter(answers) == Counter(dict.fromkeys(jobs, 1) | {"budget.population": 17})
    assert len(jobs) == 3
    assert [town.wait(job) for job in jobs] == ["released"] * 3
    assert len(town.rows("SELECT id FROM jobs")) == 3
    check_books(town)


def test_of_twenty_parallel_jobs_at_0_3_of_four_people_exactly_three_run_on_a_budget_of_1(another_town):
    town = another_town.up()
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda asked: told(town, *asked), ASKED))
    check_three_ran(town, answers)
    assert Counter(e["facts"]["code"] for e in town.events("job:refused")) == {"budget.population": 17}
    (item,) = town.client("rob")._connection.items("/v1/budget")
    assert (item["spent"]["epsilon"], item["left"]["epsilon"]) == ("0.9", "0.1")


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_two_servers_on_one_folder_one_of_them_killed_in_between_overspend_nothing_and_get_stuck_nowhere(another_town):
    first, second = another_town.up(), another_town.beside().start(wait=False)
    assert second.health() == "starting"

    def ask(at):
        town = (first, second)[at % 2]
        try:
            return told(town, *ASKED[at])
        except Unreachable:
            return None

    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(ask, at) for at in range(20)]
        until(lambda: first.rows("SELECT id FROM jobs"), every=0.001)
        first.kill()
        answers = [each.result() for each in asked]
    assert None in answers, "the kill met nobody in the middle of a request"
    # Who got no answer does not know whether the job was admitted: they look, and ask again if it was not.
    admitted = {row["request"]: row["id"] for row in second.rows("SELECT id, request FROM jobs")}
    for at in [at for at, answer in enumerate(answers) if answer is None]:
        found = [job for request, job in admitted.items() if f"<= {ASKED[at][1]} " in request]
        answers[at] = found[0] if found else told(second, *ASKED[at])
    until(lambda: second.health() == "ready")
    first.start(wait=False)
    check_three_ran(first, answers)
    first.check_charged_once(*(answer for answer in answers if answer.startswith("j-")))
    assert told(first, "rob", 99) == told(second, "ruth", 98) == "budget.population"
    check_books(second)
