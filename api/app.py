"""The FastAPI application: routes over one Server, nothing decided here."""

from __future__ import annotations

from fastapi import FastAPI

from api import errors
from api.processes import ReconcilerProcess
from api.routes import assets, budget, health, jobs, log, policies
from api.unread import ClosesUnread
from api.wiring import Server


def application(server: Server, reconciler: ReconcilerProcess) -> FastAPI:
    """The app. Interactive documentation pages are off: they would load scripts from elsewhere."""
    app = FastAPI(title="Banyan", version="1", docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.server, app.state.reconciler = server, reconciler
    errors.install(app)
    app.add_middleware(ClosesUnread)
    for module in (health, assets, policies, jobs, budget, log):
        app.include_router(module.router, prefix="/v1")
    return app
