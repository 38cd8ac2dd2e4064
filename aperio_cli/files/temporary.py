"""Temporary files and folders, where the operator says, and nowhere else."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from aperio_cli.errors.files import PathShared
from aperio_cli.errors.usage import PlaceUnusable
from aperio_cli.files import owning, removing
from aperio_cli.files.writing import size_limit, size_limited

if TYPE_CHECKING:
    from collections.abc import Iterator

_VARIABLES = ("TMPDIR", "TEMP", "TMP")  # as Python's tempfile reads them
_SYSTEMS = ("/tmp", "/var/tmp", "/usr/tmp")  # noqa: S108 - what it takes without them


@contextlib.contextmanager
def temporary_folder(prefix: str) -> Iterator[str]:
    """Give a private folder for the length of the block; it is removed with all it holds.

    A plugin may have run in it: Python's own removal goes down by recursion, and ends as a fault
    of ours where somebody nested a thousand folders. What cannot be removed is left to whoever
    cleans such places: it is no reason for what was done to have failed.

    Args:
        prefix: how its name begins: `aperio-build-`.

    Raises:
        PlaceUnusable: TMPDIR names a place that cannot be used, or nothing can be; or it has gone
            in the middle of the block.
        PathShared: whoever the place that TMPDIR names belongs to could put a link in the place of
            what is made there, so that this process would write elsewhere.
        FileSizeLimited: this process may write nothing into any file.
        OSError: it cannot be made there.
    """
    require_place()
    folder = tempfile.mkdtemp(prefix=prefix)
    made = os.lstat(folder)
    try:
        yield folder
    except OSError as error:
        if _is_there(folder, made):
            raise
        raise PlaceUnusable(
            f"`{folder}` was moved away, or removed, while it was worked in",
            why=f"{error.strerror or error}: {error.filename or folder}",
            next=["do it again", "name a folder in TMPDIR that nothing cleans up meanwhile"],
        ) from error
    finally:
        with contextlib.suppress(OSError):
            removing.remove_tree(Path(folder))


def _is_there(folder: str, made: os.stat_result) -> bool:
    """Return whether a folder is still the one that was made."""
    try:
        return os.path.samestat(os.lstat(folder), made)
    except OSError:
        return False


def temporary_file(prefix: str) -> BinaryIO:
    """Return a file without a name, open to be written and read.

    Raises:
        PlaceUnusable, PathShared, OSError: as `temporary_folder`.
    """
    require_place()
    return cast("BinaryIO", tempfile.TemporaryFile(prefix=prefix))


def require_place() -> None:
    """Refuse a stated place that cannot be used; Python would silently take another one.

    The working folder in the end, which may be somebody's project.

    Raises:
        PlaceUnusable, PathShared, FileSizeLimited: as `temporary_folder`.
    """
    if size_limit() == 0:  # Python tries a place by writing into it, and would find none
        raise size_limited("a temporary folder was not made", "nothing can be written in one")
    for name in _VARIABLES:
        place = os.environ.get(name)
        if not place:
            continue
        if os.path.isdir(place) and os.access(place, os.W_OK | os.X_OK):  # noqa: PTH112 - a text
            _require_safe(name, place)
            return
        raise PlaceUnusable(
            f"a temporary folder was not made: {name} names `{place}`, which cannot be used",
            why="expected a folder that this user may write in",
            next=[f"name another folder in {name}, or unset it"],
        )
    try:
        is_working_folder = tempfile.gettempdir() not in _SYSTEMS and _is_here()
    except FileNotFoundError:
        is_working_folder = True
    if is_working_folder:
        raise PlaceUnusable(
            "a temporary folder was not made: there is no place for it",
            why=f"this user may write in none of {', '.join(_SYSTEMS)}",
            next=["name a folder that this user may write in: TMPDIR=DIR"],
        )


def _require_safe(variable: str, place: str) -> None:
    """Refuse a place where somebody else could exchange what is made in it."""
    try:
        owning.require_own(Path(place, "any"))  # a sticky folder will do, as on the way
    except PathShared as shared:
        raise PathShared(
            f"a temporary folder was not made: in `{place}`, which {variable} names, somebody else"
            " could exchange it",
            why=shared.why,
            next=[f"name a folder of your own in {variable}, or /tmp", *shared.next],
        ) from None


def _is_here() -> bool:
    return os.name == "posix" and os.path.samefile(tempfile.gettempdir(), os.curdir)  # noqa: PTH121 - as it stands, unresolved
