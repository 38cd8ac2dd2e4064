"""Where tests make their files: in memory, on a machine that has room for them there.

Prints the folder, or nothing. A run of the tests makes half a million files, nearly all of them
small, and removes them again; on a disk that takes ten times as long as in memory.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

MEMORY = Path("/dev/shm")
"""Which Linux offers to everybody (shm_overview(7))."""

ROOM_BYTES = 6 * 1024**3


def find_folder(folder: Path = MEMORY, meminfo: Path = Path("/proc/meminfo")) -> Path | None:
    """Return the folder in memory; None where there is none, or not enough of it.

    Args:
        folder: of a file system in memory.
        meminfo: what the kernel says of memory (proc(5)).
    """
    try:
        status = os.statvfs(folder)
        lines = meminfo.read_text("ascii").splitlines()
    except OSError:
        return None
    stated = dict(line.split(":", 1) for line in lines if ":" in line)
    available = 1024 * int(stated.get("MemAvailable", "0").split()[0])
    room = min(available, status.f_bavail * status.f_frsize)
    is_usable = os.access(folder, os.W_OK | os.X_OK) and not status.f_flag & os.ST_NOEXEC
    return folder if is_usable and room >= ROOM_BYTES else None


if __name__ == "__main__":
    sys.stdout.write(str(find_folder() or ""))
