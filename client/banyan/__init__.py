"""Banyan's Python SDK: plan, submit and read jobs on data that you must not see.

import banyan
job = banyan.Client().submit("delays.yaml").wait()
print(job.result)
"""

from __future__ import annotations

from banyan.client import Client
from banyan.errors import (
    BanyanError,
    Forbidden,
    NotFound,
    Refused,
    StillWaiting,
    Unauthenticated,
    Unreachable,
    VerificationError,
)
from banyan.job import Job
from banyan.plan import Plan
from banyan.result import Result

__all__ = [
    "BanyanError",
    "Client",
    "Forbidden",
    "Job",
    "NotFound",
    "Plan",
    "Refused",
    "Result",
    "StillWaiting",
    "Unauthenticated",
    "Unreachable",
    "VerificationError",
]
