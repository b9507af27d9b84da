"""Changes the supervisor's code in memory: functions, modules, the interpreter's own types of number."""

import builtins
import struct
import sys

from attacker import works

ROWS = ("heap",)
CONTROL = "a block's memory is a copy of its own: what it changes, it changes for itself"
ENDS = "any"


def analyse(tables, params):
    main = sys.modules["__main__"]
    for name in list(vars(main)):
        if callable(getattr(main, name)) and not name.startswith("__"):
            setattr(main, name, lambda *_, **__: None)
    works(lambda: setattr(struct, "pack", lambda *_: b""))
    builtins.float = lambda *_: 0.0
    return {"hit": 0.0}
