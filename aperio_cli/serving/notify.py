"""Notifying: what a service tells the service manager that started it, by sd_notify(3).

The manager names a datagram socket in NOTIFY_SOCKET: a path, or after an `@` a name in Linux's
abstract namespace. Each message is a few `KEY=VALUE` lines in one datagram. Nobody has to listen,
and nothing that goes wrong here is a reason to end or to wait.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import TYPE_CHECKING, Final

from aperio_cli.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

_ADDRESS: Final = "NOTIFY_SOCKET"
_WATCHDOG: Final = "WATCHDOG_USEC"
_WATCHDOG_PID: Final = "WATCHDOG_PID"
_LONGEST_STATUS: Final = 400


class Notifier:
    """Tells the service manager of this process how it is.

    Args:
        environment: in which the manager says where it listens; usually `os.environ`.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = _address(environment.get(_ADDRESS, ""))
        self._watchdog_s = _watchdog_s(environment) if self._address else None
        self._status = ""

    @property
    def watchdog_s(self) -> float | None:
        """Within which time it wants to hear that this process is at work; None: it does not."""
        return self._watchdog_s

    def ready(self, status: str) -> None:
        """Say that the start, or a reload, is done."""
        self._status = status
        self._send("READY=1", f"STATUS={_line(status)}")

    def reloading(self) -> None:
        """Say that the configuration is being read anew; `ready` has to follow."""
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now_us}")

    def stopping(self, status: str) -> None:
        """Say that this process is about to end."""
        self._send("STOPPING=1", f"STATUS={_line(status)}")

    def status(self, status: str) -> None:
        """Say in a line how it is, if that is another than before."""
        if status != self._status:
            self._status = status
            self._send(f"STATUS={_line(status)}")

    def beat(self) -> None:
        """Say that this process is at work: only by whoever does the work, never by a timer."""
        if self._watchdog_s is not None:
            self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),  # nobody listens, or does not keep up
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
        ):
            sender.settimeout(0)
            sender.sendto("\n".join(lines).encode(), self._address)


def _address(stated: str) -> str:
    """Return the address of a socket, as `socket` takes it; empty: none that we could use."""
    if stated.startswith("@"):
        return f"\0{stated[1:]}"
    return stated if stated.startswith("/") else ""


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """Return the time of the watchdog, if it is about this process; sd_watchdog_enabled(3)."""
    stated, pid = environment.get(_WATCHDOG, ""), environment.get(_WATCHDOG_PID, "")
    if not (stated.isascii() and stated.isdigit()) or not int(stated[:15]):
        return None
    if pid and pid != str(os.getpid()):
        return None
    return int(stated[:15]) / 1_000_000


def _line(text: str) -> str:
    return one_line(text, limit=_LONGEST_STATUS)
