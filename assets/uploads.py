"""How a provider's upload becomes a version: read by a strict reader far from everything, compared with the declaration, kept as it came.

An upload is ciphertext under the key holder's key: the service never holds a row of it, and keeps no key of its own for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import SQLAlchemyError

from assets.admission import encrypted_of, record_refusal
from assets.blocks import Block, digest_of, folder_of
from assets.catalogue import Asset, get
from assets.declaration_model import Encrypted
from assets.keys import KeyRing
from assets.object_store import ObjectStore
from assets.records import asset_versions, encrypted_uploads
from assets.report import seal_report
from assets.versions import (
    NewVersion,
    Version,
    VersionState,
    add_version,
    known_ids,
    latest_version,
    next_number,
    version_blocks,
)
from audit.events import Event, EventType
from audit.log import Journal, Transaction
from core.canonical import canonical, digest
from core.errors import BanyanError, Conflict, Invalid
from core.ids import new_id
from privacy.encrypted.header import Header, signature_holds
from privacy.encrypted.terms import Terms

FILE = "upload.hev"
# Reads a file of these vectors under these terms, strictly, in a container; gives its header.
Reader = Callable[[Path, Terms, Sequence[str]], Mapping[str, Any]]


@dataclass(frozen=True)
class Taken:
    """What an upload became: a new version, or the newest one, of which it is the very bytes."""

    version: Version
    is_repeated: bool


@dataclass(frozen=True)
class Uploads:
    """What taking in an upload needs. `key_states` says what each key id of the key holder is good for now."""

    journal: Journal
    store: ObjectStore
    keys: KeyRing
    read: Reader
    key_states: Callable[[], Mapping[str, str]]

    def version(self, asset_id: str, path: Path, actor: str) -> Taken:
        """Make the next version of an encrypted asset from a provider's file; earlier versions stay as they are.

        The very bytes of the newest version are that version: who sends them again, as after an answer that was lost, makes no other one,
        whose jobs would be paid for again.

        Raises Invalid (`encrypted.format`, `.digest`, `.range`, `.transparent`, `.signature`, `.terms`), Conflict
        (`encrypted.key_unknown`, `encrypted.key_expired`) or Unavailable; then there is no new version, and the refusal is in the log.
        """
        with self.journal.reading() as connection:
            asset = get(connection, asset_id)
        version_id = new_id("version")
        try:
            version = self._made(asset, version_id, path, actor)
        except BaseException as problem:
            self._discard(version_id)
            if isinstance(problem, BanyanError):
                record_refusal(self.journal, asset.id, problem.code, actor)
            raise
        if version.id != version_id:
            self._discard(version_id)
        return Taken(version, is_repeated=version.id != version_id)

    def _discard(self, version_id: str) -> None:
        """Remove what was written, unless the version was committed, or nobody can tell."""
        with suppress(SQLAlchemyError), self.journal.reading() as connection:
            if version_id not in known_ids(connection):
                self.store.remove_folder(folder_of(version_id))

    def _made(self, asset: Asset, version_id: str, path: Path, actor: str) -> Version:
        declared = encrypted_of(asset)
        header = header_in(self.read(path, declared.terms, declared.vectors))
        check_header(header, declared)
        if header.share is not None:
            raise Invalid(
                "encrypted.contribution",
                f"this file was encrypted for the job {header.share.job} alone",
                where={"field": "share"},
                way_out="banyan upload without --asset takes it there",
            )
        check_key(header.key, self.key_states())
        content = path.read_bytes()
        block = Block(0, f"{folder_of(version_id)}/{FILE}", len(content), digest_of(content))
        self.store.put(block.path, content)
        root = digest(["banyan.version/1", version_id, [block.digest]])
        report = seal_report(self.keys, version_id, asset.declaration, {"header": digest(header.to_json())})
        with self.journal.writing() as tx:
            newest = latest_version(tx.connection, asset.id)
            if newest is not None and [each.digest for each in version_blocks(tx.connection, newest.id)] == [
                block.digest
            ]:
                tx.record(Event(EventType.VERSION_REPEATED, asset.id, actor, {"version": newest.id}))
                return newest
            number = next_number(tx.connection, asset.id)
            version = Version(version_id, asset.id, number, VersionState.READY, root)
            add_version(tx, NewVersion(version, "", report, [block]), actor)
            _add_header(tx, version_id, header)
        return version


def header_in(said: Mapping[str, Any]) -> Header:
    """The header of a file, as its reader found it. Raises Invalid (`encrypted.format`)."""
    try:
        return Header.from_json(said)
    except (ValueError, KeyError, TypeError) as problem:
        text = f"its header is not one of this version: {problem}"
        raise Invalid(
            "encrypted.format", text[:200], where={"field": "file"}, way_out="make it with banyan encrypt"
        ) from None


def check_key(key: str, states: Mapping[str, str]) -> None:
    """Raise Conflict (`encrypted.key_unknown`, `encrypted.key_expired`) unless new data may be under this key."""
    state = states.get(key)
    if state is None:
        raise Conflict(
            "encrypted.key_unknown",
            "the upload is encrypted under a key that the key holder of this service does not have",
            way_out="fetch the present public context and encrypt again: banyan encrypt --asset …",
        )
    if state != "active":
        raise Conflict(
            "encrypted.key_expired",
            "the upload is encrypted under a key that takes no new data any more",
            way_out="fetch the present public context and encrypt again: banyan encrypt --asset …",
        )


def _add_header(tx: Transaction, version: str, header: Header) -> None:
    tx.execute(
        insert(encrypted_uploads).values(version=version, key=header.key, header=canonical(header.to_json()).decode())
    )


def check_header(header: Header, declared: Encrypted) -> None:
    """Raise Invalid (`encrypted.terms`, `encrypted.signature`) unless it is of the declared terms, signed by the declared provider."""
    if header.terms != declared.terms:
        raise Invalid(
            "encrypted.terms",
            "the upload was made under other terms than those of the asset's declaration",
            where={"field": _first_difference(header.terms.to_json(), declared.terms.to_json())},
            way_out="encrypt again with --asset or --declaration, which take the terms from the declaration",
        )
    if not signature_holds(header, declared.signing_key):
        raise Invalid(
            "encrypted.signature",
            "the upload is not signed with the provider's key that the declaration names",
            where={"field": "signature"},
        )


def _first_difference(found: Mapping[str, Any], declared: Mapping[str, Any]) -> str:
    return next((name for name in declared if found.get(name) != declared[name]), "terms")


def key_of(connection: Connection, version: str) -> str | None:
    """The id of the key under which a version is encrypted; None for one that is not."""
    return connection.execute(select(encrypted_uploads.c.key).where(encrypted_uploads.c.version == version)).scalar()


def header_of(connection: Connection, asset: str, number: int) -> dict[str, Any]:
    """The signed header of a version of an encrypted asset. Raises LookupError."""
    found = connection.execute(
        select(encrypted_uploads.c.header)
        .join(asset_versions, asset_versions.c.id == encrypted_uploads.c.version)
        .where((asset_versions.c.asset == asset) & (asset_versions.c.number == number))
    ).scalar()
    if found is None:
        raise LookupError("no such upload")
    header: dict[str, Any] = json.loads(found)
    return header
