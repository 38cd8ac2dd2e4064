"""Withdraws versions: a record of the source says from then on why one should not be used."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aperio_cli.errors.registries import PluginNotFound, VersionWithdrawn
from aperio_cli.errors.usage import UsageError
from aperio_cli.models.plugin_id import check_version
from aperio_cli.models.registry.documents import MAX_TEXT_CHARACTERS
from aperio_cli.models.registry.plugin_file import STATES, VersionStatus
from aperio_cli.publishing.edition import stamp
from aperio_cli.publishing.source import open_source, typed
from aperio_cli.text import counted

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.models.plugin_id import PluginRef
    from aperio_cli.publishing.record import PublishedVersion, Record
    from aperio_cli.publishing.source import RegistryFolder

_MOST_NAMES = 2000  # among more it would take seconds to look for one that comes close


@dataclass(frozen=True, slots=True)
class WithdrawRequest:
    """What to withdraw, and why.

    Attributes:
        directory: the registry's source.
        ref: a plugin and one of its versions.
        state: one of `STATES`.
        reason: for people, one line.
        replacement: the version to use instead; empty when there is none.
    """

    directory: Path
    ref: PluginRef
    state: str
    reason: str
    replacement: str = ""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A version that was withdrawn.

    Attributes:
        ref: which.
        status: what its record says now.
        serial: the edition of the source.
        was_there: whether the record said the same before.
    """

    ref: PluginRef
    status: VersionStatus
    serial: int
    was_there: bool

    def to_json(self) -> dict[str, object]:
        """Return the version as the `data` of the JSON envelope."""
        return {
            "id": str(self.ref.id),
            "version": self.ref.version,
            "state": self.status.state,
            "reason": self.status.reason,
            "replacement": self.status.replacement or None,
            "at": self.status.at,
            "serial": self.serial,
            "was_there": self.was_there,
        }


def withdraw(request: WithdrawRequest) -> Withdrawn:
    """Write the status of a version, and move the source to its next edition.

    Raises:
        UsageError: no version is named, the reason is blank or too long, or the replacement is the
            version itself.
        VersionInvalid: the replacement is no version.
        PluginNotFound: the registry has no such plugin, version or replacement.
        VersionWithdrawn: the version, or its replacement, is withdrawn for good or for more.
        RegistrySourceInvalid: the folder is no registry, or the record is damaged.
        LockHeld: another process is changing the source.
        DiskFull: there is no space.
        OSError: the folder cannot be written.
    """
    _check(request)
    with open_source(request.directory) as registry, registry.lock():
        record = registry.record(request.ref.id)
        if record is None:
            raise _not_there(registry, request.ref)
        version = _version(record, request.ref, str(request.ref.version))
        if request.replacement:
            _check_replacement(request, _version(record, request.ref, request.replacement))
        status = _status(request, version)
        if status != version.status:
            changed = replace(version, status=status)
            versions = tuple(changed if each is version else each for each in record.versions)
            registry.write_record(replace(record, versions=versions))
        serial = registry.edition().serial
    return Withdrawn(request.ref, status, serial, was_there=status == version.status)


def _check(request: WithdrawRequest) -> None:
    reason = request.reason.strip()
    what = f"`{request.ref}` is as it was"
    if not request.ref.version:
        raise UsageError(
            f"{what}: no version is named",
            why="expected a plugin with its version, such as acme/box@1.2.3",
            next=["name each version"],
        )
    if not reason or not reason.isprintable() or len(reason) > MAX_TEXT_CHARACTERS:
        raise UsageError(
            f"{what}: no reason is given that could be shown",
            why=f"expected one line of 1 to {MAX_TEXT_CHARACTERS} printable characters",
            next=["say in one line what is wrong with it: `--reason TEXT`"],
        )
    if request.replacement and check_version(request.replacement) == request.ref.version:
        raise UsageError(
            f"{what}: it cannot be its own replacement",
            next=["name another version, or leave `--replacement` out"],
        )


def _not_there(registry: RegistryFolder, ref: PluginRef) -> PluginNotFound:
    known = ["/".join(file.parts[1:]).removesuffix(".json") for file in registry.record_files()]
    close = difflib.get_close_matches(str(ref.id), known[:_MOST_NAMES], n=3)
    steps = [f"did you mean `{name}@{ref.version}`?" for name in close[:1]]
    return PluginNotFound(
        f"`{ref}` was not found in the registry; nothing was changed",
        why=f"there is {', '.join(close)}" if close else f"it has {counted(len(known), 'plugin')}",
        next=steps or ["check the id for a typing error"],
    )


def _version(record: Record, ref: PluginRef, version: str) -> PublishedVersion:
    found = record.version(version)
    if found:
        return found
    known = ", ".join(each.version for each in record.versions[:10])
    raise PluginNotFound(
        f"`{ref.id}@{version}` was not found in the registry; nothing was changed",
        why=f"versions of `{ref.id}`: {known}",
        next=["check it for a typing error"],
    )


def _check_replacement(request: WithdrawRequest, replacement: PublishedVersion) -> None:
    if replacement.is_withdrawn and replacement.status:
        raise VersionWithdrawn(
            f"`{request.ref}` is as it was: its replacement is withdrawn itself",
            why=f"{replacement.version} is {replacement.status.state}: {replacement.status.reason}",
            next=["name a version that can be installed, or leave `--replacement` out"],
        )


def _status(request: WithdrawRequest, version: PublishedVersion) -> VersionStatus:
    """Return the new status, or the old one when it says the same."""
    old = version.status
    new = VersionStatus(request.state, request.reason.strip(), stamp(), request.replacement)
    if old is None:
        return new
    if STATES.index(old.state) > STATES.index(new.state):
        raise VersionWithdrawn(
            f"`{request.ref}` is as it was: it is {old.state}, which is more than {new.state}",
            why=f"since {old.at}: {old.reason}",
            next=[
                "publish a new version: clients may have acted on this status already",
                (
                    "take back a mistake in its record by hand, and make a new edition:"
                    f" {typed('build --renew', request.directory)}"
                ),
            ],
        )
    return old if replace(new, at=old.at) == old else new
