"""What operators are told about a sandbox: at each start, and when it cannot be made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aperio_cli.errors.running import SandboxFailed
from aperio_cli.host.sandbox.interface import Confinement, Level

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aperio_cli.host.sandbox.interface import Enforcement, Sandbox
    from aperio_cli.models.manifest import Manifest


def announcements(sandbox: Sandbox, wanted: Confinement) -> Iterator[tuple[str, str]]:
    """Yield what is said at a start: level of the log, and words."""
    found = sandbox.enforcements(wanted)
    contained = [
        f"{level} {' '.join(names)}"
        for level in (Level.KERNEL, Level.POLLED)
        if (names := names_at(found, level))
    ]
    if sandbox.name != "none":
        yield "info", f"contained by {sandbox.name}: {'; '.join(contained)}"
    missing = names_at(found, Level.NONE)
    if missing:
        yield "warn", f"not enforced: {' '.join(missing)}"


def confinement(manifest: Manifest) -> Confinement:
    """Return what a plugin is confined to by what it declares."""
    return Confinement(limits=manifest.limits)


def enforced(sandbox: Sandbox, manifest: Manifest) -> frozenset[str]:
    """Return the names of the limits that a sandbox would keep of a plugin."""
    found = sandbox.enforcements(confinement(manifest))
    return frozenset(each.limit for each in found if each.level is not Level.NONE)


def names_at(found: Iterable[Enforcement], level: Level) -> list[str]:
    """Return the names of the limits that are kept at a level."""
    return [each.limit for each in found if each.level is level]


def not_confined(subject: str, error: SandboxFailed) -> SandboxFailed:
    """Return the error for a plugin that was not started, as its sandbox could not be made."""
    return SandboxFailed(
        f"{subject} was not started: {error.what}",
        why=error.why,
        next=[
            *error.next,
            "`aperio doctor` tries what a sandbox needs, and says what to do",
            'to run plugins unconfined on this machine: `[sandbox] mode = "none"` in config.toml',
        ],
    )
