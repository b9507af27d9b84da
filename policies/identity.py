"""Who a request comes from: principals, and the random tokens by which they are known.

A token is 256 random bits, shown once and stored as its SHA-256: it needs no slow hash, since it cannot be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection, insert, select, update

from audit.events import Event, EventType
from audit.log import Transaction
from core.clock import text_of
from core.errors import Invalid, NotFound, Unauthenticated
from core.ids import new_id
from core.yaml_positions import printable, shown
from policies.model import Principal, Role
from policies.records import principals, tokens

PREFIX = "bny_"
LONGEST = timedelta(days=366)
_TOKEN = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")
_ORGANISATION = re.compile(r"[a-z][a-z0-9-]{0,60}")


@dataclass(frozen=True)
class NewToken:
    """A token just issued: `text` exists nowhere else and is not shown again."""

    id: str
    text: str = field(repr=False)
    expires_at: datetime


def add_principal(tx: Transaction, name: str, organisation: str, roles: Iterable[str], actor: str) -> Principal:
    """Add a person. Raises Invalid (`principal.…`) for a name, organisation or role that cannot be."""
    if not 1 <= len(name) <= 100 or not name.isprintable():
        raise Invalid("principal.name", "a name is 1 to 100 printable characters", where={"field": "name"})
    if not _ORGANISATION.fullmatch(organisation):
        text = "an organisation is written in small letters, digits and dashes, such as health-bureau"
        raise Invalid("principal.organisation", text, where={"field": "organisation"})
    person = Principal(new_id("principal"), name, organisation, _roles(roles, "roles"))
    tx.execute(
        insert(principals).values(
            id=person.id,
            name=name,
            organisation=organisation,
            roles=_joined(person.roles),
            added_at=text_of(tx.now),
        )
    )
    facts = {"roles": sorted(person.roles), "organisation": organisation}
    tx.record(Event(EventType.PRINCIPAL_ADDED, person.id, actor, facts))
    return person


def principal_of(connection: Connection, principal: str) -> Principal:
    """A person with all their roles. Raises NotFound (`principal.unknown`)."""
    row = connection.execute(select(principals).where(principals.c.id == principal)).first()
    if row is None:
        raise NotFound("principal.unknown", f"there is no person {printable(principal, 64)}")
    return Principal(row.id, row.name, row.organisation, _parted(row.roles))


def issue_token(tx: Transaction, principal: str, scopes: Iterable[str], lifetime: timedelta, actor: str) -> NewToken:
    """Issue a token that carries `scopes`, a part of the person's roles. Raises Invalid (`token.…`) or NotFound."""
    person, wanted = principal_of(tx.connection, principal), _roles(scopes, "scopes")
    if not wanted <= person.roles:
        beyond = ", ".join(sorted(wanted - person.roles))
        way_out = f"scopes among {', '.join(sorted(person.roles))}"
        raise Invalid("token.scopes", f"the person is not {beyond}", where={"field": "scopes"}, way_out=way_out)
    if not timedelta(0) < lifetime <= LONGEST:
        text = f"a token lives more than 0 and at most {LONGEST.days} days"
        raise Invalid("token.lifetime", text, where={"field": "lifetime"})
    token = NewToken(new_id("token"), PREFIX + secrets.token_urlsafe(32), tx.now + lifetime)
    tx.execute(
        insert(tokens).values(
            id=token.id,
            sha256=_hashed(token.text),
            principal=principal,
            scopes=_joined(wanted),
            expires_at=text_of(token.expires_at),
        )
    )
    facts = {"principal": principal, "scopes": sorted(wanted), "expires": text_of(token.expires_at)}
    tx.record(Event(EventType.TOKEN_ISSUED, token.id, actor, facts))
    return token


def revoke_token(tx: Transaction, token: str, actor: str) -> None:
    """End a token now; ending it twice changes nothing. Raises NotFound (`token.unknown`)."""
    row = tx.connection.execute(select(tokens).where(tokens.c.id == token)).first()
    if row is None:
        raise NotFound("token.unknown", f"there is no token {printable(token, 64)}")
    if row.revoked_at is None:
        tx.execute(update(tokens).where(tokens.c.id == token).values(revoked_at=text_of(tx.now)))
        tx.record(Event(EventType.TOKEN_REVOKED, token, actor, {"principal": row.principal}))


def authenticate(connection: Connection, text: str | None, now: datetime) -> Principal:
    """The person who holds the token `text`, with the roles that it carries.

    Raises Unauthenticated, in the same words for a token that is missing, malformed, unknown, expired or revoked.
    """
    if text is None or not _TOKEN.fullmatch(text):
        raise _unauthenticated()
    hashed = _hashed(text)
    row = connection.execute(
        select(tokens, principals.c.name, principals.c.organisation, principals.c.roles)
        .join(principals)
        .where(tokens.c.sha256 == hashed)
    ).first()
    # The index finds the row by hash, which tells a guesser nothing about the token; the comparison confirms it.
    if row is None or not hmac.compare_digest(row.sha256, hashed):
        raise _unauthenticated()
    if row.revoked_at is not None or row.expires_at <= text_of(now):
        raise _unauthenticated()
    return Principal(row.principal, row.name, row.organisation, _parted(row.scopes) & _parted(row.roles))


def _unauthenticated() -> Unauthenticated:
    return Unauthenticated(
        "token.invalid",
        "no valid token came with the request",
        way_out="banyan login, with a token that an administrator gives you",
    )


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _roles(given: Iterable[str], field_name: str) -> frozenset[Role]:
    known = [role.value for role in Role]
    found = list(given)
    for role in found:
        if role not in known:
            text = f"there is no role {shown(role)}; the roles are {', '.join(known)}"
            raise Invalid("principal.role", text, where={"field": field_name})
    if not found:
        raise Invalid("principal.role", f"{field_name} lists no role", where={"field": field_name})
    return frozenset(Role(role) for role in found)


def _joined(roles: frozenset[Role]) -> str:
    return " ".join(sorted(roles))


def _parted(text: str) -> frozenset[Role]:
    return frozenset(Role(role) for role in text.split())
