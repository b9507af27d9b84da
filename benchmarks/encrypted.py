"""Sums of ciphertexts, encryption and decryption: how fast, beside what the memory allows and beside TenSEAL itself.

Run by `just bench-encrypted`. The sum is the product's own: mapped files of 65,536 values a provider, chunk by chunk, on one thread, and
on two as a job's two lanes add them. TenSEAL loads and adds whole vectors from its own blobs, with the threads that it takes by default.
Prints the figures of one run and their ratios.
"""

from __future__ import annotations

import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import tenseal

from privacy.encrypted import bfv, hev
from privacy.encrypted.profiles import profile_named
from privacy.encrypted.sums import add

PROFILE = profile_named("sum58")
VALUES, PROVIDERS, PEERS_PROVIDERS, TURNS, LANES = 65_536, 1000, 250, 5, 2
CHUNKS = PROFILE.chunks_of(VALUES)
EXPECTED = hev.Expected(PROFILE.shape, PROFILE.moduli, (("units", VALUES),))
GIB, MIB = 1 << 30, 1 << 20


def uploads(folder: Path, count: int) -> list[Path]:
    """Files of the right form, with numbers that are as good as ciphertext to an adder."""
    made = np.random.default_rng(1)
    schema = pa.schema(
        [("vector", pa.string()), ("chunk", pa.int32()), ("used", pa.int32()), ("poly", pa.binary(PROFILE.chunk_bytes))]
    )
    paths = []
    for number in range(count):
        path = folder / f"{number}.hev"
        with path.open("wb") as file, pa.ipc.new_file(file, schema) as writer:
            for chunk in range(CHUNKS):
                words = made.integers(0, min(PROFILE.moduli), PROFILE.shape, np.uint64)
                row = [["units"], [chunk], [PROFILE.slots], [words.tobytes()]]
                arrays = [pa.array(value, field.type) for value, field in zip(row, schema, strict=True)]
                writer.write_batch(pa.record_batch(arrays, schema=schema))
        paths.append(path)
    return paths


def add_range(paths: list[Path], chunks: range) -> None:
    """Adds these chunks of all files, as a lane does."""
    with ExitStack() as files:
        uploads = [files.enter_context(hev.mapped(path, EXPECTED)) for path in paths]
        for number in chunks:
            add(PROFILE, (chunk_of(number) for chunk_of in uploads))


def summed(paths: list[Path], chunks: int) -> float:
    """Seconds to add the first so many chunks of all files on one thread."""
    return timed(lambda: add_range(paths, range(chunks)))


def summed_in_lanes(paths: list[Path]) -> float:
    """Seconds to add all chunks of all files in two lanes, each with a range of chunks."""
    shares = [range(lane, CHUNKS, LANES) for lane in range(LANES)]

    def together() -> None:
        with ThreadPoolExecutor(LANES) as lanes:
            list(lanes.map(lambda share: add_range(paths, share), shares))

    return timed(together)


def bandwidth(paths: list[Path]) -> float:
    """Bytes a second of a pass that only reads: numpy's fastest of three ways to look at every word of each chunk."""
    return max(_read(paths, look) for look in (np.max, np.sum, np.bitwise_or.reduce))


def _read(paths: list[Path], look: Callable[..., object]) -> float:
    begun, size = time.perf_counter(), 0
    for path in paths:
        with hev.mapped(path, EXPECTED) as chunk_of:
            for number in range(CHUNKS):
                words = chunk_of(number)
                look(words.reshape(-1))
                size += words.nbytes
    return size / (time.perf_counter() - begun)


def by_tenseal(count: int) -> float:
    """Seconds for TenSEAL to load and add the same values of so many providers, from the blobs that it writes itself.

    The median of some turns. Fewer providers than ours, since encrypting takes its time, but far more than any cache holds.
    """
    context = bfv._made_contexts(bfv.new_keys(PROFILE).public, None)[0]  # noqa: SLF001 - the peer, on a key of ours
    with silenced():  # each vector says on the terminal that it takes more than one ciphertext
        blobs = [tenseal.bfv_vector(context, list(range(VALUES))).serialize() for _ in range(count)]

    def added() -> None:
        total = tenseal.bfv_vector_from(context, blobs[0])
        for blob in blobs[1:]:
            total += tenseal.bfv_vector_from(context, blob)

    with silenced():
        return statistics.median(timed(added) for _ in range(TURNS))


@contextmanager
def silenced() -> Iterator[None]:
    """Without what native code writes to the terminal."""
    kept, nothing = [os.dup(stream) for stream in (1, 2)], os.open(os.devnull, os.O_WRONLY)
    try:
        for stream in (1, 2):
            os.dup2(nothing, stream)
        yield
    finally:
        for stream, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, stream)
            os.close(copy)
        os.close(nothing)


def rates() -> tuple[float, float]:
    """Values a second that are encrypted, and decrypted."""
    pair = bfv.new_keys(PROFILE)
    decryptor, values = bfv.Decryptor(pair), list(range(PROFILE.slots))
    chunk = bfv.encrypt(pair.public, PROFILE, values)
    encrypting = statistics.median(timed(lambda: bfv.encrypt(pair.public, PROFILE, values)) for _ in range(20))
    decrypting = statistics.median(timed(lambda: decryptor.decrypt(chunk)) for _ in range(20))
    return PROFILE.slots / encrypting, PROFILE.slots / decrypting


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    """About a minute, and 2 GiB of temporary files, which stay in the page cache."""
    with tempfile.TemporaryDirectory() as name:
        paths = uploads(Path(name), PROVIDERS)
        size = PROVIDERS * CHUNKS * PROFILE.chunk_bytes
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        reading = statistics.median(bandwidth(paths) for _ in range(TURNS))
        seconds = statistics.median(summed(paths, CHUNKS) for _ in range(TURNS))
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(f"{PROVIDERS:,} providers, {VALUES:,} values each, {size / GIB:.1f} GiB of ciphertext: {seconds:.2f} s")
        print(
            f"  {size / seconds / GIB:.1f} GiB/s, {100 * size / seconds / reading:.0f} % of reading it ({reading / GIB:.1f} GiB/s)"
        )
        print(f"  memory beyond the mapped files: at most {max(0.0, after - before - size) / MIB:.0f} MiB")
        in_lanes = statistics.median(summed_in_lanes(paths) for _ in range(TURNS))
        peer = by_tenseal(PEERS_PROVIDERS) / PEERS_PROVIDERS
        for what, ours in (("on one thread", seconds / PROVIDERS), ("in two lanes", in_lanes / PROVIDERS)):
            print(
                f"  a provider, {what}: {1e3 * ours:.2f} ms; TenSEAL, load and add: {1e3 * peer:.2f} ms, {peer / ours:.1f} times as long"
            )
        by_providers = {count: summed(paths[:count], CHUNKS) for count in (125, 250, 500, 1000)}
        by_values = {PROFILE.slots * chunks: summed(paths[:500], chunks) for chunks in (1, 2, 4, 8)}
        for what, found in (("providers", by_providers), ("values, 500 providers", by_values)):
            print(
                f"growth with {what}: " + ", ".join(f"{count:,}: {seconds:.3f} s" for count, seconds in found.items())
            )
    encrypted, decrypted = rates()
    print(f"encrypted: {encrypted / 1e6:.1f} million values a second; decrypted: {decrypted / 1e6:.1f} million")


if __name__ == "__main__":
    main()
