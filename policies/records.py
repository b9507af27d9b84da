"""Tables of people, tokens, policies, populations and the ledger. Exact numbers and moments are text, JSON is canonical text.

Rows of `policy_versions` and `ledger_spends` change in their state columns only; a test holds every other column still.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, ForeignKeyConstraint, Integer, Table, Text

from core.database import metadata

principals = Table(
    "principals",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("organisation", Text, nullable=False),
    Column("roles", Text, nullable=False),
    Column("added_at", Text, nullable=False),
)
tokens = Table(
    "tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("sha256", Text, nullable=False, unique=True),
    Column("principal", Text, ForeignKey("principals.id"), nullable=False, index=True),
    Column("scopes", Text, nullable=False),
    Column("expires_at", Text, nullable=False),
    Column("revoked_at", Text),
)
policy_versions = Table(
    "policy_versions",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("digest", Text, nullable=False, unique=True),
    Column("content", Text, nullable=False),
    Column("proposer", Text, ForeignKey("principals.id"), nullable=False),
    Column("proposed_at", Text, nullable=False),
    Column("state", Text, nullable=False, index=True),
    Column("needed", Integer, nullable=False),
    # Approvals count within a round; a suspension begins a new one.
    Column("round", Integer, nullable=False),
)
policy_decisions = Table(
    "policy_decisions",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("round", Integer, primary_key=True, autoincrement=False),
    Column("principal", Text, ForeignKey("principals.id"), primary_key=True),
    Column("event", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("at", Text, nullable=False),
    ForeignKeyConstraint(["name", "version"], ["policy_versions.name", "policy_versions.version"]),
)
populations = Table(
    "populations",
    metadata,
    Column("name", Text, primary_key=True),
    Column("id_namespace", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("accountant", Text, nullable=False),
    # As declared; `capacity` is what it was turned into then, and what the ledger goes by for ever.
    Column("epsilon", Text, nullable=False),
    Column("delta", Text, nullable=False),
    Column("capacity", Text, nullable=False),
    Column("block_count", Integer, nullable=False),
    Column("created_at", Text, nullable=False),
)
spends = Table(
    "ledger_spends",
    metadata,
    Column("job", Text, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("population", Text, ForeignKey("populations.name"), nullable=False, index=True),
    Column("position", Integer, nullable=False),
    Column("loss", Text, nullable=False),
    Column("asked", Text, nullable=False),
    Column("principal", Text, ForeignKey("principals.id"), nullable=False, index=True),
    Column("organisation", Text, nullable=False, index=True),
    Column("policy", Text, nullable=False, index=True),
    Column("policy_version", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("reserved_at", Text, nullable=False),
    Column("settled_at", Text),
    CheckConstraint("state IN ('reserved', 'committed', 'released')", name="ck_ledger_spends_state"),
    ForeignKeyConstraint(["policy", "policy_version"], ["policy_versions.name", "policy_versions.version"]),
)
# Running sums, so that a reservation costs the same after a million others. `account` is population:NAME, policy:NAME or
# person:POLICY:PRINCIPAL; `entries` counts what was ever entered, `runs` what was not released again.
balances = Table(
    "ledger_balances",
    metadata,
    Column("account", Text, primary_key=True),
    Column("loss", Text, nullable=False),
    Column("runs", Integer, nullable=False),
    Column("entries", Integer, nullable=False),
)
