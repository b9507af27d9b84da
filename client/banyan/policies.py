"""Policies as one person proposes them and others approve, reject, suspend or revoke them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from banyan.connection import Connection, segment
from banyan.errors import Refused
from banyan.textfile import place_told, read_text

YAML = {"Content-Type": "application/yaml"}


class Policies:
    """`client.policies`. A decision names the digest of what was read, so that nobody approves what was changed since."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self) -> list[dict[str, Any]]:
        """Every policy that the caller may know of."""
        return self._connection.items("/v1/policies")

    def show(self, name: str) -> dict[str, Any]:
        """One policy with its text, digest and state."""
        return self._connection.json("GET", f"/v1/policies/{segment(name)}")

    def propose(self, path: str | Path) -> dict[str, Any]:
        """Propose the policy in a YAML file. Raises Refused with the place in the file."""
        path = Path(path)
        text = read_text(path)
        try:
            return self._connection.json(
                "POST", "/v1/policies", params={"filename": path.name}, content=text.encode(), headers=YAML
            )
        except Refused as refused:
            refused.excerpt = place_told(path.name, text, refused.where)
            raise

    def approve(self, name: str, digest: str, reason: str = "") -> dict[str, Any]:
        """Approve what has this digest. Nobody approves what they proposed."""
        return self._decide(name, "approve", digest, reason)

    def reject(self, name: str, digest: str, reason: str) -> dict[str, Any]:
        """Reject what has this digest."""
        return self._decide(name, "reject", digest, reason)

    def suspend(self, name: str, digest: str, reason: str) -> dict[str, Any]:
        """Suspend an active policy."""
        return self._decide(name, "suspend", digest, reason)

    def revoke(self, name: str, digest: str, reason: str) -> dict[str, Any]:
        """Revoke a policy for good."""
        return self._decide(name, "revoke", digest, reason)

    def _decide(self, name: str, verb: str, digest: str, reason: str) -> dict[str, Any]:
        body = {"digest": digest, "reason": reason}
        return self._connection.json("POST", f"/v1/policies/{segment(name)}/{verb}", json=body)
