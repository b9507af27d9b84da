"""The ledger: reserve, then commit before the first block is decrypted; nothing comes back after that (design G3).

Every limit is tested against exact sums in the transaction that enters the spend, and writers are serialised: no order of
any number of processes overspends. Argument: docs/proofs/ledger.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from enum import StrEnum

from sqlalchemy import Connection, insert, select, update

from audit.events import SYSTEM, Event, EventType
from audit.log import Transaction
from core.canonical import canonical
from core.clock import text_of as moment_text
from core.errors import Conflict, NotFound
from core.ids import new_id
from core.units import text_of
from core.yaml_positions import printable
from policies import limits
from policies.admission import Asked, check_limits
from policies.limits import balance_of
from policies.permits import Permit, still_permits
from policies.records import balances, spends
from privacy.accountant import Loss


class SpendState(StrEnum):
    """RESERVED counts like COMMITTED; only a RESERVED spend can become RELEASED, which counts no more."""

    RESERVED = "reserved"
    COMMITTED = "committed"
    RELEASED = "released"


@dataclass(frozen=True)
class Spend:
    """One job's entry in the ledger; what it says never changes, only `state` does.

    `loss` is what the population is charged, in the currency of its accountant: nothing where an earlier, identical release
    is reused (design R16). `asked` is the job's own (ε, δ): what policy and person are charged, reused or not. `position` is
    its number among all entries of the population.
    """

    id: str
    job: str
    population: str
    position: int
    loss: Loss
    asked: Loss
    principal: str
    organisation: str
    policy: str
    policy_version: int
    state: SpendState


def reserve(tx: Transaction, asked: Asked, permit: Permit) -> Spend:
    """Enter a spend that counts from now on, or return the one this job has already: a retry is not charged twice.

    Every limit is tested at once. Raises the tightest refusal: Forbidden (`policy.max_runs`, `policy.epsilon`, or that the
    policy is not in force any more), Conflict (`budget.population`, `budget.policy`, `budget.person`). Raises Conflict
    (`budget.job_differs`) where the job's entry says something else, or has been released.
    """
    earlier = _find(tx.connection, asked.job)
    if earlier is not None:
        return _check_retry(earlier, asked, permit)
    permit = still_permits(tx.connection, permit.policy, permit.version, tx.now)
    check_limits(tx.connection, asked, permit.usage)
    spend = Spend(
        id=new_id("spend"),
        job=asked.job,
        population=asked.population,
        position=balance_of(tx.connection, limits.population_account(asked.population)).entries + 1,
        loss=asked.loss,
        asked=asked.own_loss,
        principal=asked.principal,
        organisation=asked.organisation,
        policy=permit.policy,
        policy_version=permit.version,
        state=SpendState.RESERVED,
    )
    _enter(tx, spend)
    return spend


def commit(tx: Transaction, job: str) -> Spend:
    """Make a reservation final, before the job's data is touched; committing twice changes nothing.

    Raises NotFound (`budget.unknown`), or Conflict (`budget.released`) if the reservation was given back.
    """
    spend = spend_of(tx.connection, job)
    if spend.state is SpendState.RELEASED:
        raise Conflict("budget.released", "the reservation of this job was given back", way_out="submit the job again")
    return spend if spend.state is SpendState.COMMITTED else _settle(tx, spend, SpendState.COMMITTED)


def release_reservation(tx: Transaction, job: str) -> Spend:
    """Give a reservation back, of a job that never touched data; giving it back twice changes nothing.

    Raises NotFound (`budget.unknown`), or Conflict (`budget.committed`): there is no refund after touch.
    """
    spend = spend_of(tx.connection, job)
    if spend.state is SpendState.COMMITTED:
        raise Conflict("budget.committed", "the budget of this job is spent: there is no refund once data was touched")
    if spend.state is SpendState.RELEASED:
        return spend
    _move_balances(tx, spend, back=True)
    return _settle(tx, spend, SpendState.RELEASED)


def spend_of(connection: Connection, job: str) -> Spend:
    """A job's entry. Raises NotFound (`budget.unknown`)."""
    found = _find(connection, job)
    if found is None:
        raise NotFound("budget.unknown", f"the ledger has no entry for the job {printable(job, 64)}")
    return found


def _check_retry(earlier: Spend, asked: Asked, permit: Permit) -> Spend:
    there = (earlier.population, earlier.loss, earlier.asked, earlier.principal, earlier.policy, earlier.policy_version)
    wanted = (asked.population, asked.loss, asked.own_loss, asked.principal, permit.policy, permit.version)
    if there != wanted or earlier.state is SpendState.RELEASED:
        raise Conflict(
            "budget.job_differs", "this job has another entry in the ledger", way_out="submit it as a new job"
        )
    return earlier


def _enter(tx: Transaction, spend: Spend) -> None:
    tx.execute(
        insert(spends).values(
            job=spend.job,
            id=spend.id,
            population=spend.population,
            position=spend.position,
            loss=_text(spend.loss),
            asked=_text(spend.asked),
            principal=spend.principal,
            organisation=spend.organisation,
            policy=spend.policy,
            policy_version=spend.policy_version,
            state=spend.state.value,
            reserved_at=moment_text(tx.now),
        )
    )
    _move_balances(tx, spend, back=False)
    facts = {
        "population": spend.population,
        "job": spend.job,
        "policy": {"name": spend.policy, "version": spend.policy_version},
        "principal": spend.principal,
        "organisation": spend.organisation,
        "loss": spend.loss.to_json(),
        "asked": {"epsilon": text_of(spend.asked.epsilon), "delta": text_of(spend.asked.delta)},
    }
    tx.record(Event(EventType.BUDGET_RESERVED, spend.id, spend.principal, facts))


def _settle(tx: Transaction, spend: Spend, state: SpendState) -> Spend:
    event = EventType.BUDGET_COMMITTED if state is SpendState.COMMITTED else EventType.BUDGET_RELEASED
    tx.execute(
        update(spends).where(spends.c.job == spend.job).values(state=state.value, settled_at=moment_text(tx.now))
    )
    tx.record(Event(event, spend.id, SYSTEM, {"population": spend.population, "job": spend.job}))
    return replace(spend, state=state)


def _move_balances(tx: Transaction, spend: Spend, *, back: bool) -> None:
    """Add the spend to its three accounts, or take a released one away again."""
    for account, loss in (
        (limits.population_account(spend.population), spend.loss),
        (limits.policy_account(spend.policy), spend.asked),
        (limits.person_account(spend.policy, spend.principal), spend.asked),
    ):
        there = balance_of(tx.connection, account)
        if not there.entries:
            tx.execute(insert(balances).values(account=account, loss=_text(Loss()), runs=0, entries=0))
        moved = {
            "loss": _text(_minus(there.loss, loss) if back else there.loss + loss),
            "runs": there.runs + (-1 if back else 1),
            "entries": there.entries + (0 if back else 1),
        }
        tx.execute(update(balances).where(balances.c.account == account).values(moved))


def _minus(whole: Loss, part: Loss) -> Loss:
    """Exact; raises ValueError (by Loss) where more would be given back than was taken."""
    return Loss(whole.epsilon - part.epsilon, whole.delta - part.delta, whole.rho - part.rho)


def _text(loss: Loss) -> str:
    return canonical(loss.to_json()).decode()


def _find(connection: Connection, job: str) -> Spend | None:
    row = connection.execute(select(spends).where(spends.c.job == job)).first()
    if row is None:
        return None
    return Spend(
        id=row.id,
        job=row.job,
        population=row.population,
        position=row.position,
        loss=Loss.from_json(json.loads(row.loss)),
        asked=Loss.from_json(json.loads(row.asked)),
        principal=row.principal,
        organisation=row.organisation,
        policy=row.policy,
        policy_version=row.policy_version,
        state=SpendState(row.state),
    )
