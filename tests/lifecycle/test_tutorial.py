"""The tutorial is typed as it stands, in one shell, and must show what it says."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from aperio_cli.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = ROOT / "docs" / "tutorial.md"
READERS_HOME = "/home/you"
PORT = "8437"
TIMEOUT_S = 110

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_END = "-- end of "
# Waits for the service that the command before has put into the background.
_AWAIT = (
    "for _ in $(seq 100); do : 2>/dev/null </dev/tcp/127.0.0.1/{port} && break; sleep 0.1; done"
)
_PROGRAMS = {
    # What is packed here is thrown away again, as tests/conftest.py says.
    "aperio": f"""#!/bin/sh
case "$1 $2" in
  "plugin build") exec "{sys.executable}" "{Path(__file__).with_name("packer.py")}" "$@" ;;
esac
exec "{sys.executable}" -m aperio_cli "$@"
""",
    "pytest": f'#!/bin/sh\nexec "{sys.executable}" -m pytest "$@"\n',
}
_VARYING = (
    (re.compile(r"\b[0-9a-f]{64}\b"), "DIGEST"),
    (re.compile(r"\b\d+\.\d+ ?s\b"), "DURATION"),
    (re.compile(r"\b[\w.+-]+@local\b"), "SIGNER"),
    (re.compile(r" +"), " "),
)


@dataclass(frozen=True)
class Step:
    """A command of the page and the lines that it shows below."""

    command: str
    shown: list[str]


def blocks(language: str) -> list[str]:
    text = TUTORIAL.read_text(encoding="utf-8")
    return [body for name, body in _BLOCK.findall(text) if name == language]


def steps() -> list[Step]:
    found: list[Step] = []
    for line in "".join(blocks("console")).splitlines():
        if line.startswith("$ "):
            found.append(Step(line.removeprefix("$ "), []))
        else:
            found[-1].shown.append(line)
    return found


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def script(port: str) -> str:
    lines = []
    for number, step in enumerate(steps()):
        lines.append(step.command.replace(PORT, port))
        if step.command.endswith("&"):
            lines.append(_AWAIT.format(port=port))
        lines.append(f"echo '{_END}{number}'")
    return "\n".join(lines) + "\n"


def environment(home: Path) -> dict[str, str]:
    programs = home / "bin"
    programs.mkdir()
    for name, text in _PROGRAMS.items():
        program = programs / name
        program.write_text(text)
        program.chmod(0o755)
    passed_on = ("PIP_", "PYTHON", "APERIO_SANDBOX")
    kept = {name: value for name, value in os.environ.items() if name.startswith(passed_on)}
    search = f"{programs}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    # Bytecode of what is imported once is written by whoever imports it.
    return {"PATH": search, "HOME": str(home), "LANG": "C.UTF-8", "PIP_NO_COMPILE": "1", **kept}


def play(home: Path, port: str) -> list[list[str]]:
    """The lines that each command printed, standard error among them."""
    folder = home / "plugins"
    folder.mkdir()
    (folder / "lantern.py").write_text(blocks("python")[0].replace(PORT, port))
    shell = subprocess.Popen(
        ["bash", "--norc"], cwd=folder, env=environment(home), text=True, start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        output, _ = shell.communicate(script(port), timeout=TIMEOUT_S)
    finally:
        with contextlib.suppress(ProcessLookupError):  # as it should be: nothing is left
            os.killpg(shell.pid, signal.SIGKILL)
    printed: list[list[str]] = [[]]
    for line in output.replace(str(home), READERS_HOME).replace(port, PORT).splitlines():
        if line == f"{_END}{len(printed) - 1}":
            printed.append([])
        else:
            printed[-1].append(line)
    return printed


def settled(text: str) -> str:
    for pattern, word in _VARYING:
        text = pattern.sub(word, text)
    return text.strip()


def fits(shown: str, printed: str) -> bool:
    """Whether a line is as shown; an ellipsis stands for anything."""
    parts = [re.escape(part) for part in settled(shown).split("…")]
    return re.fullmatch(".*".join(parts), settled(printed)) is not None


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the page names a linux_amd64 artifact")
def test_tutorial_shows_what_its_commands_print(tmp_path: Path) -> None:
    printed = play(tmp_path, free_port())
    for step, lines in zip(steps(), printed, strict=False):
        assert len(lines) == len(step.shown), (step.command, lines)
        for shown, line in zip(step.shown, lines, strict=True):
            assert fits(shown, line), f"$ {step.command}\nshown:   {shown}\nprinted: {line}"
    assert len(printed) == len(steps()) + 1


def test_the_shown_change_is_what_sed_does(tmp_path: Path) -> None:
    """By hand or by sed, the connector reads the same."""
    words = ["plugin", "init", "github.com/acme/aperio-plugin-lantern"]
    assert main([*words, "--output", str(tmp_path / "project")]) == 0
    connector = tmp_path / "project" / "connector.py"
    (shown,) = (block for block in blocks("python") if block.startswith("def to_event"))
    assert shown not in connector.read_text()
    (sed,) = (step.command for step in steps() if step.command.startswith("sed -i 's/record"))
    typed = sed.replace("aperio-plugin-lantern", "project")
    subprocess.run(["bash", "-c", typed], cwd=tmp_path, check=True, timeout=30)
    assert shown in connector.read_text()
