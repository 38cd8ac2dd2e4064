"""A host whose places go bad under it: read-only, full, gone. With real mounts: for root alone."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.data.run_receipts import RunReceipts
from aperio_cli.host.control.client import connect
from aperio_cli.models.plugin_id import PluginId
from tests.commands import typed
from tests.hosts import Place
from tests.projects import ROOT

from .conftest import is_alive, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
        return typed(words, self.environment)

    def instances(self) -> list[dict[str, Any]]:
        """How its plugins are; asked without a command, as it is asked again and again."""
        return asyncio.run(instances(self.place.home))

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

        def are_others() -> bool:
            """Whether the host has seen that they are gone, which it may do a moment later."""
            now = [each["pid"] for each in self.instances()]
            return self.are_ready() and not set(pids) & set(now)

        assert wait_until(are_others, within_s=WITHIN_S), self.instances()
        assert self.process.poll() is None


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[Hosted]:
    small = Path(tempfile.mkdtemp(prefix="fm", dir="/tmp"))  # short: a socket is made below it
    try:
        mount("-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", small)
    except (OSError, subprocess.CalledProcessError):
        small.rmdir()
        pytest.skip("nothing can be mounted here")
    try:
        with hosting(small / "home", tmp_path) as made:
            yield made
    finally:
        for path in (small / "home", small):
            subprocess.run(["umount", "-l", path], check=False, capture_output=True, timeout=10)
        small.rmdir()


@contextlib.contextmanager
def hosting(home: Path, folder: Path) -> Iterator[Hosted]:
    """A host of two plugins for the length of a block; what it says stands in `said`."""
    place = Place(home)
    place.put()
    place.put("acme/keeper", "keeps", state=True)
    environment = os.environ | {"APERIO_SANDBOX": "none", "APERIO_HOME": str(home)}
    words = [sys.executable, "-m", "tests.simulators.forking_host", "host", "run", "--all"]
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=said, stderr=said)
    made = Hosted(place, environment, process)
    try:
        assert wait_until((home / "host/control.sock").exists, within_s=WITHIN_S)
        assert wait_until(made.are_ready, within_s=WITHIN_S)
        yield made
        process.terminate()
        assert process.wait(WITHIN_S) == 0
    finally:
        process.kill()
        process.wait()


@dataclass
class Failing:
    """A mount that can be made to fail, for descriptors that are open, too.

    Attributes:
        place: where it is.
        mode: the file that says how it fails.
    """

    place: Path
    mode: Path

    @contextlib.contextmanager
    def fails(self, how: str) -> Iterator[None]:
        """Whatever changes something fails so while the block runs."""
        self.mode.write_text(how)
        with pytest.raises(OSError, match=r"Read-only|Input/output"):
            (self.place / "new").touch()
        try:
            yield
        finally:
            self.mode.write_text("")


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[Failing]:
    source, mode = tmp_path / "source", tmp_path / "mode"
    source.mkdir(mode=0o700)
    place = Path(tempfile.mkdtemp(prefix="fm", dir="/tmp"))  # short: a socket is made below it
    mode.write_text("")
    words = [sys.executable, "-m", "tests.simulators.failing_mount"]
    words += map(str, (source, place, mode))
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        try:
            assert server.stdout
            if not server.stdout.readline():
                pytest.skip("nothing can be mounted here")
            yield Failing(place, mode)
        finally:
            subprocess.run(["umount", "-l", place], check=False, capture_output=True, timeout=10)
            server.kill()
            place.rmdir()


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


SAID_ONCE = (
    "logs of plugins are being lost",
    "receipts of runs are not kept",
    "what is paused is not written down",
)
SAID_AFTERWARDS = (
    "logs of plugins are written again",
    "receipts of runs are kept again",
    "what is paused is written down again",
)


@pytest.mark.parametrize("ways", [("EIO",), pytest.param(("EROFS", "EIO"), marks=SLOW)])
def test_a_mount_that_fails_under_open_files_stops_nothing_and_is_taken_up_again(
    failing: Failing, tmp_path: Path, ways: tuple[str, ...]
) -> None:
    """One way in `make test`; that a second failure is told as the first one is slow."""
    home = failing.place / "home"
    pauses = home / "host" / "pauses.json"

    def heard(words: Sequence[str], times: int) -> bool:
        told = (tmp_path / "said").read_text()
        return all(told.count(each) == times for each in words)

    def is_paused() -> bool:
        return pauses.exists() and "acme/box" in pauses.read_text()

    def has_more(kept: int) -> bool:
        return runs_kept(home) > kept

    with hosting(home, tmp_path) as hosted:
        assert asyncio.run(stored(home)) == "OK"
        asyncio.run(synced(home))  # so that the files of logs and receipts are there, and open
        assert wait_until(functools.partial(has_more, 0), within_s=WITHIN_S)
        for times, how in enumerate(ways, 1):
            kept = runs_kept(home)
            with failing.fails(how):
                hosted.comes_back()
                assert [asyncio.run(synced(home)) for _ in range(3)] == ["STATUS_SUCCEEDED"] * 3
                assert asyncio.run(stored(home)) == "UNAVAILABLE"
                assert hosted.type("host", "pause", "acme/box").returncode == 0
                assert wait_until(functools.partial(heard, SAID_ONCE, times), within_s=WITHIN_S)
                assert runs_kept(home) == kept
            assert wait_until(is_paused, within_s=WITHIN_S)
            assert hosted.type("host", "resume", "acme/box").returncode == 0
            assert wait_until(hosted.are_ready, within_s=WITHIN_S)
            assert asyncio.run(stored(home)) == "OK"
            asyncio.run(synced(home))
            hosted.comes_back()  # which is a line in each log
            assert wait_until(functools.partial(heard, SAID_AFTERWARDS, times), within_s=WITHIN_S)
            assert heard(SAID_ONCE, times)
            assert wait_until(functools.partial(has_more, kept), within_s=WITHIN_S)
        assert (
            "before this one could not be written" in hosted.type("host", "logs", "acme/box").stdout
        )


async def instances(home: Path) -> list[dict[str, Any]]:
    async with connect(home / "host" / "control.sock") as client:
        return [each.to_json() for _, of in await client.plugins() for each in of]


def runs_kept(home: Path) -> int:
    """How many runs of `acme/box` have a receipt."""
    receipts = RunReceipts(home / "host" / "receipts")
    return len(receipts.newest(PluginId("acme", "box"), most=1000))


async def synced(home: Path) -> str:
    """What a sync through the control API comes to."""
    from aperio_plugin.wire import control_pb2

    call = control_pb2.Call(plugin="acme/box", organization_id="local", integration_id="local")
    async with connect(home / "host" / "control.sock") as client:
        asked = client.stream("Sync", control_pb2.SyncRequest(call=call))
        items = [item async for item in asked]
    return str(control_pb2.Receipt.Status.Name(items[-1].receipt.status))


async def stored(home: Path) -> str:
    """What the store of the host says to a plugin that keeps something."""
    from aperio_plugin.wire import control_pb2

    call = control_pb2.Call(plugin="acme/keeper", organization_id="local", integration_id="local")
    async with connect(home / "host" / "control.sock") as client:
        told = await client.unary("TestConnection", control_pb2.TestConnectionRequest(call=call))
    return str(told.answer.account["stored"])
