"""Encrypts bounded vectors and writes the upload: an Arrow file of raw polynomials under a signed header."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from banyan.encrypt.bfv import encrypt
from banyan.encrypt.context import PublicContext
from banyan.encrypt.header import SIGNATURE_BYTES, Header
from banyan.encrypt.profiles import profile_named
from banyan.encrypt.shares import Share
from banyan.encrypt.terms import Terms
from banyan.errors import Refused
from banyan.textfile import unreadable

METADATA = "banyan"
# Numbers encrypted, and how many there are.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Chunk:
    """Up to as many numbers of a vector as a ciphertext has slots; `words` are the raw polynomials."""

    vector: str
    number: int
    used: int
    words: bytes


def check_context(context: PublicContext, terms: Terms) -> None:
    """Raise Refused (`context.profile`, `context.expired`) unless data of these terms may be encrypted under this key now."""
    if context.profile != terms.profile:
        raise Refused(
            "context.profile",
            f"the public key is of the profile {context.profile}, and the terms say {terms.profile}",
            way_out="the key holder's context for the other profile, or --asset, which fetches it",
        )
    if not context.takes_data_at(datetime.now(UTC)):  # noqa: TID251 - the provider's own clock
        raise Refused(
            "context.expired",
            f"the key takes no new data since {context.expires}",
            way_out="the key holder's present context, or --asset, which fetches it",
        )


def write_hev(
    path: Path,
    vectors: Mapping[str, Sequence[int]],
    terms: Terms,
    context: PublicContext,
    signing: Ed25519PrivateKey,
    share: Share | None = None,
    progress: Progress | None = None,
) -> Header:
    """Write these vectors of the terms, whole or not at all; their signed header.

    Raises Refused (`context.profile`, `context.expired`, `file.unusable`).
    """
    check_context(context, terms)
    chunks, in_all = [], sum(map(len, vectors.values()))
    done = 0
    for chunk in _encrypted(vectors, terms, context):
        chunks.append(chunk)
        done += chunk.used
        if progress is not None:
            progress(done, in_all)
    content = hashlib.sha256()
    for chunk in chunks:
        content.update(chunk.words)
    header = _signed(terms, context.key, "sha256:" + content.hexdigest(), share, signing)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        _write(fresh, chunks, header, profile_named(terms.profile).chunk_bytes)
        fresh.replace(path)
    except OSError as problem:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise unreadable(path, problem) from None
    return header


def _encrypted(vectors: Mapping[str, Sequence[int]], terms: Terms, context: PublicContext) -> Iterator[Chunk]:
    profile = profile_named(terms.profile)
    for name, values in vectors.items():
        if len(values) != terms.vector(name).length:
            raise ValueError("a vector of another length than its terms say")
        for number in range(profile.chunks_of(len(values))):
            part = list(values[number * profile.slots : (number + 1) * profile.slots])
            # Every slot is given a value here: the library would repeat a shorter vector over all of them.
            padded = part + [0] * (profile.slots - len(part))
            words = encrypt(context.public, profile, padded).astype("<u8").tobytes()
            yield Chunk(name, number, len(part), words)


def _signed(terms: Terms, key: str, content: str, share: Share | None, signing: Ed25519PrivateKey) -> Header:
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: TID251 - the provider's own clock
    unsigned = base64.b64encode(bytes(SIGNATURE_BYTES)).decode()
    header = Header(terms, key, content, created, f"banyan {version('banyan-client')}", share, unsigned)
    signature = base64.b64encode(signing.sign(header.signed())).decode()
    return replace(header, signature=signature)


def _write(path: Path, chunks: Sequence[Chunk], header: Header, chunk_bytes: int) -> None:
    fields = [("vector", pa.string()), ("chunk", pa.int32()), ("used", pa.int32()), ("poly", pa.binary(chunk_bytes))]
    plain = pa.schema([pa.field(name, kind, nullable=False) for name, kind in fields])
    schema = plain.with_metadata({METADATA: rfc8785.dumps(header.to_json())})
    with path.open("wb") as file, pa.ipc.new_file(file, schema) as writer:
        for chunk in chunks:
            row = (chunk.vector, chunk.number, chunk.used, chunk.words)
            arrays = [pa.array([value], kind) for value, (_, kind) in zip(row, fields, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
