"""No sandbox: the command runs as this user, and every start says so."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aperio_cli.host.sandbox.interface import LIMITS, Counters, Enforcement, Level

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.host.sandbox.interface import Command, Confinement

LIFELINE_VARIABLE: Final = "APERIO_HOST_LIFELINE"
"""Number of an inherited descriptor, the read end of a pipe: its end means the host is gone."""


@dataclass(frozen=True, slots=True)
class Unconfined:
    """Starts commands as they are, with a limit on descriptors and no core dumps.

    Attributes:
        remedy: what would let them be confined.
    """

    remedy: str = ""

    @property
    def name(self) -> str:
        """How the operator calls it."""
        return "none"

    @property
    def owner(self) -> int | None:
        """This process's user."""
        return None

    def enforcements(self, wanted: Confinement) -> tuple[Enforcement, ...]:
        """Return that only descriptors are limited."""
        del wanted
        return tuple(
            Enforcement(name, Level.KERNEL, "RLIMIT_NOFILE of each process")
            if name == "open_files"
            else Enforcement(name, Level.NONE, "no sandbox", self.remedy)
            for name in LIMITS
        )

    def folder(self, own: Path) -> Path:
        """Return the folder as it was made."""
        return own

    def start(self, command: Command, wanted: Confinement, lifeline: int) -> Unheld:
        """Return the started command.

        Raises:
            OSError: it cannot be executed.
        """
        del wanted
        popen = execute(command.arguments, command, lifeline)
        try:
            limit(popen.pid, command.open_files)
        except BaseException:
            put_down(popen)
            raise
        return Unheld(popen)


@dataclass(slots=True)
class Unheld:
    """A command that runs in no sandbox, as the leader of a process group."""

    popen: subprocess.Popen[bytes]

    @property
    def owner(self) -> int | None:
        """This process's user."""
        return None

    @property
    def home(self) -> Path | None:
        """Where its folder was made."""
        return None

    def terminate(self) -> None:
        """Send SIGTERM to its group."""
        signal_group(self.popen, signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to its group."""
        signal_group(self.popen, signal.SIGKILL)

    def settle(self) -> None:
        """Do nothing: there are no other limits."""

    def status_of(self, returncode: int) -> int:
        """Return the status as it is."""
        return returncode

    @property
    def is_looked_at(self) -> bool:
        """Nobody looks."""
        return False

    def look_since(self, moment_s: float) -> None:
        """Do nothing: there is nothing to see."""

    def counters(self) -> Counters:
        """Return that nothing was counted."""
        return Counters()

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""


def execute(
    arguments: tuple[str, ...], command: Command, lifeline: int, *, more: tuple[int, ...] = ()
) -> subprocess.Popen[bytes]:
    """Return a process in a session of its own, with what the command says about its surroundings.

    Args:
        arguments: what is executed, which may be something that starts the command.
        command: whose environment and folder it gets.
        lifeline: a descriptor that it inherits.
        more: others.

    Raises:
        OSError: it cannot be executed.
    """
    return subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=command.folder,
        env={**command.environment, LIFELINE_VARIABLE: str(lifeline)},
        pass_fds=(lifeline, *command.inherited, *more),
        start_new_session=True,
        bufsize=0,
    )


def limit(pid: int, open_files: int) -> None:
    """Set the limits that the kernel takes for another process: descriptors, and no core dump."""
    _, highest = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    allowed = open_files if highest == resource.RLIM_INFINITY else min(open_files, highest)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (allowed, allowed))
    resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))


def signal_group(popen: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to the process group of a child; not once it was reaped."""
    if popen.returncode is None:  # not reaped: the id still means this group
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(popen.pid, number)


def put_down(popen: subprocess.Popen[bytes], timeout_s: float = 5.0) -> None:
    """Kill a child that was to run, with its group, and reap it."""
    signal_group(popen, signal.SIGKILL)
    popen.wait(timeout_s)
    for pipe in (popen.stdout, popen.stderr):
        if pipe:
            pipe.close()
