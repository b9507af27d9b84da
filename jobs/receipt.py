"""Receipts: what a release binds together, and the proof that the log holds it (design §10).

The log and the receipt hold digests only; the salt of the output's digest is in the receipt, so that whoever holds the result can
show that it is the one released, and nobody else can guess it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from audit import log
from core.canonical import canonical, digest
from core.errors import Conflict
from jobs.model import Job
from jobs.records import releases
from policies.budget import Spend

SALT_BYTES = 32


def new_salt() -> bytes:
    """A fresh salt for one output."""
    return secrets.token_bytes(SALT_BYTES)


def output_digest(salt: bytes, table: dict[str, Any]) -> str:
    """`sha256:` of salt and canonical table."""
    return "sha256:" + hashlib.sha256(salt + canonical(table)).hexdigest()


def statement_of(
    job: Job, release: str, guarantee: dict[str, Any], roots: Mapping[str, str], spend: Spend
) -> dict[str, Any]:
    """Everything that the receipt binds, as JSON: public facts, identifiers and hiding digests only.

    `roots` are the hiding roots of the versions, by asset (design R15).
    """
    return {
        "schema": "banyan.statement/1",
        "release": release,
        "job": job.id,
        "asset": job.asset,
        "version": job.version,
        "version_root": roots[job.asset],
        "joined": [
            {"asset": each.asset, "version": each.version, "version_root": roots[each.asset]} for each in job.joined
        ],
        "purpose": job.request["purpose"],
        "policy": job.policy,
        "submitted_by": job.principal,
        "reviewers": [],
        "code": job.code,
        "request": digest(job.request),
        "plan": digest(job.plan),
        "image": job.plan["image"],
        "guarantee": guarantee,
        "ledger": {"population": spend.population, "position": spend.position, "charged": spend.loss.to_json()},
        "reuse": job.reuse_of is not None,
    }


def receipt_for(connection: Connection, job: Job, log_key: str) -> dict[str, Any]:
    """The receipt of an issued release. Raises Conflict (`receipt.pending`) until a checkpoint covers its entry."""
    row = connection.execute(select(releases).where(releases.c.job == job.id)).first()
    covered = None if row is None or row.entry is None else log.first_note_after(connection, row.entry)
    if row is None or covered is None:
        raise Conflict(
            "receipt.pending",
            "the release has no signed checkpoint yet",
            way_out="ask again in a second, or wait for the job to be released",
        )
    size, note = covered
    proof = log.inclusion_proof(connection, row.entry, size)
    return {
        "schema": "banyan.receipt/1",
        "release": row.id,
        "job": job.id,
        "statement": json.loads(row.statement),
        "output": {"salt": row.salt.hex(), "digest": row.output},
        "entry": {"index": row.entry, "bytes": _base64(log.entry_at(connection, row.entry).leaf)},
        "inclusion": [_base64(part) for part in proof],
        "checkpoint": note,
        "log_key": log_key,
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
