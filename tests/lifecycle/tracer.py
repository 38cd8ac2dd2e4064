"""Runs aperio and notes which of its files are entered, in the order of the first call in each.

    python tracer.py FILE python -m aperio_cli plugin install acme/box

What is executed while modules are imported does not count: decorators, say, and constants.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import aperio_cli

if TYPE_CHECKING:
    from types import FrameType

PACKAGE = Path(aperio_cli.__file__).parent


class Tracer:
    """A profiler that remembers the files of functions that were called."""

    def __init__(self) -> None:
        self.entered: dict[str, None] = {}
        self._folder = f"{PACKAGE}/"

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        """Note the file of a call, unless it is known or belongs to an import."""
        file = frame.f_code.co_filename
        if event != "call" or file in self.entered or not file.startswith(self._folder):
            return
        if not self._is_importing(frame):
            self.entered[file] = None

    def _is_importing(self, frame: FrameType | None) -> bool:
        """Whether a module or a class of aperio is just being made."""
        while frame:
            code = frame.f_code
            is_function = code.co_flags & inspect.CO_OPTIMIZED
            if code.co_filename.startswith(self._folder) and not is_function:
                return True
            frame = frame.f_back
        return False


def trace(words: list[str]) -> tuple[int, list[str]]:
    """Return the command's status, and the files as they are named below the package."""
    from aperio_cli.__main__ import main

    tracer = Tracer()
    sys.setprofile(tracer)
    try:
        status = main(words)
    finally:
        sys.setprofile(None)
    return status, [Path(file).relative_to(PACKAGE).as_posix() for file in tracer.entered]


if __name__ == "__main__":
    status, entered = trace(sys.argv[sys.argv.index("aperio_cli") + 1 :])
    Path(sys.argv[1]).write_text("\n".join(entered), encoding="utf-8")
    sys.exit(status)
