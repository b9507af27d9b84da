"""The short-lived process that has the secret key: decrypts one masked sum, adds noise, says the result, and ends.

`python -m keyholder.decryption PARENT` reads one order from stdin (u64 BE length, JSON, chunks) and writes the noised numbers to stdout
as JSON. What it decrypts never leaves it but noised. Its exit code says whether a number lay outside what an honest service can send.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from core.canonical import canonical
from core.errors import Unavailable
from keyholder.confinement import close_doors, end_with_parent, lock_memory
from keyholder.sealed_key import PassphraseSealer
from privacy.encrypted.bfv import Decryptor, KeyFault, KeyPair
from privacy.encrypted.chunks import read_chunk
from privacy.encrypted.profiles import profile_named
from privacy.mechanisms import Noise

LENGTH = struct.Struct(">Q")
SECONDS = 120
OUT_OF_RANGE, MALFORMED, SEALED = 10, 11, 12
# A library that is brought down by a ciphertext has failed to decode it. SIGKILL is not among them: it comes from outside.
DECODE_SIGNALS = frozenset({-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT, -signal.SIGFPE, -signal.SIGILL})


class OutOfRange(ValueError):
    """A decrypted number, or the ciphertext, is not what an honest service can send."""


class Failed(RuntimeError):
    """The child ended without an answer, for a reason that does not lie in the ciphertext: killed from outside, or without memory."""


def decrypted(order: Mapping[str, Any], chunks: bytes) -> dict[str, list[int]]:
    """The noised numbers by vector, from a child of this process; an order without vectors only opens the key.

    Raises OutOfRange; Unavailable (`key_holder.sealed`) where the key does not open; Failed, or TimeoutExpired.
    """
    told = canonical(dict(order))
    child = subprocess.run(  # noqa: S603 - our own interpreter and module, no shell
        [sys.executable, "-P", "-m", "keyholder.decryption", str(os.getpid())],
        input=LENGTH.pack(len(told)) + told + chunks,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=SECONDS,
        check=False,
    )
    if child.returncode in (OUT_OF_RANGE, MALFORMED) or child.returncode in DECODE_SIGNALS:
        raise OutOfRange("the sum is not one that an honest service can send")
    if child.returncode == SEALED:
        raise Unavailable("key_holder.sealed", child.stdout.decode())
    if child.returncode != 0:
        raise Failed("the process that decrypts has failed")
    return {str(name): [int(value) for value in values] for name, values in json.loads(child.stdout).items()}


def main(stream: BinaryIO) -> int:
    """The child. 0 with the numbers on stdout, or why there are none."""
    (size,) = LENGTH.unpack(stream.read(LENGTH.size))
    order, chunks = json.loads(stream.read(size)), stream.read()
    try:
        secret = PassphraseSealer(Path(order["passphrase_file"])).open(order["key"], Path(order["secret"]).read_bytes())
    except Unavailable as problem:
        sys.stdout.write(problem.text)
        return SEALED
    decryptor = Decryptor(KeyPair(Path(order["public"]).read_bytes(), secret))
    try:
        found = _opened(decryptor, order, chunks)
    except _OutsideGuard:
        return OUT_OF_RANGE
    except KeyFault:  # the library was replaced by another: its operator's affair, and no ciphertext's
        raise
    except (ValueError, RuntimeError):  # a chunk that is not one, or that the library will not take
        return MALFORMED
    sys.stdout.write(json.dumps(found))
    return 0


class _OutsideGuard(Exception):
    """A number is larger than honest totals with honest noise can be."""


def _opened(decryptor: Decryptor, order: Mapping[str, Any], chunks: bytes) -> dict[str, list[str]]:
    profile = profile_named(order["profile"])
    found: dict[str, list[str]] = {}
    at = 0
    for vector in order["vectors"]:
        values: list[int] = []
        for _ in range(profile.chunks_of(vector["length"])):
            values += decryptor.decrypt(read_chunk(profile, chunks[at : at + profile.chunk_bytes]))
            at += profile.chunk_bytes
        shown = values[: vector["length"]]
        if any(abs(value) > int(vector["guard"]) for value in shown):
            raise _OutsideGuard
        found[vector["name"]] = _noised(shown, Noise.from_json(vector["noise"]))
    if at != len(chunks):
        raise ValueError("there are more bytes than chunks")
    return found


def _noised(values: Sequence[int], noise: Noise) -> list[str]:
    """Our own noise of full size: drawn apart and added here, since totals may be larger than what the library adds to."""
    return [str(value + drawn) for value, drawn in zip(values, noise.draw([0] * len(values)), strict=True)]


if __name__ == "__main__":
    os.umask(0o077)
    end_with_parent(int(sys.argv[1]))
    close_doors()
    lock_memory()
    sys.exit(main(sys.stdin.buffer))
