"""Limits that are only looked at: of all plugins of a host together, in one go."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from aperio_cli import clock
from aperio_cli.host.sandbox import watching
from aperio_cli.host.sandbox.watching import Watched, look_at
from aperio_cli.models.limits import Limits
from tests.unwatched import Nobody

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1024**2
WITHIN_S = 20.0


@contextlib.contextmanager
def plugins(count: int, limits: Limits) -> Iterator[list[tuple[subprocess.Popen[bytes], Watched]]]:
    """So many that are watched, by nobody but the test; they share this process's namespace."""
    with contextlib.ExitStack() as held:
        found = []
        for _ in range(count):
            process = held.enter_context(subprocess.Popen(["/bin/sleep", "60"]))
            held.callback(process.kill)
            watched = Watched(process.pid, limits, watches_memory=True, watches_cpu=False)
            watched.begin()
            held.callback(watched.end)
            found.append((process, watched))
        yield found


@pytest.fixture(autouse=True)
def nobody_else_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_watcher", Nobody())


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One for each time that all processes of this machine are gone through."""
    made: list[int] = []
    look = watching.by_namespace

    def counted() -> dict[str, list[int]]:
        made.append(1)
        return look()

    monkeypatch.setattr(watching, "by_namespace", counted)
    return made


def test_all_plugins_are_found_by_going_through_the_machine_once(looks: list[int]) -> None:
    """Each by itself, fifty plugins of an ordinary user took more than a processor for that."""
    with plugins(5, Limits(memory_bytes=2**40)) as found:
        look_at([watched for _, watched in found])
        for process, watched in found:
            assert watched.counters().memory_peak_bytes
            assert process.poll() is None
        assert len(looks) == 1


def test_however_many_ask_at_once_one_looks_for_all_of_them(looks: list[int]) -> None:
    """A plugin that answers every call with an error keeps its host busy with no more than that."""
    with plugins(1, Limits(memory_bytes=2**40)) as [(_, watched)], ThreadPoolExecutor(8) as pool:
        for asked in (1, 2):
            list(pool.map(watched.look_since, [clock.monotonic_s()] * 50))
            assert len(looks) == asked
        assert watched.counters().memory_peak_bytes


def test_one_that_uses_too_much_is_killed_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_resident_bytes", lambda _pid: MIB)
    with plugins(1, Limits(memory_bytes=MIB // 2)) as [(process, watched)]:
        look_at([watched])
        assert process.wait(WITHIN_S) == -signal.SIGKILL
        assert watched.counters().memory_kills == 1


def test_where_nobody_can_be_looked_at_nobody_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> dict[str, list[int]]:
        raise OSError(24, os.strerror(24))

    with plugins(2, Limits(memory_bytes=2**40)) as found:
        monkeypatch.setattr(watching, "by_namespace", fail)
        look_at([watched for _, watched in found])
        for process, _ in found:
            assert process.wait(WITHIN_S) == -signal.SIGKILL
