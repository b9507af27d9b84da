"""Reads mutated uploads within resource limits, as a program of its own: what would crash or hang a reader ends this process only.

Arguments: a whole upload, a folder to write in, a seed, how many files, what is expected (JSON), and the provider's public key. It prints,
by kind of mutation, how often each code came out: a refusal's, `read` where the file still says what was signed, or `forged` where the
reader took another header, which then neither reads as one nor holds the signature.
"""

import json
import random
import resource
import sys
from pathlib import Path

import pyarrow as pa

from privacy.encrypted import hev
from privacy.encrypted.header import Header, signature_holds

ADDRESSES, SECONDS = 3 << 30, 150
JUNK = (True, None, -1, 1.5, 2**70, "", "\ud800", [], {}, "sha256:" + "0" * 64, "2026-01-01", [[]])


class Mutations:
    """All that is done to one upload."""

    def __init__(self, whole, seed):
        self.whole, self.chance = whole, random.Random(seed)
        with pa.ipc.open_file(pa.BufferReader(whole)) as file:
            self.schema, self.columns = file.schema, file.get_batch(0).columns
        self.metadata = dict(self.schema.metadata)
        self.signed = json.loads(self.metadata[b"banyan"])

    def kinds(self):
        return (
            self.bits, self.messages, self.cut, self.inserted, self.lengths, self.footer, self.header_bytes, self.header_members, self.arrow, self.arrow,
        )  # fmt: skip

    def bits(self):
        blob = bytearray(self.whole)
        for _ in range(self.chance.randint(1, 4)):
            blob[self.chance.randrange(len(blob))] ^= 1 << self.chance.randrange(8)
        return blob

    def messages(self):
        """Where the Arrow messages are."""
        blob = bytearray(self.whole)
        for _ in range(self.chance.randint(1, 8)):
            places = (self.chance.randrange(4096), len(blob) - 1 - self.chance.randrange(2500))
            blob[self.chance.choice(places)] = self.chance.randrange(256)
        return blob

    def cut(self):
        return self.whole[: self.chance.randrange(len(self.whole))]

    def inserted(self):
        at = self.chance.randrange(len(self.whole))
        return self.whole[:at] + bytes(self.chance.randrange(1, 4096)) + self.whole[at:]

    def lengths(self):
        """Enormous numbers, wherever they happen to stand."""
        blob, number = bytearray(self.whole), 2 ** self.chance.choice([31, 32, 62, 63]) - self.chance.randrange(2)
        ends = (self.chance.randrange(4096), len(blob) - 8 - self.chance.randrange(2500))
        at = self.chance.choice(ends) & ~7
        blob[at : at + 8] = number.to_bytes(8, "little")
        return blob

    def footer(self):
        blob, at = bytearray(self.whole), self.chance.randrange(2500)
        blob[-at - 8 : len(blob) - at] = self.chance.randbytes(8)
        return blob

    def header_bytes(self):
        """A byte of the header, in one of the two places where it stands."""
        blob = bytearray(self.whole)
        found = self.chance.choice([self.whole.index, self.whole.rindex])(b"banyan.hev")
        blob[min(found + self.chance.randrange(-200, 1200), len(blob) - 1)] = self.chance.randrange(256)
        return blob

    def header_members(self):
        """A member of the header or its terms replaced, left out or added, in canonical JSON (or nearly)."""
        said = json.loads(json.dumps(self.signed))
        place = self.chance.choice([said, said["terms"]])
        name = self.chance.choice(sorted(place))
        edit = self.chance.randrange(3)
        if edit:
            del place[name]
        if edit < 2:
            junk = [each for each in JUNK if edit or each != place[name]]
            place["more" if edit else name] = self.chance.choice(junk)
        line = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=self.chance.random() < 0.5)
        return self.written([self.columns], self.schema, {b"banyan": line.encode("utf-8", "surrogatepass")})

    def arrow(self):
        """A whole Arrow file of another make."""
        columns, fields, at = list(self.columns), list(self.schema), self.chance.randrange(4)
        edit = self.chance.choice(
            ["extra", "coded", "nullable", "null", "batches", "rows", "wider", "compressed", "stream", "order", "value", "noted"]
        )  # fmt: skip
        if edit == "batches":
            return self.written([columns] * self.chance.choice([0, 2, 3]), self.schema)
        if edit == "rows":
            return self.written([[pa.concat_arrays([column] * 2) for column in columns]], self.schema)
        if edit == "compressed":
            codec = self.chance.choice(["lz4", "zstd"])
            return self.written([columns], self.schema, options=pa.ipc.IpcWriteOptions(compression=codec))
        if edit == "stream":
            return self.written([columns], self.schema, new=pa.ipc.new_stream)
        if edit == "extra":
            columns.append(self.chance.choice([pa.array([1]), pa.nulls(1), pa.array([[1]]), pa.array(["x" * 1000])]))
            fields.append(pa.field("more", columns[-1].type))
        elif edit == "coded":
            columns[at] = columns[at].dictionary_encode()
            fields[at] = pa.field(fields[at].name, columns[at].type, nullable=False)
        elif edit in {"null", "nullable"}:
            columns[at] = pa.nulls(1, columns[at].type)
            fields[at] = fields[at].with_nullable(edit == "nullable")
        elif edit == "wider":
            kind = (pa.large_string(), pa.int64(), pa.uint32(), pa.binary())[at]
            columns[at], fields[at] = columns[at].cast(kind), pa.field(fields[at].name, kind, nullable=False)
        elif edit == "order":
            other = (at + self.chance.randint(1, 3)) % 4
            columns[at], columns[other], fields[at], fields[other] = (
                columns[other],
                columns[at],
                fields[other],
                fields[at],
            )
        elif edit == "value" and at == 0:
            columns[0] = pa.array([self.chance.choice(["", "sums", "units\0", "x" * 10**5])])
        elif edit == "value":
            at = min(at, 2)
            columns[at] = pa.array([self.chance.choice([-1, 2, 4096, 2**31 - 1])], pa.int32())
        else:
            fields[at] = fields[at].with_metadata({b"more": b"1"})
        return self.written([columns], pa.schema(fields))

    def written(self, batches, schema, metadata=None, options=None, new=pa.ipc.new_file):
        schema = schema.with_metadata(metadata or self.metadata)
        sink = pa.BufferOutputStream()
        with new(sink, schema, options=options) as writer:
            for columns in batches:
                writer.write_batch(pa.record_batch(columns, schema=schema))
        return sink.getvalue().to_pybytes()


def outcome(path, expected, signed, signer):
    """How one file was taken. Raises whatever the reader should not have raised."""
    try:
        header = hev.read(path, expected)
    except hev.Refused as refused:
        if not refused.reason:
            raise RuntimeError(refused.code) from refused
        return refused.code
    if json.dumps(header, sort_keys=True) == json.dumps(signed, sort_keys=True):  # not ==, for which True is 1
        return "read"
    try:
        if signature_holds(Header.from_json(header), signer):
            raise RuntimeError(header)
    except ValueError:
        pass
    return "forged"


def main():
    """Count the outcomes."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    whole, folder, seed, count, said, signer = sys.argv[1:]
    mutations, expected = Mutations(Path(whole).read_bytes(), int(seed)), hev.Expected.from_json(json.loads(said))
    path, found, kinds = Path(folder) / "mutated.hev", {}, mutations.kinds()
    for number in range(int(count)):
        mutate = kinds[number % len(kinds)]
        path.write_bytes(mutate())
        codes = found.setdefault(mutate.__name__, {})
        code = outcome(path, expected, mutations.signed, signer)
        codes[code] = codes.get(code, 0) + 1
    print(json.dumps(found))


if __name__ == "__main__":
    main()
