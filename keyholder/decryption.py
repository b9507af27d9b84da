"""The short-lived process that has the secret key: decrypts one masked sum, adds noise, says the result, and ends.

`python -m keyholder.decryption` reads one order from stdin (u64 BE length, JSON, chunks) and writes the noised numbers to stdout as JSON.
What it decrypts never leaves it but noised. Its exit code says whether a number lay outside what an honest service can send.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from core.canonical import canonical
from keyholder.sealed_key import PassphraseSealer
from privacy.encrypted.bfv import Decryptor, KeyPair
from privacy.encrypted.chunks import read_chunk
from privacy.encrypted.profiles import profile_named
from privacy.mechanisms import Noise

LENGTH = struct.Struct(">Q")
SECONDS = 120
OUT_OF_RANGE, MALFORMED = 10, 11
PR_SET_DUMPABLE, MCL_CURRENT_AND_FUTURE = 4, 3


class OutOfRange(ValueError):
    """A decrypted number, or the ciphertext, is not what an honest service can send."""


def decrypted(order: Mapping[str, Any], chunks: bytes) -> dict[str, list[int]]:
    """The noised numbers by vector, from a child of this process. Raises OutOfRange; OSError or ValueError where the child failed."""
    told = canonical(dict(order))
    child = subprocess.run(
        [sys.executable, "-P", "-m", "keyholder.decryption"],
        input=LENGTH.pack(len(told)) + told + chunks,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=SECONDS,
        check=False,
    )
    if child.returncode in (OUT_OF_RANGE, MALFORMED):
        raise OutOfRange("the sum is not one that an honest service can send")
    if child.returncode != 0:
        raise ValueError("the process that decrypts has failed")
    return {str(name): [int(value) for value in values] for name, values in json.loads(child.stdout).items()}


def main(stream: BinaryIO) -> int:
    """The child. 0 with the numbers on stdout, or why there are none."""
    _close_doors()
    (size,) = LENGTH.unpack(stream.read(LENGTH.size))
    order, chunks = json.loads(stream.read(size)), stream.read()
    profile = profile_named(order["profile"])
    secret = PassphraseSealer(Path(order["passphrase_file"])).open(order["key"], Path(order["secret"]).read_bytes())
    decryptor = Decryptor(KeyPair(Path(order["public"]).read_bytes(), secret))
    found: dict[str, list[str]] = {}
    at = 0
    for vector in order["vectors"]:
        values: list[int] = []
        for _ in range(profile.chunks_of(vector["length"])):
            try:
                chunk = read_chunk(profile, chunks[at : at + profile.chunk_bytes])
            except ValueError:
                return MALFORMED
            values += decryptor.decrypt(chunk)
            at += profile.chunk_bytes
        if at > len(chunks) or any(abs(value) > int(vector["guard"]) for value in values[: vector["length"]]):
            return OUT_OF_RANGE
        found[vector["name"]] = _noised(values[: vector["length"]], Noise.from_json(vector["noise"]))
    if at != len(chunks):
        return MALFORMED
    sys.stdout.write(json.dumps(found))
    return 0


def _noised(values: Sequence[int], noise: Noise) -> list[str]:
    """Our own noise of full size: drawn apart and added here, since totals may be larger than what the library adds to."""
    return [str(value + drawn) for value, drawn in zip(values, noise.draw([0] * len(values)), strict=True)]


def _close_doors() -> None:
    """No core dump, no debugger of the same user, no page of the key on a swap device where the system lets us."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.mlockall(MCL_CURRENT_AND_FUTURE)


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main(sys.stdin.buffer))
