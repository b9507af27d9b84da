"""What encrypted jobs ask of providers who leave nothing at the service: a contribution of each, encrypted for the one job.

A call says which vectors, with how much noise of one's own, beside whom. A job waits until every provider has answered, for DAYS at most;
nothing is charged before, and contributions are removed when the job is over.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, insert, select

from assets import catalogue
from assets.admission import most_bytes
from assets.blocks import Block, digest_of
from assets.declaration_model import Encrypted
from assets.object_store import ObjectStore
from assets.uploads import Reader, check_header, check_key, header_in
from audit.events import Event, EventType
from audit.log import Journal, Transaction
from core import clock
from core.canonical import canonical
from core.errors import Conflict, Invalid, NotFound
from jobs.model import MOCK, Job, find_job, job_with, jobs_in
from jobs.records import contributions
from jobs.transitions import FINAL, JobState
from privacy.encrypted.header import Header
from privacy.encrypted.plan_model import EncryptedPlan
from privacy.encrypted.shares import Share

FOLDER = "contributions"
DAYS = 7


@dataclass(frozen=True)
class Contributions:
    """Calls and what is given to them. `read` reads a file strictly; `key_states` says what each of the key holder's keys is good for."""

    journal: Journal
    store: ObjectStore
    read: Reader
    key_states: Callable[[], Mapping[str, str]]

    def calls(self, asset: str) -> list[dict[str, Any]]:
        """What waiting jobs ask of the provider of an asset, the oldest first."""
        with self.journal.reading() as connection:
            catalogue.get(connection, asset)
            now = self.journal.clock.now()
            waiting = [job for job in jobs_in(connection, JobState.QUEUED) if _asks(job, asset, now)]
            return [_told(connection, job, asset) for job in waiting]

    def call(self, asset: str, job: str) -> dict[str, Any]:
        """What one job asks. Raises NotFound (`call.unknown`)."""
        with self.journal.reading() as connection:
            return _told(connection, _asking(connection, job, asset, self.journal.clock.now()), asset)

    def most_bytes(self, asset: str, job: str) -> int:
        """How large a file for the job may be; of one that asks no more, as large as what was given. Raises NotFound (`call.unknown`)."""
        with self.journal.reading() as connection:
            try:
                found = _asking(connection, job, asset, self.journal.clock.now())
            except NotFound:
                earlier = _row(connection, job, asset)
                if earlier is None:
                    raise
                return int(earlier.size_bytes)
            names = [name for name, _ in share_of(connection, found).scales]
            return most_bytes(_declared(connection, asset).terms, names)

    def take(self, asset: str, job: str, path: Path, actor: str) -> dict[str, Any]:
        """Keep what the provider encrypted for the job, until it is over. The same bytes may come again, also when the job has started.

        Raises NotFound (`call.unknown`), Invalid (`encrypted.…`), Conflict (`encrypted.key_…`, `contribution.given`) or Unavailable.
        """
        content = path.read_bytes()
        digest = digest_of(content)
        with self.journal.reading() as connection:
            earlier = _row(connection, job, asset)
            if earlier is not None and earlier.digest == digest:
                return _told(connection, job_with(connection, job), asset)
            found = _asking(connection, job, asset, self.journal.clock.now())
            declared, expected = _declared(connection, asset), share_of(connection, found)
        vectors = tuple(name for name, _ in expected.scales)
        header = header_in(self.read(path, declared.terms, vectors))
        check_header(header, declared)
        _check_share(header, expected)
        check_key(header.key, self.key_states())
        if header.key != found.plan["key"]:
            raise Conflict(
                "encrypted.key_mismatch",
                "the job was planned for another key of the key holder",
                way_out="the job is cancelled, new versions are announced under the present key, and it is submitted again",
            )
        _check_alone(earlier, digest)  # before it is kept: the service is to have no second one
        place = f"{FOLDER}/{job}/{digest.removeprefix('sha256:')}.hev"
        if not self.store.has(place):
            self.store.put(place, content)
        try:
            with self.journal.writing() as tx:
                return self._noted(tx, asset, job, header, Block(0, place, len(content), digest), actor)
        finally:
            self._forget_ended(job)

    def _noted(self, tx: Transaction, asset: str, job: str, header: Header, kept: Block, actor: str) -> dict[str, Any]:
        earlier = _row(tx.connection, job, asset)
        _check_alone(earlier, kept.digest)
        if earlier is None:
            _asking(tx.connection, job, asset, tx.now)
            values = {"path": kept.path, "size_bytes": kept.size_bytes, "digest": kept.digest}
            signed = canonical(header.to_json()).decode()
            tx.execute(insert(contributions).values(job=job, asset=asset, header=signed, **values))
            given = {"asset": asset, "content": header.content, "digest": kept.digest}
            tx.record(Event(EventType.CONTRIBUTION_GIVEN, job, actor, given))
        return _told(tx.connection, job_with(tx.connection, job), asset)

    def _forget_ended(self, job: str) -> None:
        """What was kept after the job had ended and been forgotten. A running job needs what it has."""
        with self.journal.reading() as connection:
            found = find_job(connection, job)
        if found is not None and found.state in FINAL:
            self.forget(found)

    def forget(self, job: Job) -> None:
        """Remove the files of a job that is over."""
        self.store.remove_folder(f"{FOLDER}/{job.id}")


def share_of(connection: Connection, job: Job) -> Share:
    """What every provider's share for a job must be."""
    plan = EncryptedPlan.from_json(job.plan["encrypted"])
    keys = sorted(_declared(connection, each.asset).signing_key for each in job.inputs)
    scales = tuple((vector.name, vector.share) for vector in plan.vectors if vector.share is not None)
    return Share(job.id, tuple(keys), scales)


def are_complete(connection: Connection, job: Job) -> bool:
    """Whether every provider has given its contribution."""
    count = select(func.count()).select_from(contributions).where(contributions.c.job == job.id)
    return connection.execute(count).scalar_one() == len(job.inputs)


def is_overdue(journal: Journal, job: Job) -> bool:
    """Whether a waiting job has waited long enough for providers who have not answered."""
    if not _is_late(job, journal.clock.now()):
        return False
    with journal.reading() as connection:
        return not are_complete(connection, job)


def check_in_time(connection: Connection, job: Job, now: datetime) -> None:
    """Raise Conflict (`contribution.overdue`) for a job whose providers did not all answer in time."""
    if _is_late(job, now) and not are_complete(connection, job):
        raise Conflict(
            "contribution.overdue",
            f"not every provider has contributed within {DAYS} days; nothing was charged",
            way_out="ask the providers, and submit it again",
        )


def block_of(connection: Connection, job: str, asset: str) -> Block:
    """Where the contribution lies. Raises LookupError."""
    row = _row(connection, job, asset)
    if row is None:
        raise LookupError("there is no such contribution")
    return Block(0, row.path, row.size_bytes, row.digest)


def header_of(connection: Connection, job: str, asset: str) -> dict[str, Any]:
    """The header that the provider signed. Raises LookupError."""
    row = _row(connection, job, asset)
    if row is None:
        raise LookupError("there is no such contribution")
    header: dict[str, Any] = json.loads(row.header)
    return header


def _row(connection: Connection, job: str, asset: str) -> Any:
    table = contributions
    return connection.execute(select(table).where((table.c.job == job) & (table.c.asset == asset))).first()


def _needs(job: Job) -> bool:
    """Whether a job is for contributions. A copy of an earlier release needs none, and mock data are nobody's."""
    return bool(job.plan.get("shared")) and job.reuse_of is None and job.mode != MOCK


def _is_late(job: Job, now: datetime) -> bool:
    return _needs(job) and now >= _until(job)


def _asks(job: Job, asset: str, now: datetime) -> bool:
    return _needs(job) and asset in _assets(job) and not _is_late(job, now)


def _assets(job: Job) -> Sequence[str]:
    return [each.asset for each in job.inputs]


def _asking(connection: Connection, job: str, asset: str, now: datetime) -> Job:
    found = find_job(connection, job)
    if found is None or found.state is not JobState.QUEUED or not _asks(found, asset, now):
        raise NotFound(
            "call.unknown", "no waiting job of this id asks for this asset", way_out="banyan calls lists them"
        )
    return found


def _declared(connection: Connection, asset: str) -> Encrypted:
    declared = catalogue.get(connection, asset).declaration.encrypted
    if declared is None:
        raise LookupError("the asset is not encrypted")
    return declared


def _until(job: Job) -> datetime:
    return job.submitted_at + timedelta(days=DAYS)


def _told(connection: Connection, job: Job, asset: str) -> dict[str, Any]:
    plan, declared = (
        EncryptedPlan.from_json(job.plan["encrypted"]),
        [_declared(connection, each) for each in _assets(job)],
    )
    return {
        "job": job.id,
        "asset": asset,
        "purpose": job.request["purpose"],
        "compute": plan.compute.to_json(),
        "epsilon": job.request["epsilon"],
        "overlap": plan.overlap,
        "key": job.plan["key"],
        "until": clock.text_of(_until(job)),
        "given": _row(connection, job.id, asset) is not None,
        "vectors": [
            {"name": vector.name, "rho": str(vector.noise.price), "share": str(vector.share)} for vector in plan.vectors
        ],
        "partners": [{"provider": each.terms.provider, "signing_key": each.signing_key} for each in declared],
    }


def _check_share(header: Header, expected: Share) -> None:
    if header.share != expected:
        raise Invalid(
            "encrypted.contribution",
            "this was not encrypted for this job, with its partners and its shares of noise",
            where={"field": "share"},
            way_out=f"banyan encrypt … --job {expected.job}",
        )


def _check_alone(earlier: Any, digest: str) -> None:
    if earlier is not None and earlier.digest != digest:
        raise Conflict(
            "contribution.given",
            "the job has another contribution of this provider; a second one with the same masks would uncover both",
            way_out="the job goes on with the one that it has",
        )
