"""Which files may come for an asset, and how large they may be: said by its declaration, before a byte of a file is received.

Rows of an encrypted asset stay with their provider, so its declaration must be asked before the rows are here.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError

from assets.catalogue import Asset, get
from assets.declaration_model import Encrypted
from audit.events import Event, EventType
from audit.log import Journal
from core.errors import Invalid
from privacy.encrypted.hev import MAX_HEADER_BYTES, REST_BYTES, REST_BYTES_PER_CHUNK
from privacy.encrypted.profiles import profile_named
from privacy.encrypted.terms import Terms


def admitted(journal: Journal, asset_id: str, actor: str, *, is_encrypted: bool, most: int) -> int:
    """Bytes that a file of rows, or one that its provider encrypted, has at most; `most` is what the server takes of any file.

    Raises NotFound, or Invalid (`asset.encrypted`, `asset.not_encrypted`), which is in the log then.
    """
    with journal.reading() as connection:
        asset = get(connection, asset_id)
    try:
        if is_encrypted:
            declared = encrypted_of(asset)
            return min(most, most_bytes(declared.terms, declared.vectors))
        check_takes_rows(asset)
    except Invalid as problem:
        record_refusal(journal, asset.id, problem.code, actor)
        raise
    return most


def check_takes_rows(asset: Asset) -> None:
    """Raise Invalid (`asset.encrypted`) for an asset whose rows must not come here."""
    if asset.declaration.encrypted is not None:
        raise Invalid(
            "asset.encrypted",
            f"{asset.id} is declared as encrypted: its rows stay with their provider",
            where={"field": "format"},
            way_out=f"banyan encrypt FILE --asset {asset.id} -o OUT.hev, and then banyan upload OUT.hev",
        )


def encrypted_of(asset: Asset) -> Encrypted:
    """What is encrypted of an asset. Raises Invalid (`asset.not_encrypted`)."""
    if asset.declaration.encrypted is None:
        raise Invalid(
            "asset.not_encrypted",
            f"{asset.id} is not declared as encrypted",
            where={"field": "asset"},
            way_out="an asset whose declaration has a section encrypted",
        )
    return asset.declaration.encrypted


def most_bytes(terms: Terms, vectors: Sequence[str]) -> int:
    """Bytes that a file of these vectors has at most; the strict reader (privacy.encrypted.hev) takes none that is larger."""
    profile = profile_named(terms.profile)
    chunks = sum(profile.chunks_of(terms.vector(name).length) for name in vectors)
    return chunks * (profile.chunk_bytes + REST_BYTES_PER_CHUNK) + REST_BYTES + 2 * MAX_HEADER_BYTES


def record_refusal(journal: Journal, asset_id: str, code: str, actor: str) -> None:
    """The refusal changed nothing, so where the log cannot be written the person must still learn why it was refused."""
    with suppress(SQLAlchemyError), journal.writing() as tx:
        tx.record(Event(EventType.VERSION_REFUSED, asset_id, actor, {"code": code}))
