"""What a plugin asks for of the machine: memory, processor, processes, files, space, time."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Final

_SIZE = re.compile(r"(\d{1,9})(KiB|MiB|GiB)", re.ASCII)
_UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_DURATION = re.compile(r"(\d{1,5})([smh])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def parse_size(text: str) -> int:
    """Return bytes written as a whole number of KiB, MiB or GiB, such as `256MiB`.

    Raises:
        ValueError: when the text is not of that form, or is zero.
    """
    match = _SIZE.fullmatch(text)
    if not match or int(match[1]) == 0:
        message = f"{text!r} is not a size; expected a whole number of KiB, MiB or GiB"
        raise ValueError(message)
    return int(match[1]) * _UNITS[match[2]]


def format_size(size_bytes: int) -> str:
    """Return bytes in the largest unit that divides them, such as `256MiB`; nothing is `0KiB`."""
    for unit in ("GiB", "MiB", "KiB") if size_bytes else ("KiB",):
        if size_bytes % _UNITS[unit] == 0:
            return f"{size_bytes // _UNITS[unit]}{unit}"
    return f"{size_bytes}B"


def parse_duration(text: str) -> int:
    """Return seconds written as a whole number of seconds, minutes or hours, such as `90m`.

    Raises:
        ValueError: when the text is not of that form, or is zero.
    """
    match = _DURATION.fullmatch(text)
    if not match or int(match[1]) == 0:
        message = f"{text!r} is not a duration; expected a whole number of s, m or h"
        raise ValueError(message)
    return int(match[1]) * _SECONDS[match[2]]


def format_duration(seconds: int) -> str:
    """Return seconds in the largest unit that divides them, such as `90m`."""
    unit = next(unit for unit in "hms" if seconds % _SECONDS[unit] == 0)
    return f"{seconds // _SECONDS[unit]}{unit}"


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one running plugin; the defaults are what a manifest without `limits` asks for.

    Attributes:
        memory_bytes: resident memory of the whole process tree.
        cpu: processor cores, may be a fraction.
        processes: processes and threads together.
        open_files: file descriptors of one process.
        tmp_bytes: space in the private temporary folder.
        duration_s: seconds that one sync may take altogether; every other call has a deadline.
    """

    memory_bytes: int = 256 * 1024**2
    cpu: float = 0.5
    processes: int = 64
    open_files: int = 256
    tmp_bytes: int = 32 * 1024**2
    duration_s: int = 24 * 3600

    def names_below(self, least: Limits) -> list[str]:
        """Return the names of the limits that are under those given."""
        return [
            name
            for name, each in zip(self.to_json(), fields(self), strict=True)
            if getattr(self, each.name) < getattr(least, each.name)
        ]

    def to_json(self) -> dict[str, object]:
        """Return the limits as the manifest writes them."""
        return {
            "memory": format_size(self.memory_bytes),
            "cpu": self.cpu,
            "processes": self.processes,
            "open_files": self.open_files,
            "tmp": format_size(self.tmp_bytes),
            "duration": format_duration(self.duration_s),
        }


LEAST: Final = {
    "go": Limits(16 * 1024**2, 0.05, 32, 32, 1024**2, 1),
    "python": Limits(48 * 1024**2, 0.05, 32, 32, 1024**2, 1),
}
"""What the runtime of each language needs to start and answer at all, whatever the plugin does."""
