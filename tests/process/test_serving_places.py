"""A host whose places go bad under it: read-only, full, gone. With real mounts: for root alone."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.hosts import Place

from .conftest import is_alive, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WITHIN_S = 40
SLOW = pytest.mark.slow


def mount(*words: str | Path) -> None:
    subprocess.run(["mount", *map(str, words)], check=True, capture_output=True, timeout=10)


@dataclass
class Hosted:
    """A host on a home in a small file system of its own."""

    place: Place
    environment: dict[str, str]
    process: subprocess.Popen[bytes]

    def type(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command, as people type it."""
        return subprocess.run(
            [sys.executable, "-m", "aperio_cli", *words],
            env=self.environment, capture_output=True, text=True, timeout=WITHIN_S, check=False,
        )  # fmt: skip

    def instances(self) -> list[dict[str, Any]]:
        told = self.type("host", "status", "--json")
        assert told.returncode == 0, told.stderr
        found: list[dict[str, Any]] = json.loads(told.stdout)["data"]["instances"]
        return found

    def are_ready(self) -> bool:
        found = self.instances()
        return len(found) == 2 and all(each["state"] == "READY" for each in found)

    def comes_back(self) -> None:
        """Whatever is killed is up again, and the same host answers."""
        before = self.instances()
        for each in before:
            if each["pid"]:
                os.kill(each["pid"], signal.SIGKILL)
        pids = [each["pid"] for each in before if each["pid"]]
        assert wait_until(lambda: not any(map(is_alive, pids)), within_s=WITHIN_S)
        assert wait_until(self.are_ready, within_s=WITHIN_S), self.instances()
        assert self.process.poll() is None


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[Hosted]:
    small = tmp_path / "small"
    small.mkdir()
    try:
        mount("-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", small)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("nothing can be mounted here")
    place = Place(small / "home")
    place.put()
    place.put("acme/keeper", "remembers", state=True)
    environment = os.environ | {"APERIO_SANDBOX": "none", "APERIO_HOME": str(place.home)}
    words = [sys.executable, "-m", "aperio_cli", "host", "run", "--all"]
    try:
        with (tmp_path / "said").open("wb") as said:
            process = subprocess.Popen(words, env=environment, stdout=said, stderr=said)
        made = Hosted(place, environment, process)
        try:
            assert wait_until((place.home / "host/control.sock").exists, within_s=WITHIN_S)
            assert wait_until(made.are_ready, within_s=WITHIN_S)
            yield made
            process.terminate()
            assert process.wait(WITHIN_S) == 0
        finally:
            process.kill()
            process.wait()
    finally:
        for path in (place.home, small):
            subprocess.run(["umount", "-l", path], check=False, capture_output=True, timeout=10)


@contextlib.contextmanager
def read_only(home: Path) -> Iterator[None]:
    """A home that is read-only to whatever is opened from now on."""
    mount("--bind", home, home)
    mount("-o", "remount,bind,ro", home)
    with pytest.raises(OSError, match="Read-only"):
        (home / "new").touch()
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", home], check=True, timeout=10)


@contextlib.contextmanager
def full(home: Path) -> Iterator[None]:
    """A file system without a byte of room."""
    with (home / "fill").open("wb", buffering=0) as file:
        for size in (65536, 1):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size):
                    pass
    try:
        yield
    finally:
        (home / "fill").unlink()


@SLOW
def test_a_home_that_goes_bad_under_a_host_stops_no_plugin(hosted: Hosted, tmp_path: Path) -> None:
    home = hosted.place.home

    with read_only(home):
        hosted.comes_back()
        paused = hosted.type("host", "pause", "acme/box")
        assert paused.returncode == 0, paused.stderr
        assert hosted.type("host", "resume", "acme/box").returncode == 0
        assert wait_until(hosted.are_ready, within_s=WITHIN_S)
    assert "what is paused is not written down" in (tmp_path / "said").read_text()

    with full(home):
        hosted.comes_back()
        assert hosted.type("host", "pause", "acme/keeper").returncode == 0
        assert hosted.type("host", "resume", "acme/keeper").returncode == 0
        assert wait_until(hosted.are_ready, within_s=WITHIN_S)

    for folder in ("logs", "receipts"):
        shutil.rmtree(home / "host" / folder, ignore_errors=True)
    hosted.comes_back()
    assert (home / "host" / "logs" / "acme" / "box.jsonl").exists()
    assert "killed by SIGKILL" in hosted.type("host", "logs", "acme/box").stdout

    # Stopped for longer than two health checks and their answers take: held against no plugin.
    before = [(each["pid"], each["restarts"]) for each in hosted.instances()]
    hosted.process.send_signal(signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        hosted.process.wait(25)
    hosted.process.send_signal(signal.SIGCONT)
    assert hosted.type("host", "resume", "acme/box").returncode == 0  # it has looked again
    assert [(each["pid"], each["restarts"]) for each in hosted.instances()] == before
