"""The key holder's keys: made with their known-answer test, sealed, handed out as signed public contexts; one active a profile."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from sqlalchemy import Connection, Engine, func, insert, select

from core.clock import Clock, text_of
from core.database import changing, reading
from core.errors import Conflict, Invalid
from core.signing_key import create_signing_key, open_signing_key, public_text
from keyholder.records import key_states, keys, prepare
from keyholder.sealed_key import KeySealer
from privacy.encrypted import bfv
from privacy.encrypted.context import PublicContext
from privacy.encrypted.profiles import profile_named

SIGNING_KEY, NAME = "signing.key", "name"


class KeyState(StrEnum):
    """What a key is good for."""

    ACTIVE = "active"
    DECRYPT_ONLY = "decrypt-only"
    FROZEN = "frozen"
    RETIRED = "retired"


# What a key may become by an incident or its operator; a newer key of its profile makes an active one decrypt only.
BECOMES: Mapping[KeyState, frozenset[KeyState]] = {
    KeyState.ACTIVE: frozenset({KeyState.FROZEN, KeyState.RETIRED}),
    KeyState.DECRYPT_ONLY: frozenset({KeyState.FROZEN, KeyState.RETIRED}),
    KeyState.FROZEN: frozenset({KeyState.FROZEN, KeyState.DECRYPT_ONLY, KeyState.RETIRED}),
    KeyState.RETIRED: frozenset(),
}


@dataclass(frozen=True)
class Keys:
    """The keys in one folder."""

    folder: Path
    engine: Engine
    clock: Clock

    def initialise(self, name: str) -> None:
        """Make folder (0700), database and signing key, unless they are there."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.chmod(0o700)
        create_signing_key(self.folder / SIGNING_KEY)
        if not (self.folder / NAME).exists():
            (self.folder / NAME).write_text(name)
        with changing(self.engine) as connection:
            prepare(connection)

    @property
    def signer(self) -> str:
        """The public signing key, which the service's operator pins."""
        return public_text(open_signing_key(self.folder / SIGNING_KEY))

    def make(self, profile: str, days: int, sealer: KeySealer) -> PublicContext:
        """A fresh active key; the one before of this profile decrypts only, from now on. Raises Invalid (`profile.unknown`)."""
        try:
            pair = bfv.new_keys(profile_named(profile))
        except ValueError as problem:
            raise Invalid("profile.unknown", str(problem), where={"field": "profile"}) from None
        now, key = self.clock.now(), bfv.key_id(pair.public)
        until = now + timedelta(days=days)
        signing = open_signing_key(self.folder / SIGNING_KEY)
        name = (self.folder / NAME).read_text()
        context = PublicContext.signed(pair.public, name, text_of(now), text_of(until), signing)
        _write(self.secret_file(key), sealer.seal(key, pair.secret))
        _write(self.public_file(key), pair.public)
        _write(self.context_file(key), context.to_bytes())
        with changing(self.engine) as connection:
            for earlier, state in _states(connection).items():
                if state is KeyState.ACTIVE and _profile(connection, earlier) == profile:
                    _say(connection, self.clock, earlier, KeyState.DECRYPT_ONLY, "a newer key is in use")
            connection.execute(insert(keys).values(key=key, profile=profile, context=context.to_bytes()))
            _say(connection, self.clock, key, KeyState.ACTIVE, "made")
        return context

    def contexts(self) -> list[PublicContext]:
        """All public contexts that were ever handed out."""
        with reading(self.engine) as connection:
            return [PublicContext.from_bytes(each) for each in connection.execute(select(keys.c.context)).scalars()]

    def states(self) -> Mapping[str, KeyState]:
        """What each key is good for. An active one whose context has expired takes no new data."""
        with reading(self.engine) as connection:
            found = _states(connection)
        for context in self.contexts():
            if found[context.key] is KeyState.ACTIVE and not context.takes_data_at(self.clock.now()):
                found[context.key] = KeyState.DECRYPT_ONLY
        return found

    def set_state(self, key: str, state: KeyState, why: str) -> None:
        """Say what a key is good for from now on. Raises Conflict (`key.unknown`, `key.state`)."""
        with changing(self.engine) as connection:
            now = _states(connection).get(key)
            if now is None:
                raise Conflict("key.unknown", "there is no such key here")
            if state not in BECOMES[now]:
                raise Conflict("key.state", f"a key that is {now} does not become {state}")
            _say(connection, self.clock, key, state, why)

    def secret_file(self, key: str) -> Path:
        """Where the sealed secret key lies."""
        return self.folder / f"{key.removeprefix('sha256:')}.secret"

    def context_file(self, key: str) -> Path:
        """The signed public context, for providers who get it in person."""
        return self.folder / f"{key.removeprefix('sha256:')}.hectx"

    def public_file(self, key: str) -> Path:
        """Where the public key lies."""
        return self.folder / f"{key.removeprefix('sha256:')}.public"


def _states(connection: Connection) -> dict[str, KeyState]:
    newest = select(func.max(key_states.c.number)).group_by(key_states.c.key)
    rows = connection.execute(select(key_states.c.key, key_states.c.state).where(key_states.c.number.in_(newest)))
    return {row.key: KeyState(row.state) for row in rows}


def _profile(connection: Connection, key: str) -> str:
    return str(connection.execute(select(keys.c.profile).where(keys.c.key == key)).scalar_one())


def _say(connection: Connection, clock: Clock, key: str, state: KeyState, why: str) -> None:
    connection.execute(insert(key_states).values(key=key, state=state.value, said_at=text_of(clock.now()), why=why))


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
