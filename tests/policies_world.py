"""A small world for tests of policies and ledger: a database, a clock that stands still, people, a policy in force."""

import itertools
import json
import os
import tempfile
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import audit.records
import policies.records
from audit import log
from audit.log import Journal
from audit.signer import FileSigner
from core.clock import FrozenClock
from core.database import changing, engine_for, metadata
from core.ids import new_id
from policies import budget, identity, lifecycle, permits, register
from policies.admission import Asked
from policies.permits import JobFacts
from policies.policy_file import parse_policy
from policies.populations import create_population
from privacy.accountant import Accountant, Loss, loss_of

NOW = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
POLICY = """
name: traffic-research
purpose: research
kinds: [query]
assets: [traffic/flights]
epsilon: {total: 4, per_person: 2, per_job: 1}
valid: {from: 2026-01-01, until: 2030-01-01}
"""


def quick_folder():
    """A temporary folder in memory where there is one: thousands of synchronous commits would wait for a disk."""
    return tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)


class World:
    """Everything in a folder, so that several processes can open the same."""

    def __init__(self, folder, *, fresh=True):
        folder = Path(folder)
        self.clock = FrozenClock(NOW)
        engine = engine_for(f"sqlite:///{folder / 'banyan.db'}")
        FileSigner.create(folder / "signer")
        self.journal = Journal(engine, self.clock, FileSigner(folder / "signer", "test/log"))
        if fresh:
            with changing(engine) as connection:
                metadata.create_all(connection)
        self._numbers = itertools.count(1)

    def close(self):
        self.journal.engine.dispose()

    def write(self, function, *arguments, **named):
        with self.journal.writing() as tx:
            return function(tx, *arguments, **named)

    def read(self, function, *arguments, **named):
        with self.journal.reading() as connection:
            return function(connection, *arguments, **named)

    def person(self, *roles, organisation="health-bureau"):
        name = f"Person {next(self._numbers)}"
        return self.write(identity.add_principal, name, organisation, roles or ["researcher"], "system")

    def population(self, name="aircraft", accountant=Accountant.BASIC, epsilon="1", delta="0", **more):
        asked = {"id_namespace": "tailnum", "unit": "tailnum", "block_count": 8, "actor": "system"} | more
        exact = {"epsilon": Fraction(epsilon), "delta": Fraction(delta)}
        return self.write(create_population, name, accountant=accountant, **exact, **asked)

    def policy(self, text=POLICY, level="S1", proposer=None, **replaced):
        """Propose and approve a policy; `epsilon="{...}"` and the like replace a line."""
        found = self.propose(text, level, proposer, **replaced)
        for _ in range(found.needed):
            found = self.write(lifecycle.approve, found.content.name, found.digest, self.person("operator"), level)
        return found

    def propose(self, text=POLICY, level="S1", proposer=None, **replaced):
        lines = {line.partition(":")[0]: line for line in text.strip().splitlines()}
        lines |= {name: f"{name}: {value}" for name, value in replaced.items()}
        content = parse_policy("\n".join(lines.values()), "policy.yaml", self.clock.now())
        return self.write(lifecycle.propose, content, proposer or self.person("operator"), level)

    def facts(self, **replaced):
        given = {
            "kind": "query",
            "assets": ("traffic/flights",),
            "purpose": "research",
            "epsilon": Fraction("0.3"),
            "delta": Fraction(0),
            "population": "aircraft",
        }
        return JobFacts(**given | replaced)

    def permit(self, principal, **replaced):
        return self.read(permits.check_job, principal, self.facts(**replaced), self.clock.now())

    def asked(
        self,
        principal,
        epsilon="0.3",
        delta="0",
        *,
        population="aircraft",
        job=None,
        reused=False,
        accountant=Accountant.BASIC,
    ):
        epsilon, delta = Fraction(epsilon), Fraction(delta)
        return Asked(
            job=job or new_id("job"),
            population=population,
            epsilon=epsilon,
            delta=delta,
            loss=Loss() if reused else loss_of(accountant, epsilon, delta),
            principal=principal.id,
            organisation=principal.organisation,
            reused=reused,
        )

    def reserve(self, principal, epsilon="0.3", delta="0", permit=None, **named):
        """Reserve for a new job under the policy in force."""
        if permit is None:
            name = named.pop("policy", "traffic-research")
            found = self.read(register.in_force, name)
            permit = permits.Permit(name, found.version, found.digest, found.content)
        return self.write(budget.reserve, self.asked(principal, epsilon, delta, **named), permit)

    def events(self):
        """(type, subject, facts) of every entry of the log."""
        with self.journal.reading() as connection:
            entries = [json.loads(entry.leaf) for entry in log.entries_from(connection, 0, 1_000_000)]
        return [(entry["type"], entry["subject"], entry["facts"]) for entry in entries]

    def pass_time(self, **amount):
        self.clock.advance(timedelta(**amount).total_seconds())


assert audit.records.entries.name in metadata.tables


def books_from_log(events):
    """The ledger recomputed from the log alone: account -> (ε, δ, ρ, runs). Shares no code with the ledger's own sums."""
    open_spends, books = {}, {}
    for kind, subject, facts in events:
        if kind == "budget:reserved":
            open_spends[subject] = facts
        elif kind == "budget:released":
            del open_spends[subject]
        elif kind == "budget:committed":
            assert subject in open_spends
    for facts in open_spends.values():
        policy, loss = facts["policy"]["name"], facts["loss"]
        asked = {**facts["asked"], "rho": "0"}
        for account, charged in (
            (f"population:{facts['population']}", loss),
            (f"policy:{policy}", asked),
            (f"person:{policy}:{facts['principal']}", asked),
        ):
            sums = books.setdefault(account, [Fraction(0)] * 3 + [0])
            for at, part in enumerate(("epsilon", "delta", "rho")):
                sums[at] += Fraction(charged[part])
            sums[3] += 1
    return {account: tuple(sums) for account, sums in books.items()}


def books_of(connection):
    """The ledger's own running sums, in the form of `books_from_log`."""
    books = {}
    for row in connection.execute(policies.records.balances.select()):
        loss = json.loads(row.loss)
        sums = tuple(Fraction(loss[part]) for part in ("epsilon", "delta", "rho"))
        if row.runs or any(sums):
            books[row.account] = (*sums, row.runs)
    return books
