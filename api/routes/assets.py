"""Assets: register, ingest, look up, mock data; the ingest report for operators only."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as PathPart
from fastapi.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from api.auth import Caller, TheServer
from api.bodies import body_of
from api.wiring import Server
from assets import catalogue, mock, report, versions
from assets.admission import admitted, encrypted_of
from assets.declaration import parse_declaration
from assets.physical import csv_bytes, parquet_bytes
from assets.source import Format
from core.errors import Conflict, Invalid, TooLarge, Unavailable
from core.private_folder import private_folder
from policies.authorizer import check
from policies.model import Action
from policies.populations import create_population

router = APIRouter()
HEV = "hev"
MEDIA = {"parquet": "application/vnd.apache.parquet", "csv": "text/csv; charset=utf-8"}


@router.post("/assets", status_code=201)
async def register(
    request: Request, server: TheServer, caller: Caller, filename: str = "declaration"
) -> dict[str, Any]:
    """Register an asset from the text of a declaration; creates its population with it, in one transaction."""
    check(caller, Action.ASSET_REGISTER)
    declaration = await run_in_threadpool(parse_declaration, await body_of(request), filename)
    return await run_in_threadpool(_register, server, caller, declaration)


def _register(server: TheServer, caller: Caller, declaration: Any) -> dict[str, Any]:
    with server.journal.writing() as tx:
        asset = catalogue.register(tx, declaration, caller.id)
        create_population(
            tx,
            declaration.population.name,
            id_namespace=declaration.population.id_namespace,
            unit=declaration.population.unit,
            accountant=declaration.budget.accountant,
            epsilon=declaration.budget.epsilon,
            delta=declaration.budget.delta,
            block_count=asset.block_count,
            actor=caller.id,
        )
        return dict(catalogue.entry(asset, versions.latest_version(tx.connection, asset.id)))


@router.get("/assets")
def listing(server: TheServer, caller: Caller, search: Annotated[str, Query(max_length=200)] = "") -> dict[str, Any]:
    """The catalogue: declarations only, nothing of any data."""
    check(caller, Action.ASSET_READ)
    with server.journal.reading() as connection:
        found = catalogue.listing(connection, search)
        return {
            "items": [catalogue.entry(asset, versions.latest_version(connection, asset.id)) for asset in found],
        }


@router.get("/assets/{sector}/{name}")
def show(server: TheServer, caller: Caller, sector: str, name: str) -> dict[str, Any]:
    """One asset of the catalogue."""
    check(caller, Action.ASSET_READ)
    with server.journal.reading() as connection:
        asset = catalogue.get(connection, f"{sector}/{name}")
        return dict(catalogue.entry(asset, versions.latest_version(connection, asset.id)))


@router.post("/assets/{sector}/{name}/versions", status_code=201)
async def ingest(
    request: Request,
    server: TheServer,
    caller: Caller,
    sector: str,
    name: str,
    form: Annotated[Literal["csv", "parquet", "arrow", "hev"], Query(alias="format")],
) -> dict[str, Any]:
    """Make the next version from a file. The plaintext lies in tmpfs while it is read, and is gone afterwards.

    `hev` is what a provider encrypted (banyan encrypt); it is ciphertext to this server, and kept as it came. Sent again, the very bytes
    of the newest version make no other one (`repeated`).
    """
    check(caller, Action.ASSET_INGEST)
    asset = f"{sector}/{name}"
    most = await run_in_threadpool(_most_bytes, server, asset, caller, form)
    async with _received(request, server, most) as upload:
        if form == HEV:
            taken = await run_in_threadpool(server.encrypted.version, asset, upload, caller.id)
            version, is_repeated = taken.version, taken.is_repeated
        else:
            version = await run_in_threadpool(server.ingest.version, asset, upload, Format(form), caller.id)
            is_repeated = False
    told = {"asset": version.asset, "version": version.number, "id": version.id, "state": version.state.value}
    return told | {"repeated": is_repeated}


def _most_bytes(server: Server, asset: str, caller: Caller, form: str) -> int:
    most = server.settings.upload_bytes
    return admitted(server.journal, asset, caller.id, is_encrypted=form == HEV, most=most)


@router.get("/assets/{sector}/{name}/calls")
def calls(server: TheServer, caller: Caller, sector: str, name: str) -> dict[str, Any]:
    """What waiting jobs ask of the provider of an asset that is not stored: a contribution each, encrypted for the one job."""
    check(caller, Action.ASSET_INGEST)
    return {"items": server.contributions.calls(f"{sector}/{name}")}


@router.get("/assets/{sector}/{name}/calls/{job}")
def call(server: TheServer, caller: Caller, sector: str, name: str, job: str) -> dict[str, Any]:
    """What one job asks: vectors, shares of noise, and beside whom."""
    check(caller, Action.ASSET_INGEST)
    return server.contributions.call(f"{sector}/{name}", job)


@router.put("/assets/{sector}/{name}/calls/{job}")
async def contribute(
    request: Request, server: TheServer, caller: Caller, sector: str, name: str, job: str
) -> dict[str, Any]:
    """Give what the provider encrypted for the job (banyan encrypt --job). Once: the same bytes may come again, at any time."""
    check(caller, Action.ASSET_INGEST)
    most = await run_in_threadpool(_most_of_contribution, server, f"{sector}/{name}", job)
    async with _received(request, server, most) as upload:
        return await run_in_threadpool(server.contributions.take, f"{sector}/{name}", job, upload, caller.id)


def _most_of_contribution(server: Server, asset: str, job: str) -> int:
    return min(server.settings.upload_bytes, server.contributions.most_bytes(asset, job))


@router.get("/assets/{sector}/{name}/context")
def context(server: TheServer, caller: Caller, sector: str, name: str) -> Response:
    """The key holder's signed public context under which the provider of an encrypted asset encrypts now."""
    check(caller, Action.ASSET_READ)
    with server.journal.reading() as connection:
        declared = encrypted_of(catalogue.get(connection, f"{sector}/{name}"))
    found = server.key_holder.keys()
    usable = [key for key, each in found.contexts.items() if each.profile == declared.terms.profile]
    active = [key for key in usable if found.states.get(key) == "active"]
    if not active:
        text = f"the key holder has no key of the profile {declared.terms.profile} that takes new data now"
        raise Conflict(
            "encrypted.no_active_key", text, way_out="its operator can say why: expired, frozen, or being changed"
        )
    return Response(found.contexts[active[0]].to_bytes(), media_type="application/json")


@router.get("/assets/{sector}/{name}/versions/{number}/report")
def ingest_report(
    server: TheServer, caller: Caller, sector: str, name: str, number: Annotated[int, PathPart(ge=1, lt=2**31)]
) -> dict[str, Any]:
    """What ingest kept and rejected, exactly; sealed to operators, and every reading is an event (design R14)."""
    check(caller, Action.REPORT_READ)
    with server.journal.writing() as tx:
        version = versions.version(tx.connection, f"{sector}/{name}", number)
        return report.read_report(tx, server.keys, version, caller.id)


@router.get("/assets/{sector}/{name}/mock")
def mock_data(
    server: TheServer,
    caller: Caller,
    sector: str,
    name: str,
    rows: Annotated[int, Query(ge=1, le=1_000_000)] = 1000,
    seed: Annotated[int, Query(ge=0, lt=2**53)] = 1,
    form: Annotated[Literal["parquet", "csv"], Query(alias="format")] = "parquet",
) -> Response:
    """Mock data: a function of declaration, rows and seed only."""
    check(caller, Action.ASSET_MOCK)
    with server.journal.reading() as connection:
        declaration = catalogue.get(connection, f"{sector}/{name}").declaration
    table = mock.mock_table(declaration, rows, seed)
    return Response(parquet_bytes(table) if form == "parquet" else csv_bytes(table), media_type=MEDIA[form])


def _upload_place(folder: Path) -> Path:
    return private_folder(folder) / secrets.token_hex(8)


@asynccontextmanager
async def _received(request: Request, server: Server, most: int) -> AsyncIterator[Path]:
    """The file that is sent, of at most so many bytes, for as long as it is looked at."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > most:
        raise _too_large(most)
    upload = await run_in_threadpool(_upload_place, server.uploads)
    try:
        await _receive(request, upload, most)
        yield upload
    finally:
        await run_in_threadpool(upload.unlink, missing_ok=True)


async def _receive(request: Request, upload: Path, most: int) -> None:
    size = 0
    try:
        with upload.open("wb") as file:
            async for chunk in request.stream():
                size += len(chunk)
                if size > most:
                    raise _too_large(most)
                await run_in_threadpool(file.write, chunk)
    except ClientDisconnect:
        raise Invalid("ingest.cut_off", "the file was cut off on its way; nothing was changed") from None
    except OSError:
        raise Unavailable(
            "ingest.staging_full",
            "there is no room to receive the file; nothing was changed",
            way_out="try again later",
        ) from None


def _too_large(most: int) -> TooLarge:
    return TooLarge("ingest.upload_too_large", f"a file for this asset has at most {most:,} bytes")
