"""Paths that decide about trust: whether anybody but this user and root can change them.

As sshd's StrictModes, from the root of the file system down: whoever may write in a folder on the
way can put another file in the place of the one that is meant. Of access control lists, those of
POSIX are looked at; NFSv4's and macOS's are not.
"""

from __future__ import annotations

import errno
import functools
import os
import shlex
import stat
from typing import TYPE_CHECKING, Final

from aperio_cli.errors.files import PathShared
from aperio_cli.errors.usage import PlaceUnusable

if TYPE_CHECKING:
    from pathlib import Path

_ROOT: Final = 0
_MOST_LINKS: Final = 40  # as Linux follows (path_resolution(7))
_OVERFLOW_FILE: Final = "/proc/sys/kernel/overflowuid"
_ACL: Final = "system.posix_acl_access"  # acl(5); the group's bits in the mode are its mask
_NO_ACL: Final = frozenset({errno.ENODATA, errno.EOPNOTSUPP})


def require_own(path: Path) -> None:
    """Refuse a path whose end, or a folder on the way to it, somebody else may change.

    Owners are root or this user; nobody else may write, but for the owner's private group. A
    sticky folder on the way protects what root or this user made in it (unlink(2)). Links are
    resolved, and every folder on their way is looked at. What is missing is nobody's. On Windows
    nothing is looked at.

    Args:
        path: the file or folder.

    Raises:
        PathShared: somebody else may; says how to close it.
        PlaceUnusable: a device, a pipe or a socket is in the way.
        OSError: a step may not be looked at.
    """
    if not hasattr(os, "geteuid"):
        return
    try:
        _walk(str(path.absolute()))
    except _Shared as shared:
        raise PathShared(
            f"`{path}` was not used: somebody else may change it",
            why=f"{shared.place}: {shared.why}",
            next=[f"see that it holds what you want, then `{shared.remedy}`", *shared.others],
        ) from None
    except (FileNotFoundError, NotADirectoryError):
        return


def forget() -> None:
    """Look at every folder anew; for tests, which change modes while they run."""
    _pass.cache_clear()
    _is_private.cache_clear()


class _Shared(Exception):
    """A step that somebody else may change."""

    def __init__(self, place: str, why: str, remedy: str, *others: str) -> None:
        super().__init__(why)
        self.place = place
        self.why = why
        self.remedy = remedy
        self.others = others


def _walk(path: str) -> None:
    """Look at each step of an absolute path; `..` leads to the folder above, as for the kernel."""
    folder, links = "/", 0
    pending = _parts(path)
    _look("/", is_last=not pending)
    while pending:
        part = pending.pop()
        if part == "..":
            folder = os.path.dirname(folder)  # noqa: PTH120 - as below
            continue
        place = f"{folder.rstrip('/')}/{part}"
        target = _pass(place) if pending else _look(place, is_last=True)
        if target is None:
            folder = place
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        folder = "/" if target.startswith("/") else folder
        pending += _parts(target)


def _parts(path: str) -> list[str]:
    """Return the steps of a path, the last first."""
    return [part for part in reversed(path.split("/")) if part not in {"", "."}]


@functools.cache
def _pass(place: str) -> str | None:
    """Look at a step that others follow, once in a process."""
    return _look(place, is_last=False)


def _look(place: str, *, is_last: bool) -> str | None:
    """Refuse one step that somebody else may change; return where it leads when it is a link."""
    status = os.lstat(place)
    if not _is_ours(place, status.st_uid):
        allowed = " or ".join(map(_user, sorted({os.geteuid(), _ROOT}, reverse=True)))
        raise _Shared(
            place,
            f"it belongs to {_user(status.st_uid)}\nexpected {allowed}",
            f"chown -h {os.geteuid()} {shlex.quote(place)}",
            "copy it into a folder of your own, and name that",
        )
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(place)  # noqa: PTH115 - pathlib is ten times as slow
    if not (stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)):
        raise PlaceUnusable(  # to close /dev/null to others would be no remedy
            f"`{place}` cannot be used", why="it is neither a file nor a folder"
        )
    if is_last or not status.st_mode & stat.S_ISVTX:
        _refuse_writers(place, status)
    return None


def _refuse_writers(place: str, status: os.stat_result) -> None:
    writers = {
        "o": ("everybody", status.st_mode & stat.S_IWOTH),
        "g": (
            f"group {status.st_gid}",
            status.st_mode & stat.S_IWGRP and not is_owners_alone(place, status),
        ),
    }
    found = {who: name for who, (name, may_write) in writers.items() if may_write}
    if found:
        raise _Shared(
            place,
            f"{' and '.join(found.values())} may write to it\n"
            f"mode {stat.S_IMODE(status.st_mode):04o}",
            f"chmod {''.join(sorted(found))}-w {shlex.quote(place)}",
        )


def _is_ours(place: str, owner: int) -> bool:
    """Return whether a file belongs to this user or to root."""
    return owner in {_ROOT, os.geteuid()} or (
        owner == _root_outside()
        # Where others write, it may be anybody whom the user namespace does not know.
        and not os.lstat(os.path.dirname(place)).st_mode & stat.S_IWOTH  # noqa: PTH120
    )


def _root_outside() -> int | None:
    """Return the user that root's files seem to be of in a user namespace without root; or None.

    There every user whom the namespace does not map is the overflow user (user_namespaces(7)); it
    can be told that `/` is root's.
    """
    try:
        with open(_OVERFLOW_FILE, encoding="ascii") as file:  # noqa: PTH123
            overflow = int(file.read())
        with open("/proc/self/uid_map", encoding="ascii") as file:  # noqa: PTH123
            is_whole = file.read().split() == ["0", "0", "4294967295"]
    except (OSError, ValueError):
        return None
    return overflow if not is_whole and os.lstat("/").st_uid == overflow else None


def is_owners_alone(place: str, status: os.stat_result) -> bool:
    """Return whether the group's right to write is the owner's alone."""
    return _is_private(status.st_uid, status.st_gid) and not _has_access_list(place)


@functools.cache
def _is_private(owner: int, group: int) -> bool:
    """Return whether a group has the name of a user, and no other member."""
    import grp
    import pwd

    try:
        name, entry = pwd.getpwuid(owner).pw_name, grp.getgrgid(group)
    except KeyError:
        return False
    if entry.gr_name != name or not {name}.issuperset(entry.gr_mem):
        return False
    return all(user.pw_uid == owner for user in pwd.getpwall() if user.pw_gid == group)


def _has_access_list(place: str) -> bool:
    """Return whether a POSIX access control list says who else the group's bits are for."""
    if not hasattr(os, "getxattr"):
        return False
    try:
        return bool(os.getxattr(place, _ACL))
    except OSError as error:
        return error.errno not in _NO_ACL


def _user(number: int) -> str:
    """Return a user's name and number for people."""
    import pwd

    try:
        return f"{pwd.getpwuid(number).pw_name} (uid {number})"
    except KeyError:
        return f"uid {number}"
