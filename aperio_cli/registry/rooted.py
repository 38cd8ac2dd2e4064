"""A registry with a root: what each of its documents has to be, down from one signature.

Looking a plugin up reads the root, one shard and the plugin's own file, however large the registry
is; an offer reads the bundle and the statements beside it. A document whose digest is known is
taken from the cache without asking.

Root and documents are fetched one after the other, and a registry may be published anew in between:
what does not fit together is read once more from the server itself, past every cache. So is what
has ended or is older than was seen: whoever once had an old root kept here, under marks of his own
choice, could otherwise have it confirmed for ever.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from aperio_cli import clock
from aperio_cli.errors.files import DigestMismatch, Offline
from aperio_cli.errors.registries import (
    IndexTooLarge,
    IndexUnreadable,
    RegistryExpired,
    RegistryLogForked,
    RegistryLogUnproven,
    RegistryOutdated,
    RegistrySignatureInvalid,
)
from aperio_cli.files.beneath import Beneath
from aperio_cli.models.address import shown
from aperio_cli.models.artifact import BUNDLE_SUFFIX, MAX_ATTESTATIONS_BYTES, MAX_BUNDLE_BYTES
from aperio_cli.models.offer import Offer
from aperio_cli.models.origin import REGISTRY, Build, Origin
from aperio_cli.models.registry.advisories import parse_advisories
from aperio_cli.models.registry.catalogue import parse_catalogue
from aperio_cli.models.registry.documents import (
    ADVISORIES_FILE,
    CATALOGUE_FILE,
    PUBLISHERS_FILE,
    ROOT_BOUNDS,
    ROOT_FILE,
    SHARDS,
    mirrored_path,
    plugin_path,
    shard_number,
    shard_path,
)
from aperio_cli.models.registry.edition import Edition
from aperio_cli.models.registry.log_entry import artifact_entry
from aperio_cli.models.registry.plugin_file import parse_plugin_file
from aperio_cli.models.registry.publishers import parse_publishers
from aperio_cli.models.registry.root import parse_root
from aperio_cli.models.registry.rule import WitnessRule
from aperio_cli.models.registry.shard import parse_shard
from aperio_cli.net.together import read_together
from aperio_cli.registry.earlier import Older, Stated
from aperio_cli.registry.listing import Listing
from aperio_cli.registry.log import LogReader, follow_log, unwitnessed
from aperio_cli.registry.reader import read_beside, read_index_file, unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from aperio_cli.models.digest import Digest
    from aperio_cli.models.platform import Platform
    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.publisher import Signer
    from aperio_cli.models.registry.advisories import Advisory
    from aperio_cli.models.registry.catalogue import CatalogueRow
    from aperio_cli.models.registry.documents import FileRef
    from aperio_cli.models.registry.plugin_file import PluginArtifact, PluginFile, PluginVersion
    from aperio_cli.models.registry.publishers import RegistryPublisher
    from aperio_cli.models.registry.root import Root
    from aperio_cli.models.registry.shard import Shard
    from aperio_cli.models.tlog.note import Checkpoint
    from aperio_cli.models.tlog.proof import LogProof
    from aperio_cli.registry.reader import Documents

    Follow = Callable[[Checkpoint, Checkpoint | None], None]
    Judge = Callable[[Root], None]

_SUGGESTING_BYTES: Final = 1024 * 1024
"""How long a catalogue is read to suggest an id that comes close."""
_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)


class RootVerifier(Protocol):
    """Says what a root states, and who signed it."""

    def __call__(
        self, data: bytes, bundle: bytes | None, where: str, follow: Follow, judge: Judge
    ) -> tuple[Root, Signer]:
        """Return the root and its signer, as the configuration requires one.

        Of a root that is refused, by whomever, nothing is remembered.

        Raises:
            Refusal: it is not signed by whom it has to be, has ended, or was taken back, or its log
                does not continue the one that was seen before, which `follow` says, or it lacks
                what `judge` asks for.
            AperioError: it cannot be read, or not be remembered.
        """


@dataclass(slots=True)
class RootedRegistry:
    """A registry that is read from its root.

    Attributes:
        documents: where it is.
        verify: holds the root against whom the configuration names; None where nobody is named,
            and nobody has to be.
        witnesses: who has to have seen its log.
        rule: tells by what its root is accepted; another one makes nothing of what was kept by it.
    """

    documents: Documents
    verify: RootVerifier | None
    witnesses: WitnessRule = field(default_factory=WitnessRule)
    rule: str = ""
    _read_root: tuple[Root, Edition] | None = field(default=None, init=False)
    _raw: dict[str, bytes] = field(default_factory=dict, init=False)
    _older: dict[str, Older] = field(default_factory=dict, init=False)
    _is_fresh: bool = field(default=False, init=False)

    @property
    def place(self) -> str:
        """The folder or the address (`RegistryReader.place`)."""
        return self.documents.place

    @property
    def name(self) -> str:
        """What people are shown: where it is, and whether somebody has to have signed it."""
        place = self.documents.place
        return place if self.verify else Edition(place).name

    def edition(self) -> Edition:
        """Return which edition it is in (`RegistryReader.edition`)."""
        return self._fitting(lambda: self._root()[1])

    def root(self) -> Root:
        """Return the root.

        Raises:
            AperioError: as `RegistryReader.find`.
        """
        return self._fitting(lambda: self._root()[0])

    def states(self, namespace: str) -> bool:
        """Return whether it says that a namespace is its own (`RegistryReader.states`)."""
        return self._fitting(lambda: namespace in self._shard(namespace).namespaces)

    def find(self, plugin: PluginId) -> Listing | None:
        """Return what it has of a plugin (`RegistryReader.find`)."""
        return self._fitting(lambda: self._find(plugin))

    def offer(self, listing: Listing, version: str, platform: Platform) -> Offer:
        """Return an offer (`RegistryReader.offer`)."""
        stated = listing.file and listing.file.version(version)
        artifact = stated and stated.artifact(platform)
        assert stated  # noqa: S101 - the listing has both
        assert artifact  # noqa: S101 - as above
        proof = self._fitting(lambda: self._proof(listing, stated, artifact))
        location = self.location(artifact)
        return Offer(
            id=listing.id,
            version=version,
            kind=listing.kind,
            platform=platform,
            location=location,
            digest=artifact.digest,
            size_bytes=artifact.size_bytes,
            bundle=self.beside(artifact.bundle, artifact.bundle_digest, MAX_BUNDLE_BYTES),
            attestations=self.beside(
                artifact.attestations, artifact.attestations_digest, MAX_ATTESTATIONS_BYTES
            ),
            source=listing.edition.name,
            index_serial=listing.edition.serial,
            below="" if "://" in location else self.documents.below,
            mirrors=self._mirrors(artifact),
            edition=listing.edition,
            tree=artifact.tree,
            origin=Origin(REGISTRY, listing.edition.registry),
            builds=tuple(Build(a.platform, a.digest, a.size_bytes) for a in stated.artifacts),
            log_proof=proof,
        )

    def names(self) -> tuple[str, ...]:
        """Return the ids that it has, where its catalogue is short."""
        ref = self.root().files[CATALOGUE_FILE]
        if ref.size_bytes > _SUGGESTING_BYTES:
            return ()
        return tuple(str(row.id) for row in self.rows())

    def rows(self) -> tuple[CatalogueRow, ...]:
        """Return one row for each plugin that it has (`RegistryReader.rows`)."""
        return self._fixed(CATALOGUE_FILE, parse_catalogue, older=True).rows

    def publishers(self) -> tuple[RegistryPublisher, ...]:
        """Return whom it knows as publishers.

        Raises:
            AperioError: as `RegistryReader.find`.
        """
        return self._fixed(PUBLISHERS_FILE, parse_publishers, older=True)

    def advisories(self, *, older: bool = False) -> tuple[Advisory, ...]:
        """Return what it says of known faults (`RegistryReader.advisories`)."""
        return self._fixed(ADVISORIES_FILE, parse_advisories, older=older)

    def older(self) -> tuple[Older, ...]:
        """Return what was given of an older edition (`RegistryReader.older`)."""
        return tuple(self._older.values())

    def files(self) -> Iterator[PluginFile]:
        """Return the file of every plugin, shard by shard.

        Raises:
            AperioError: as `RegistryReader.find`.
        """
        for number in range(SHARDS):
            for plugin, ref in sorted(self._shard_at(number).plugins.items(), key=_by_id):
                yield self._file(plugin, ref)

    def root_files(self) -> dict[str, bytes]:
        """Return the root as it was read, and the bundle beside it, by path.

        Raises:
            AperioError: as `RegistryReader.find`.
        """
        self.root()
        return dict(self._raw)

    def shard_data(self, number: int) -> bytes:
        """Return the contents of a shard.

        Raises:
            AperioError: as `RegistryReader.find`.
        """
        return self._stated(shard_path(number), self.root().shards[number])

    def file_data(self, plugin: PluginId) -> bytes:
        """Return the contents of the file of a plugin that the registry has.

        Raises:
            AperioError: as `RegistryReader.find`.
        """
        return self._stated(plugin_path(plugin), self._shard(str(plugin)).plugins[plugin])

    def fixed_file(self, path: str) -> bytes:
        """Return one of the documents that the root states by name.

        Raises:
            AperioError: as `RegistryReader.find`.
        """
        return self._fitting(lambda: self._stated(path, self._root()[0].files[path]))

    # ── down from the root ────────────────────────────────────────────────────────────────────────

    def _fitting(self, read: Callable[[], _T]) -> _T:
        """Return what is read; where it does not fit together, of a root that is read anew."""
        try:
            return read()
        except (
            DigestMismatch,
            IndexTooLarge,
            IndexUnreadable,
            RegistryExpired,
            RegistryLogForked,
            RegistryLogUnproven,
            RegistryOutdated,
            RegistrySignatureInvalid,
        ):
            if self._is_fresh or "://" not in self.documents.place:
                raise
        self._read_root, self._is_fresh = None, True
        return read()

    def _root(self) -> tuple[Root, Edition]:
        if self._read_root is None:
            # A root that is refused, and what its log was read for, leave the last good ones be.
            with self.documents.keeping_late():
                self._read_root = self._accepted()
        return self._read_root

    def _accepted(self) -> tuple[Root, Edition]:
        where = self.documents.locate(ROOT_FILE)
        data = self._document(ROOT_FILE, ROOT_BOUNDS.size_bytes, None)
        self._raw = {ROOT_FILE: data}
        root, signer = self._verified(data, where)
        place = self.documents.place
        return root, Edition(place, root.epoch, root.serial, root.expires_at, signer)

    def _verified(self, data: bytes, where: str) -> tuple[Root, Signer | None]:
        if self.verify is None:
            root = parse_root(data, where=shown(where))
            self._require_witnesses(root)
            return root, None
        try:
            bundle = self._document(ROOT_FILE + BUNDLE_SUFFIX, MAX_BUNDLE_BYTES, None)
        except IndexUnreadable:  # it is not there, which whoever verifies says in his own words
            return self.verify(data, None, where, self._follow, self._require_witnesses)
        self._raw[ROOT_FILE + BUNDLE_SUFFIX] = bundle
        return self.verify(data, bundle, where, self._follow, self._require_witnesses)

    # ── the log ───────────────────────────────────────────────────────────────────────────────────

    def log(self) -> LogReader | None:
        """Return the log at the checkpoint of the root; None for a registry without one.

        Raises:
            AperioError: as `RegistryReader.find`.
        """
        checkpoint = self.root().log
        return self._log_at(checkpoint) if checkpoint else None

    def log_file(self, path: str, limit_bytes: int) -> bytes:
        """Return a file of the log, by its path below the registry; nothing of it is checked.

        Raises:
            AperioError: as `RegistryReader.find`.
        """
        return self._document(path, limit_bytes, None)

    def log_entries(self, path: str, limit_bytes: int) -> bytes:
        """Return a bundle of the log's entries, as `log_file` does; none of them is kept.

        Whoever reads them reads all, which is too much for a cache, and no proof needs them.

        Raises:
            AperioError: as `RegistryReader.find`.
        """
        with self.documents.keeping_nothing():
            return self._document(path, limit_bytes, None)

    def _log_at(self, checkpoint: Checkpoint) -> LogReader:
        return LogReader(self.documents.place, checkpoint, self.log_file, self._together)

    @property
    def _together(self) -> Callable[[Sequence[str], int], dict[str, bytes | Exception]] | None:
        """Reads several files of the log side by side; None for a folder, which answers at once."""
        return self._log_files if "://" in self.documents.place else None

    def _log_files(self, paths: Sequence[str], limit_bytes: int) -> dict[str, bytes | Exception]:
        return read_together(lambda path: self.log_file(path, limit_bytes), paths)

    def _follow(self, known: Checkpoint, current: Checkpoint | None) -> None:
        follow_log(self.documents.place, self.log_file, known, current, self._together)

    def _require_witnesses(self, root: Root) -> None:
        if self.witnesses.least and root.log is None:
            raise unwitnessed(self.documents.place, "it has no log")
        if root.log:
            self._log_at(root.log).require_witnesses(self.witnesses)

    def _proof(
        self, listing: Listing, stated: PluginVersion, artifact: PluginArtifact
    ) -> LogProof | None:
        """Return the proof that the log has what is offered; None without a log."""
        checkpoint = self._root()[0].log
        if checkpoint is None:
            return None
        entry = artifact_entry(listing.id, stated, artifact)
        with self.documents.keeping_late():
            return self._log_at(checkpoint).prove(entry, artifact.log_index)

    # ── documents ─────────────────────────────────────────────────────────────────────────────────

    def _shard(self, name: str) -> Shard:
        return self._shard_at(shard_number(name))

    def _shard_at(self, number: int) -> Shard:
        url, ref = shard_path(number), self._root()[0].shards[number]
        parse = functools.partial(parse_shard, number=number)
        return self._parsed(url, ref, parse)

    def _find(self, plugin: PluginId) -> Listing | None:
        ref = self._shard(str(plugin)).plugins.get(plugin)
        return Listing.of_file(self._file(plugin, ref), self._root()[1]) if ref else None

    def _file(self, plugin: PluginId, ref: FileRef) -> PluginFile:
        """Return the file of a plugin, which its shard states."""

        def parse(data: bytes, *, where: str) -> PluginFile:
            file = parse_plugin_file(data, where=where)
            if file.id != plugin:
                raise unreadable(where, f"it speaks for `{file.id}`, not for `{plugin}`")
            return file

        return self._parsed(plugin_path(plugin), ref, parse)

    def _fixed(self, url: str, parse: _Parser[_T], *, older: bool) -> _T:
        read = self._newest_or_older if older else self._newest
        return self._fitting(lambda: read(url, parse))

    def _newest(self, url: str, parse: _Parser[_T]) -> _T:
        """Return a document that the root states by name; remember of which edition it is."""
        root, edition = self._root()
        found = self._parsed(url, root.files[url], parse)
        Stated.of(root.files[url], self.rule, edition).keep(self.documents, url)
        return found

    def _newest_or_older(self, url: str, parse: _Parser[_T]) -> _T:
        """Return the same, or offline what an earlier root stated, where no newer was read.

        Whoever only looks is told which edition it is of; nothing is installed by it.
        """
        try:
            return self._newest(url, parse)
        except Offline:
            edition, stated = self._root()[1], Stated.find(self.documents, url)
            if not stated or not stated.serves(self.rule, edition, clock.timestamp()):
                raise
            data = stated.read(self.documents, url)
            if data is None:
                raise
        of = replace(
            edition, epoch=stated.epoch, serial=stated.serial, expires_at=stated.expires_at
        )
        found = parse(data, where=shown(self.documents.locate(url)))
        self._older[url] = Older(url, of, edition)
        return found

    def _parsed(self, url: str, ref: FileRef, parse: _Parser[_T]) -> _T:
        """Return what a document says; one that is refused leaves the last that was not be."""
        with self.documents.keeping_late():
            return parse(self._stated(url, ref), where=shown(self.documents.locate(url)))

    def _stated(self, url: str, ref: FileRef) -> bytes:
        return self._document(url, ref.size_bytes, ref.digest)

    def _document(self, url: str, limit_bytes: int, expected: Digest | None) -> bytes:
        return read_index_file(self.documents, url, limit_bytes, expected, is_fresh=self._is_fresh)

    def beside(self, url: str, expected: Digest | None, limit_bytes: int) -> bytes | None:
        """Return what stands beside an artifact; None for an empty place.

        Raises:
            AperioError: as `RegistryReader.find`.
        """
        if not url:
            return None
        where = self.documents.locate(url)
        return read_beside(self.documents, where, limit_bytes, expected)

    def location(self, artifact: PluginArtifact) -> str:
        """Return where an artifact is: in this folder, when it is a mirror that has it.

        Raises:
            IndexUnreadable: the registry may not point there.
        """
        stated, below = self.documents.locate(artifact.url), self.documents.below
        if "://" not in stated or not below:
            return stated
        mirrored = Path(self.documents.locate(mirrored_path(artifact.digest)))
        try:
            with Beneath(Path(below)) as folder:
                is_there = folder.has_file(*mirrored.relative_to(below).parts)
        except OSError:
            is_there = False
        return str(mirrored) if is_there else stated

    def _mirrors(self, artifact: PluginArtifact) -> tuple[str, ...]:
        """Return those mirrors that can be read; of the others another aperio may know."""
        found = []
        for mirror in artifact.mirrors:
            try:
                found.append(self.documents.locate(mirror))
            except IndexUnreadable:
                continue
        if "://" in artifact.url:  # where a mirror of the whole registry would have it
            found.append(self.documents.locate(mirrored_path(artifact.digest)))
        return tuple(each for each in found if "://" in each)


def _by_id(stated: tuple[PluginId, FileRef]) -> PluginId:
    return stated[0]


class _Parser(Protocol[_T_co]):
    def __call__(self, data: bytes, *, where: str) -> _T_co: ...
