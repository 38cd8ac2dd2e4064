"""sd_notify: what a service manager hears, over a socket of ours."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

import pytest

from aperio_cli.serving.notify import Notifier
from tests.rows import each_row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket that a service manager listens at, and how it says so."""
    name = f"aperio-test-{os.getpid()}-{tmp_path.name}"
    address = str(tmp_path / "notify") if request.param == "path" else f"\0{name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address)
        listening.settimeout(5)
        yield listening, f"@{name}" if request.param == "abstract" else address


def heard(listening: socket.socket) -> list[str]:
    return listening.recv(65536).decode().split("\n")


def test_a_manager_hears_of_a_whole_life(manager: tuple[socket.socket, str]) -> None:
    listening, stated = manager
    notifier = Notifier({"NOTIFY_SOCKET": stated, "WATCHDOG_USEC": "3000000"})
    assert notifier.watchdog_s == 3

    notifier.ready("2 of 3 plugins are ready")
    assert heard(listening) == ["READY=1", "STATUS=2 of 3 plugins are ready"]
    notifier.status("2 of 3 plugins are ready")
    notifier.status("3 of 3\nREADY=0")
    assert heard(listening) == ["STATUS=3 of 3 READY=0"]
    notifier.beat()
    assert heard(listening) == ["WATCHDOG=1"]
    before_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading()
    first, second = heard(listening)
    assert first == "RELOADING=1"
    name, _, value = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before_us <= int(value) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.ready("3 of 3")
    assert heard(listening)[0] == "READY=1"
    notifier.stopping("ending 3 plugins")
    assert heard(listening) == ["STOPPING=1", "STATUS=ending 3 plugins"]


@each_row(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "²"}, None),
        ({"WATCHDOG_USEC": "1" * 400}, 111111111.111111),
    ],
)
def test_a_watchdog_is_fed_when_it_is_about_this_process(
    tmp_path: Path, environment: dict[str, str], seconds: float | None
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), **environment})
        assert notifier.watchdog_s == seconds
        notifier.beat()
        notifier.status("at work")
        assert heard(listening) == (["WATCHDOG=1"] if seconds else ["STATUS=at work"])


@each_row("stated", ["", "relative", "vsock:2:5", "/not/there", "@nobody-is-here"])
def test_nobody_has_to_listen(stated: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": stated, "WATCHDOG_USEC": "1000000"})
    notifier.ready("x")
    notifier.beat()
    notifier.stopping("x")


def test_a_manager_that_does_not_read_keeps_nobody_waiting(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        for number in range(2000):
            notifier.status(f"{number}")
        assert heard(listening) == ["STATUS=0"]
