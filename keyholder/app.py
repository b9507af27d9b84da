"""What the key holder says over HTTP: its public contexts, the log it follows, what it has pinned, and answers to requests."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from keyholder.intake import Intake
from keyholder.releasing import NotNow, Releases
from keyholder.request import Refused, Unsigned
from keyholder.strangers import Strangers

# The same bytes for every refusal, whatever the reason.
REFUSAL = b'{"error":{"code":"encrypted.release_refused","text":"this release is refused"}}'
NOT_NOW = b'{"error":{"code":"key_holder.not_now","text":"not now; send the same again later"}}'
JSON = "application/json"


def application(releases: Releases) -> FastAPI:
    """The app. Interactive documentation pages are off: they would load scripts from elsewhere."""
    intake, strangers = Intake(releases.registry.service.manifest_key), Strangers(releases.ledger)

    @contextlib.asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(strangers.write)

    app = FastAPI(
        title="Banyan key holder", version="1", docs_url=None, redoc_url=None, openapi_url=None, lifespan=life
    )

    @app.get("/healthz")
    def healthy() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/key")
    def key() -> dict[str, object]:
        keys = releases.keys
        return {
            "contexts": [context.to_json() for context in keys.contexts()],
            "states": {key: state.value for key, state in keys.states().items()},
            "resting": releases.ledger.exhausted(keys.states()),
            "signer": keys.signer,
            "populations": {name: _pinned(releases, name) for name in releases.registry.populations},
        }

    @app.get("/v1/checkpoint")
    def checkpoint() -> dict[str, object]:
        head = releases.ledger.followed()
        return {
            "size": 0 if head is None else head.size,
            "root": None if head is None else base64.b64encode(head.root).decode(),
        }

    @app.post("/v1/release")
    async def release(request: Request) -> Response:
        try:
            async with intake.body(request.stream()) as body:
                answer = await run_in_threadpool(releases.answer, body)
        except (Unsigned, ClientDisconnect) as stranger:
            await run_in_threadpool(strangers.count, str(stranger) or "the request was cut off")
            return Response(REFUSAL, 409, media_type=JSON)
        except TimeoutError:  # of a service that waits behind strangers too
            await run_in_threadpool(strangers.count, "the request took too long")
            return Response(NOT_NOW, 503, media_type=JSON)
        except Refused:
            return Response(REFUSAL, 409, media_type=JSON)
        except NotNow:
            return Response(NOT_NOW, 503, media_type=JSON)
        return Response(answer, media_type=JSON)

    return app


def _pinned(releases: Releases, name: str) -> dict[str, object]:
    """What a service may know of a population before it charges anybody for what would be refused."""
    population = releases.registry.populations[name]
    return {
        "accountant": population.accountant.value,
        "min_providers": population.min_providers,
        "overlap": population.overlap,
        "shared": population.shared,
        "providers": dict(population.providers),
        "left": population.capacity.left(releases.ledger.spent(name)).to_json(),
    }
