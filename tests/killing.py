"""Ends an action at one line, in a process of its own: nothing is cleaned up."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

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
