"""How far a project reaches, and which of the author's variables lead there.

A project's files are whoever's wrote them. So are those of the checkout that it is a part of: a
pull request changes the top of a repository as well as one of its plugins. A variable that leads
there would have a tool run, or believe, what the project names.
"""

# Imports next to nothing: where PYTHONPATH is set, every command begins with it.
from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

# What the top of a checkout has, and what is left of it where a repository came as an archive.
_MARKS = (
    ".bzr",
    ".fslckout",
    ".git",
    ".gitattributes",
    ".github",
    ".gitignore",
    ".gitlab-ci.yml",
    ".hg",
    ".jj",
    ".sl",
    ".svn",
    "_FOSSIL_",
    "go.work",
)
_IMPORT_PATH = "PYTHONPATH"
_BARE = ("HEAD", "objects", "refs")
"""What makes a folder a repository to git by itself (setup.c, `is_git_directory`)."""


def reach_of(project: Path) -> tuple[Path, ...]:
    """Return the folders that a project reaches: its checkout's top, else its own.

    The top is the highest folder above it that has a mark of one: what stands in a project may
    have marks as it likes. The author's home, folders above it, and those that everybody may
    write into, such as /tmp, are the top of nothing.

    Args:
        project: its folder.

    Returns:
        One, or two where a link is on the way: by the name that was given, and by the real one.
    """
    named, real = Path(os.path.abspath(project)), Path(os.path.realpath(project))  # noqa: PTH100 - `..` too
    return tuple(dict.fromkeys(_top(each) for each in (named, real)))


def _top(folder: Path) -> Path:
    found = folder
    for above in _private_above(folder):
        if any(os.path.lexists(above / mark) for mark in _MARKS) or _is_bare(above):
            found = above
    return found


def _private_above(folder: Path) -> Iterator[Path]:
    """Yield the folders above one that may belong to somebody's checkout, nearest first."""
    home = _home()
    for above in folder.parents:
        is_top_of_all = above == above.parent
        if is_top_of_all or home.is_relative_to(above) or _is_everybodys(above):
            return
        yield above


def _home() -> Path:
    """Return the author's home as the system has it, for HOME may lead into the project."""
    try:
        import pwd

        return Path(os.path.realpath(pwd.getpwuid(os.getuid()).pw_dir))
    except ImportError:  # on Windows
        return Path(os.path.realpath(os.path.expanduser("~")))  # noqa: PTH111 - never raises
    except KeyError:  # a user without an entry
        return Path("/")


def _is_everybodys(folder: Path) -> bool:
    try:
        return bool(folder.stat().st_mode & stat.S_IWOTH)
    except OSError:
        return False


def _is_bare(folder: Path) -> bool:
    return all(os.path.lexists(folder / name) for name in _BARE)


def leads_there(place: str | os.PathLike[str], reach: Iterable[Path]) -> bool:
    """Return whether an absolute path is one of these folders or in one, by whatever name."""
    path = Path(place)
    names = (Path(os.path.normpath(path)), path, Path(os.path.realpath(path)))
    tops = tuple(reach)
    tops += tuple(Path(os.path.realpath(top)) for top in tops)
    return any(name.is_relative_to(top) for name in names for top in tops)


def reached(place: str, projects: Iterable[str]) -> bool:
    """Return whether a path leads to what one of some projects reaches; never raises."""
    return any(leads_there(place, reach_of(Path(project))) for project in projects)


def import_path(environment: Mapping[str, str], project: Path) -> tuple[str, ...]:
    """Return the name of PYTHONPATH where the project reaches a folder of it.

    Args:
        environment: the caller's.
        project: the author's folder.
    """
    stated = [part for part in environment.get(_IMPORT_PATH, "").split(os.pathsep) if part]
    is_reached = any(reached(os.path.abspath(part), [str(project)]) for part in stated)  # noqa: PTH100 - a text
    return (_IMPORT_PATH,) if is_reached else ()


def say_not_counted(variables: Sequence[str]) -> str:
    """Return the words on variables of the author that had no effect; without any, none."""
    from aperio_cli.text import show_path

    if not variables:
        return ""
    shown = ", ".join(map(show_path, variables))
    return f"does not count here, for the project or its checkout decides what is there: {shown}"
