"""What root needs to confine plugins: it may have been taken away, as in a container."""

from __future__ import annotations

from pathlib import Path
from typing import Final

NEEDED: Final = {"CAP_SETGID": 6, "CAP_SETUID": 7, "CAP_SYS_ADMIN": 21, "CAP_SETFCAP": 31}
"""Capabilities by number (linux/capability.h).

A plugin of root's becomes somebody else, its network is entered to open its door, and since Linux
5.12 a user namespace in which root is known takes the last of them.
"""


def holds_rights(status: Path = Path("/proc/self/status")) -> bool:
    """Return whether this process holds all of `NEEDED`.

    Args:
        status: what the kernel says of the process, as in proc(5).
    """
    try:
        lines = status.read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    held = next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)
    return all(held >> number & 1 for number in NEEDED.values())
