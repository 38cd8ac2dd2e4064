"""The memory of what registries say against versions (`models.known`), in the operator's home."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from aperio_cli import clock
from aperio_cli.errors import AperioError
from aperio_cli.errors.files import PathShared, RecordNewer
from aperio_cli.errors.registries import IndexTooLarge, KnownVersionsUnreadable
from aperio_cli.files import locking, owning, reading, writing
from aperio_cli.models.known import BOUNDS, Known, KnownVersions
from aperio_cli.models.reading import Unreadable, described, require_few_members

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.registry.edition import Edition
    from aperio_cli.models.registry.plugin_file import VersionStatus
    from aperio_cli.paths import Paths


def load_known(paths: Paths) -> KnownVersions:
    """Return what is remembered in this home, and in the one that root keeps for all.

    Raises:
        KnownVersionsUnreadable: a memory is damaged: what was revoked would pass.
        RecordNewer: a newer aperio wrote it.
        PathShared: somebody else may change it.
    """
    known = _read(paths.known_versions)
    system = paths.system
    return known.and_also(_read(system.known_versions)) if system else known


def remember(
    paths: Paths, plugin: PluginId, edition: Edition, versions: dict[str, VersionStatus]
) -> None:
    """Remember what a registry says against the versions of a plugin, unless it said more before.

    A signed registry's older edition changes nothing. Nothing is written when nothing changes.

    Args:
        paths: gives the memory; made when missing, and there is something to remember.
        plugin: the plugin.
        edition: the registry, and which edition of it was read.
        versions: what it says against each version that it says something against.

    Raises:
        KnownVersionsUnreadable, RecordNewer, PathShared: as `load_known`.
        IndexTooLarge: with it the memory would be longer than it is read; it stays as it was.
        LockHeld: another process is remembering something.
        DiskFull: there is no space.
        OSError: the memory cannot be written.
    """
    said = Known(edition.epoch, edition.serial, clock.timestamp(), versions)
    if not _is_news(_read(paths.known_versions), plugin, edition, said):
        return
    path = paths.known_versions
    if not path.parent.exists():
        writing.ensure_own(path.parent)
    lock = path.with_suffix(".lock")
    with locking.FileLock(lock, what=f"what is known of `{plugin}` was not remembered"):
        before = _read(path)
        if _is_news(before, plugin, edition, said):
            after = before.having(plugin, edition.registry, said).to_bytes()
            _require_readable(after, plugin, edition)
            writing.write_atomic(path, after, mode=0o600)


def _is_news(known: KnownVersions, plugin: PluginId, edition: Edition, said: Known) -> bool:
    before = known.plugins.get(plugin, {}).get(edition.registry)
    if before is None:
        return bool(said.versions)
    is_older = edition.signer is not None and said.edition < before.edition
    return not is_older and (said.versions != before.versions or said.edition != before.edition)


def _require_readable(memory: bytes, plugin: PluginId, edition: Edition) -> None:
    """Refuse a memory that nobody could read any more, which would keep every plugin from starting.

    Raises:
        IndexTooLarge: it is longer than it may be, or has more members.
    """
    why = ""
    if len(memory) > BOUNDS.size_bytes:
        why = f"expected at most {BOUNDS.size_bytes} bytes\nfound    {len(memory)}"
    try:
        require_few_members(memory, BOUNDS.members)
    except Unreadable as error:
        why = str(error)
    if why:
        raise IndexTooLarge(
            f"what {edition.name} says of `{plugin}` was not used:"
            " it says more against versions than can be remembered",
            why=why,
            next=[
                "tell whoever maintains the registry",
                "take the registry out of config.toml, if you can do without it",
            ],
        )


def _read(path: Path) -> KnownVersions:
    def fail(key: str, why: str) -> NoReturn:
        raise _unreadable(path, described(key, why))

    try:
        owning.require_own(path)
        data = reading.read_capped(path, BOUNDS.size_bytes)
    except (FileNotFoundError, NotADirectoryError):
        return KnownVersions()
    except (PathShared, RecordNewer):
        raise
    except (AperioError, OSError) as error:
        raise _unreadable(path, str(error)) from error
    try:
        return KnownVersions.parse(data, path, fail)
    except (KnownVersionsUnreadable, RecordNewer):
        raise
    except AperioError as error:  # of an id, or of a version
        raise _unreadable(path, f"{error.what}\n{error.why}") from error


def _unreadable(path: Path, why: str) -> KnownVersionsUnreadable:
    return KnownVersionsUnreadable(
        f"`{path}` was not read: what registries have revoked is not known",
        why=why,
        next=[
            "bring that file back from a copy",
            "move it away, then `aperio plugin list --outdated`, which asks the registries anew",
        ],
    )
