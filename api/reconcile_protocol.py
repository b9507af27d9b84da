"""What the reconciler's process tells the server: one word, once."""

READY = "ready\n"
