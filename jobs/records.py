"""Tables of jobs, of what providers encrypt for them, and of their releases."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Integer, LargeBinary, Table, Text

from core.database import metadata

jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("sequence", Integer, nullable=False, unique=True),
    Column("mode", Text, nullable=False),
    Column("state", Text, nullable=False, index=True),
    Column("principal", Text, nullable=False, index=True),
    Column("organisation", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("version", Text, nullable=True),  # a mock job needs no version
    Column("joined", Text, nullable=False),  # JSON: the further assets, each with its version
    Column("request", Text, nullable=False),
    Column("plan", Text, nullable=False),
    Column("identity", Text, nullable=False, index=True),
    Column("policy", Text, nullable=True),
    Column("reuse_of", Text, nullable=True),
    Column("submitted_at", Text, nullable=False),
    Column("release_at", Text, nullable=True),
    Column("attempt", Integer, nullable=False),
    Column(
        "seed", LargeBinary, nullable=True
    ),  # of the choice of groups; fixed before touch, the same for every attempt
    Column("cancel_shown_at", Text, nullable=True),
    Column("touched", Integer, nullable=False),
    Column("refusal", Text, nullable=True),
)
# What providers who leave nothing at the service encrypted for one job.
contributions = Table(
    "job_contributions",
    metadata,
    Column("job", Text, ForeignKey("jobs.id"), primary_key=True),
    Column("asset", Text, ForeignKey("assets.asset"), primary_key=True),
    Column("path", Text, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("digest", Text, nullable=False),
    Column("header", Text, nullable=False),
)
releases = Table(
    "releases",
    metadata,
    Column("id", Text, primary_key=True),
    Column("job", Text, ForeignKey("jobs.id"), nullable=False, unique=True),
    Column("sealed", LargeBinary, nullable=False),  # the noised result, encrypted until and after it is issued
    Column("salt", LargeBinary, nullable=False),
    Column("output", Text, nullable=False),  # salted digest
    Column("statement", Text, nullable=False),
    Column("entry", Integer, nullable=True),  # index of release:issued in the log
)
