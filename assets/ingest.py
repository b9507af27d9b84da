"""How a file becomes a version: judged batch by batch, set aside by block, each block sorted, encrypted, stored; only then made known.

Until the last transaction nothing refers to what is being written, so a failure at any point leaves every earlier version as
it was and removes what was written.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import OperationalError, SQLAlchemyError

from assets.admission import check_takes_rows, record_refusal
from assets.block_rows import in_order, units_of
from assets.blocks import FOLDER, Block, Place, close_block, digest_of, folder_of, new_version_key, padded_bytes
from assets.catalogue import Asset, get
from assets.judge_batches import Judge
from assets.keys import KeyRing
from assets.object_store import ObjectStore, storage_full
from assets.overlap import Sketch, check_apart, most_hashes, seal_sketch, sketch_of, sketch_path
from assets.physical import parquet_bytes
from assets.placement import by_block
from assets.read_batches import Source, read_batches
from assets.report import report_of, seal_report
from assets.source import Format, Upload
from assets.spill import Spill, spill_in
from assets.versions import NewVersion, Version, VersionState, add_version, known_ids, next_number
from audit.log import Journal
from core.canonical import digest
from core.errors import BanyanError, Conflict
from core.ids import new_id
from privacy.schema import EXCESS

_ORPHAN_SECONDS = 24 * 3600
# Of one block in memory; what is larger is far from fitting into a block of any declaration.
_MAX_ROWS_BYTES = 2**31 - 1


@dataclass(frozen=True)
class Ingest:
    """What ingest works with: the log, the storage, the keys. There is no ingest without keys.

    `aside` is a folder of the disk on which rows are set aside, sealed, while a file is read.
    """

    journal: Journal
    store: ObjectStore
    keys: KeyRing
    aside: Path

    def version(self, asset_id: str, upload: Upload, form: Format, actor: str) -> Version:
        """Make the next version of an asset from a file, of which the plaintext is in memory or on a tmpfs.

        Raises Invalid (`ingest.unreadable`), Conflict (`ingest.too_large`, `ingest.population_overlap`) or
        Unavailable (`ingest.storage_full`, `storage.unreachable`); then there is no new version, and the refusal is in the log.
        """
        with self.journal.reading() as connection:
            asset = get(connection, asset_id)
        version_id = new_id("version")
        try:
            return self._made(asset, version_id, upload, form, actor)
        except BaseException as problem:
            self._discard(version_id)
            if isinstance(problem, BanyanError):
                record_refusal(self.journal, asset.id, problem.code, actor)
            raise

    def remove_orphans(self) -> int:
        """Remove blocks that a crash left behind; returns of how many versions. Their keys were never stored."""
        with self.journal.reading() as connection:
            known = known_ids(connection)
        before = self.journal.clock.now().timestamp() - _ORPHAN_SECONDS
        found = [name for name, changed in self.store.folders(FOLDER).items() if name not in known and changed < before]
        for name in found:
            self.store.remove_folder(folder_of(name))
        return len(found)

    def _made(self, asset: Asset, version_id: str, upload: Upload, form: Format, actor: str) -> Version:
        declaration = asset.declaration
        check_takes_rows(asset)
        source = read_batches(upload, form, [column.name for column in declaration.columns])
        judge = Judge(declaration, declaration.null_values if form is Format.CSV else ())
        key = new_version_key()
        with spill_in(self.aside, judge.schema, asset.block_count) as spill:
            self._set_aside(asset, source, judge, spill)
            blocks, sketch, units = self._stored(asset, version_id, spill, key)
        root = digest(["banyan.version/1", version_id, [block.digest for block in blocks]])
        found = report_of(declaration, judge.counts(units), source.others)
        report = seal_report(self.keys, version_id, declaration, found)
        self.store.put(sketch_path(version_id), seal_sketch(asset, self.keys, version_id, sketch))
        try:
            with self.journal.writing() as tx:
                check_apart(tx.connection, self.store, self.keys, asset, sketch)
                number = next_number(tx.connection, asset.id)
                version = Version(version_id, asset.id, number, VersionState.READY, root)
                add_version(tx, NewVersion(version, self.keys.wrap(version_id, key), report, blocks), actor)
        except OperationalError as problem:
            if getattr(problem.orig, "sqlite_errorname", "") == "SQLITE_FULL":
                raise storage_full() from None
            raise
        return version

    def _discard(self, version_id: str) -> None:
        """Remove what was written, unless the version was committed before the failure, or nobody can tell."""
        with suppress(SQLAlchemyError), self.journal.reading() as connection:
            if version_id not in known_ids(connection):
                self.store.remove_folder(folder_of(version_id))

    def _set_aside(self, asset: Asset, source: Source, judge: Judge, spill: Spill) -> None:
        declaration, population = asset.declaration, asset.declaration.population
        placement_key = self.keys.placement_key(population.name, population.id_namespace)
        for batch in source.batches:
            kept = judge.kept(batch)
            if judge.rows_kept > EXCESS * declaration.rows:
                raise _too_large()
            for index, rows in by_block(kept, population.unit, placement_key, asset.block_count):
                spill.add(index, rows)

    def _stored(self, asset: Asset, version_id: str, spill: Spill, key: bytes) -> tuple[list[Block], Sketch, int]:
        """The blocks, all stored; the sketch of their units, and how many those are."""
        unit, size = asset.declaration.population.unit, padded_bytes(asset.schema, asset.block_count)
        blocks: list[Block] = []
        sketch, units = sketch_of(asset, self.keys, []), 0
        for index in range(asset.block_count):
            if spill.size(index) > _MAX_ROWS_BYTES:
                raise _too_large()
            rows = in_order(spill.rows(index), unit)
            here = units_of(rows, unit)
            units += len(here)
            # Plans are made for at most EXCESS times the declared numbers: beyond them an honest partial could be cut off (design R9).
            if units > EXCESS * asset.declaration.units:
                raise _too_large()
            sketch = sketch.joined(sketch_of(asset, self.keys, here), most_hashes(asset))
            try:
                sealed = close_block(parquet_bytes(rows), size, key, Place(version_id, index, asset.block_count))
            except ValueError:
                raise _too_large() from None
            path = f"{folder_of(version_id)}/{index}.block"
            self.store.put(path, sealed)
            blocks.append(Block(index, path, len(sealed), digest_of(sealed)))
        return blocks, sketch, units


def _too_large() -> Conflict:
    return Conflict(
        "ingest.too_large",
        "the file does not fit into blocks of the size that the declared numbers of rows and units give",
        where={"field": "size"},
        way_out="register it under another name with a declared size near the true one",
    )
