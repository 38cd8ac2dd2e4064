"""What a sandbox is: it starts one command confined, says what it enforces, and counts.

Two kinds exist: `bubblewrap.Bubblewrap`, and `unconfined.Unconfined`, which says so. A third, for
containers that have no user namespaces, would implement the same.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from aperio_cli.models.limits import Limits

if TYPE_CHECKING:
    import socket
    import subprocess
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

LIMITS: Final = ("cpu", "memory", "egress", "processes", "tmp", "open_files", "isolation")
"""What is enforced or not, in the order in which it is said; `isolation` is the plugin's own view
of files, processes, sockets and system calls."""


class Level(enum.StrEnum):
    """Who keeps a limit: the kernel at once, the host within moments, or nobody."""

    KERNEL = "kernel"
    POLLED = "polled"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Enforcement:
    """How one limit is kept.

    Attributes:
        limit: one of `LIMITS`.
        level: who keeps it.
        mechanism: by what, in words.
        remedy: what would raise the level; empty: nothing needs to.
    """

    limit: str
    level: Level
    mechanism: str
    remedy: str = ""

    def to_json(self) -> dict[str, str | None]:
        """Return it as `--json` shows it."""
        return {
            "limit": self.limit,
            "level": str(self.level),
            "mechanism": self.mechanism,
            "remedy": self.remedy or None,
        }


@dataclass(frozen=True, slots=True)
class Command:
    """What to spawn.

    Attributes:
        arguments: the argument vector; the first is an absolute path.
        environment: the whole environment; nothing is added but the lifeline's descriptor.
        folder: the working directory.
        open_files: file descriptors that one process may have.
        inherited: descriptors that the child inherits beside the lifeline.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    open_files: int
    inherited: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Doorway:
    """The way out of the plugin's network namespace, served by the host.

    Attributes:
        environment: variables that the plugin gets, such as `HTTPS_PROXY`.
        hosts: (address, name) pairs for its /etc/hosts.
        addresses: (address, port) pairs to listen at, inside of the namespace.
        serve: takes the listening sockets, in the order of `addresses`, before the plugin runs.
            An error of it refuses the start. It is called in the thread that spawns.
    """

    environment: Mapping[str, str]
    hosts: tuple[tuple[str, str], ...]
    addresses: tuple[tuple[str, int], ...]
    serve: Callable[[Sequence[socket.socket]], None]


@dataclass(frozen=True, slots=True)
class Confinement:
    """What one plugin is confined to.

    Attributes:
        limits: how much of the machine it may use.
        readable: files and folders that it has to read beside the system's own.
        writable: folders of the machine that the operator has given it.
        door: the only way out of its network; without one there is none.
    """

    limits: Limits = field(default_factory=Limits)
    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    door: Doorway | None = None


@dataclass(frozen=True, slots=True)
class Counters:
    """What was counted of one process tree; None: nobody has counted it.

    Attributes:
        memory_peak_bytes: the most memory that it had.
        memory_kills: how often it was killed for memory.
        throttled: how often it was held back on the processor.
        throttled_s: for how long altogether.
        refused_processes: how many processes and threads were refused.
        tmp_used_bytes: space used in its temporary folder.
    """

    memory_peak_bytes: int | None = None
    memory_kills: int | None = None
    throttled: int | None = None
    throttled_s: float | None = None
    refused_processes: int | None = None
    tmp_used_bytes: int | None = None


class Confined(Protocol):
    """A started command."""

    @property
    def popen(self) -> subprocess.Popen[bytes]:
        """The process that was spawned: the command, or what watches over it."""

    @property
    def owner(self) -> int | None:
        """The user id, seen from here, that it has; None: this process's."""

    @property
    def home(self) -> Path | None:
        """Where the host finds the folder that the plugin has for its own; None: as it was made."""

    def terminate(self) -> None:
        """Send SIGTERM to every process of the command's group."""

    def kill(self) -> None:
        """Send SIGKILL to every process of the command."""

    def settle(self) -> None:
        """Begin with the limits that a start is spared."""

    def status_of(self, returncode: int) -> int:
        """Return the command's exit status, or minus its signal, for that of `popen`."""

    @property
    def is_looked_at(self) -> bool:
        """Whether its memory is looked at from time to time, and counted by nobody."""

    def look_since(self, moment_s: float) -> None:
        """Count now what is else counted from time to time, if that was not done since then.

        It may take a while, and may be called in another thread.

        Args:
            moment_s: of `clock.monotonic_s`.
        """

    def counters(self) -> Counters:
        """Return what was counted until now."""

    def close(self) -> None:
        """Let go of everything, once it is dead; harmless when repeated."""


class Sandbox(Protocol):
    """Starts commands confined."""

    @property
    def name(self) -> str:
        """How the operator calls it."""

    @property
    def owner(self) -> int | None:
        """The user id that plugins have in it; None: this process's."""

    def enforcements(self, wanted: Confinement) -> tuple[Enforcement, ...]:
        """Return how each of `LIMITS` would be kept of a plugin, in their order."""

    def folder(self, own: Path) -> Path:
        """Return where the plugin finds the folder that was made for it."""

    def start(self, command: Command, wanted: Confinement, lifeline: int) -> Confined:
        """Return the started command. Blocks, and is called in the thread that spawns.

        Args:
            command: what to start.
            wanted: what to confine it to.
            lifeline: a descriptor that it inherits.

        Raises:
            OSError: it cannot be executed.
            AperioError: it cannot be confined as it has to be.
        """
