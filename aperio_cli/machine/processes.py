"""Other processes of this machine, as the kernel tells of them."""

from __future__ import annotations

from pathlib import Path

_ENDED = "ZX"


def find_start(pid: int) -> str | None:
    """Return when a process started, in clock ticks after the machine did; None: it has ended.

    One that has ended is still there until its parent has asked how: for ever where none does, as
    in a container whose first process is no init. Its number and its start tell a process from
    each other one (proc_pid_stat(5)).
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        # The name, in parentheses, may hold anything.
        state, *fields = stat.rpartition(")")[2].split()
        return None if state in _ENDED else fields[18]
    except (OSError, ValueError, IndexError):
        return None
