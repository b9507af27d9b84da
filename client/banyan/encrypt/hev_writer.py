"""Encrypts bounded vectors and writes the upload: an Arrow file of raw polynomials under a signed header."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
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
from banyan.encrypt.terms import Terms
from banyan.errors import Refused
from banyan.textfile import unreadable

METADATA = "banyan"
Progress = Callable[[int, int], None]


def write_hev(
    path: Path,
    vectors: Mapping[str, Sequence[int]],
    terms: Terms,
    context: PublicContext,
    signing: Ed25519PrivateKey,
    progress: Progress | None = None,
) -> Header:
    """Write the upload; its signed header. Raises Refused (`context.profile`, `context.expired`)."""
    _check_context(context, terms)
    profile = profile_named(terms.profile)
    chunks: list[tuple[str, int, int, bytes]] = []
    content, in_all = hashlib.sha256(), sum(profile.chunks_of(vector.length) for vector in terms.vectors)
    for vector in terms.vectors:
        values = vectors[vector.name]
        for chunk in range(profile.chunks_of(vector.length)):
            part = list(values[chunk * profile.slots : (chunk + 1) * profile.slots])
            padded = part + [0] * (profile.slots - len(part))
            words = encrypt(context.public, profile, padded).astype("<u8").tobytes()
            content.update(words)
            chunks.append((vector.name, chunk, len(part), words))
            if progress is not None:
                progress(len(chunks), in_all)
    header = _signed(terms, context.key, "sha256:" + content.hexdigest(), signing)
    _write(path, chunks, header, profile.chunk_bytes)
    return header


def _signed(terms: Terms, key: str, content: str, signing: Ed25519PrivateKey) -> Header:
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: TID251 - the provider's own clock
    unsigned = base64.b64encode(bytes(SIGNATURE_BYTES)).decode()
    header = Header(terms, key, content, created, f"banyan {version('banyan-client')}", unsigned)
    signature = base64.b64encode(signing.sign(header.signed())).decode()
    return Header(terms, key, content, created, header.tool, signature)


def _check_context(context: PublicContext, terms: Terms) -> None:
    if context.profile != terms.profile:
        raise Refused(
            "context.profile", f"the public key is of the profile {context.profile}, the terms say {terms.profile}"
        )
    if not context.takes_data_at(datetime.now(UTC)):  # noqa: TID251 - the provider's own clock
        raise Refused(
            "context.expired",
            f"the key takes no new data since {context.expires[:10]}",
            way_out="fetch the present one",
        )


def _write(path: Path, chunks: Sequence[tuple[str, int, int, bytes]], header: Header, chunk_bytes: int) -> None:
    fields = [("vector", pa.string()), ("chunk", pa.int32()), ("used", pa.int32()), ("poly", pa.binary(chunk_bytes))]
    plain = pa.schema([pa.field(name, kind, nullable=False) for name, kind in fields])
    schema = plain.with_metadata({METADATA: rfc8785.dumps(header.to_json())})
    try:
        with path.open("wb") as file, pa.ipc.new_file(file, schema) as writer:
            for row in chunks:
                arrays = [pa.array([value], kind) for value, (_, kind) in zip(row, fields, strict=True)]
                writer.write_batch(pa.record_batch(arrays, schema=schema))
    except OSError as problem:
        raise unreadable(path, problem) from None
