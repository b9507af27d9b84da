"""The bytes in which this process's own TenSEAL speaks of keys and ciphertexts: their polynomials out, and ours in.

Only blobs that TenSEAL made in this process are read here, and only blobs that are built here from checked arrays are ever loaded: its
loaders believe what a blob says about sizes (reference/encryption.md §0.2). The form is SEAL's `Serializable` inside TenSEAL's protocol
buffers; anything that is not exactly as expected is refused, so that another release of the library is noticed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import pyarrow as pa

MAGIC, HEADER_BYTES = 0xA15E, 16
PLAIN, ZSTD = 0, 2
# magic, bytes of this header, version (major, minor), compression, reserved, size of all
_HEADER = struct.Struct("<HBBBBHQ")
_COUNT = struct.Struct("<Q")
PARAMETERS_ID = 32
# parameters' id, NTT form, polynomials, degree, moduli, scale, correction factor
_CIPHERTEXT = struct.Struct("<32s?QQQdQ")
# parameters' id, coefficients, scale
_PLAINTEXT = struct.Struct("<32sQd")
# Wire types of protocol buffers that TenSEAL uses.
NUMBER, FIXED, BYTES = 0, 1, 2
FIXED_BYTES = 8
Words = npt.NDArray[np.uint64]


def fields(message: bytes) -> Iterator[tuple[int, int, bytes | int]]:
    """Number, wire type and value of each field of a protocol buffers message. Raises ValueError."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire, size = tag >> 3, tag & 7, FIXED_BYTES
        if wire != FIXED:
            size, at = _varint(message, at)
        if wire == NUMBER:
            yield number, wire, size
        elif wire in (BYTES, FIXED) and at + size <= len(message):
            yield number, wire, message[at : at + size]
            at += size
        else:
            raise ValueError("a message of another form")


def message_of(parts: list[tuple[int, int, bytes | int]]) -> bytes:
    """The inverse of `fields`."""
    written = bytearray()
    for number, wire, value in parts:
        written += _written_varint(number << 3 | wire)
        if isinstance(value, int):
            written += _written_varint(value)
        else:
            written += (b"" if wire == FIXED else _written_varint(len(value))) + value
    return bytes(written)


def ciphertext_polynomials(blob: bytes) -> tuple[bytes, bool, Words]:
    """Parameters' id, whether in NTT form, and the words (polynomials, moduli, degree) of a SEAL ciphertext or public key.

    Raises ValueError, as do all readers here, for what is not of the form.
    """
    with _expecting_the_form():
        body = _body(blob)
        identity, ntt, size, degree, moduli, scale, correction = _CIPHERTEXT.unpack_from(body)
        if scale != 1.0 or correction != 1:
            raise ValueError("a ciphertext of another scheme")
        return identity, ntt, _array(body[_CIPHERTEXT.size :]).reshape(size, moduli, degree)


def ciphertext_blob(identity: bytes, words: Words, version: tuple[int, int], *, ntt: bool) -> bytes:
    """A SEAL ciphertext or public key with these polynomials."""
    size, moduli, degree = words.shape
    head = _CIPHERTEXT.pack(identity, ntt, size, degree, moduli, 1.0, 1)
    return _object(head + _array_blob(words, version), version)


def secret_polynomials(blob: bytes) -> tuple[bytes, Words]:
    """Parameters' id and the words of a SEAL secret key, one polynomial a modulus, in one row."""
    with _expecting_the_form():
        body = _body(blob)
        identity, count, _ = _PLAINTEXT.unpack_from(body)
        words = _array(body[_PLAINTEXT.size :])
        if len(words) != count:
            raise ValueError("a secret key of another form")
        return identity, words


def secret_blob(identity: bytes, words: Words, version: tuple[int, int]) -> bytes:
    """A SEAL secret key with these words."""
    return _object(_PLAINTEXT.pack(identity, len(words), 1.0) + _array_blob(words, version), version)


def moduli_of(blob: bytes) -> tuple[int, tuple[int, ...], int]:
    """Degree, coefficient moduli and plain modulus of SEAL's encryption parameters."""
    with _expecting_the_form():
        body = _body(blob)
        degree, count = struct.unpack_from("<QQ", body, 1)
        at, numbers = 17, []
        for _ in range(count + 1):
            numbers.append(_COUNT.unpack_from(body, at + HEADER_BYTES)[0])
            at += HEADER_BYTES + _COUNT.size
        return degree, tuple(numbers[:count]), numbers[count]


def packed(numbers: list[int]) -> bytes:
    """A packed field of small numbers."""
    return b"".join(_written_varint(number) for number in numbers)


def version_of(blob: bytes) -> tuple[int, int]:
    """The version of SEAL that wrote it, which is the one that will read what is built here."""
    with _expecting_the_form():
        _, _, major, minor, *_ = _HEADER.unpack_from(blob)
        return major, minor


@contextmanager
def _expecting_the_form() -> Iterator[None]:
    """What is cut short or does not unpack is one more way of not being as expected."""
    try:
        yield
    except (struct.error, OSError) as problem:
        raise ValueError("an object of SEAL that is cut short or damaged") from problem


def _body(blob: bytes) -> bytes:
    magic, size, _, _, compression, _, whole = _HEADER.unpack_from(blob)
    if magic != MAGIC or size != HEADER_BYTES or whole != len(blob):
        raise ValueError("not an object of SEAL")
    if compression == PLAIN:
        return blob[HEADER_BYTES:]
    if compression != ZSTD:
        raise ValueError("a compression that is not expected")
    with pa.CompressedInputStream(pa.BufferReader(blob[HEADER_BYTES:]), "zstd") as stream:
        return bytes(stream.read())


def _array(body: bytes) -> Words:
    inner = _body(body)
    (count,) = _COUNT.unpack_from(inner)
    words = np.frombuffer(inner, "<u8", offset=_COUNT.size)
    if len(words) != count:
        raise ValueError("an array of another length than it says")
    return words.astype(np.uint64)


def _object(body: bytes, version: tuple[int, int]) -> bytes:
    return _HEADER.pack(MAGIC, HEADER_BYTES, *version, PLAIN, 0, HEADER_BYTES + len(body)) + body


def _array_blob(words: Words, version: tuple[int, int]) -> bytes:
    return _object(_COUNT.pack(words.size) + words.astype("<u8").tobytes(), version)


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
    raise ValueError("a number of another form")


def _written_varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
