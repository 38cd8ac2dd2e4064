"""Builds what a registry's readers read from its source: static files that any server can offer.

    plugins.json                      version 1 (`models.registry_index`): what every reader knows
    registry.json                     the root: digests and lengths of all the others
    shards/XX.json                    which plugins there are, and what their files have to be
    plugins/<namespace>/<name>.json   one whole plugin, also versions that plugins.json leaves out
    catalogue.json                    one row for each plugin, for search
    publishers.json, advisories.json  what the source states of publishers and known faults
    feed.atom                         what happened lately
    schemas/…                         JSON Schemas of all of these documents
    bundles/sha256/…, artifacts/…     bundles and attestations by digest; artifacts kept here

Built from the source alone: the same source gives the same bytes, wherever and whenever. It is
built aside and takes its place when it is whole (`output`); what an earlier build made of the same
record is taken over (`kept`).
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aperio_cli.errors.registries import EditionSigned
from aperio_cli.files import writing
from aperio_cli.models.artifact import MAX_ATTESTATIONS_BYTES, MAX_BUNDLE_BYTES
from aperio_cli.models.digest import Digest
from aperio_cli.models.registry.documents import ROOT_FILE, FileRef, plugin_path, shard_path
from aperio_cli.models.registry.log_entry import PublisherEntry, digest_of
from aperio_cli.models.registry_index import FILE_NAME, MAX_BYTES
from aperio_cli.models.tlog.note import Checkpoint
from aperio_cli.publishing import views
from aperio_cli.publishing.copying import Copier
from aperio_cli.publishing.kept import Kept, KeptRow, key_of
from aperio_cli.publishing.output import ROOT_BUNDLE, replacing
from aperio_cli.publishing.pointing import check_places
from aperio_cli.publishing.recording import (
    RegistryLog,
    keep_log,
    log_files,
    places_of,
    published_log,
    read_log,
    require_signed_log,
    said_of,
)
from aperio_cli.publishing.rendering import compact, render
from aperio_cli.publishing.source import RECORDS, open_source, typed
from aperio_cli.registry import BUILT_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from aperio_cli.models.registry.publishers import RegistryPublisher
    from aperio_cli.publishing.edition import Edition
    from aperio_cli.publishing.output import Output, Signature
    from aperio_cli.publishing.record import Record
    from aperio_cli.publishing.rendering import Row
    from aperio_cli.publishing.source import RegistryFolder, SourceFile

_MOST_BUNDLE_BYTES: Final = (MAX_BUNDLE_BYTES, MAX_ATTESTATIONS_BYTES)


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What was built.

    Attributes:
        out: the folder.
        plugins: how many plugins.
        versions: how many versions.
        left_out: versions that stand in the plugins' own files only, as `id@version`.
        skipped: records of a kind or a schema that this aperio does not know.
        serial: the edition.
        expires_at: its last moment, RFC 3339 in UTC.
        is_signed: whether the signature of an earlier build is still good.
        is_waiting: whether an earlier build that is signed stays in the folder until this one,
            which is none there yet, is signed.
        index_bytes: how long plugins.json is.
    """

    out: Path
    plugins: int
    versions: int
    left_out: tuple[str, ...]
    skipped: tuple[str, ...]
    serial: int
    expires_at: str
    is_signed: bool
    is_waiting: bool
    index_bytes: int

    @property
    def is_too_long(self) -> bool:
        """Whether plugins.json is longer than readers take."""
        return self.index_bytes > MAX_BYTES

    def to_json(self) -> dict[str, object]:
        """Return the report as the `data` of the JSON envelope."""
        return {
            "out": str(self.out),
            "plugins": self.plugins,
            "versions": self.versions,
            "left_out": list(self.left_out),
            "skipped": list(self.skipped),
            "serial": self.serial,
            "expires_at": self.expires_at,
            "signed": self.is_signed,
            "waiting": self.is_waiting,
        }


def build(
    directory: Path,
    out: Path | None = None,
    *,
    cache: Path | None = None,
    is_renewed: bool = False,
) -> BuildReport:
    """Build a registry, which replaces an earlier build wholly or not at all.

    One that is signed is replaced once this one is, too (`sealing.place_sealed`).

    Args:
        directory: the registry's source.
        out: where to write; by default `public` in the source. A folder that is missing, empty,
            or an earlier build and nothing else.
        cache: where is kept what was built; None keeps nothing and makes everything anew.
        is_renewed: whether to move the source to its next edition first, changed or not.

    Raises:
        RegistrySourceInvalid: the folder is no registry, a record is damaged or points where it
            may not, or an artifact, a bundle or attestations are missing or not those that were
            added.
        EditionSigned: the source was changed by hand since this very edition was signed.
        FileNotRegular: a link stands in the source, or in the place of the output.
        RegistryOutputForeign: the output holds something else.
        LockHeld: another process is changing the source.
        DiskFull: there is no space.
        OSError: the folder cannot be written.
    """
    shown = directory / BUILT_FOLDER if out is None else out
    with (
        open_source(directory) as registry,
        writing.disk_full_guard(f"`{shown}` was not built"),
        registry.lock(),
        _kept(directory, shown, cache) as kept,
    ):
        edition = registry.edition()
        if is_renewed:
            edition = edition.next()
            registry.write_edition(edition)
        with replacing(registry.root, shown) as output:
            building = _Building(registry, edition, output, kept)
            report = building.build(shown)
        building.keep()
    return report


@contextlib.contextmanager
def _kept(directory: Path, out: Path, cache: Path | None) -> Iterator[Kept | None]:
    if cache is None:
        yield None
        return
    name = Digest.of(os.fsencode(directory.resolve())).hex[:32]
    with Kept(cache / f"{name}.db", out.resolve()) as kept:
        yield kept


@dataclass(slots=True)
class _Building:
    """One build on its way."""

    registry: RegistryFolder
    edition: Edition
    output: Output
    kept: Kept | None
    rows: list[Row] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    made: list[tuple[SourceFile, str, KeptRow]] = field(default_factory=list)
    publishers: dict[str, tuple[RegistryPublisher, str]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    log: RegistryLog = field(default_factory=RegistryLog)
    built: int = -1

    def build(self, shown: Path) -> BuildReport:
        """Write everything into the folder aside; return what it was."""
        self.log = read_log(self.registry.root)
        require_signed_log(self.registry.path, self.log, self.edition.signed_log)
        there = self.output.earlier_files() if self._is_ours else None
        self.output.is_merged = there is not None
        self._read_publishers()
        with contextlib.closing(Copier(self.registry.root, self.output)) as copier:
            self._write_plugins(copier, there or {})
            self._conclude_log()
            copier.copy_missing(self.rows, there or {})
        files = self._write_fixed()
        root = self._write_root(files)
        keep_log(self.registry.root, self.log)
        self.built = self.output.new.inode
        is_signed = self._keep_signature(root)
        self.output.is_waiting = not is_signed and self._is_earlier_signed
        return BuildReport(
            out=shown,
            plugins=len(self.rows),
            versions=sum(row.versions for row in self.rows),
            left_out=tuple(f"{r.id}@{version}" for r in self.rows for version in r.left_out),
            skipped=tuple(self.skipped),
            serial=self.edition.serial,
            expires_at=self.edition.expires_at,
            is_signed=is_signed,
            is_waiting=self.output.is_waiting,
            index_bytes=files[FILE_NAME].size_bytes,
        )

    def keep(self) -> None:
        """Keep for the next build what was made anew."""
        if self.kept is not None:
            self.kept.replace(self.made, self.gone, self.built)

    def _read_publishers(self) -> None:
        for file in self.registry.publisher_files():
            publisher = self.registry.publisher(file.parts)
            said = Digest.of(compact(publisher.to_json())).hex
            self.publishers[publisher.namespace] = (publisher, said)
        self.log.say_publishers(
            [PublisherEntry(n, digest_of(p.to_json())) for n, (p, _) in self.publishers.items()]
        )

    def _write_plugins(self, copier: Copier, there: Mapping[str, Signature]) -> None:
        """Write the file of every plugin whose record is another one than before."""
        earlier = self.kept.rows() if self.kept and there else {}
        for file in self.registry.record_files():
            publisher, said = self.publishers.get(file.parts[1], (None, ""))
            key = key_of(file, f"{said}{self.edition.is_private}")
            before, known = earlier.pop(file.path, ("", None))
            if known and before == key and there.get(known.row.path) == known.file:
                self.rows.append(known.row)
                continue
            record = self.registry.known_record(file.parts)
            if record is None:
                self.skipped.append(file.path)
                continue
            kept = self._write_plugin(file, copier.with_bundles(record), publisher)
            self.made.append((file, key, kept))
            copier.copy_soon(kept.row, there)
        self.gone = set(earlier)

    @property
    def _is_ours(self) -> bool:
        """Whether it is known of the earlier build what it was made of.

        Its files say where the log has what they offer: the log has to have gone on from there.
        """
        old = self.output.old
        if old is None or self.kept is None or not self.kept.is_of(old.inode):
            return False
        published = published_log(old)
        return published is not None and self.log.continues(Checkpoint.parse(published.text))

    def _write_plugin(
        self, file: SourceFile, record: Record, publisher: RegistryPublisher | None
    ) -> KeptRow:
        path = self.registry.root.path(*file.parts)
        check_places(path, record, is_private=self.edition.is_private)
        artifacts, statuses = said_of(record)
        if artifacts:
            self.log.say_plugin(artifacts, statuses)
        places = places_of(self.log, artifacts)
        row, data = render(record, publisher, places, most_bundle_bytes=_MOST_BUNDLE_BYTES)
        signature = self.output.add(plugin_path(record.id), data)
        self.rows.append(row)
        return KeptRow(row, signature)

    def _conclude_log(self) -> None:
        """Log what is gone, and write the log; records of a later aperio are still there."""
        there = {row.id for row in self.rows}
        there |= {path.removeprefix(f"{RECORDS}/").removesuffix(".json") for path in self.skipped}
        self.log.say_gone(there)
        self.log.conclude()
        before = published_log(self.output.old) if self.output.old else None
        for path, data in log_files(self.log, before):
            self.output.add(path, data)

    def _write_fixed(self) -> dict[str, FileRef]:
        publishers = (each.to_json() for each, _ in self.publishers.values())
        advisories = self.registry.advisories()
        files = views.fixed_files(self.rows, self.edition, publishers, advisories)
        written = {path: self._write(path, data) for path, data in files.items()}
        return written | dict(self._write_schemas())

    def _write_schemas(self) -> Iterator[tuple[str, FileRef]]:
        for path, data in views.schemas():
            self.output.add(path, data)
            yield path, FileRef.of(data)

    def _write_root(self, files: dict[str, FileRef]) -> bytes:
        shards = []
        for number, data in enumerate(views.shards(self.rows, self.publishers)):
            self.output.add(shard_path(number), data)
            shards.append(FileRef.of(data))
        root = views.root(self.edition, files, shards, self.log.checkpoint)
        _refuse_another(self.edition, Digest.of(root), self.registry.path)
        self._write(ROOT_FILE, root)
        return root

    def _write(self, path: str, data: bytes) -> FileRef:
        self.output.new.write_atomic(path, data=data)
        return FileRef.of(data)

    @property
    def _is_earlier_signed(self) -> bool:
        old = self.output.old
        return old is not None and old.has_file(ROOT_BUNDLE) and old.has_file(ROOT_FILE)

    def _keep_signature(self, root: bytes) -> bool:
        """Take the root's bundle over, when it is for these very bytes."""
        old = self.output.old
        if old is None or not self._is_earlier_signed:
            return False
        if old.read(ROOT_FILE, limit_bytes=MAX_BUNDLE_BYTES) != root:
            return False
        bundle = old.read(ROOT_BUNDLE, limit_bytes=MAX_BUNDLE_BYTES)
        self.output.new.write_atomic(ROOT_BUNDLE, data=bundle)
        return True


def _refuse_another(edition: Edition, found: Digest, directory: Path) -> None:
    """Refuse a second registry.json of an edition that was signed: clients refuse it, too.

    Raises:
        EditionSigned: the source was changed without a new edition.
    """
    signed = edition.as_signed
    if signed and signed != found:
        raise EditionSigned(
            f"the registry was not built: edition {edition.serial} was signed already,"
            " and the source has changed since",
            why=f"signed {signed}\nfound  {found}",
            next=[
                f"make it a new edition: {typed('build --renew', directory)}",
                "bring back what was changed by hand",
            ],
        )
