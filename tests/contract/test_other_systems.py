"""Elsewhere than on Linux: what starts plugins says so, and the rest imports nothing of Linux."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from aperio_cli.__main__ import main
from aperio_cli.commands import common

if TYPE_CHECKING:
    from pathlib import Path

# Modules of the standard library, and functions of `os`, that Windows or macOS lack.
BLOCKED = """
import builtins, os, sys, types

LACKED = {"fcntl", "grp", "pwd", "resource", "termios"}
# Windows locks bytes of a file; here nobody else is at work.
LOCKING = types.SimpleNamespace(LK_NBLCK=2, locking=lambda *_: None)

def guarded(name, globals=None, *rest, _import=builtins.__import__, **more):
    is_ours = (globals or {}).get("__name__", "").startswith("aperio_cli")
    if is_ours and name in LACKED:
        raise ImportError(f"aperio imports {name}")
    return LOCKING if is_ours and name == "msvcrt" else _import(name, globals, *rest, **more)

builtins.__import__ = guarded
for name in ("memfd_create", "pidfd_open"):
    vars(os).pop(name, None)

from aperio_cli.machine import kernel

def refuse(*_):
    raise OSError(38, "no such call")

kernel._ask = refuse
"""
PROGRAM = """
import json
from aperio_cli.__main__ import main
from aperio_cli.archive import writing
writing.GZIP_LEVEL = 0  # as tests/conftest.py
for line in sys.argv[1:]:
    if status := main(json.loads(line)):
        sys.exit(f"{line} ended with {status}")
"""


def elsewhere(
    *lines: list[str], folder: Path, program: str = PROGRAM
) -> subprocess.CompletedProcess[str]:
    """Type lines in one process, as far as the first that fails."""
    return subprocess.run(
        [sys.executable, "-c", BLOCKED + program, *map(json.dumps, lines)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize(
    "words",
    [
        "plugin install x/y",
        "plugin update x/y",
        "plugin rollback x/y",
        "plugin run x/y",
        "plugin test x/y",
        "plugin may-run x/y",
        "host run",
    ],
)
@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_what_installs_or_starts_plugins_says_that_it_takes_linux(
    system: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(common, "sys", SimpleNamespace(platform=system))
    assert main(words.split()) == 6
    said = capsys.readouterr().err
    assert "plugins are installed and run on Linux only" in said
    assert "system-unsupported" in said


def test_the_blocked_modules_are_blocked(tmp_path: Path) -> None:
    made = elsewhere(folder=tmp_path, program="import aperio_cli.host.process.lifeline")
    assert "aperio imports fcntl" in made.stderr


def test_scaffolding_building_signing_and_verifying_work_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "dev")
    project = tmp_path / "aperio-plugin-hello"
    artifact = project / "dist" / "hello-connector_0.1.0_linux_amd64.tar.gz"
    made = elsewhere(
        ["trust", "local", "init"],
        ["plugin", "init", "github.com/acme/aperio-plugin-hello"],
        ["plugin", "build", str(project), "--platform", "linux/amd64"],
        ["plugin", "sign", str(project / "dist"), "--trust", "local"],
        ["plugin", "verify", str(artifact)],
        folder=tmp_path,
    )
    assert made.returncode == 0, made.stderr
