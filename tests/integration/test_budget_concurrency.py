"""Several processes on one database file, some of them killed: never overspent, never stuck, log and ledger agree (G3, T03)."""

import multiprocessing
import os
import signal
import time
from collections import Counter

import pytest

from core.errors import BanyanError
from core.ids import new_id
from policies import budget, register
from policies.permits import Permit
from policies.populations import population_of
from policies.statement import spent_by
from privacy.accountant import Loss
from tests.policies_world import World, books_from_log, books_of

SPAWN = multiprocessing.get_context("spawn")
GENEROUS = "{total: 100, per_person: 100, per_job: 100}"
WAIT = 120


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    made.population()
    made.folder = tmp_path
    yield made
    made.close()


def opened(folder):
    """What another process sees: the same files, nothing of the first process's memory."""
    world = World(folder, fresh=False)
    found = world.read(register.in_force, "traffic-research")
    return world, Permit(found.content.name, found.version, found.digest, found.content)


def reserve_many(folder, person, amount, count, start, answers):
    world, permit = opened(folder)
    start.wait()
    for _ in range(count):
        try:
            world.write(budget.reserve, world.asked(person, amount), permit)
            answers.put("reserved")
        except BanyanError as problem:
            answers.put(problem.code)
    world.close()


def in_parallel(world, people, amount, each):
    """`each` reservations of every person, from a process for every person, all begun at the same moment."""
    start, answers = SPAWN.Barrier(len(people)), SPAWN.Queue()
    workers = [
        SPAWN.Process(target=reserve_many, args=(world.folder, person, amount, each, start, answers))
        for person in people
    ]
    for worker in workers:
        worker.start()
    found = Counter(answers.get(timeout=WAIT) for _ in range(len(people) * each))
    for worker in workers:
        worker.join(WAIT)
        assert worker.exitcode == 0
    return found


def check_consistent(world):
    """Nothing is overspent, and the ledger's sums are those of the log."""
    with world.journal.reading() as connection:
        books = books_from_log(world.events())
        assert books_of(connection) == books
        *spent, _ = books.get("population:aircraft", (0, 0, 0, 0))
        assert Loss(*spent).within(population_of(connection, "aircraft").capacity.limit)


def test_of_twenty_parallel_reservations_of_0_3_exactly_three_fit_into_1(world):
    world.policy(epsilon=GENEROUS)
    found = in_parallel(world, [world.person() for _ in range(4)], "0.3", 5)
    assert found == {"reserved": 3, "budget.population": 17}
    assert world.read(spent_by, "aircraft")[0] * 10 == 9
    check_consistent(world)


def test_of_parallel_jobs_on_a_policy_with_one_run_left_one_runs(world):
    """T21."""
    world.policy(epsilon=GENEROUS, max_runs="1")
    found = in_parallel(world, [world.person(), world.person()], "0.1", 2)
    assert found == {"reserved": 1, "policy.max_runs": 3}
    check_consistent(world)


def hold(folder, person, job, stage, told):
    """Reserve, say so, and wait to be killed: inside the transaction, or after it."""
    world, permit = opened(folder)
    if stage == "inside":
        with world.journal.writing() as tx:
            budget.reserve(tx, world.asked(person, "0.6", job=job), permit)
            told.set()
            time.sleep(WAIT)
    world.write(budget.reserve, world.asked(person, "0.6", job=job), permit)
    told.set()
    time.sleep(WAIT)


def killed(world, person, job, stage):
    told = SPAWN.Event()
    worker = SPAWN.Process(target=hold, args=(world.folder, person, job, stage, told))
    worker.start()
    assert told.wait(WAIT)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join(WAIT)
    assert worker.exitcode == -signal.SIGKILL


def test_a_process_killed_between_reserve_and_commit_leaves_its_reservation_and_it_can_be_carried_on(world):
    world.policy(epsilon=GENEROUS)
    person, job = world.person(), new_id("job")
    killed(world, person, job, "after")
    check_consistent(world)
    with pytest.raises(BanyanError) as caught:
        world.reserve(world.person(), "0.5")
    assert caught.value.way_out == "ε ≤ 0.4"
    assert world.reserve(person, "0.6", job=job).state is budget.SpendState.RESERVED
    world.write(budget.commit, job)
    assert world.read(spent_by, "aircraft")[0] * 10 == 6
    check_consistent(world)


def test_a_process_killed_inside_its_transaction_leaves_nothing_and_holds_nobody_up(world):
    world.policy(epsilon=GENEROUS)
    person, job = world.person(), new_id("job")
    before = world.events()
    killed(world, person, job, "inside")
    assert world.events() == before
    begun = time.monotonic()
    world.reserve(world.person(), "0.9")
    assert time.monotonic() - begun < 5
    check_consistent(world)


def run_for_ever(folder, person, told):
    world, permit = opened(folder)
    told.set()
    while True:
        try:
            spend = world.write(budget.reserve, world.asked(person, "1e-4"), permit)
            world.write(budget.commit if int(spend.position) % 3 else budget.release_reservation, spend.job)
        except BanyanError:
            return


def test_processes_killed_at_any_moment_leave_a_ledger_that_the_log_explains(world):
    world.policy(epsilon=GENEROUS)
    for pause in (0.03, 0.11, 0.17, 0.29):
        workers = []
        for _ in range(2):
            told = SPAWN.Event()
            worker = SPAWN.Process(target=run_for_ever, args=(world.folder, world.person(), told))
            worker.start()
            workers.append(worker)
            assert told.wait(WAIT)
        time.sleep(pause)
        for worker in workers:
            worker.kill()
            worker.join(WAIT)
        check_consistent(world)
    world.reserve(world.person(), "1e-4")
