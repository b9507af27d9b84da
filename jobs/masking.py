"""From a job's summed ciphertexts to the key holder's numbers: mask once, keep what was sent, ask until there is an answer.

The mask is a fresh public-key encryption of our own noise in the result slots and of uniform values in all others, so that what
the key holder decrypts tells it no more than the noised result (reference/encryption.md §0). What is sent is kept before it is sent: after
a crash the same bytes go out again, and the key holder answers the same (design R9, G3).
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

from assets import uploads
from assets.object_store import ObjectStore
from audit import log
from audit.events import EventType
from audit.log import Journal
from core.canonical import canonical
from core.errors import Unavailable
from jobs import contributions
from jobs.key_holder import KeyHolder, ReleaseRefused, release_body
from jobs.model import Job
from policies import budget
from privacy.encrypted.chunks import bytes_of
from privacy.encrypted.manifest import Manifest, Released
from privacy.encrypted.mask import mask
from privacy.encrypted.plan_model import EncryptedPlan
from privacy.encrypted.profiles import Profile, profile_named
from privacy.encrypted.sums import add

RETRY_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 10.0
FOLDER = "requests"
_LENGTH = struct.Struct(">Q")
Chunk = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Masking:
    """Everything that stands between the lanes of an encrypted job and its release. `closing` ends the waiting."""

    journal: Journal
    key_holder: KeyHolder
    signing: Ed25519PrivateKey
    store: ObjectStore
    closing: threading.Event
    # Jobs that ended in this process, one of whose gates may still be waiting.
    _over: set[str] = field(default_factory=set, repr=False)

    def numbers(self, job: Job, sums: list[list[Chunk]]) -> Mapping[str, list[int]]:
        """The noised totals by vector. `sums`: the chunks of each released vector, in the plan's order.

        Waits while the key holder is away. Raises ReleaseRefused, also for a job that ended meanwhile, or Unavailable when this process is
        told to end.
        """
        plan = EncryptedPlan.from_json(job.plan["encrypted"])
        kept: bytes | None = None
        wait = RETRY_SECONDS
        while True:
            try:
                kept = self._kept(job, plan, sums) if kept is None else kept
                signed, chunks = _opened(kept)
                body = release_body({**signed, "spend": self._spend(job)}, chunks)
                self._check_open(job)
                found = self.key_holder.release(job.id, body)
                break
            except Unavailable:
                if self.closing.wait(wait):
                    raise
                wait = min(2 * wait, LONGEST_WAIT_SECONDS)
        if {name: len(values) for name, values in found.items()} != {each.name: each.length for each in plan.vectors}:
            raise ReleaseRefused("encrypted.answer_malformed", "the key holder's answer has another form than the plan")
        return found

    def forget(self, job: Job) -> None:
        """Remove what was kept of a job that is over, after which nothing more is made or sent for it."""
        self._over.add(job.id)
        self.store.remove_folder(f"{FOLDER}/{job.id}")

    def _kept(self, job: Job, plan: EncryptedPlan, sums: list[list[Chunk]]) -> bytes:
        """What was made for this job before, or now, and kept."""
        path = f"{FOLDER}/{job.id}/masked"
        self._check_open(job)
        # One that cannot be read now is never made again: two masks over one sum would show the key holder two noisy totals.
        if self.store.has(path):
            return self.store.get(path)
        made = self._made(job, plan, sums)
        self.store.put(path, made)
        return made

    def _check_open(self, job: Job) -> None:
        if job.id in self._over:
            self.store.remove_folder(f"{FOLDER}/{job.id}")
            raise ReleaseRefused("job.over", "the job has ended")

    def _made(self, job: Job, plan: EncryptedPlan, sums: list[list[Chunk]]) -> bytes:
        profile = profile_named(plan.profile)
        masked = b"".join(
            bytes_of(chunk)
            for vector, chunks in zip(plan.vectors, sums, strict=True)
            for chunk in self._masked(profile, job.plan["key"], vector.noise.draw([0] * vector.length), chunks)
        )
        with self.journal.reading() as connection:
            manifest = self._manifest(connection, job, plan, masked)
        signed = {"manifest": manifest.to_json(), "signature": _text(self.signing.sign(manifest.signed()))}
        document = canonical(signed)
        return _LENGTH.pack(len(document)) + document + masked

    def _masked(self, profile: Profile, key: str, noise: list[int], chunks: list[Chunk]) -> list[Chunk]:
        context = self.key_holder.keys().contexts.get(key)
        if context is None:
            raise ReleaseRefused(
                "encrypted.key_unknown", "the key holder does not have the key of these uploads any more"
            )
        masked = []
        for at, chunk in enumerate(chunks):
            share = noise[at * profile.slots : (at + 1) * profile.slots]
            masked.append(add(profile, [chunk, mask(context.public, profile, share)]))
        return masked

    def _manifest(self, connection: Connection, job: Job, plan: EncryptedPlan, masked: bytes) -> Manifest:
        numbered = [
            (job.asset, job.plan["version"]),
            *((each["asset"], each["version"]) for each in job.plan["joined"]),
        ]
        manifest = {
            "schema": "banyan.manifest/1",
            "job": job.id,
            "population": job.plan["population"],
            "accountant": plan.accountant.value,
            "level": job.plan["level"],
            "key": job.plan["key"],
            "profile": plan.profile,
            "uploads": [
                {
                    "asset": asset,
                    "version": number,
                    "header": contributions.header_of(connection, job.id, asset)
                    if plan.shared
                    else uploads.header_of(connection, asset, number),
                }
                for asset, number in sorted(numbered)
            ],
            "overlap": plan.overlap,
            "vectors": [Released(vector.name, vector.length, vector.noise).to_json() for vector in plan.vectors],
            "loss": budget.spend_of(connection, job.id).loss.to_json(),
            "ciphertext": "sha256:" + hashlib.sha256(masked).hexdigest(),
        }
        return Manifest.from_json(manifest)

    def _spend(self, job: Job) -> dict[str, Any]:
        """Proof that the log holds the job's reservation and its commitment, under a checkpoint that extends the one followed."""
        followed = self.key_holder.followed()
        with self.journal.reading() as connection:
            spend = budget.spend_of(connection, job.id)
            places = {
                name: log.index_of(connection, kind, spend.id)
                for name, kind in (
                    ("reserved", EventType.BUDGET_RESERVED),
                    ("committed", EventType.BUDGET_COMMITTED),
                )
            }
            covered = log.newest_note_after(connection, max(places.values()))
            if covered is None or covered[0] < followed:
                raise Unavailable("log.unpublished", "the log has no checkpoint yet that covers this")
            size, note = covered
            return {
                "checkpoint": note,
                "consistency": [_text(part) for part in log.growth_proof(connection, followed, size)],
                **{
                    name: {
                        "entry": _text(log.entry_at(connection, index).leaf),
                        "index": index,
                        "inclusion": [_text(part) for part in log.inclusion_proof(connection, index, size)],
                    }
                    for name, index in places.items()
                },
            }


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _opened(kept: bytes) -> tuple[dict[str, Any], bytes]:
    end = _LENGTH.size + _LENGTH.unpack_from(kept)[0]
    signed: dict[str, Any] = json.loads(kept[_LENGTH.size : end])
    return signed, kept[end:]
