"""A plugin that is forked (`tests/forked_plugins.py`) finds what one that is started finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from aperio_cli.host.sandbox import unconfined
from aperio_cli.host.sandbox.interface import Command
from tests.forked_plugins import ForkedPlugin
from tests.forking import STARTS

from .conftest import is_alive, wait_until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("forked_plugins")

TELLING = """\
import gc, json, os, sys, threading
def told(path):
    with open(path) as file:
        return file.read()
status = dict(line.split(":", 1) for line in told("/proc/self/status").splitlines())
print(json.dumps({
    "argv": sys.argv,
    "path": sys.path,
    "writes_bytecode": not sys.dont_write_bytecode,
    "name": __name__,
    "file": globals().get("__file__"),
    "main": sys.modules["__main__"].__dict__ is globals(),
    "ours": [name for name in sys.modules if name.startswith(("aperio", "tests"))],
    "environment": dict(os.environ),
    "shown": sorted(filter(None, told("/proc/self/environ").split("\\0"))),
    "folder": os.getcwd(),
    "descriptors": [
        number for number in range(256) if os.path.exists(f"/proc/self/fd/{number}")
    ],
    "inherited": os.read(int(os.environ["GIVEN"]), 100).decode(),
    "leads": os.getsid(0) == os.getpgid(0) == os.getpid(),
    "threads": threading.active_count(),
    "signals": [status[name] for name in ("SigBlk", "SigIgn", "SigCgt")],
    "streams": [
        [stream.encoding, stream.errors, stream.line_buffering, stream.fileno()]
        for stream in (sys.stdin, sys.stdout, sys.stderr)
    ],
    "given": sys.stdin.read(),
    "collects": [gc.isenabled(), gc.get_threshold()],
}))
print("said", file=sys.stderr)
"""


GIVEN, LIFELINE = 200, 201
"""The numbers of what is passed on: the same, however many descriptors a test has by then."""


def ran(words: tuple[str, ...], folder: Path, *, is_forked: bool) -> tuple[str, str, int]:
    """What a plugin that runs so tells, what it says besides, and its status."""
    ends = os.pipe()
    os.write(ends[1], b"inherited")
    for number in (GIVEN, LIFELINE):
        os.dup2(ends[0], number)
    try:
        environment = {"HOME": str(folder), "LANG": "C.UTF-8", "GIVEN": str(GIVEN)}
        command = Command((sys.executable, *words), environment, folder, 64, (GIVEN,))
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv(STARTS, raising=False)
            if not is_forked:
                patch.setattr(unconfined, "subprocess", subprocess)
            popen = unconfined.execute(command.arguments, command, LIFELINE)
        unconfined.limit(popen.pid, command.open_files)  # to fewer than what it was passed has
        assert isinstance(popen, ForkedPlugin) is is_forked
        told, said = popen.communicate(timeout=60)
    finally:
        for descriptor in (*ends, GIVEN, LIFELINE):
            os.close(descriptor)
    return told.decode(), said.decode(), popen.returncode


@pytest.mark.parametrize("flags", [("-I", "-B"), ("-I", "-S", "-B")], ids=" ".join)
def test_a_fork_finds_what_a_start_finds(tmp_path: Path, flags: tuple[str, ...]) -> None:
    script = tmp_path / "plugin.py"
    script.write_text(TELLING)
    runner = f"import runpy, sys; runpy.run_path({str(script)!r}, run_name='__main__')"

    for words in ((str(script), "word"), ("-c", runner, "word"), ("-c", TELLING, "word")):
        forked, started = (
            ran((*flags, *words), tmp_path, is_forked=each) for each in (True, False)
        )
        told = json.loads(forked[0])
        assert told == json.loads(started[0])
        assert told["leads"]
        assert told["inherited"] == "inherited"
        assert forked[1:] == started[1:] == ("said\n", 0)


LATE = """\
import atexit, threading, time
atexit.register(print, "at the end")
threading.Thread(target=lambda: (time.sleep(0.1), print("of a thread"))).start()
"""


@pytest.mark.parametrize(
    "code",
    [
        "import sys; sys.exit(3)",
        "import sys; sys.exit('not today')",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        LATE,
    ],
)
def test_a_fork_ends_as_a_start_ends(tmp_path: Path, code: str) -> None:
    words = ("-I", "-S", "-c", code)

    assert ran(words, tmp_path, is_forked=True) == ran(words, tmp_path, is_forked=False)


def test_an_error_of_a_fork_is_shown_and_is_its_status(tmp_path: Path) -> None:
    """Above the same end it has the lines by which a fork came to its code."""
    words = ("-I", "-S", "-c", "1 / 0")
    (told, said, status), started = (ran(words, tmp_path, is_forked=each) for each in (True, False))

    assert (told, status) == (started[0], started[2]) == ("", 1)
    assert said.splitlines()[-1] == started[1].splitlines()[-1] == (
        "ZeroDivisionError: division by zero"
    )  # fmt: skip


def test_the_number_of_a_fork_is_its_own_until_somebody_has_read_how_it_ended(
    tmp_path: Path,
) -> None:
    command = Command((sys.executable, "-I", "-S", "-c", "pass"), {}, tmp_path, 64)
    lifeline, other = os.pipe()
    popen = unconfined.execute(command.arguments, command, lifeline)
    for descriptor in (lifeline, other):
        os.close(descriptor)

    with popen:
        assert popen.stdout
        assert popen.stdout.read() == b""
        assert wait_until(lambda: not is_alive(popen.pid), within_s=30)
        assert os.path.exists(f"/proc/{popen.pid}")  # noqa: PTH110 - of the kernel
        assert popen.wait(30) == 0
        assert not os.path.exists(f"/proc/{popen.pid}")  # noqa: PTH110
