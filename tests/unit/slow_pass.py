"""The compiled pass said slowly, and random plans and rows for it.

`Slow` is what bounded.c must equal byte for byte: it reads like the comment at the head of that file.
"""

from __future__ import annotations

import struct

from privacy.siphash import siphash

LARGEST = 2**62 - 1
UNIT, GROUP, RANK, SAMPLE, VALUE, VALUE_2 = range(6)


def canonical(key, value) -> bytes | None:
    """Bytes of one key value; None where it lies outside its declared range, which drops the row."""
    if value is None:
        return b"\x00"
    if key["kind"] == "integer" and key.get("count") and not 0 <= value - key["low"] < key["count"]:
        return None
    if key["kind"] == "text":
        data = value.encode()
    elif key["kind"] == "code":
        data = key["values"][value].encode()
    else:
        data = bytes([value]) if key["kind"] == "truth" else value.to_bytes(8, "big", signed=True)
    return struct.pack(">BI", 1, len(data)) + data


def sums_of(m, values) -> list[int]:
    if m["kind"] == "bins":
        return [
            sum((v - m["low"]) // m["step"] == b for v in values)
            for b in range((m["high"] - m["low"]) // m["step"] + 1)
        ]
    return [sum((v - m["centre"]) ** (1 if m["kind"] == "sum" else 2) for v in values)]


class Slow:
    """The partial of `blocks`, each `(texts, rows)` with rows `(unit ordinal, keys, values)`."""

    def __init__(self, instruction, blocks, bits=64) -> None:
        seed = struct.unpack("<2Q", bytes.fromhex(instruction["seed"]))
        self.keys = [(siphash(seed, bytes([2 * i])), siphash(seed, bytes([2 * i + 1]))) for i in range(6)]
        self.instruction, self.blocks, self.shift = instruction, blocks, 64 - bits
        self.sets = [self.set_of(entry) for entry in instruction["sets"]]

    def hashed(self, key: int, *words) -> int:
        return siphash(self.keys[key], b"".join(w if isinstance(w, bytes) else w.to_bytes(8, "little") for w in words))

    def set_of(self, entry):
        totals, records = {}, set()
        for texts, rows in self.blocks:
            units = {}
            for unit, keys, values in rows:
                parts = [canonical(self.instruction["keys"][i], keys[i]) for i in sorted(set(entry["keys"]))]
                if unit is not None and None not in parts:
                    units.setdefault(unit, {}).setdefault(b"".join(parts), []).append(values)
            for unit, groups in units.items():
                name = self.hashed(UNIT, texts[unit].encode())
                ranked = sorted(groups, key=lambda k: (self.hashed(RANK, name, self.hashed(GROUP, k)) >> self.shift, k))
                for key in ranked[: entry["max_groups"]]:
                    columns, kept = self.contribution(groups[key], name, key)
                    totals[key] = [a + b for a, b in zip(totals.get(key, [0] * len(columns)), columns, strict=True)]
                    records |= {(m, key, value) for m, value in kept}
        return totals, records

    def contribution(self, rows, name, key):
        cap, columns, kept = self.instruction["max_rows"], [], []
        for index, m in enumerate(self.instruction["measures"]):
            held = (
                [row[m["value"]] for row in rows if row[m["value"]] is not None] if m.get("value") is not None else rows
            )
            if m["kind"] == "units":
                columns.append(min(len(held), 1))
            elif m["kind"] in ("rows", "nonnull"):
                columns.append(min(len(held), cap))
            elif m["kind"] == "distinct":
                group = self.hashed(GROUP, key)
                as_bytes = {value.to_bytes(8, "big", signed=True) for value in held}
                ranked = sorted(as_bytes, key=lambda v: (self.hashed(SAMPLE, name, group, v) >> self.shift, v))
                kept += [(index, value) for value in ranked[: m["k"]]]
            else:
                sums = sums_of(m, [min(max(value, m["low"]), m["high"]) for value in held])
                columns += [s if len(held) <= cap else s * cap // len(held) for s in sums]
        return columns, kept

    def packed(self) -> bytes:
        out = [b"BNYP\x02", bytes([len(self.sets)])]
        distinct = [i for i, m in enumerate(self.instruction["measures"]) if m["kind"] == "distinct"]
        width = sum(
            (m["high"] - m["low"]) // m["step"] + 1 if m["kind"] == "bins" else m["kind"] != "distinct"
            for m in self.instruction["measures"]
        )
        for totals, records in self.sets:
            keys = sorted(totals)
            out += [struct.pack("<IH", len(keys), width), *(struct.pack("<H", len(key)) for key in keys), *keys]
            out += [
                struct.pack("<q", max(-LARGEST, min(LARGEST, totals[key][c]))) for c in range(width) for key in keys
            ]
            for m in distinct:
                hashes = sorted(
                    (keys.index(k), struct.pack(">2Q", self.hashed(VALUE, v), self.hashed(VALUE_2, v)))
                    for n, k, v in records
                    if n == m
                )
                out += [struct.pack("<Q", len(hashes)), *(struct.pack("<I", at) + data for at, data in hashes)]
        return b"".join(out)


# --- Random plans and rows. ------------------------------------------------------------------------------------------

WORDS = ["", "a", "ab", "Ä", "zz\x00z", "Straße", "x" * 40]


def some_key(r):
    kind = r.choice(["integer", "integer", "truth", "code", "text"])
    width = r.choice([2, 4, 8])
    if kind == "integer":
        return {"kind": kind, "width": width} | ({"low": -2, "count": 4} if r.random() < 0.5 else {})
    return {"kind": kind, "width": width} | (
        {"values": WORDS[:5]} if kind == "code" else {"max_bytes": 48} if kind == "text" else {}
    )


def some_measure(r, values):
    kind = r.choice(["units", "rows", "nonnull", "sum", "sum", "squares", "bins", "distinct"])
    if kind == "rows" or not values:
        return {"kind": r.choice(["units", "rows"])}
    found = {"kind": kind, "value": r.randrange(values)}
    if kind in ("sum", "squares", "bins"):
        low = r.randint(-9, 5)
        found |= {"low": low, "high": low + r.randint(0, 12)} | (
            {"step": r.randint(1, 5)} if kind == "bins" else {"centre": r.randint(-3, 3)}
        )
    return found | ({"k": r.randint(1, 4)} if kind == "distinct" else {})


def some_instruction(r):
    keys = [some_key(r) for _ in range(r.choice([0, 1, 1, 2, 3]))]
    values = r.randint(0, 3)
    sets = [
        {
            "keys": [i for i in range(len(keys)) if r.random() < 0.8],
            "max_groups": r.choice([1, 2, 3, 100]),
            "most_groups": 10_000,
            "most_values": 10_000,
        }
        for _ in range(r.choice([1, 1, 2, 3]))
    ]
    measures = [some_measure(r, values) for _ in range(r.randint(1, 5))]
    return {
        "seed": r.randbytes(16).hex(),
        "max_rows": r.choice([1, 2, 3, 10]),
        "values": values,
        "keys": keys,
        "measures": measures,
        "sets": sets,
    }


def some_value(r, key):
    if r.random() < 0.15:
        return None
    if key["kind"] == "integer":
        return r.choice([-3, -2, -1, 0, 1, 2, -(2 ** (8 * key["width"] - 1)), 2 ** (8 * key["width"] - 1) - 1])
    return r.randrange(2) if key["kind"] == "truth" else r.randrange(5) if key["kind"] == "code" else r.choice(WORDS)


def some_block(r, instruction, units=None):
    texts = [f"unit {i}" if r.random() < 0.9 else "ü" * (i + 1) for i in range(units or r.randint(1, 8))]
    rows = []
    for unit in range(len(texts)):
        for _ in range(r.choice([0, 1, 3, 12])):
            keys = [some_value(r, key) for key in instruction["keys"]]
            values = [
                None if r.random() < 0.2 else r.choice([r.randint(-12, 12), -(2**63), 2**63 - 1])
                for _ in range(instruction["values"])
            ]
            rows.append((None if r.random() < 0.03 else unit, keys, values))
    return texts, rows
