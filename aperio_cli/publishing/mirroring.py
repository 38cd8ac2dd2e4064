"""Copies chosen plugins of a registry, with all that proves them, to where the registry is not.

A mirror is the registry itself, without the other plugins: its signed root, every document about
all plugins, its whole log, and of the chosen plugins their files, artifacts, bundles and
statements, with the proof of each in one file (c2sp.org/tlog-proof) beside the artifact. So a
client reads it by the rule for that registry, and trusts nobody besides. Artifacts that lie
elsewhere are copied, too, under their digest, where clients look when they have no way out.

Everything is checked on the way, copied aside, and takes its place when it is whole.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aperio_cli.errors.registries import PluginNotFound
from aperio_cli.errors.usage import UsageError
from aperio_cli.files import writing
from aperio_cli.files.beneath import Beneath
from aperio_cli.models.artifact import MAX_ATTESTATIONS_BYTES, MAX_BUNDLE_BYTES
from aperio_cli.models.plugin_id import is_prerelease
from aperio_cli.models.registry.documents import (
    SHARDS,
    mirrored_path,
    plugin_path,
    shard_path,
)
from aperio_cli.models.registry.log_entry import artifact_entry
from aperio_cli.models.tlog.note import MAX_NOTE_BYTES
from aperio_cli.models.tlog.proof import SUFFIX
from aperio_cli.models.tlog.tiles import (
    CHECKPOINT_PATH,
    MAX_TILE_BYTES,
    bundles_of,
    tiles_of,
)
from aperio_cli.models.tlog.tiles import (
    MAX_BUNDLE_BYTES as MAX_ENTRIES_BYTES,
)
from aperio_cli.net.fetch import FetchRequest, fetch_into
from aperio_cli.publishing.output import replacing
from aperio_cli.registry.log import LOG, require_bounded
from aperio_cli.registry.reader import unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from aperio_cli.models.platform import Platform
    from aperio_cli.models.plugin_id import PluginRef
    from aperio_cli.models.registry.plugin_file import PluginArtifact, PluginFile, PluginVersion
    from aperio_cli.publishing.output import Output
    from aperio_cli.registry.rooted import RootedRegistry

_TIMEOUT_S: Final = 600.0
_COPIED: Final = ("artifacts", "bundles", "mirrored")
"""Folders in which a mirror keeps artifacts, and what stands beside them."""


@dataclass(frozen=True, slots=True)
class MirrorRequest:
    """What to copy where.

    Attributes:
        refs: plugins; without a version, the highest that is stable and not withdrawn.
        destination: a folder that is missing, empty, or an earlier mirror, which is replaced.
        platforms: those whose artifacts are copied; empty for all.
    """

    refs: Sequence[PluginRef]
    destination: Path
    platforms: Sequence[Platform] = ()


@dataclass(frozen=True, slots=True)
class Mirrored:
    """One artifact that was copied.

    Attributes:
        id: the plugin, its version and the platform, as texts.
        version: its version.
        platform: its platform.
        sha256: of the artifact.
        size_bytes: its length.
    """

    id: str
    version: str
    platform: str
    sha256: str
    size_bytes: int

    def to_json(self) -> dict[str, object]:
        """Return it as reports carry it."""
        return {
            "id": self.id,
            "version": self.version,
            "platform": self.platform,
            "sha256": self.sha256,
            "size": self.size_bytes,
        }


def mirror(reader: RootedRegistry, request: MirrorRequest) -> list[Mirrored]:
    """Copy chosen plugins of a registry, which replaces an earlier mirror wholly or not at all.

    Raises:
        PluginNotFound: the registry has no such plugin, version or platform.
        UsageError: the destination is the registry itself.
        RegistryOutputForeign: the destination holds something else.
        FileNotRegular: it is a link.
        DiskFull: there is no space.
        AperioError: the registry cannot be read, or something is not what its root states
            (`RegistryReader.find`).
    """
    destination = request.destination.absolute()
    _refuse_itself(reader, request.destination)
    with writing.disk_full_guard(f"`{request.destination}` was not made"):
        destination.parent.mkdir(parents=True, exist_ok=True)
        chosen = [_chosen(reader, ref, request.platforms) for ref in request.refs]
        with (
            Beneath(destination.parent) as above,
            replacing(above, destination) as output,
        ):
            copying = _Copying(reader, output)
            copying.copy_registry()
            return [each for plugin in chosen for each in copying.copy_plugin(*plugin)]


def _refuse_itself(reader: RootedRegistry, destination: Path) -> None:
    """Refuse to replace a registry by a mirror of some of its plugins.

    Raises:
        UsageError: the destination is the folder that is read, or the registry's source.
    """
    folders = [Path(each) for each in (reader.documents.place, reader.documents.below) if each]
    if any(
        each.exists() and destination.exists() and each.samefile(destination) for each in folders
    ):
        raise UsageError(
            f"`{destination}` was left as it is: it is the registry that is to be mirrored",
            why=f"the registry is read from {reader.documents.place}",
            next=["name a new or an empty folder"],
        )


def _chosen(
    reader: RootedRegistry, ref: PluginRef, platforms: Sequence[Platform]
) -> tuple[PluginFile, PluginVersion, list[PluginArtifact]]:
    """Return a plugin's file, the version that is meant, and the artifacts to copy.

    Raises:
        PluginNotFound: there is none.
    """
    listing = reader.find(ref.id)
    file = listing.file if listing else None
    versions = file.versions if file else ()
    meant = [
        each
        for each in versions
        if each.version == ref.version
        or (ref.version is None and not is_prerelease(each.version) and not _is_gone(each))
    ]
    there = meant[0].artifacts if meant else ()
    artifacts = [each for each in there if not platforms or each.platform in platforms]
    if file is None or not artifacts:
        known = ", ".join(each.version for each in versions[:10]) or "none"
        raise PluginNotFound(
            f"`{ref}` was not mirrored: {reader.name} does not have it",
            why=f"its versions: {known}"
            + (f"\nasked for {', '.join(map(str, platforms))}" if platforms else ""),
            next=["check id, version and platform"],
        )
    return file, meant[0], artifacts


def _is_gone(version: PluginVersion) -> bool:
    return version.status is not None and version.status.is_withdrawn


class _Copying:
    """One mirror on its way."""

    def __init__(self, reader: RootedRegistry, output: Output) -> None:
        self._reader = reader
        self._output = output
        self._written: set[str] = set()

    def copy_registry(self) -> None:
        """Copy the root, the documents about all plugins, and the log."""
        reader, root = self._reader, self._reader.root()
        for path, data in reader.root_files().items():
            self._output.new.write_atomic(path, data=data)
        for path in root.files:
            self._add(path, reader.fixed_file(path))
        for number in range(SHARDS):
            self._add(shard_path(number), reader.shard_data(number))
        for path, limit_bytes in self._log_paths():
            self._add(path, reader.log_file(path, limit_bytes))

    def _log_paths(self) -> Iterator[tuple[str, int]]:
        checkpoint = self._reader.root().log
        if checkpoint is None:
            return
        require_bounded(self._reader.documents.place, checkpoint)
        yield f"{LOG}/{CHECKPOINT_PATH}", MAX_NOTE_BYTES
        for tile in tiles_of(checkpoint.size):
            yield f"{LOG}/{tile.path}", MAX_TILE_BYTES
        for bundle in bundles_of(checkpoint.size):
            yield f"{LOG}/{bundle.path}", MAX_ENTRIES_BYTES

    def copy_plugin(
        self, file: PluginFile, version: PluginVersion, artifacts: Iterable[PluginArtifact]
    ) -> list[Mirrored]:
        """Copy one version of a plugin, and return what was copied."""
        self._add(plugin_path(file.id), self._reader.file_data(file.id))
        copied = []
        for artifact in artifacts:
            path = self._copy_artifact(artifact)
            for url, digest, limit_bytes in (
                (artifact.bundle, artifact.bundle_digest, MAX_BUNDLE_BYTES),
                (artifact.attestations, artifact.attestations_digest, MAX_ATTESTATIONS_BYTES),
            ):
                data = self._reader.beside(url, digest, limit_bytes)
                if data is not None and "://" not in url:
                    self._add(self._place(url), data)
            if log := self._reader.log():
                entry = artifact_entry(file.id, version, artifact)
                self._add(path + SUFFIX, log.prove(entry, artifact.log_index).to_bytes())
            copied.append(
                Mirrored(
                    str(file.id),
                    version.version,
                    str(artifact.platform),
                    artifact.digest.hex,
                    artifact.size_bytes,
                )
            )
        return copied

    def _copy_artifact(self, artifact: PluginArtifact) -> str:
        """Copy an artifact under its own path, or its digest's; return where it is."""
        is_elsewhere = "://" in artifact.url
        path = mirrored_path(artifact.digest) if is_elsewhere else self._place(artifact.url)
        if path in self._written:
            return path
        self._written.add(path)
        location = self._reader.location(artifact)
        place = self._reader.documents.place
        request = FetchRequest(
            location,
            artifact.size_bytes,
            artifact.digest,
            timeout_s=_TIMEOUT_S,
            named_by=place if "://" in place else "",
            below="" if "://" in location else self._reader.documents.below,
        )
        with self._output.aside(path) as aside:
            fetch_into(request, aside.file)
            aside.commit()
        return path

    def _place(self, url: str) -> str:
        """Return where a mirror has what a registry has there.

        Raises:
            IndexUnreadable: there stands a document in every registry, or nothing that is known.
        """
        folder, _, name = url.partition("/")
        if name and folder in _COPIED:
            return url
        why = f"`{url}` is stated for an artifact, or for what stands beside one"
        raise unreadable(
            self._reader.documents.place, f"{why}\nexpected a path in {' or '.join(_COPIED)}"
        )

    def _add(self, path: str, data: bytes) -> None:
        if path not in self._written:
            self._written.add(path)
            with contextlib.suppress(FileExistsError):
                self._output.add(path, data)
