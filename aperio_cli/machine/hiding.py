"""Keep this process's memory from its own user's other processes."""

# Imports nothing that takes time: it is the first thing that a command does.
from __future__ import annotations

import sys

_PR_SET_DUMPABLE = 4  # linux/prctl.h


def hide_memory() -> None:
    """Keep what is in memory and environment, secrets among it, from other processes of this user.

    Without it any of them, a plugin too, reads /proc/<this process>/environ. The kernel takes it
    back for what is executed, and root is not held by it (prctl(2)). Elsewhere than on Linux
    nothing is done.
    """
    if sys.platform.startswith("linux") and not _hide_quickly():
        _hide_slowly()


def _hide_quickly() -> bool:
    """Do it without `ctypes`, whose import takes 2 to 6 ms; this takes 0.5. Return whether it did.

    The module is CPython's own, and documented nowhere.
    """
    try:
        import _ctypes

        prctl = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")  # type: ignore[arg-type] # dlopen(3)
        answer: int = _ctypes.call_function(prctl, (_PR_SET_DUMPABLE, 0, 0, 0, 0))
    except (ImportError, OSError, AttributeError, TypeError):
        return False
    return answer == 0


def _hide_slowly() -> None:
    try:
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    except (ImportError, OSError, AttributeError):  # a C library without it
        return
