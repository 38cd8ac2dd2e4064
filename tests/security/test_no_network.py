"""Installing and verifying need no network: tried where there is none, and seen in system calls."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from aperio_cli.models.publisher import LOCAL_ISSUER
from tests.lifecycle.cli import Aperio, operator
from tests.lifecycle.plugins import artifact_of, simulating
from tests.projects import ROOT, SDK
from tests.security.tracing import tracing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ALONE = ["unshare", "--map-root-user", "--net"]
TRACED = "connect,sendto,sendmsg,sendmmsg"
DEADLINE_S = 60
# What would leave a process for a network; names of services are looked up over these too.
_OUTWARDS = re.compile(r"(?:connect|send(?:to|msg|mmsg))\(.*\bsa_family=AF_INET6?\b")
# A connection that is refused at once, to have something to see.
_CONNECTING = (
    "import socket; s = socket.socket(); s.settimeout(5); print(s.connect_ex(('127.0.0.1', 9)))"
)

# Types the commands, up to one that fails: a line of status and what was printed for each.
_TYPING = """
import contextlib, io, json, sys
from aperio_cli.__main__ import main

for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), "utf-8")) as shown:
        status = main(words)
        shown.flush()
    print(json.dumps([status, shown.buffer.getvalue().decode()]))
    if status:
        break
"""

pytestmark = pytest.mark.sandbox


@dataclass(frozen=True, slots=True)
class Prepared:
    """An operator, and what is there to verify and to install.

    Attributes:
        aperio: trusts its own local domain, and a private one that is configured by file.
        local: an artifact signed in the local domain.
        private: an artifact signed in the private one.
        registry: a folder that offers the first.
    """

    aperio: Aperio
    local: Path
    private: Path
    registry: Path

    def run(self, *prefix: str) -> dict[str, str]:
        """Run all commands in one process, each has to succeed; gives what each printed."""
        names = {"LOCAL": self.local, "PRIVATE": self.private, "REGISTRY": self.registry}
        lines = [[str(names.get(word, word)) for word in words.split()] for words in COMMANDS]
        done = subprocess.run(
            [*prefix, sys.executable, "-c", _TYPING, json.dumps(lines)],
            cwd=self.aperio.folder,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{SDK}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, done
        told = [json.loads(line) for line in done.stdout.splitlines()]
        assert [status for status, _ in told] == [0] * len(COMMANDS), done
        return {words: shown for words, (_, shown) in zip(COMMANDS, told, strict=True)}


@pytest.fixture
def prepared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Prepared]:
    monkeypatch.setenv("LOGNAME", "alice")
    with operator(tmp_path, capsys, monkeypatch) as aperio:
        aperio("trust", "local", "init")
        artifacts = aperio.folder / "artifacts"
        local = artifact_of(artifacts / "local", simulating("drips"))
        private = artifact_of(artifacts / "private", simulating("drips"), id="umbrella/box")
        aperio("plugin", "sign", local, "--trust", "local")
        publisher = tmp_path / "publisher"
        aperio("trust", "local", "init", "--home", publisher)
        aperio("plugin", "sign", private, "--trust", "local", "--home", publisher)
        root = aperio.folder / "umbrella.json"
        shutil.copy(publisher / "trust" / "local" / "trusted_root.json", root)
        with (aperio.home / "config.toml").open("a") as file:
            file.write(
                f'\n[[domains]]\nname = "umbrella"\nfile = "{root}"\n\n'
                '[[publishers]]\nnamespace = "umbrella"\ndomain = "umbrella"\n'
                f'identity = "alice@local"\nissuer = "{LOCAL_ISSUER}"\n'
            )
        aperio("registry", "init", "registry")
        aperio("registry", "add", local, "--dir", "registry")
        aperio("registry", "build", "--dir", "registry")
        yield Prepared(aperio, local, private, aperio.folder / "registry" / "public")


COMMANDS = [
    "plugin verify LOCAL",
    "plugin verify PRIVATE",
    "plugin install acme/box-connector --registry REGISTRY --yes",
    "plugin remove acme/box-connector",
    "plugin install LOCAL --yes",
    "plugin install PRIVATE --yes",
    "plugin list --check",
    "doctor",
]
"""One after the other, in one process: half of what a command takes is to be started."""


# ── where there is no network ─────────────────────────────────────────────────────────────────────


@pytest.fixture
def alone() -> list[str]:
    """What runs a command where nothing is connected to anything."""
    tried = subprocess.run(
        [*ALONE, sys.executable, "-c", _CONNECTING],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    if tried.returncode != 0:
        pytest.skip(f"no network namespace may be made here: {tried.stderr.strip()}")
    assert int(tried.stdout) == errno.ENETUNREACH, "not even this machine can be reached"
    return ALONE


def test_commands_need_no_network_at_all(prepared: Prepared, alone: list[str]) -> None:
    shown = prepared.run(*alone)

    assert "trust domain umbrella" in shown["plugin verify PRIVATE"]
    assert "umbrella/box" in shown["plugin list --check"]


# ── what the system calls say ─────────────────────────────────────────────────────────────────────


@pytest.fixture
def tracer(tmp_path: Path) -> list[str]:
    """What runs a command and writes down, of it and of its children, what it sends and where."""
    log = tmp_path / "calls"
    command = tracing(log, TRACED, [sys.executable, "-c", _CONNECTING], "--seccomp-bpf")
    assert len(outwards(log)) == 1, "what connects is seen"
    return command


def outwards(log: Path) -> list[str]:
    """The calls that went towards a network."""
    return [line for line in log.read_text().splitlines() if _OUTWARDS.search(line)]


def test_commands_connect_to_nothing(prepared: Prepared, tracer: list[str], tmp_path: Path) -> None:
    prepared.run(*tracer)

    assert outwards(tmp_path / "calls") == []
