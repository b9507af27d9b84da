"""The kinds of job there are."""

from __future__ import annotations

from collections.abc import Mapping

from jobs.encrypted_kind import EncryptedKind
from jobs.kind import Kind
from jobs.program_kind import ProgramKind
from jobs.query_kind import QueryKind

KINDS: Mapping[str, Kind] = {"query": QueryKind(), "program": ProgramKind(), "encrypted": EncryptedKind()}
