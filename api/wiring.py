"""The composition root: the only reader of settings, and where every part meets the parts it needs."""

from __future__ import annotations

import json
import os
import secrets
import threading
from dataclasses import dataclass
from pathlib import Path

import httpx

from assets.ingest import Ingest
from assets.keys import KeyRing
from assets.object_store import LocalObjectStore
from assets.uploads import Uploads
from audit.events import SYSTEM, Event, EventType
from audit.log import Journal, size_of
from audit.signer import FileSigner
from core.clock import Clock, SystemClock
from core.database import engine_for
from core.errors import Conflict, Invalid, Unavailable
from core.migrate import is_current, upgrade
from core.settings import Settings, read_settings
from core.signing_key import create_signing_key, open_signing_key
from jobs.contributions import Contributions
from jobs.isolation import Isolation
from jobs.key_holder import HttpKeyHolder, KeyHolder, NoKeyHolder
from jobs.kind import Host, Image
from jobs.masking import Masking
from jobs.schedule import Node
from jobs.service import JobService
from jobs.staging import Staging
from jobs.upload_reader import UploadReader
from sandbox.docker_runtime import DockerRuntime

MANIFEST_KEY = "manifest.key"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True)
class Server:
    """Everything that routes and the reconciler work with."""

    settings: Settings
    instance: str
    clock: Clock
    journal: Journal
    keys: KeyRing
    ingest: Ingest
    encrypted: Uploads
    contributions: Contributions
    key_holder: KeyHolder
    jobs: JobService
    staging: Staging

    @property
    def uploads(self) -> Path:
        """Where an upload lies while it is read: tmpfs, a folder for each process."""
        return self.settings.staging_folder / f"banyan-{self.instance}-uploads-{os.getpid()}"


def initialise() -> Settings:
    """Make the state folder, keys, database and log, each unless it is there; returns the settings."""
    settings = read_settings()
    settings.state_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings.state_folder.chmod(0o700)
    KeyRing.create(settings.master_key)
    FileSigner.create(settings.signer)
    create_signing_key(settings.signer / MANIFEST_KEY)
    instance = settings.state_folder / "instance"
    if not instance.exists():
        instance.write_text(secrets.token_hex(6))
    engine = engine_for(settings.database)
    upgrade(engine)
    journal = Journal(engine, SystemClock(), FileSigner(settings.signer, settings.origin))
    with journal.writing() as tx:
        if size_of(tx.connection) == 0:
            facts = {"origin": settings.origin, "log_key": journal.signer.verifier_key}
            tx.record(Event(EventType.LOG_OPENED, "log", SYSTEM, facts))
    journal.publish_checkpoint()
    engine.dispose()
    return settings


def migrate() -> None:
    """Bring the database to the newest schema."""
    engine = engine_for(read_settings().database)
    upgrade(engine)
    engine.dispose()


def journal_of(settings: Settings, clock: Clock) -> Journal:
    """The journal of an initialised server. Raises Conflict (`server.not_initialised`, `server.not_migrated`)."""
    if not (settings.state_folder / "instance").is_file():
        raise Conflict(
            "server.not_initialised", "there is no server in the state folder", way_out="run banyan-server init first"
        )
    engine = engine_for(settings.database)
    if not is_current(engine):
        raise Conflict(
            "server.not_migrated", "the database has an older schema", way_out="run banyan-server migrate first"
        )
    return Journal(engine, clock, FileSigner(settings.signer, settings.origin))


def books() -> tuple[Settings, Journal]:
    """Settings and journal alone: for what needs neither engine nor images."""
    settings = read_settings()
    return settings, journal_of(settings, SystemClock())


def assemble(settings: Settings | None = None) -> Server:
    """All parts, from the settings."""
    settings, clock = settings or read_settings(), SystemClock()
    journal, keys = journal_of(settings, clock), KeyRing.open(settings.master_key)
    instance, blocks = (settings.state_folder / "instance").read_text(), settings.state_folder / "blocks"
    _check_lanes(settings.lanes)
    node = Node(
        lanes=settings.lanes,
        lane_memory_bytes=settings.lane_memory_bytes,
        start_seconds=settings.start_seconds,
        slowness=settings.slowness,
        cancel_seconds=settings.cancel_seconds,
    )
    store = LocalObjectStore(blocks)
    key_holder = key_holder_of(settings)
    host = host_of(settings, node, instance, key_holder)
    # Under a label of its own, like trials: the reconciler sweeps away all containers of the server at moments when none should run.
    reader = UploadReader(DockerRuntime(settings.engine), host.images["encrypted"].id, f"{instance}-uploads")
    return Server(
        settings=settings,
        instance=instance,
        clock=clock,
        journal=journal,
        keys=keys,
        ingest=Ingest(journal, store, keys, settings.state_folder / "aside"),
        encrypted=Uploads(journal, store, keys, reader.read, lambda: key_holder.keys().states),
        contributions=Contributions(journal, store, reader.read, lambda: key_holder.keys().states),
        key_holder=key_holder,
        jobs=JobService(journal, keys, host),
        staging=Staging(
            keys=keys,
            node=node,
            engine=settings.engine,
            store=blocks,
            folder=settings.staging_folder / f"banyan-{instance}",
            sealed=settings.state_folder / "sealed",
            owner=instance,
        ),
    )


def _check_lanes(lanes: int) -> None:
    """Each lane has a core of its own; the engine would refuse a container for a core that is not there."""
    cores = os.sched_getaffinity(0)
    if not set(range(lanes)) <= cores:
        raise Conflict(
            "settings.lanes",
            f"{lanes} lanes need the cores 0 to {lanes - 1}; this server may use {len(cores)}",
            where={"field": "lanes"},
            way_out=f"lanes: {len(cores)}",
        )


def host_of(settings: Settings, node: Node, instance: str, key_holder: KeyHolder) -> Host:
    """What jobs are planned for. Which tiers of isolation the engine can do is found out when the first program is planned."""
    images = {name: image_of(settings.images_file, name) for name in ("query", "python", "encrypted")}
    # Under a label of its own: the reconciler sweeps away all containers of the server at moments when none should run.
    trial = f"{instance}-trial"
    isolation = Isolation(DockerRuntime(settings.engine), images["python"].id, trial, settings.oci_runtime)
    here = settings.key_holder_url is not None and httpx.URL(settings.key_holder_url).host in LOOPBACK
    return Host(
        images,
        node,
        isolation.tier_for,
        oci_runtime=settings.oci_runtime,
        key_holder=key_holder,
        key_holder_is_here=here,
    )


def key_holder_of(settings: Settings) -> KeyHolder:
    """The key holder that the settings name. Raises Invalid (`settings.invalid`) where they name it by halves."""
    url, signer = settings.key_holder_url, settings.key_holder_signer
    if url is None and signer is None:
        return NoKeyHolder()
    if url is None or signer is None:
        raise Invalid(
            "settings.invalid",
            "key_holder_url and key_holder_signer belong together",
            where={"field": "key_holder_url" if url is None else "key_holder_signer"},
        )
    return HttpKeyHolder(url, signer)


def masking_of(server: Server, closing: threading.Event) -> Masking:
    """What releases encrypted jobs; for the reconciler only."""
    signing = open_signing_key(server.settings.signer / MANIFEST_KEY)
    store = LocalObjectStore(server.settings.state_folder / "masked")
    return Masking(server.journal, server.key_holder, signing, store, closing)


def image_of(images: Path, name: str) -> Image:
    """An image by its pinned id, as the image build wrote it. Raises Unavailable (`image.unknown`)."""
    try:
        found = json.loads(images.read_text(encoding="utf-8"))[name]
        return Image(str(found["id"]), frozenset(found.get("modules", ())))
    except (OSError, ValueError, KeyError):
        raise Unavailable(
            "image.unknown", f"the image build has not written {name} to {images}", way_out="run just images"
        ) from None
