"""Which descriptors this process has open, for tests that leave none."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def open_descriptors() -> frozenset[tuple[int, str]]:
    """List them, each with what it leads to.

    What is open afterwards and was not before, `open_descriptors() - before`, is what was left. A
    count would not say it: what others left to the garbage collector may be closed meanwhile.
    """
    found = set()
    for name in [path.name for path in Path("/proc/self/fd").iterdir()]:
        with contextlib.suppress(FileNotFoundError):  # the one that the folder was listed by
            found.add((int(name), os.readlink(f"/proc/self/fd/{name}")))  # noqa: PTH115 - no path
    return frozenset(found)
