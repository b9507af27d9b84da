"""Leaves a message in the kernel's keyrings, for the next block to find."""

import ctypes

from attacker import call, hits, let_through

ROWS = (24,)
CONTROL = "seccomp: no add_key, request_key or keyctl; a user namespace each block"

USER_KEYRING, SESSION_KEYRING = -4, -3
NAME = (ctypes.c_char_p(b"user"), ctypes.c_char_p(b"banyan:message"))


def before(tables, params):
    for keyring in (USER_KEYRING, SESSION_KEYRING):
        call(248, *NAME, ctypes.c_char_p(b"secret"), 6, keyring)


def analyse(tables, params):
    return hits(
        let_through(248, 0, 0, 0, 0, 0), call(249, *NAME, 0, 0) >= 0, let_through(250, 10, USER_KEYRING, *NAME, 0)
    )
