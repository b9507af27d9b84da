"""Walks the supervisor's own variables, which a fork copies: frames, modules, everything the collector knows."""

import gc
import struct
import sys

from attacker import hits, holds_secret

ROWS = ("heap",)
PEER_FAULT = "T11"
CONTROL = "the supervisor never holds rows, and a block's answer only where a fork does not copy it"
CPU = 1.0


def as_bytes(thing):
    if isinstance(thing, (bytes, bytearray, memoryview)):
        return bytes(thing)
    if isinstance(thing, str):
        return thing.encode("utf-8", "replace")
    if isinstance(thing, (list, tuple)) and thing and all(type(part) is float for part in thing):
        return struct.pack(f"<{len(thing)}d", *thing)
    return b""


def analyse(tables, params):
    found = dict.fromkeys(params["secrets"], False)
    frame, objects = sys._getframe(), list(gc.get_objects())
    while frame is not None:
        objects += list(frame.f_locals.values()) + list(frame.f_globals.values())
        frame = frame.f_back
    for thing in objects:
        for part in (
            thing if isinstance(thing, (list, tuple, set)) else thing.values() if type(thing) is dict else [thing]
        ):
            part = as_bytes(part)
            for name, secret in params["secrets"].items():
                found[name] = found[name] or holds_secret(part, secret["head"], secret["tails"])
    return hits(*found.values())
