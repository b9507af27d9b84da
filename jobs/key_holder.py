"""The port to the key holder, and HTTP behind it: the only way in which a sum of ciphertexts can come back as numbers.

Whatever the key holder says is checked against the key that its operator gave ours; what it is told is public or encrypted.
"""

from __future__ import annotations

import base64
import json
import math
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import httpx
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from core.canonical import canonical
from core.errors import BanyanError, Unavailable
from jobs.pinned import Pinned
from privacy.encrypted.context import PublicContext
from privacy.encrypted.manifest import ANSWER_DOMAIN

SECONDS = 60.0
QUICK_SECONDS, ASK_EVERY_SECONDS = 1.0, 3.0
OPENING = ("active", "decrypt-only")
MAX_ANSWER_BYTES = 64 << 20


class ReleaseRefused(BanyanError):
    """The key holder will not release this sum; it says so in one constant way, and why in its own log only."""

    status = 409


@dataclass(frozen=True)
class Keys:
    """The public contexts that the key holder has handed out, by key id, and what each is good for now."""

    contexts: Mapping[str, PublicContext]
    states: Mapping[str, str]


class KeyHolder(Protocol):
    """The port. Every method raises Unavailable (`key_holder.unreachable`) while nobody answers."""

    def keys(self) -> Keys:
        """Its keys as they are now, each context checked against the pinned signer."""
        ...

    def opens(self, key: str) -> bool:
        """Whether it answers now, and opens sums under this key. Quick, and raises nothing."""
        ...

    def pinned(self) -> Mapping[str, Pinned] | None:
        """What it has pinned, by population; None while it does not answer. Quick, and raises nothing."""
        ...

    def followed(self) -> int:
        """The size of the newest checkpoint of our log that it follows; 0 before the first."""
        ...

    def release(self, job: str, body: bytes) -> dict[str, list[int]]:
        """The noised numbers by vector. The same bytes for the same job get the same numbers, whatever happened in between.

        Raises ReleaseRefused (`encrypted.release_refused`).
        """
        ...


def release_body(document: Mapping[str, Any], chunks: bytes) -> bytes:
    """A request as it travels: the length of the JSON (u64 BE), the JSON, the ciphertext's chunks."""
    told = canonical(dict(document))
    return struct.pack(">Q", len(told)) + told + chunks


@dataclass(frozen=True)
class _Told:
    opening: frozenset[str]
    populations: Mapping[str, Pinned]


class HttpKeyHolder:
    """The key holder at a URL; `signer` is its Ed25519 public key in base64."""

    def __init__(self, url: str, signer: str, transport: httpx.BaseTransport | None = None) -> None:
        self._signer = signer
        self._public = Ed25519PublicKey.from_public_bytes(base64.b64decode(signer, validate=True))
        self._http = httpx.Client(base_url=url, timeout=SECONDS, transport=transport, trust_env=False)
        self._asked: tuple[float, _Told | None] = (-math.inf, None)

    def opens(self, key: str) -> bool:
        """See the port."""
        told = self._lately()
        return told is not None and key in told.opening

    def pinned(self) -> Mapping[str, Pinned] | None:
        """See the port."""
        told = self._lately()
        return None if told is None else told.populations

    def _lately(self) -> _Told | None:
        """What it says of itself, asked at most every few seconds."""
        if time.monotonic() - self._asked[0] > ASK_EVERY_SECONDS:
            try:
                told = json.loads(self._quickly("/v1/key"))
                resting = set(told["resting"])  # keys that have had their releases of a day
                opening = {key for key, state in told["states"].items() if state in OPENING and key not in resting}
                populations = {name: Pinned.from_json(each) for name, each in told["populations"].items()}
                self._asked = time.monotonic(), _Told(frozenset(opening), populations)
            except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                self._asked = time.monotonic(), None
        return self._asked[1]

    def _quickly(self, path: str) -> bytes:
        """An answer that is whole within QUICK_SECONDS, however it comes: others wait meanwhile."""
        until, found = time.monotonic() + QUICK_SECONDS, bytearray()
        with self._http.stream("GET", path, timeout=QUICK_SECONDS) as response:
            for part in response.iter_bytes():
                found += part
                if time.monotonic() > until or len(found) > MAX_ANSWER_BYTES:
                    raise httpx.ReadTimeout("too late or too long", request=response.request)
        return bytes(found)

    def keys(self) -> Keys:
        """See the port."""
        told = self._json(self._sent("GET", "/v1/key"))
        try:
            contexts = [PublicContext.from_bytes(canonical(context)) for context in told["contexts"]]
            if any(context.signer != self._signer for context in contexts):
                raise _untrusted()
            return Keys({each.key: each for each in contexts}, dict(told["states"]))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise _untrusted() from None

    def followed(self) -> int:
        """See the port."""
        size = self._json(self._sent("GET", "/v1/checkpoint")).get("size")
        if type(size) is not int or size < 0:
            raise _untrusted()
        return size

    def release(self, job: str, body: bytes) -> dict[str, list[int]]:
        """See the port."""
        answer = self._json(self._sent("POST", "/v1/release", body))
        try:
            signed = {name: value for name, value in answer.items() if name != "signature"}
            self._public.verify(base64.b64decode(answer["signature"], validate=True), ANSWER_DOMAIN + canonical(signed))
            size = struct.unpack_from(">Q", body)[0]
            asked = json.loads(body[8 : 8 + size])["manifest"]
            if answer["job"] != job or any(answer[name] != asked[name] for name in ("key", "ciphertext")):
                raise _untrusted()
            return {str(name): [int(value) for value in values] for name, values in answer["values"].items()}
        except (InvalidSignature, KeyError, TypeError, ValueError, AttributeError):
            raise _untrusted() from None

    def _sent(self, method: str, path: str, body: bytes | None = None) -> httpx.Response:
        headers = {} if body is None else {"content-type": "application/octet-stream"}
        try:
            response = self._http.request(method, path, content=body, headers=headers)
        except httpx.HTTPError:
            raise unreachable() from None
        if response.status_code == httpx.codes.CONFLICT:
            raise ReleaseRefused(
                "encrypted.release_refused",
                "the key holder does not release this sum; its operator can say why",
                way_out="the operators of both sides compare their logs",
            )
        if response.status_code != httpx.codes.OK or len(response.content) > MAX_ANSWER_BYTES:
            raise unreachable()
        return response

    def _json(self, response: httpx.Response) -> dict[str, Any]:
        try:
            found = json.loads(response.content)
        except (ValueError, RecursionError):
            raise _untrusted() from None
        if not isinstance(found, dict):
            raise _untrusted()
        return found


class NoKeyHolder:
    """Where none is set: nothing encrypted can be taken in or released."""

    def opens(self, key: str) -> bool:
        """See the port."""
        del key
        return False

    def pinned(self) -> Mapping[str, Pinned] | None:
        """See the port."""
        return None

    def keys(self) -> Keys:
        """See the port."""
        raise _none()

    def followed(self) -> int:
        """See the port."""
        raise _none()

    def release(self, job: str, body: bytes) -> dict[str, list[int]]:
        """See the port."""
        del job, body
        raise _none()


def unreachable() -> Unavailable:
    """The answer while the key holder is away; what waits for it goes on when it is back."""
    return Unavailable("key_holder.unreachable", "the key holder does not answer", way_out="try again later")


def _untrusted() -> Unavailable:
    return Unavailable("key_holder.untrusted", "what answers in the key holder's place is not it")


def _none() -> Unavailable:
    text = "this server has no key holder: the settings key_holder_url and key_holder_signer name none"
    return Unavailable("key_holder.none", text)
