"""The append-only log: which events there are, the Merkle tree over them, and signed checkpoints."""
