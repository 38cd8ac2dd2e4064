"""Trying a sandbox: all that a start does, once, around a program that ends at once.

And whether what a plugin has to read can be read by it, which bubblewrap cannot give: it shows
files from folders that are closed to the plugin's user, but no file that is closed itself.
"""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aperio_cli.errors import AperioError
from aperio_cli.errors.running import SandboxFailed
from aperio_cli.host.sandbox.interface import Command, Confinement, Doorway, Enforcement, Level

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Sequence

    from aperio_cli.host.sandbox.interface import Sandbox

_TIMEOUT_S: Final = 20.0
_PROGRAM: Final = "/bin/true"


def try_sandbox(sandbox: Sandbox) -> SandboxFailed | None:
    """Return why no plugin can be started in a sandbox; None: one can. Blocks briefly."""
    doorway = Doorway({}, (), (("127.0.0.1", 3128),), _close_all)
    try:
        status = _run(sandbox, replace(Confinement(), door=doorway))
    except SandboxFailed as error:
        return SandboxFailed(
            "the sandbox of this machine does not work: no plugin is started",
            why=error.why or error.what,
            next=[
                "in a container: allow user namespaces in it",
                "where AppArmor restricts them: install the profile bwrap-userns-restrict",
                'to run plugins unconfined: `[sandbox] mode = "none"` in config.toml',
            ],
        )
    except (AperioError, OSError) as error:
        return SandboxFailed("the sandbox of this machine does not work", why=str(error))
    if status:
        why = f"{_PROGRAM} ended with exit status {status}"
        return SandboxFailed("the sandbox of this machine does not work", why=why)
    return None


def failed_enforcements(found: Iterable[Enforcement], why: str) -> tuple[Enforcement, ...]:
    """Return what is enforced of plugins that cannot be started: nothing has to be."""
    return tuple(Enforcement(each.limit, Level.NONE, why, each.remedy) for each in found)


def unreadable(places: Iterable[Path], owner: int | None) -> Path | None:
    """Return the first place that a user may not read, of those that are there; None: all may.

    Args:
        places: files and folders; those above them do not matter.
        owner: the user id; None: this process's, to whom they are open.
    """
    if owner is None:
        return None
    return next((place for place in places if not _may_read(place, owner)), None)


def _may_read(place: Path, uid: int) -> bool:
    try:
        status = place.stat()
    except OSError:  # nothing is shown of it
        return True
    needed = 0o5 if stat.S_ISDIR(status.st_mode) else 0o4
    shift = 6 if status.st_uid == uid else 3 if status.st_gid == uid else 0
    return status.st_mode >> shift & needed == needed


def _run(sandbox: Sandbox, wanted: Confinement) -> int:
    lifeline = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        confined = sandbox.start(Command((_PROGRAM,), {}, Path("/"), 64), wanted, lifeline)
    finally:
        os.close(lifeline)
    try:
        confined.popen.communicate(timeout=_TIMEOUT_S)
        return confined.popen.returncode
    finally:
        confined.kill()
        confined.close()


def _close_all(sockets: Sequence[socket.socket]) -> None:
    for each in sockets:
        each.close()
