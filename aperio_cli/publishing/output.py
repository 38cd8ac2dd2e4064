"""Where a registry is built: a fresh folder aside, which replaces an earlier build as a whole.

Nothing is written into a folder that is there, so nothing in one can lead a write elsewhere; and
nothing is replaced but what `registry build` wrote. Files that never change once they are there,
artifacts and bundles, need not be copied again: the folders that hold them move over from the
earlier build at the moment when it is replaced.

An earlier build that is signed is not replaced by one that nobody has signed yet, which clients
would refuse: the new one waits beside it, under `.aside-NAME-unsigned`, with a note of what the
replacement has to do, until `registry sign` puts it in its place.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aperio_cli import text
from aperio_cli.errors.files import FileNotRegular
from aperio_cli.errors.registries import RegistryOutputForeign
from aperio_cli.files import writing
from aperio_cli.files.beneath import Beneath, OpenFolders
from aperio_cli.models.artifact import BUNDLE_SUFFIX
from aperio_cli.models.reading import Bounds, Unreadable, read_json
from aperio_cli.models.registry.documents import FIXED_FILES, ROOT_FILE, SCHEMAS_FOLDER
from aperio_cli.models.registry_index import FILE_NAME
from aperio_cli.registry.log import LOG

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

ROOT_BUNDLE: Final = ROOT_FILE + BUNDLE_SUFFIX
MOVED: Final = ("artifacts", "bundles", "plugins")
_FOLDERS: Final = ("shards", "mirrored", SCHEMAS_FOLDER, LOG, *MOVED)
BUILT: Final = frozenset({*FIXED_FILES, ROOT_FILE, ROOT_BUNDLE, *_FOLDERS})
"""What may stand directly in a built registry."""
_SHOWN: Final = 5
_NOTE_BOUNDS: Final = Bounds(64 * 1024 * 1024, members=1_000_000)
_OPEN_FOLDERS: Final = 320  # more than bundles are spread over, less than a process may have open

Signature = tuple[int, int, int]
"""Inode, length and time of a file: the same as long as nobody has written to it."""


class Output:
    """A folder aside, and the earlier build that it is going to replace.

    Attributes:
        new: the folder aside.
        old: the earlier build; None when there is none.
        is_merged: whether artifacts and bundles of the earlier build stay.
        is_waiting: whether the earlier build stays until this one is signed.
        stale: which of them are to go, once it was replaced.
    """

    def __init__(self, new: Beneath, old: Beneath | None) -> None:
        self.new = new
        self.old = old
        self.is_merged = False
        self.is_waiting = False
        self.stale: Collection[str] = ()
        self._new_folders = OpenFolders(new, _OPEN_FOLDERS)

    def close(self) -> None:
        """Close every folder that was opened."""
        self._new_folders.close()

    def add(self, path: str, data: bytes) -> Signature:
        """Write a new file; return its signature.

        Nobody waits for the disk: of tens of thousands of files that would take minutes. After a
        power failure the next build makes anew what is not whole.
        """
        *folder, name = path.split("/")
        below = self._new_folders.get(tuple(folder), is_made=True)
        return _signed_by(below.add_file(name, data=data))

    def discard(self, path: str) -> None:
        """Remove a file of the folder aside, whole or not; it may be missing."""
        *folder, name = path.split("/")
        self._new_folders.get(tuple(folder), is_made=True).remove_tree(name)

    def aside(self, path: str) -> contextlib.AbstractContextManager[writing.AsideFile]:
        """Write a new file piece by piece."""
        *folder, name = path.split("/")
        return self._new_folders.get(tuple(folder), is_made=True).aside_file(name)

    def earlier_files(self) -> dict[str, Signature] | None:
        """Return the files of the earlier build in the folders that may move over.

        None when there is none, or when somebody put something else among them.
        """
        if self.old is None:
            return None
        found: dict[str, Signature] = {}
        with contextlib.suppress(FileNotRegular):
            for folder in MOVED:
                if self.old.mode(folder) is not None:
                    found |= _files(self.old, (folder,))
            return found
        return None


def _signed_by(status: os.stat_result) -> Signature:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _files(root: Beneath, parts: tuple[str, ...]) -> dict[str, Signature]:
    """Return the files below a folder by their path, and folders without any."""
    return {
        "/".join(path): (0, 0, 0) if stat.S_ISDIR(status.st_mode) else _signed_by(status)
        for path, status in root.walk(*parts)
    }


@contextlib.contextmanager
def replacing(source: Beneath, out: Path) -> Iterator[Output]:
    """Give a fresh folder, which takes the place of `out` when the block ends well, or waits to.

    Args:
        source: the registry's source; below it no link is followed.
        out: the folder to replace, which may be missing.

    Raises:
        FileNotRegular: it is a link or no folder, or one on the way to it in the source is.
        RegistryOutputForeign: it holds what `registry build` did not write.
        OSError: it cannot be made.
    """
    with _folder_above(source, out) as (above, name), contextlib.ExitStack() as opened:
        _refuse_foreign(source.root, above, name)
        _sweep(above, name)
        aside = _aside_name(name)
        old = None if above.mode(name) is None else opened.enter_context(above.below(name))
        try:
            above.make_folders(aside, mode=0o700)
            with above.below(aside) as new, contextlib.closing(Output(new, old)) as output:
                yield output
                above.change_mode(aside, mode=0o755)
                _forget_waiting(above, name)
                if output.is_waiting:
                    _have_wait(above, output, name, aside)
                    return
                _put_in_place(above, output, name, aside)
                _remove_stale(new, output.stale)
        finally:
            _sweep(above, name)


def open_built(source: Beneath, out: Path) -> Beneath:
    """Return the folder that a source was built into, opened: the way to it in there has no link.

    Raises:
        FileNotRegular: a link stands on the way, or in its place.
        OSError: it is not there, or may not be read.
    """
    out = Path(os.path.abspath(out))  # noqa: PTH100 - `resolve` would follow links in the source
    parts = _parts_in(source.root, out)
    return source.below(*parts) if parts else Beneath(out)


@contextlib.contextmanager
def waiting_build(source: Beneath, out: Path) -> Iterator[Beneath | None]:
    """Open the build that waits to be signed; None for none.

    Raises:
        FileNotRegular: a link stands in its place, or on the way to it in the source.
        OSError: it may not be read.
    """
    if not out.parent.is_dir():
        yield None
        return
    with _folder_above(source, out) as (above, name), contextlib.ExitStack() as opened:
        is_there = above.mode(_waiting_name(name)) is not None
        yield opened.enter_context(above.below(_waiting_name(name))) if is_there else None


def place_waiting(source: Beneath, out: Path) -> bool:
    """Put the build that waits into the place of the one that it was built to replace.

    Returns:
        Whether that is still there as it was; if not, nothing was changed.

    Raises:
        FileNotRegular, RegistryOutputForeign, OSError: as `replacing`.
    """
    with _folder_above(source, out) as (above, name), contextlib.ExitStack() as opened:
        _refuse_foreign(source.root, above, name)
        old = None if above.mode(name) is None else opened.enter_context(above.below(name))
        note = _read_note(above, name)
        if old is None or note is None or old.inode != note.get("replaces"):
            return False
        waiting = _waiting_name(name)
        with above.below(waiting) as new, contextlib.closing(Output(new, old)) as output:
            output.is_merged, output.stale = bool(note["merged"]), list(note["stale"])
            try:
                _put_in_place(above, output, name, waiting)
                _remove_stale(new, output.stale)
            finally:
                _sweep(above, name)
        _forget_waiting(above, name)
    return True


def _have_wait(above: Beneath, output: Output, name: str, aside: str) -> None:
    note = {
        "replaces": output.old.inode if output.old else None,
        "merged": output.is_merged,
        "stale": sorted(output.stale),
    }
    above.write_atomic(_note_name(name), data=json.dumps(note).encode())
    above.rename(aside, _waiting_name(name))


def _forget_waiting(above: Beneath, name: str) -> None:
    for each in (_waiting_name(name), _note_name(name)):
        above.remove_tree(each)


def _read_note(above: Beneath, name: str) -> dict[str, Any] | None:
    """Return what `_have_wait` noted; None when it cannot be used."""
    try:
        data = above.read(_note_name(name), limit_bytes=_NOTE_BOUNDS.size_bytes)
        note = read_json(data, _NOTE_BOUNDS)
    except (FileNotFoundError, Unreadable):
        return None
    is_note = isinstance(note, dict) and isinstance(note.get("stale"), list)
    if not is_note or not all(isinstance(path, str) for path in note["stale"]):
        return None
    return note if isinstance(note.get("merged"), bool) else None


def _waiting_name(name: str) -> str:
    return f"{writing.ASIDE_PREFIX}{name}-unsigned"


def _note_name(name: str) -> str:
    return f"{_waiting_name(name)}.json"


@contextlib.contextmanager
def _folder_above(source: Beneath, out: Path) -> Iterator[tuple[Beneath, str]]:
    """Open the folder that the output is in; what the operator named may be a link to one."""
    out = Path(os.path.abspath(out))  # noqa: PTH100 - `resolve` would follow links in the source
    if parts := _parts_in(source.root, out):
        source.make_folders(*parts[:-1])
        with source.below(*parts[:-1]) as above:
            yield above, parts[-1]
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    with Beneath(out.parent) as above:
        yield above, out.name


def _parts_in(source: Path, out: Path) -> tuple[str, ...]:
    """Return the way from the source to the output; nothing when it is not below it."""
    for folder in reversed(out.parents):
        with contextlib.suppress(OSError):  # it is missing, or not ours to look into
            if folder.samefile(source):
                return out.relative_to(folder).parts
    return ()


def _refuse_foreign(source: Path, above: Beneath, name: str) -> None:
    """Refuse to replace what is not wholly an earlier build."""
    if above.mode(name) is None:
        return
    found = above.names(name)
    strange = [each for each in found if each not in BUILT]
    if source.resolve().is_relative_to(above.path(name).resolve()):
        strange.insert(0, str(source))
    for each in found:
        above.mode(name, each)  # a link refuses
    is_built = above.has_file(name, ROOT_FILE) and above.has_file(name, FILE_NAME)
    if strange or (found and not is_built):
        raise _foreign(above.path(name), strange)


def _foreign(out: Path, strange: list[str]) -> RegistryOutputForeign:
    shown = ", ".join(map(text.show_path, strange[:_SHOWN]))
    more = f" and {len(strange) - _SHOWN} more" if len(strange) > _SHOWN else ""
    return RegistryOutputForeign(
        f"`{out}` was left as it is: it holds what no build and no mirror of a registry has",
        why=f"found {shown}{more}" if strange else f"it has no {ROOT_FILE} with a {FILE_NAME}",
        next=["name a new or an empty folder", "copy what was built from there"],
    )


def _put_in_place(above: Beneath, output: Output, name: str, aside: str) -> None:
    """Give the new folder its name; a failure in between brings the old one back."""
    with contextlib.ExitStack() as undone:
        if output.old is not None:
            earlier = _aside_name(name)
            above.rename(name, earlier)
            undone.callback(above.rename, earlier, name)
            for folder in MOVED if output.is_merged else ():
                _merge(output, output.old, folder, undone)
        above.rename(aside, name)
        undone.pop_all()


def _merge(output: Output, old: Beneath, folder: str, undone: contextlib.ExitStack) -> None:
    """Have a folder of the earlier build take its new files and move over."""
    new = output.new
    if old.mode(folder) is None:
        return
    if new.mode(folder) is not None:
        for path in _files(new, (folder,)):
            _exchange(new, old, path, undone)
        # It holds what was replaced, until nothing can fail any more.
        replaced = _aside_name(folder)
        new.rename(folder, replaced)
        undone.callback(new.rename, replaced, folder)
        output.stale = [*output.stale, replaced]
    old.move(folder, new)
    undone.callback(new.move, folder, old)


def _exchange(new: Beneath, old: Beneath, path: str, undone: contextlib.ExitStack) -> None:
    """Put a new file into the earlier build, and what it replaces in its place."""
    *above, name = path.split("/")
    old.make_folders(*above)
    with new.below(*above) as ours, old.below(*above) as theirs:
        is_there = theirs.has_file(name)
        if is_there:
            theirs.link(name, ours, writing.ASIDE_PREFIX + name)
        ours.move(name, theirs)
    undone.callback(_bring_back, new, old, path, is_there=is_there)


def _bring_back(new: Beneath, old: Beneath, path: str, *, is_there: bool) -> None:
    """Undo an exchange: both builds have what they had, since the new one may be tried again."""
    *above, name = path.split("/")
    with new.below(*above) as ours, old.below(*above) as theirs:
        theirs.move(name, ours)
        if is_there:
            ours.move(writing.ASIDE_PREFIX + name, theirs, name)
    while above and not old.names(*above):
        old.remove_tree(*above)
        above.pop()


def _remove_stale(built: Beneath, stale: Collection[str]) -> None:
    """Remove files of what was built, and the folders that are empty then.

    A path without a folder is one that a merge left over, and goes with all it holds.
    """
    for path in stale:
        *folder, name = path.split("/")
        if folder and not built.has_file(*folder, name) and built.names(*folder, name):
            continue  # it was an empty folder, and has files by now
        built.remove_tree(*folder, name)
        while folder and not built.names(*folder):
            built.remove_tree(*folder)
            folder.pop()


def _aside_name(name: str) -> str:
    return f"{writing.ASIDE_PREFIX}{name}-{os.urandom(8).hex()}"


def _sweep(above: Beneath, name: str) -> None:
    """Remove what this build, or an earlier one that was killed, left of the output."""
    ours = re.compile(re.escape(f"{writing.ASIDE_PREFIX}{name}-") + "[0-9a-f]{16}")
    for each in above.names():
        if ours.fullmatch(each):
            above.remove_tree(each)
