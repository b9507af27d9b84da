"""What was answered, and what it has cost each population: rows that are only added, kept before anybody sees an answer.

This is the key holder's own account, beside the service's: whoever runs the service cannot make it forget (proof_obligations B15).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, func, insert, select

from core.canonical import canonical
from core.clock import Clock, text_of
from core.database import changing, reading
from keyholder.log_follower import Head
from keyholder.records import answers, followed, incidents, intents, refusals, strangers
from privacy.accountant import Capacity, Loss
from privacy.encrypted.manifest import Manifest


class OverBudget(ValueError):
    """The release would take a population beyond what is pinned here."""


class Exhausted(ValueError):
    """The key has had its releases of a day."""


class OtherCiphertext(ValueError):
    """The job was decrypted, or was about to be, for another ciphertext."""

    def __init__(self) -> None:
        super().__init__("the job is bound to another ciphertext")


@dataclass(frozen=True)
class Answered:
    """What was answered to a job, and of which ciphertext."""

    ciphertext: str
    answer: bytes


@dataclass(frozen=True)
class Ledger:
    """The account in one database. `daily` is how many releases a key may have within 24 hours."""

    engine: Engine
    clock: Clock
    daily: int
    # What each population had lost up to which answer: rows are only added, so that only new ones have to be read.
    _sums: dict[str, tuple[int, Loss]] = field(default_factory=dict, repr=False)
    _summing: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def answered(self, job: str) -> Answered | None:
        """The earlier answer to a job."""
        with reading(self.engine) as connection:
            return _answered(connection, job)

    def intend(self, manifest: Manifest, capacity: Capacity) -> None:
        """Keep, before anything is decrypted, that this ciphertext is about to be, for this job and no other ciphertext.

        It counts towards the key's day whatever comes of it, and only the same bytes may be tried again: each decryption of other
        bytes is a question about the secret key (B14). Raises OverBudget, Exhausted, OtherCiphertext.
        """
        with changing(self.engine) as connection:
            meant = connection.execute(select(intents.c.ciphertext).where(intents.c.job == manifest.job)).scalar()
            if meant is not None and meant != manifest.ciphertext:
                raise OtherCiphertext
            self._check_budget(connection, manifest, capacity)
            if meant is not None:
                return
            now = self.clock.now()
            if self._recent(connection, manifest.key, now) >= self.daily:
                raise Exhausted("the key has had its releases of a day")
            connection.execute(
                insert(intents).values(
                    job=manifest.job, key=manifest.key, ciphertext=manifest.ciphertext, meant_at=text_of(now)
                )
            )

    def exhausted(self, keys: Iterable[str]) -> list[str]:
        """Which of these keys have had their releases of a day."""
        now = self.clock.now()
        with reading(self.engine) as connection:
            return [key for key in keys if self._recent(connection, key, now) >= self.daily]

    def _recent(self, connection: Connection, key: str, now: datetime) -> int:
        since = text_of(now - timedelta(days=1))
        recent = select(func.count()).where(intents.c.key == key, intents.c.meant_at > since)
        return int(connection.execute(recent).scalar_one())

    def enter(self, manifest: Manifest, capacity: Capacity, answer: bytes) -> bytes:
        """Keep an answer and charge for it, in one transaction that asks again whether it fits.

        Returns what is to be answered: an earlier answer to the same job and ciphertext, if another process was faster. Raises OverBudget,
        OtherCiphertext.
        """
        with changing(self.engine) as connection:
            earlier = _answered(connection, manifest.job)
            if earlier is not None:
                if earlier.ciphertext != manifest.ciphertext:
                    raise OtherCiphertext
                return earlier.answer
            self._check_budget(connection, manifest, capacity)
            top = connection.execute(select(func.max(answers.c.number))).scalar() or 0
            connection.execute(
                insert(answers).values(
                    job=manifest.job,
                    number=top + 1,
                    population=manifest.population,
                    key=manifest.key,
                    ciphertext=manifest.ciphertext,
                    loss=canonical(manifest.loss.to_json()).decode(),
                    manifest=canonical(manifest.to_json()),
                    answer=answer,
                    answered_at=text_of(self.clock.now()),
                )
            )
        return answer

    def spent(self, population: str) -> Loss:
        """What the population has lost by releases from here."""
        with reading(self.engine) as connection:
            return self._spent(connection, population)

    def _check_budget(self, connection: Connection, manifest: Manifest, capacity: Capacity) -> None:
        if not capacity.admits(self._spent(connection, manifest.population), manifest.loss):
            raise OverBudget("the population's budget does not admit it")

    def _spent(self, connection: Connection, population: str) -> Loss:
        """Of answers that were there when the connection's transaction began, none of which it has added itself."""
        with self._summing:
            last, total = self._sums.get(population, (0, Loss()))
            newer = select(answers.c.number, answers.c.loss).where(
                answers.c.population == population, answers.c.number > last
            )
            for number, loss in connection.execute(newer.order_by(answers.c.number)):
                last, total = number, total + Loss.from_json(json.loads(loss))
            self._sums[population] = last, total
            return total

    def refuse(self, reason: str) -> None:
        """Note a refusal; the one who asked is not told why."""
        with changing(self.engine) as connection:
            connection.execute(insert(refusals).values(reason=reason[:500], refused_at=text_of(self.clock.now())))

    def count_strangers(self, requests: int, newest: str) -> None:
        """Note that so many requests came which the service has not signed, and why the newest was turned away."""
        with changing(self.engine) as connection:
            now = text_of(self.clock.now())
            connection.execute(insert(strangers).values(requests=requests, newest=newest, counted_at=now))

    def open_incident(self, kind: str, key: str | None, job: str | None, about: str | None = None) -> None:
        """Note something that nobody honest causes, and whose uploads it was about."""
        with changing(self.engine) as connection:
            connection.execute(
                insert(incidents).values(kind=kind, key=key, job=job, opened_at=text_of(self.clock.now()), about=about)
            )

    def opened_before(self, key: str) -> set[tuple[str, str]]:
        """Which vectors of which uploads (by the digest of their content) were in a sum that this key has opened."""
        with reading(self.engine) as connection:
            kept = connection.execute(select(answers.c.manifest).where(answers.c.key == key)).scalars().all()
        return {
            (upload["header"]["content"], vector["name"])
            for manifest in map(json.loads, kept)
            for upload in manifest["uploads"]
            for vector in manifest["vectors"]
        }

    def populations(self) -> list[str]:
        """All that anything was released about."""
        with reading(self.engine) as connection:
            return list(connection.execute(select(answers.c.population).distinct().order_by("population")).scalars())

    def followed(self) -> Head | None:
        """The newest head of the service's log that was seen."""
        with reading(self.engine) as connection:
            row = connection.execute(select(followed).order_by(followed.c.size.desc()).limit(1)).first()
        return None if row is None else Head(row.size, bytes(row.root), row.note)

    def was_followed(self, size: int, root: bytes) -> bool:
        """Whether the log was seen with this head before."""
        with reading(self.engine) as connection:
            found = select(followed.c.number).where(followed.c.size == size, followed.c.root == root)
            return connection.execute(found).first() is not None

    def follow(self, head: Head) -> None:
        """Remember a newer head; an older one changes nothing."""
        with changing(self.engine) as connection:
            largest = connection.execute(select(func.max(followed.c.size))).scalar()
            if largest is None or head.size > largest:
                connection.execute(
                    insert(followed).values(
                        size=head.size, root=head.root, note=head.note, seen_at=text_of(self.clock.now())
                    )
                )


@dataclass(frozen=True)
class Incident:
    """When, what, of which key and job; and about whose uploads."""

    moment: str
    kind: str
    key: str
    job: str
    about: str


def incidents_in(engine: Engine) -> list[Incident]:
    """Every incident, in order."""
    with reading(engine) as connection:
        rows = connection.execute(select(incidents).order_by(incidents.c.number))
        return [Incident(row.opened_at, row.kind, row.key or "", row.job or "", row.about or "") for row in rows]


def refusals_since(engine: Engine, moment: datetime) -> int:
    """How many requests of the service were refused or put off since."""
    with reading(engine) as connection:
        found = select(func.count()).where(refusals.c.refused_at > text_of(moment))
        return int(connection.execute(found).scalar_one())


def strangers_since(engine: Engine, moment: datetime) -> int:
    """How many requests came since that the service has not signed."""
    with reading(engine) as connection:
        found = select(func.coalesce(func.sum(strangers.c.requests), 0)).where(strangers.c.counted_at > text_of(moment))
        return int(connection.execute(found).scalar_one())


def unanswered_in(engine: Engine) -> list[str]:
    """The jobs that were about to be decrypted and have no answer up to now: refused then, cut off, or not asked for again."""
    with reading(engine) as connection:
        found = select(intents.c.job).where(intents.c.job.not_in(select(answers.c.job))).order_by(intents.c.meant_at)
        return list(connection.execute(found).scalars())


def _answered(connection: Connection, job: str) -> Answered | None:
    row = connection.execute(select(answers.c.ciphertext, answers.c.answer).where(answers.c.job == job)).first()
    return None if row is None else Answered(row.ciphertext, bytes(row.answer))
