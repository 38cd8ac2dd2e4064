"""The memory of what registries say against versions (`models.known`), in the operator's home."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from aperio_cli import clock
from aperio_cli.errors import AperioError
from aperio_cli.errors.files import PathShared, RecordNewer
from aperio_cli.errors.registries import IndexTooLarge, KnownVersionsUnreadable
from aperio_cli.files import locking, owning, reading, writing
from aperio_cli.models.known import BOUNDS, Known, KnownVersions
from aperio_cli.models.reading import Unreadable, described, require_few_members

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.registry.edition import Edition
    from aperio_cli.models.registry.plugin_file import VersionStatus
    from aperio_cli.paths import Paths

_SHOWN: Final = 3


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


@dataclass(frozen=True, slots=True)
class Heard:
    """What a registry says of one plugin.

    Attributes:
        plugin: the plugin.
        edition: the registry, and which edition of it was read.
        versions: what it says against each version that it says something against.
    """

    plugin: PluginId
    edition: Edition
    versions: Mapping[str, VersionStatus]


def remember(
    paths: Paths, plugin: PluginId, edition: Edition, versions: Mapping[str, VersionStatus]
) -> None:
    """Remember what a registry says against the versions of a plugin (`remember_all`)."""
    remember_all(paths, [Heard(plugin, edition, versions)])


def remember_all(paths: Paths, heard: Sequence[Heard]) -> None:
    """Remember what registries say against the versions of plugins, unless they said more before.

    A signed registry's older edition changes nothing. Nothing is written when nothing changes.

    Args:
        paths: gives the memory; made when missing, and there is something to remember.
        heard: what was said, of plugins that are told apart.

    Raises:
        KnownVersionsUnreadable, RecordNewer, PathShared: as `load_known`.
        IndexTooLarge: with it the memory would be longer than it is read; that stays as it was,
            but for what others said.
        LockHeld: another process is remembering something.
        DiskFull: there is no space.
        OSError: the memory cannot be written.
    """
    if _with_news(_read(paths.known_versions), heard) is None:
        return
    path = paths.known_versions
    if not path.parent.exists():
        writing.ensure_own(path.parent)
    lock = path.with_suffix(".lock")
    names = ", ".join(f"`{each.plugin}`" for each in heard[:_SHOWN])
    with locking.FileLock(lock, what=f"what is known of {names} was not remembered"):
        after = _with_news(_read(path), heard)
        if after is None:
            return
        data = after.to_bytes()
        if not (why := _unreadably(data)):
            writing.write_atomic(path, data, mode=0o600)
            return
    if len(heard) == 1:
        raise _too_much(heard[0], why)
    _remember_apart(paths, heard)


def _remember_apart(paths: Paths, heard: Sequence[Heard]) -> None:
    """Remember one after the other, so that who says too much keeps nobody else from it."""
    refused = None
    for each in heard:
        try:
            remember_all(paths, [each])
        except IndexTooLarge as error:
            refused = refused or error
    if refused:
        raise refused


def _with_news(known: KnownVersions, heard: Sequence[Heard]) -> KnownVersions | None:
    """Return what is known once this was heard; None when that is nothing new."""
    after = known
    for each in heard:
        edition = each.edition
        said = Known(edition.epoch, edition.serial, clock.timestamp(), each.versions)
        if _is_news(known, each.plugin, edition, said):
            after = after.having(each.plugin, edition.registry, said)
    return None if after is known else after


def _is_news(known: KnownVersions, plugin: PluginId, edition: Edition, said: Known) -> bool:
    before = known.plugins.get(plugin, {}).get(edition.registry)
    if before is None:
        return bool(said.versions)
    is_older = edition.signer is not None and said.edition < before.edition
    return not is_older and (said.versions != before.versions or said.edition != before.edition)


def _unreadably(memory: bytes) -> str:
    """Return why nobody could read a memory any more, so that no plugin could be started."""
    if len(memory) > BOUNDS.size_bytes:
        return f"expected at most {BOUNDS.size_bytes} bytes\nfound    {len(memory)}"
    try:
        require_few_members(memory, BOUNDS.members)
    except Unreadable as error:
        return str(error)
    return ""


def _too_much(heard: Heard, why: str) -> IndexTooLarge:
    return IndexTooLarge(
        f"what {heard.edition.name} says of `{heard.plugin}` was not used:"
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
