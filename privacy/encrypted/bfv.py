"""Keys, encryption and decryption under a profile, on arrays of polynomials. The only module of the service that speaks TenSEAL.

A chunk is an array of shape `Profile.shape`: for each plain modulus a ciphertext of two polynomials. Every value of every slot is put
there by us: TenSEAL would repeat a shorter vector over all slots, out of reach of plain additions (encryption.md §0.1).
Contexts have one thread: pools of threads hang in forked processes.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import mul
from typing import Any

import numpy as np
import numpy.typing as npt
import rfc8785
import tenseal

from . import seal_blobs
from .profiles import WORD_BYTES, Profile, profile_named
from .seal_blobs import BYTES, Words
from .sums import add

KEY_SCHEMA = "banyan.key/1"
PUBLIC, SECRET = "public", "secret"
# Numbers of the fields in TenSEAL's messages.
_PARAMETERS, _PUBLIC_CONTEXT, _PRIVATE_CONTEXT, _KEY = 1, 2, 3, 1
_SIZES, _CIPHERTEXT = 1, 2


class KeyFault(RuntimeError):
    """A key pair did not pass its known-answer test, or the library is not as the profiles say: nothing may be encrypted with it."""


@dataclass(frozen=True)
class KeyPair:
    """Two key files' content: a line that says what it is, and the polynomials."""

    public: bytes
    secret: bytes = field(repr=False)


def new_keys(profile: Profile) -> KeyPair:
    """A fresh key pair that has passed its known-answer test. Raises KeyFault."""
    parts = dict(_parts(_fresh_context(profile, profile.plain[0])))
    _, _, public = seal_blobs.ciphertext_polynomials(parts[_PUBLIC_CONTEXT])
    _, secret = seal_blobs.secret_polynomials(parts[_PRIVATE_CONTEXT])
    pair = KeyPair(_key_file(profile, PUBLIC, public), _key_file(profile, SECRET, secret))
    _check_known_answers(profile, pair)
    return pair


def key_id(public: bytes) -> str:
    """`sha256:` over profile and public polynomials. Raises ValueError for what is not a public key."""
    profile, words = _read_key(public, PUBLIC)
    said = rfc8785.dumps(
        [KEY_SCHEMA, profile.name, profile.slots, list(map(str, profile.moduli)), list(map(str, profile.plain))]
    )
    return "sha256:" + hashlib.sha256(said + b"\n" + words.astype("<u8").tobytes()).hexdigest()


def profile_of(public: bytes) -> Profile:
    """The profile of a public key. Raises ValueError."""
    return _read_key(public, PUBLIC)[0]


def encrypt(public: bytes, profile: Profile, values: Sequence[int] | npt.NDArray[Any]) -> Words:
    """A fresh encryption of exactly `profile.slots` integers within ±T/2; an array of `profile.shape`.

    Raises ValueError for another number of values or one out of range, TypeError for what is not an integer.
    """
    found = checked_values(profile, values)
    contexts = _public_contexts(public)
    version, identities = _library(profile)
    chunk = np.empty(profile.shape, np.uint64)
    for at, (context, modulus) in enumerate(zip(contexts, profile.plain, strict=True)):
        residues = found if len(contexts) == 1 else [_centred(value % modulus, modulus) for value in found]
        vector = tenseal.bfv_vector(context, residues)
        parts = {number: value for number, _, value in seal_blobs.fields(vector.serialize())}
        blob = parts[_CIPHERTEXT]
        if not isinstance(blob, bytes) or seal_blobs.version_of(blob) != version:
            raise KeyFault("the library writes ciphertexts of another form")
        identity, ntt, words = seal_blobs.ciphertext_polynomials(blob)
        if identity != identities[at] or ntt or words.shape != profile.shape[1:]:
            raise KeyFault("the library writes ciphertexts of another form")
        chunk[at] = words
    return chunk


class Decryptor:
    """A key pair made ready to decrypt. Holds the secret key: for a process that ends soon."""

    def __init__(self, pair: KeyPair) -> None:
        self.profile = profile_of(pair.public)
        self._contexts = _made_contexts(pair.public, pair.secret)

    def decrypt(self, chunk: Words) -> list[int]:
        """The integers of all slots, each in (-T/2, T/2]. The array must have passed `chunks.check_chunk`.

        A chunk under another key gives numbers too: only a signature tells. Raises ValueError for another shape.
        """
        profile = self.profile
        if chunk.shape != profile.shape:
            raise ValueError("an array of another shape")
        version, identities = _library(profile)
        residues = []
        for at, context in enumerate(self._contexts):
            blob = seal_blobs.ciphertext_blob(identities[at], chunk[at], version, ntt=False)
            sizes = seal_blobs.packed([profile.slots])
            message = seal_blobs.message_of([(_SIZES, BYTES, sizes), (_CIPHERTEXT, BYTES, blob)])
            residues.append(tenseal.bfv_vector_from(context, message).decrypt())
        if len(residues) == 1:
            return list(residues[0])  # the library's are centred
        return _combined(residues, profile)


def checked_values(profile: Profile, values: Sequence[int] | npt.NDArray[Any]) -> list[int]:
    """The values as integers. Raises ValueError, TypeError: the library would take anything and encrypt something else."""
    if isinstance(values, np.ndarray):
        if values.dtype.kind not in "iuO":
            raise TypeError("only integers can be encrypted")
        values = values.tolist()
    if len(values) != profile.slots:
        raise ValueError(f"a chunk has exactly {profile.slots} values")
    if any(type(value) is not int for value in values):
        raise TypeError("only integers can be encrypted")
    most = (profile.span - 1) // 2
    if any(not -most <= value <= most for value in values):
        raise ValueError(f"a value is beyond the ±{most} that the profile {profile.name} can hold")
    return list(values)


def _centred(value: int, modulus: int) -> int:
    return value - modulus if value > modulus // 2 else value


def _combined(residues: Sequence[Sequence[int]], profile: Profile) -> list[int]:
    """The integers in (-T/2, T/2] with these residues by plain modulus (Chinese remainders)."""
    span = profile.span
    others = [span // modulus for modulus in profile.plain]
    # 1 modulo its own modulus, 0 modulo the others
    weights = [other * pow(other, -1, modulus) for other, modulus in zip(others, profile.plain, strict=True)]
    return [_centred(sum(map(mul, values, weights)) % span, span) for values in zip(*residues, strict=True)]


def _fresh_context(profile: Profile, modulus: int) -> bytes:
    context = tenseal.context(
        tenseal.SCHEME_TYPE.BFV,
        poly_modulus_degree=profile.slots,
        plain_modulus=modulus,
        coeff_mod_bit_sizes=list(profile.sizes),
        n_threads=1,
    )
    return bytes(
        context.serialize(save_public_key=True, save_secret_key=True, save_galois_keys=False, save_relin_keys=False)
    )


def _parts(message: bytes) -> list[tuple[int, bytes]]:
    """The parameters' and the keys' blobs of a context's message."""
    found: list[tuple[int, bytes]] = []
    for number, _, value in seal_blobs.fields(message):
        if not isinstance(value, bytes):
            raise KeyFault("the library writes contexts of another form")
        if number == _PARAMETERS:
            found.append((number, value))
            continue
        inner = [value for at, _, value in seal_blobs.fields(value) if at == _KEY]
        if len(inner) != 1 or not isinstance(inner[0], bytes):
            raise KeyFault("the library writes contexts of another form")
        found.append((number, inner[0]))
    return found


@lru_cache(maxsize=8)
def _template(profile: Profile, modulus: int) -> bytes:
    """A context's message of this library with keys that are thrown away: what is around them is the library's affair."""
    message = _fresh_context(profile, modulus)
    moduli = seal_blobs.moduli_of(dict(_parts(message))[_PARAMETERS])
    if moduli != (profile.slots, (*profile.moduli, profile.special), modulus):
        raise KeyFault("the library takes other moduli than the profile says")
    return message


@lru_cache(maxsize=8)
def _library(profile: Profile) -> tuple[tuple[int, int], tuple[bytes, ...]]:
    """SEAL's version, and by plain modulus the id that it gives to the parameters of ciphertexts."""
    identities, version = [], (0, 0)
    for modulus in profile.plain:
        context = tenseal.context_from(_template(profile, modulus), n_threads=1)
        parts = {number: value for number, _, value in seal_blobs.fields(tenseal.bfv_vector(context, [0]).serialize())}
        blob = parts[_CIPHERTEXT]
        if not isinstance(blob, bytes):
            raise KeyFault("the library writes ciphertexts of another form")
        version = seal_blobs.version_of(blob)
        identities.append(seal_blobs.ciphertext_polynomials(blob)[0])
    return version, tuple(identities)


@lru_cache(maxsize=4)
def _public_contexts(public: bytes) -> tuple[Any, ...]:
    return tuple(_made_contexts(public, None))


def _made_contexts(public: bytes, secret: bytes | None) -> list[Any]:
    profile, public_words = _read_key(public, PUBLIC)
    secret_words = None
    if secret is not None:
        of, secret_words = _read_key(secret, SECRET)
        if of != profile:
            raise ValueError("the two keys are of different profiles")
    return [_with_keys(_template(profile, modulus), public_words, secret_words) for modulus in profile.plain]


def _with_keys(template: bytes, public: Words, secret: Words | None) -> Any:
    outer: list[tuple[int, int, bytes | int]] = []
    for number, wire, value in seal_blobs.fields(template):
        if number == _PARAMETERS or not isinstance(value, bytes):
            outer.append((number, wire, value))
            continue
        if number == _PRIVATE_CONTEXT and secret is None:
            continue
        inner: list[tuple[int, int, bytes | int]] = []
        for at, kind, part in seal_blobs.fields(value):
            if at == _KEY and isinstance(part, bytes):
                inner.append((at, kind, _replaced(number, part, public, secret)))
            else:
                inner.append((at, kind, part))
        outer.append((number, wire, seal_blobs.message_of(inner)))
    return tenseal.context_from(seal_blobs.message_of(outer), n_threads=1)


def _replaced(number: int, blob: bytes, public: Words, secret: Words | None) -> bytes:
    version = seal_blobs.version_of(blob)
    if number == _PRIVATE_CONTEXT:
        if secret is None:
            raise KeyFault("there is no secret key to put in")
        return seal_blobs.secret_blob(seal_blobs.secret_polynomials(blob)[0], secret, version)
    identity, ntt, _ = seal_blobs.ciphertext_polynomials(blob)
    return seal_blobs.ciphertext_blob(identity, public, version, ntt=ntt)


def _key_file(profile: Profile, kind: str, words: Words) -> bytes:
    said = rfc8785.dumps({"schema": KEY_SCHEMA, "kind": kind, "profile": profile.name})
    return said + b"\n" + words.astype("<u8").tobytes()


@lru_cache(maxsize=4)
def _read_public(key: bytes) -> tuple[Profile, Words]:
    return _parsed_key(key, PUBLIC)


def _read_key(key: bytes, kind: str) -> tuple[Profile, Words]:
    """A secret key is never kept."""
    return _read_public(key) if kind == PUBLIC else _parsed_key(key, kind)


def _parsed_key(key: bytes, kind: str) -> tuple[Profile, Words]:
    head, mark, raw = key.partition(b"\n")
    try:
        said = json.loads(head) if len(head) < 200 and mark else None
        profile = profile_named(said["profile"]) if isinstance(said, dict) else None
    except (ValueError, KeyError, TypeError):
        profile = None
    if profile is None or head != rfc8785.dumps({"schema": KEY_SCHEMA, "kind": kind, "profile": profile.name}):
        raise ValueError(f"this is not a {kind} key of this form")
    moduli = (*profile.moduli, profile.special)
    shape = (2 if kind == PUBLIC else 1, len(moduli), profile.slots)
    if len(raw) != WORD_BYTES * shape[0] * shape[1] * shape[2]:
        raise ValueError(f"a {kind} key of another size than its profile's")
    words = np.frombuffer(raw, "<u8").astype(np.uint64).reshape(shape)
    if any((words[:, at] >= np.uint64(modulus)).any() for at, modulus in enumerate(moduli)):
        raise ValueError(f"a number in the {kind} key is out of range")
    if not words.any(axis=2).all():
        raise ValueError(f"a polynomial of the {kind} key is 0: it would hide nothing")
    return profile, words if kind == PUBLIC else words.reshape(-1)


def _check_known_answers(profile: Profile, pair: KeyPair) -> None:
    """Every slot, the ends of the range, and the sum of two ciphertexts must come back exactly."""
    most = (profile.span - 1) // 2
    first = [most, -most, 0, 1, -1, *(secrets.randbelow(2 * most + 1) - most for _ in range(profile.slots - 5))]
    second = [-1, 1, most, -most, 0, *(-value // 2 for value in first[5:])]
    one, two = (encrypt(pair.public, profile, values) for values in (first, second))
    total = [_centred((a + b) % profile.span, profile.span) for a, b in zip(first, second, strict=True)]
    decryptor = Decryptor(pair)
    for chunk, expected in ((one, first), (two, second), (add(profile, [one, two]), total)):
        if decryptor.decrypt(chunk) != expected:
            raise KeyFault("a fresh key pair did not give back what was encrypted with it")
