"""What `registry sign` signs: the root of a build that is whole, and of the source's edition."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperio_cli import clock
from aperio_cli.errors.registries import EditionSigned, RegistryNotBuilt
from aperio_cli.models.digest import Digest
from aperio_cli.models.registry.documents import ROOT_BOUNDS, ROOT_FILE, shard_path
from aperio_cli.models.registry.root import Root, parse_root
from aperio_cli.publishing.output import open_built, place_waiting, waiting_build
from aperio_cli.publishing.source import open_source, typed
from aperio_cli.registry import BUILT_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aperio_cli.files.beneath import Beneath
    from aperio_cli.models.registry.documents import FileRef
    from aperio_cli.publishing.edition import Edition


@dataclass(frozen=True, slots=True)
class Sealable:
    """A root that may be signed.

    Attributes:
        path: the file; of a build that waits to be signed, where it waits.
        digest: of its bytes.
        root: what it states.
        folder: where clients read it.
    """

    path: Path
    digest: Digest
    root: Root
    folder: Path

    @property
    def is_waiting(self) -> bool:
        """Whether it is not yet where clients read it."""
        return self.path.parent != self.folder


@dataclass(frozen=True, slots=True)
class _Place:
    """Where something was to be signed.

    Attributes:
        directory: the registry's source.
        folder: where it was built.
        is_elsewhere: whether that was named.
    """

    directory: Path
    folder: Path
    is_elsewhere: bool

    def not_built(self, why: str, *, renew: bool = False) -> RegistryNotBuilt:
        """Return the error of what is no build of the source as it is."""
        out = f" --out {shlex.quote(str(self.folder))}" if self.is_elsewhere else ""
        step = typed(f"build{' --renew' if renew else ''}{out}", self.directory)
        elsewhere = "name where it was built with `--out`"
        return RegistryNotBuilt(
            f"nothing was signed: `{self.folder}` is not a build of this source as it is now",
            why=why,
            next=[step, *([] if self.is_elsewhere else [elsewhere])],
        )


def find_sealable(directory: Path, out: Path | None = None) -> Sealable:
    """Return the root of what was built of a source: of the build that waits, where one does.

    Args:
        directory: the registry's source.
        out: where it was built; by default `public` in the source.

    Raises:
        RegistrySourceInvalid: the folder is no registry.
        RegistryNotBuilt: nothing is built there, or another edition, or it is damaged or has ended.
        EditionSigned: this very edition was signed with other contents.
        FileNotRegular: a link stands in the way.
        IndexUnreadable, IndexVersionUnknown: what stands there is no root.
        OSError: it may not be read.
    """
    folder = directory / BUILT_FOLDER if out is None else out
    place = _Place(directory, folder, is_elsewhere=out is not None)
    with open_source(directory) as registry:
        edition = registry.edition()
        with waiting_build(registry.root, folder) as waiting:
            if waiting is not None:
                return _sealable(place, edition, waiting, waiting.path(ROOT_FILE))
        try:
            with open_built(registry.root, folder) as built:
                return _sealable(place, edition, built, folder / ROOT_FILE)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise place.not_built(f"`{folder / ROOT_FILE}` is not there") from error


def _sealable(place: _Place, edition: Edition, built: Beneath, path: Path) -> Sealable:
    try:
        data = built.read(ROOT_FILE, limit_bytes=ROOT_BOUNDS.size_bytes)
        root = parse_root(data, where=str(path))
        _check_edition(place, edition, root, Digest.of(data))
        _check_whole(place, built, root)
    except FileNotFoundError as error:
        raise place.not_built(f"`{path}` is not there") from error
    return Sealable(path, Digest.of(data), root, place.folder)


def note_sealed(directory: Path, sealed: Sealable) -> None:
    """Note in the source which root was signed, so that the next edition names it.

    Raises:
        LockHeld: another process is changing the source.
        DiskFull: there is no space.
        OSError: the source cannot be written.
    """
    with open_source(directory) as registry, registry.lock():
        edition = registry.edition()
        if edition.serial >= sealed.root.serial:
            root = sealed.root
            noted = edition.signed_as(sealed.digest, root.serial, root.log)
            if noted != edition:
                registry.write_edition(noted)


def place_sealed(directory: Path, sealed: Sealable) -> None:
    """Put a build that waited to be signed, and is now, where clients read it; else do nothing.

    Raises:
        RegistryNotBuilt: another one was built meanwhile, or what it is to replace is not there.
        RegistryOutputForeign, FileNotRegular: what it is to replace is no build any more.
        LockHeld: another process is changing the source.
        OSError: the folder cannot be written.
    """
    if not sealed.is_waiting:
        return
    place = _Place(directory, sealed.folder, is_elsewhere=True)
    with open_source(directory) as registry, registry.lock():
        with waiting_build(registry.root, sealed.folder) as waiting:
            limit = ROOT_BOUNDS.size_bytes
            if waiting is None or Digest.of(waiting.read(ROOT_FILE, limit_bytes=limit)) != (
                sealed.digest
            ):
                raise place.not_built("it was built again while it was signed")
        if not place_waiting(registry.root, sealed.folder):
            raise place.not_built("what it is to replace is not there any more, or another one")


def _check_edition(place: _Place, edition: Edition, root: Root, digest: Digest) -> None:
    stated = (edition.name, edition.epoch, edition.serial)
    if (root.name, root.epoch, root.serial) != stated:
        raise place.not_built(
            f"source: epoch {edition.epoch}, serial {edition.serial}\n"
            f"built:  epoch {root.epoch}, serial {root.serial}",
        )
    if edition.as_signed and edition.as_signed != digest:
        raise EditionSigned(
            f"nothing was signed: edition {edition.serial} was signed already, with other contents",
            why=f"signed {edition.as_signed}\nfound  {digest}",
            next=[f"make it a new edition: {typed('build --renew', place.directory)}"],
        )
    if clock.format_timestamp(clock.now()) > root.expires_at:
        raise place.not_built(f"this edition ended on {root.expires_at}", renew=True)


def _check_whole(place: _Place, built: Beneath, root: Root) -> None:
    """Check the documents that the root states itself; `registry verify` checks all others."""
    for path, ref in _stated(root):
        data = built.read(*path.split("/"), limit_bytes=ref.size_bytes + 1)
        if (len(data), Digest.of(data)) != (ref.size_bytes, ref.digest):
            raise place.not_built(f"`{path}` is not what its root states")


def _stated(root: Root) -> Iterator[tuple[str, FileRef]]:
    yield from root.files.items()
    yield from ((shard_path(number), ref) for number, ref in enumerate(root.shards))
