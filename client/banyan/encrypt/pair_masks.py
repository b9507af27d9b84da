"""Masks that hide one provider's numbers from everybody and cancel in the sum of all: for each pair of providers one adds, one subtracts.

Bonawitz et al. 2017, "Practical secure aggregation for privacy-preserving machine learning", without the part for those who drop out: a
job waits for all. A pair's secret comes from both signing keys by X25519 (as libsodium and age do; Thormarker 2021, "On using the same key
pair for Ed25519 and an X25519 based KEM", shows that this is sound), and its masks of the job's id: a job is given one contribution.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from banyan.encrypt.signing_key import line_of

DOMAIN = b"banyan.pair-mask/1\n"
# Bytes of key stream beyond a number's own: what is left of a modulus then is uniform within 2^-128.
_SPARE_BYTES = 16
_FIELD = 2**255 - 19
_KEY_BYTES = 32


def masks(
    signing: Ed25519PrivateKey, partners: Sequence[str], job: str, vector: str, length: int, span: int
) -> list[int]:
    """What one adds to each of the `length` numbers of a vector, modulo `span`.

    Of all `partners` (signing keys in base64, one's own among them) together it is 0, and to anybody who lacks the secrets of two of them
    each one's is uniform. Raises ValueError for what is no signing key.
    """
    own, secret = line_of(signing), _secret(signing)
    if own not in partners:
        raise ValueError("one's own key is not among the partners")
    total = [0] * length
    for other in partners:
        if other == own:
            continue
        shared = secret.exchange(_public(other))
        sign = 1 if own < other else -1
        numbers = _numbers(shared, job, sorted((own, other)), vector, length, span)
        total = [(sum_ + sign * number) % span for sum_, number in zip(total, numbers, strict=True)]
    return total


def check_partner(signing_key: str) -> None:
    """Raise ValueError for a key with which nobody can have a secret: none at all, or a point of small order."""
    X25519PrivateKey.generate().exchange(_public(signing_key))


def _numbers(shared: bytes, job: str, pair: Sequence[str], vector: str, length: int, span: int) -> list[int]:
    info = DOMAIN + rfc8785.dumps([job, *pair, vector])
    key = HKDF(SHA256(), 32, salt=None, info=info).derive(shared)
    width = (span.bit_length() + 7) // 8 + _SPARE_BYTES
    # A key for this one stream: a counter that begins at 0 is used once.
    stream = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor().update(bytes(length * width))
    return [int.from_bytes(stream[at : at + width], "little") % span for at in range(0, length * width, width)]


def _secret(signing: Ed25519PrivateKey) -> X25519PrivateKey:
    """The scalar that signs (RFC 8032, 5.1.5), as that of the same point on the Montgomery curve."""
    return X25519PrivateKey.from_private_bytes(hashlib.sha512(signing.private_bytes_raw()).digest()[:32])


def _public(signing_key: str) -> X25519PublicKey:
    """The same point on the Montgomery curve: u = (1 + y) / (1 - y) (RFC 7748, 4.1)."""
    raw = base64.b64decode(signing_key, validate=True)
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    if len(raw) != _KEY_BYTES or not 1 < y < _FIELD:
        raise ValueError("this is not a signing key")
    u = (1 + y) * pow(1 - y, -1, _FIELD) % _FIELD
    return X25519PublicKey.from_public_bytes(u.to_bytes(32, "little"))
