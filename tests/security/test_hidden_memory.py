"""Secrets in aperio's environment, and another process of the same user that reads /proc."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aperio_cli.machine import hiding

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")

ROOT = Path(__file__).resolve().parents[2]
STRANGER = 54_321
_PR_GET_DUMPABLE = 3
_PR_SET_DUMPABLE = 4
# Notes of every module that is looked for whether the process can be read at that moment.
_WATCHED = """\
import ctypes, json, sys
seen = []
class Watch:
    def find_spec(self, name, path=None, target=None):
        seen.append((name, ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)))
from aperio_cli.__main__ import entry_point
sys.meta_path.insert(0, Watch())
sys.argv = ["aperio", *sys.argv[1:]]
try:
    entry_point()
finally:
    json.dump(seen, sys.stderr)
"""


def readable_modules(*words: str) -> list[str]:
    """Run a command; return what it imported while other processes could read its memory."""
    done = subprocess.run(
        [sys.executable, "-c", _WATCHED, *words],
        env=dict(os.environ) | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    )
    noted = json.loads(done.stderr[done.stderr.rindex(b"[[") :])
    return [name for name, is_readable in noted if is_readable]


@pytest.mark.parametrize(
    "words",
    [
        ("plugin", "run", "acme/box", "schema"),
        ("plugin", "sign", "x.tar.gz"),
        ("plugin", "build", "."),
        ("plugin", "list", "--check"),
        ("--help",),
    ],
    ids=" ".join,
)
def test_command_hides_its_memory_before_it_imports_anything(words: tuple[str, ...]) -> None:
    assert set(readable_modules(*words)) <= {
        "aperio_cli.machine",
        "aperio_cli.machine.hiding",
        "_ctypes",
    }


def test_quick_question_that_needs_no_secret_does_not_wait_for_it() -> None:
    assert "aperio_cli.machine.hiding" not in readable_modules("plugin", "list")


@pytest.mark.parametrize("hide", [hiding.hide_memory, hiding._hide_quickly, hiding._hide_slowly])
def test_environment_of_a_process_that_hides_is_closed_to_its_user(
    hide: Callable[[], object],
) -> None:
    """Each way by itself, with the twin: before, the same user reads it."""
    assert _in_child(lambda: None) == "read"
    assert _in_child(hide) == "closed"


def _in_child(prepare: Callable[[], object]) -> str:
    """Return how a child of an ordinary user finds its own /proc entry, which others find too."""
    child = os.fork()
    if child == 0:
        status = 2
        try:
            if os.geteuid() == 0:
                os.setresuid(STRANGER, STRANGER, STRANGER)
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
            prepare()
            status = _look()
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    return {0: "read", 1: "closed"}[os.waitstatus_to_exitcode(ended)]


def _look() -> int:
    try:
        Path("/proc/self/environ").read_bytes()
    except PermissionError:
        return 1
    return 0
