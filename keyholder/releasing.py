"""Whether a sum may be opened: everything that is checked, in order, and the one constant refusal.

Accept or refuse is an answer too: a forged ciphertext at the edge of decryption would tell the secret key bit by bit
(proof_obligations B14). So nothing is decrypted before all that can be checked without the key has been; what an honest service
cannot send freezes the key at once; and whoever asks learns no reason.
"""

from __future__ import annotations

import base64
import logging
import os
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from core.canonical import canonical
from core.errors import Unavailable
from core.signing_key import open_signing_key
from keyholder import decryption
from keyholder.keys import SIGNING_KEY, Keys, KeyState
from keyholder.ledger import Exhausted, Ledger
from keyholder.log_follower import LogForked, Stale, extended, spend_in
from keyholder.registry import Population, Registry
from keyholder.request import Refused, Request, Unsigned
from privacy.encrypted.header import moment_of
from privacy.encrypted.headroom import guard
from privacy.encrypted.manifest import ANSWER_DOMAIN, APART_FROM, Manifest, Upload, check
from privacy.encrypted.profiles import profile_named

OPENS = (KeyState.ACTIVE, KeyState.DECRYPT_ONLY)
_log = logging.getLogger("banyan.keyholder")


# What passes: a full disk, a locked database, a child that was killed from outside, a request that another one overtook.
PASSING = (OSError, MemoryError, SQLAlchemyError, Unavailable, TimeoutExpired, decryption.Failed, Stale, Exhausted)


class NotNow(Exception):
    """Nothing is released now, for a reason that does not lie in what was asked: the same bytes may be sent again."""


@dataclass(frozen=True)
class Releases:
    """Answers requests, one at a time."""

    keys: Keys
    ledger: Ledger
    registry: Registry
    passphrase_file: Path
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    # Keys that should be frozen and could not be written down as such: not opened again before a restart.
    _unwritten: set[str] = field(default_factory=set, repr=False)

    def answer(self, body: bytes) -> bytes:
        """The signed answer to a request. Raises Refused, or NotNow for what passes.

        Unsigned, which is a refusal, is not noted here: anybody can have it as often as they like.
        """
        try:
            request = Request.opened(body, self.registry.service.manifest_key)
            with self._lock:
                return self._answer(request)
        except Unsigned:
            raise
        except Refused as refused:
            self.note(str(refused))
            raise
        except PASSING as problem:
            self.note(f"not now: {type(problem).__name__}: {problem}")
            raise NotNow from None
        except Exception as problem:  # noqa: BLE001 - whatever it is, the answer is the constant one
            self.note(f"{type(problem).__name__}: {problem}")
            raise Refused from None

    def note(self, reason: str) -> None:
        """Count a refusal. That it cannot be written down must not show in the answer."""
        reason = "".join(each if each.isprintable() else "?" for each in reason)
        _log.warning("refused: %s", reason)
        try:
            self.ledger.refuse(reason)
        except Exception:  # noqa: BLE001 - a full disk, a lock: the one who asks is told the same
            _log.exception("a refusal could not be written down")

    def _answer(self, request: Request) -> bytes:
        manifest = request.manifest
        earlier = self.ledger.answered(manifest.job)
        if earlier is not None:
            if earlier.ciphertext != manifest.ciphertext:
                raise Refused("the job was answered for another ciphertext")
            return earlier.answer
        population = self._admitted(manifest)
        self._check_log(request.spend, manifest)
        self.ledger.intend(manifest, population.capacity)
        answer = self._signed(manifest, self._opened(manifest, request.chunks))
        # Kept and charged before anybody sees it: a crash from here on changes nothing any more.
        return self.ledger.enter(manifest, population.capacity, answer)

    def _admitted(self, manifest: Manifest) -> Population:
        population = self.registry.populations.get(manifest.population)
        if population is None or population.accountant is not manifest.accountant:
            raise Refused("the population is not pinned, or with another accountant")
        check(manifest, population.providers)
        if len(manifest.uploads) < population.min_providers:
            raise Refused("there are fewer providers than the population needs")
        if population.shared and not manifest.shared:
            raise Refused("the providers added no noise of their own")
        if manifest.overlap < min(population.overlap, len(manifest.uploads)):
            raise Refused("a unit may be at more providers than the noise is for")
        self._check_key(manifest)
        if manifest.level >= APART_FROM and not self._is_apart():
            raise Refused(f"levels from {APART_FROM} on need a key holder apart from the service")
        return population

    def _check_key(self, manifest: Manifest) -> None:
        if self.keys.states().get(manifest.key) not in OPENS or manifest.key in self._unwritten:
            raise Refused("the key is unknown, frozen or retired")
        context = next(each for each in self.keys.contexts() if each.key == manifest.key)
        # When its provider encrypted it, by the header that the provider signed.
        moments = (moment_of(upload.header.created) for upload in manifest.uploads)
        if not all(context.takes_data_at(moment) for moment in moments):
            raise Refused("an upload was encrypted after its key had expired")

    def _is_apart(self) -> bool:
        """Another host, another user and another root of trust than the service's."""
        service = self.registry.service
        shares = (
            socket.gethostname() == service.host,
            os.getuid() == service.uid,
            self.keys.signer in (service.manifest_key, base64.b64encode(service.log_key.public).decode()),
        )
        return not any(shares)

    def _check_log(self, proof: Mapping[str, Any], manifest: Manifest) -> None:
        """The log holds the spend, and extends the log seen before."""
        try:
            log_key, ledger = self.registry.service.log_key, self.ledger
            head = extended(proof, log_key, ledger.followed(), ledger.was_followed)
        except LogForked as forked:
            self.ledger.open_incident("log.forked", None, manifest.job)
            raise Refused(str(forked)) from None
        reserved, committed = spend_in(proof, head)
        self.ledger.follow(head)
        same = (manifest.job, manifest.population)
        if (reserved["job"], reserved["population"]) != same or (committed["job"], committed["population"]) != same:
            raise Refused("the log's spend is of another job")
        if reserved["loss"] != manifest.loss.to_json():
            raise Refused("the log was charged something else")

    def _opened(self, manifest: Manifest, chunks: bytes) -> dict[str, list[int]]:
        profile, terms = profile_named(manifest.profile), manifest.terms
        expected = sum(profile.chunks_of(vector.length) for vector in manifest.vectors) * profile.chunk_bytes
        order = self._order(manifest.key, profile.name) | {
            "vectors": [
                vector.to_json()
                | {"guard": str(guard(terms, vector.name, vector.noise, manifest.share_of(vector.name)))}
                for vector in manifest.vectors
            ],
        }
        if len(chunks) != expected:
            raise self._frozen(manifest, "the ciphertext has another size than its vectors")
        try:
            return decryption.decrypted(order, chunks)
        except decryption.OutOfRange as problem:
            raise self._frozen(manifest, str(problem)) from None

    def check_opens(self) -> None:
        """Open every key that may be needed, each in a process of its own. Raises Unavailable (`key_holder.sealed`)."""
        states = self.keys.states()
        for context in self.keys.contexts():
            if states[context.key] is not KeyState.RETIRED:
                decryption.decrypted(self._order(context.key, context.profile) | {"vectors": []}, b"")

    def _order(self, key: str, profile: str) -> dict[str, Any]:
        return {
            "profile": profile,
            "key": key,
            "secret": str(self.keys.secret_file(key)),
            "public": str(self.keys.public_file(key)),
            "passphrase_file": str(self.passphrase_file),
        }

    def _frozen(self, manifest: Manifest, why: str) -> Refused:
        """The service may be honest: what one provider has encrypted is in the sum of all, so all of them are named."""
        why = f"{why}; job {manifest.job}"
        named = ", ".join(_named(upload) for upload in manifest.uploads)
        _log.critical("alarm: the key %s is frozen: %s, a sum of %s", manifest.key, why, named)
        self._unwritten.add(manifest.key)
        try:
            self.keys.set_state(manifest.key, KeyState.FROZEN, f"{why}, a sum of {named}")
            self._unwritten.discard(manifest.key)
            self.ledger.open_incident("ciphertext.out_of_range", manifest.key, manifest.job, self._suspected(manifest))
        except Exception:  # noqa: BLE001 - that it cannot be written down must not show in the answer
            _log.exception("a freeze could not be written down; the key stays closed until a restart")
        return Refused(why)

    def _suspected(self, manifest: Manifest) -> str:
        """Its uploads; said of those that were in no sum which opened, with all the vectors that are now asked for."""
        opened = self.ledger.opened_before(manifest.key)
        names = [vector.name for vector in manifest.vectors]
        return ", ".join(
            _named(upload)
            + ("" if all((upload.header.content, name) in opened for name in names) else " (not opened before)")
            for upload in manifest.uploads
        )

    def _signed(self, manifest: Manifest, numbers: Mapping[str, list[int]]) -> bytes:
        values = {name: [str(number) for number in found] for name, found in numbers.items()}
        said = {"job": manifest.job, "key": manifest.key, "ciphertext": manifest.ciphertext, "values": values}
        signature = open_signing_key(self.keys.folder / SIGNING_KEY).sign(ANSWER_DOMAIN + canonical(said))
        return canonical({**said, "signature": base64.b64encode(signature).decode()})


def _named(upload: Upload) -> str:
    return f"{upload.asset} version {upload.version} of {upload.header.terms.provider}"
