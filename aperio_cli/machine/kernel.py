"""Calls of Linux that some builds of Python lack, among them those that uv downloads.

Those are built against a C library of many years ago, so that they run everywhere: whatever the
kernel can do, `os` and `signal` have no `pidfd_open`, `pidfd_send_signal` and `memfd_create`. The
kernel itself is asked then (syscall(2)). Elsewhere than on Linux they fail as on a kernel that does
not know them: with OSError, ENOSYS.
"""

from __future__ import annotations

import errno
import os
import platform
import signal
import sys
from typing import Final

MFD_CLOEXEC: Final = 0x1  # of memfd_create(2), as the next two
MFD_ALLOW_SEALING: Final = 0x2
MFD_EXEC: Final = 0x10  # Linux 6.3: older kernels refuse it, and need it not

F_ADD_SEALS: Final = 1033  # of fcntl(2), as the seals
F_SEAL_SEAL: Final = 0x1
F_SEAL_SHRINK: Final = 0x2
F_SEAL_GROW: Final = 0x4
F_SEAL_WRITE: Final = 0x8
F_SEAL_EXEC: Final = 0x20  # Linux 6.3, too

_PIDFD_SEND_SIGNAL: Final = 424  # on every architecture, as is the next
_PIDFD_OPEN: Final = 434
_MEMFD_CREATE: Final = {"x86_64": 319, "aarch64": 279}


def pidfd_open(pid: int) -> int:
    """Return a descriptor of a process, which can be read once that has ended.

    Raises:
        OSError: there is no such process, or the kernel has no such descriptors.
    """
    if hasattr(os, "pidfd_open"):
        return os.pidfd_open(pid)
    return _ask(_PIDFD_OPEN, pid, 0)


def pidfd_send_signal(descriptor: int, number: signal.Signals) -> None:
    """Send a signal to the process that a descriptor stands for.

    Raises:
        OSError: it has ended (ProcessLookupError), or may not be sent signals.
    """
    if hasattr(signal, "pidfd_send_signal"):
        signal.pidfd_send_signal(descriptor, number)
    else:
        _ask(_PIDFD_SEND_SIGNAL, descriptor, int(number), None, 0)


def memfd_create(name: str, flags: int) -> int:
    """Return a descriptor of memory that is a file without a place.

    Args:
        name: what `/proc` shows.
        flags: `MFD_CLOEXEC` and the like.

    Raises:
        OSError: the kernel does not do that, or is short of memory or descriptors.
    """
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name, flags)
    return _ask(_MEMFD_CREATE.get(platform.machine()), os.fsencode(name), flags)


def _ask(call: int | None, *arguments: int | bytes | None) -> int:
    """Return what a system call gives.

    Args:
        call: its number here; None: it is not known.
        arguments: those that are no integers are pointers.

    Raises:
        OSError: it failed.
    """
    if call is None or not sys.platform.startswith("linux"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    import ctypes

    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    found: int = syscall(ctypes.c_long(call), *words)
    if found < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return found
