"""What is spent and what is left."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from api.auth import Caller, TheServer
from assets import catalogue
from policies.statement import statement

router = APIRouter()


@router.get("/budget")
def budget(server: TheServer, caller: Caller) -> dict[str, Any]:
    """Every population, and the caller's own share under each policy."""
    with server.journal.reading() as connection:
        populations = {asset.id: asset.declaration.population.name for asset in catalogue.listing(connection)}
        return {"items": statement(connection, caller, populations)}
