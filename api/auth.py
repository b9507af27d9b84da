"""Who calls: a bearer token and nothing else; never another header (design §9)."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from api.wiring import Server
from policies import identity
from policies.model import Principal


def server_of(request: Request) -> Server:
    """The server that this app was made for."""
    server: Server = request.app.state.server
    return server


TheServer = Annotated[Server, Depends(server_of)]


def caller_of(request: Request, server: TheServer) -> Principal:
    """The authenticated caller. Raises Unauthenticated."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    with server.journal.reading() as connection:
        return identity.authenticate(connection, token if scheme.lower() == "bearer" else "", server.clock.now())


Caller = Annotated[Principal, Depends(caller_of)]
