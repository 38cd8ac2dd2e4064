"""Ends an action at one line, in a process of its own: nothing is cleaned up. Or looks at each."""

from __future__ import annotations

import contextlib
import inspect
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterator
    from pathlib import Path

KILLED = 9
UNSEEN = 8


class Line:
    """Stops the program at the n-th line that it executes in the modules under test."""

    def __init__(self, number: int, stop: Callable[[], None], files: Collection[str]) -> None:
        self.left = number
        self.unseen = set(files)
        self._files = frozenset(files)
        self._stop = stop

    def __call__(self, frame: Any, event: str, _argument: object) -> Any:
        """Count a line (sys.settrace)."""
        if frame.f_code.co_filename not in self._files:
            return None
        self.unseen.discard(frame.f_code.co_filename)
        if event == "line":
            self.left -= 1
            if self.left == 0:
                self._stop()
        return self


def files_of(*parts: Any) -> frozenset[str]:
    """The files of modules, functions and classes; those of the classes above a class, too."""
    classes = [above for part in parts if inspect.isclass(part) for above in part.__mro__[:-1]]
    return frozenset(map(inspect.getfile, {*parts, *classes}))


def die() -> None:
    """End at once."""
    os._exit(KILLED)


def stopped_at(
    number: int,
    stop: Callable[[], None],
    action: Callable[[], object],
    files: Collection[str],
) -> bool:
    """Runs an action up to its n-th line, in a process of its own that ends there.

    Says whether the action has so many lines. One that has fewer must have been in every module.
    """
    child = os.fork()
    if child == 0:
        line = Line(number, stop, files)
        with contextlib.suppress(BaseException):
            sys.settrace(line)
            action()
        sys.settrace(None)
        os._exit(KILLED if line.left <= 0 else UNSEEN if line.unseen else 0)
    _, ended = os.waitpid(child, 0)
    status = os.waitstatus_to_exitcode(ended)
    assert status in {0, KILLED}, "a module under test was not passed through"
    return status == KILLED


def left_at_each_line(
    folder: Path,
    action: Callable[[], object],
    files: Collection[str],
    look: Callable[[Path], Hashable],
) -> Iterator[int]:
    """Runs an action once, and gives the lines after which something else stands in the folder.

    For each of them the folder is put back as it was then: what a death there would leave behind,
    with no process that has it open. A death at each line itself costs a process for each, and
    is the same: a line that ends its process leaves what the lines before it wrote.

    Args:
        folder: all that the action changes; the last line leaves it as the action did.
        action: what is run, in a process of its own.
        files: the modules whose lines count; it must have been in every one.
        look: what in the folder makes a difference.
    """
    kept = folder.with_name(f"{folder.name}-kept")
    kept.mkdir()
    child = os.fork()
    if child == 0:
        status = UNSEEN
        with contextlib.suppress(BaseException):
            watcher = _Watcher(folder, kept, files, look)
            sys.settrace(watcher)
            action()
            sys.settrace(None)
            watcher.keep()
            status = UNSEEN if watcher.unseen else 0
        os._exit(status)
    _, ended = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(ended) == 0, "the action failed, or not in every module"
    for then in sorted(kept.iterdir(), key=lambda path: int(path.name)):
        shutil.rmtree(folder)
        then.rename(folder)
        yield int(then.name)
    kept.rmdir()


class _Watcher:
    """Copies a folder aside whenever a line of the modules under test finds it changed."""

    def __init__(
        self,
        folder: Path,
        kept: Path,
        files: Collection[str],
        look: Callable[[Path], Hashable],
    ) -> None:
        self.unseen = set(files)
        self._folder, self._kept, self._look = folder, kept, look
        self._files = frozenset(files)
        self._lines = 0
        self._last = look(folder)

    def __call__(self, frame: Any, event: str, _argument: object) -> Any:
        """Look before a line (sys.settrace)."""
        if frame.f_code.co_filename not in self._files:
            return None
        self.unseen.discard(frame.f_code.co_filename)
        if event == "line":
            self._lines += 1
            self.keep()
        return self

    def keep(self) -> None:
        """Copy the folder when it is not what it was."""
        found = self._look(self._folder)
        if found != self._last:
            self._last = found
            shutil.copytree(self._folder, self._kept / str(self._lines), symlinks=True)
