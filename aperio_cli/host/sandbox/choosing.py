"""Which sandbox there is on this machine, by what can be seen without starting anything.

The sandbox that is found is the one that is used: when it then cannot be made the start is refused,
and no lesser one takes its place. `aperio doctor` tries it.
"""

from __future__ import annotations

import os
import pwd
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aperio_cli.errors.usage import UsageError
from aperio_cli.host.sandbox import groups, seccomp
from aperio_cli.host.sandbox.bubblewrap import PLUGIN_UID, Bubblewrap, Tools
from aperio_cli.host.sandbox.rights import NEEDED, holds_rights
from aperio_cli.host.sandbox.unconfined import Unconfined
from aperio_cli.paths import find_program

if TYPE_CHECKING:
    from aperio_cli.host.sandbox.interface import Sandbox

MODE_VARIABLE: Final = "APERIO_SANDBOX"
"""As `[sandbox] mode`, for one shell; a site that states `auto` is not overruled by it."""

_SYSCTLS: Final = (
    # (file, the value that forbids, what to do)
    ("user/max_user_namespaces", "0", "`sysctl -w user.max_user_namespaces=15000`"),
    ("kernel/unprivileged_userns_clone", "0", "`sysctl -w kernel.unprivileged_userns_clone=1`"),
)


def default_sandbox() -> Sandbox:
    """Return the sandbox for a program that has no configuration.

    Raises:
        UsageError: as `choose_sandbox`.
    """
    return choose_sandbox("none" if os.environ.get(MODE_VARIABLE) == "none" else "auto")


def choose_sandbox(mode: str = "auto", plugin_uid: int = PLUGIN_UID) -> Sandbox:
    """Return the sandbox that plugins are started in here.

    Args:
        mode: `auto`: the best that this machine offers; `none`: none, by the operator's choice.
        plugin_uid: whose id plugins have when this process is root.

    Raises:
        UsageError: that id is a person's.
    """
    if mode == "none":
        return Unconfined("no `none` as mode of the sandbox")
    remedy = missing_remedy()
    if remedy:
        return Unconfined(remedy)
    if os.geteuid() == 0:
        _require_nobodys(plugin_uid)
    tools = Tools(*(find_program(name) or "" for name in ("bwrap", "setpriv", "unshare")))
    return Bubblewrap(tools, plugin_uid if os.geteuid() == 0 else None, groups.survey())


def _require_nobodys(uid: int) -> None:
    """Require that no person has a user id, whose files plugins could read then.

    Raises:
        UsageError: somebody has.
    """
    try:
        found = pwd.getpwuid(uid)
    except KeyError:
        return
    if found.pw_shell.rpartition("/")[2] not in {"nologin", "false", ""}:
        raise UsageError(
            f"no plugin was started: `[sandbox] plugin_uid` {uid} is the user {found.pw_name}",
            why="plugins of root run as a user that is nobody else",
            next=["choose an id that nobody has, such as 61001"],
        )


def missing_remedy(proc: Path = Path("/proc")) -> str:
    """Return what lets bubblewrap confine plugins here; empty: nothing is missing.

    Args:
        proc: where the kernel says what it allows.
    """
    if not sys.platform.startswith("linux") or not seccomp.is_known():
        return "plugins are confined on Linux, on x86_64 and aarch64"
    if os.geteuid() == 0 and not holds_rights():
        return f"start aperio as an ordinary user, or give its root {', '.join(NEEDED)}"
    needed = ("bwrap", "setpriv", "unshare") if os.geteuid() == 0 else ("bwrap",)
    for name in needed:
        place = find_program(name)
        if place is None:
            return f"install {'bubblewrap' if name == 'bwrap' else 'util-linux'}"
        if name == "bwrap" and Path(place).stat().st_mode & stat.S_ISUID:
            return f"`chmod u-s {place}`: this kernel needs no setuid bubblewrap"
    for name, forbids, remedy in _SYSCTLS:
        if _read(proc / "sys" / name) == forbids and (os.geteuid() or name.startswith("user/")):
            return remedy
    return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
