"""Limits that are only looked at: of all plugins of a host together, in one go."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING

from aperio_cli.host.sandbox import watching
from aperio_cli.host.sandbox.watching import Watched, look_at
from aperio_cli.models.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

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
            watching._watcher.remove(watched)
            held.callback(watched.end)
            found.append((process, watched))
        yield found


def test_all_plugins_are_found_by_going_through_the_machine_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each by itself, fifty plugins of an ordinary user took more than a processor for that."""
    looks: list[int] = []
    look = watching.by_namespace

    def counted() -> dict[str, list[int]]:
        looks.append(1)
        return look()

    with plugins(5, Limits(memory_bytes=2**40)) as found:
        monkeypatch.setattr(watching, "by_namespace", counted)
        look_at([watched for _, watched in found])
        assert len(looks) == 1
        for process, watched in found:
            assert watched.counters().memory_peak_bytes
            assert process.poll() is None


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
