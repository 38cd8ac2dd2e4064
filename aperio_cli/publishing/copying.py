"""Copies what a registry gives out as it is from its source: exactly what the records state."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO, Final

from aperio_cli.errors import Refusal
from aperio_cli.errors.files import FileTooLarge
from aperio_cli.errors.registries import RegistrySourceInvalid
from aperio_cli.files.beneath import OpenFolders
from aperio_cli.models.artifact import BUNDLE_SUFFIX, MAX_BUNDLE_BYTES
from aperio_cli.models.digest import Digest
from aperio_cli.publishing.helping import Helper
from aperio_cli.publishing.source import version_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from aperio_cli.files.beneath import Beneath
    from aperio_cli.publishing.output import Output, Signature
    from aperio_cli.publishing.record import PublishedArtifact, PublishedVersion, Record
    from aperio_cli.publishing.rendering import Copied, Row

_CHUNK_BYTES: Final = 1024 * 1024
_OPEN_FOLDERS: Final = 16  # artifacts are copied plugin by plugin
_MISSING: Final = "it is not there"


@dataclass(slots=True)
class Copier:
    """Copies files of a source into what is built; `close` when it has.

    Attributes:
        root: the source.
        output: what is built.
    """

    root: Beneath
    output: Output
    _folders: OpenFolders = field(init=False)
    _helper: Helper = field(init=False)

    def __post_init__(self) -> None:
        self._folders = OpenFolders(self.root, _OPEN_FOLDERS)
        self._helper = Helper(self._copy)

    def close(self) -> None:
        """End what copies beside this process, and let go of folders that are held open."""
        self._helper.close()
        self._folders.close()

    def copy_soon(self, row: Row, there: Mapping[str, Signature]) -> None:
        """Have what an earlier build does not have copied meanwhile, if somebody can.

        Not artifacts: a copy of one that is broken off would be left over under another name.

        Args:
            row: a plugin.
            there: files of the earlier build.
        """
        for each in row.copied:
            if not each.is_exact and not _is_there(each, there.get(each.path)):
                self._helper.ask(each)

    def copy_missing(self, rows: Sequence[Row], there: Mapping[str, Signature]) -> None:
        """Copy what an earlier build does not have, and see that it keeps nothing else.

        Args:
            rows: every plugin.
            there: files of the earlier build.

        Raises:
            RegistrySourceInvalid: a file is missing, or not the one that was added.
        """
        by_path = {each.path: each for row in rows for each in row.copied}
        missing = [each for path, each in by_path.items() if not _is_there(each, there.get(path))]
        copied = self._helper.finish()
        for each in missing:
            if each not in copied:
                if self._helper.was_asked:
                    self.output.discard(each.path)
                self._copy(each)
        self.output.stale = there.keys() - by_path.keys() - {row.path for row in rows}

    def with_bundles(self, record: Record) -> Record:
        """Return the record with the bundles that records of before leave unstated.

        Raises:
            RegistrySourceInvalid: one of them is missing, or no bundle of that artifact.
        """
        if all(each.bundle for version in record.versions for each in version.artifacts):
            return record
        versions = tuple(self._version_with_bundles(record, each) for each in record.versions)
        return replace(record, versions=versions)

    def _version_with_bundles(self, record: Record, version: PublishedVersion) -> PublishedVersion:
        folder = version_folder(record.id, version.version)
        artifacts = tuple(
            each if each.bundle else self._with_bundle(folder, each) for each in version.artifacts
        )
        return replace(version, artifacts=artifacts)

    def _with_bundle(
        self, folder: tuple[str, ...], artifact: PublishedArtifact
    ) -> PublishedArtifact:
        """Return the artifact with its bundle, when it is one and of that artifact."""
        from aperio_cli.proving.signature import check_bundle

        parts = (*folder, artifact.file_name + BUNDLE_SUFFIX)
        data = self._read(parts, MAX_BUNDLE_BYTES)
        try:
            check_bundle(artifact.digest, data, subject="the bundle")
        except Refusal as refusal:
            path = self.root.path(*parts)
            raise _damaged(path, f"{refusal.what}\n{refusal.why}") from refusal
        return replace(artifact, bundle=Digest.of(data))

    def _copy(self, copied: Copied) -> None:
        parts = tuple(copied.source.split("/"))
        if copied.is_exact:
            self._copy_artifact(copied, parts)
            return
        data = self._read(parts, copied.size_bytes)
        if (found := hashlib.sha256(data).hexdigest()) != copied.sha256:
            why = f"expected sha256:{copied.sha256}\nfound    sha256:{found}"
            raise _damaged(self.root.path(*parts), why)
        self.output.add(copied.path, data)

    def _copy_artifact(self, copied: Copied, parts: tuple[str, ...]) -> None:
        """Copy the bytes that the record names: those that are digested are those written."""
        path = self.root.path(*parts)
        try:
            opened = self.root.open_file(*parts)
        except FileNotFoundError as error:
            raise _damaged(path, _MISSING) from error
        with opened as file, self.output.aside(copied.path) as aside:
            found, size_bytes = _copy(file, aside.file, copied.size_bytes)
            if (found, size_bytes) != (copied.sha256, copied.size_bytes):
                expected = f"sha256:{copied.sha256}, {copied.size_bytes} bytes"
                why = f"expected {expected}\nfound    sha256:{found}, {size_bytes} bytes"
                raise _damaged(path, why)
            aside.commit(durable=False)

    def _read(self, parts: tuple[str, ...], limit_bytes: int) -> bytes:
        try:
            return self._folders.read(*parts, limit_bytes=limit_bytes)
        except FileTooLarge as error:
            raise _damaged(self.root.path(*parts), error.why) from error
        except FileNotFoundError as error:
            raise _damaged(self.root.path(*parts), _MISSING) from error


def _is_there(copied: Copied, found: Signature | None) -> bool:
    """Return whether an earlier build has a file; an exact length tells that it is whole."""
    if found is None:
        return False
    size_bytes = found[1]
    return size_bytes == copied.size_bytes if copied.is_exact else size_bytes > 0


def _copy(file: BinaryIO, copy: BinaryIO, size_bytes: int) -> tuple[str, int]:
    """Copy at most one byte more than the size; return digest and length of that."""
    digest, left = hashlib.sha256(), size_bytes + 1
    while left > 0 and (chunk := file.read(min(_CHUNK_BYTES, left))):
        left -= len(chunk)
        digest.update(chunk)
        copy.write(chunk)
    return digest.hexdigest(), size_bytes + 1 - left


def _damaged(path: Path, why: str) -> RegistrySourceInvalid:
    return RegistrySourceInvalid(
        f"`{path}` is not the file that was added; nothing was built",
        why=why,
        next=["bring the file back from the registry's history"],
    )
