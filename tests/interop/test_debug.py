"""`plugin run PROJECT --debug`: a stock Go host reaches a plugin that lives under our host."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.conftest import StockHost, Told
from tests.process.conftest import is_alive, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 30.0


@dataclass
class Debugged:
    """A project that runs under `plugin run --debug`."""

    command: subprocess.Popen[str]
    record: dict[str, Any]

    @property
    def pid(self) -> int:
        return int(self.record["acme/box-connector"]["Pid"])

    def end(self, number: signal.Signals) -> int:
        self.command.send_signal(number)
        return self.command.wait(TIMEOUT_S)


def arguments(*words: str) -> list[str]:
    return [sys.executable, "-m", "aperio_cli", "plugin", "run", *words]


def environment(folder: Path) -> dict[str, str]:
    path = f"{ROOT}:{ROOT / 'sdk' / 'python'}"
    return dict(os.environ) | {"PYTHONPATH": path, "XDG_RUNTIME_DIR": str(folder)}


@contextmanager
def debugged(project: Path, folder: Path) -> Iterator[Debugged]:
    with subprocess.Popen(
        arguments(str(project), "--debug"),
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as command:
        assert command.stdout
        line = command.stdout.readline()
        try:
            yield Debugged(command, json.loads(line))
        finally:
            if command.poll() is None:
                command.terminate()


def attach(host: StockHost, debug: Debugged, steps: str) -> Told:
    done = subprocess.run(
        [str(host.program), f"-reattach={json.dumps(debug.record)}", f"-steps={steps}"],
        env=host.full_environment(),
        capture_output=True,
        timeout=TIMEOUT_S,
        check=True,
        text=True,
    )
    return Told([json.loads(line) for line in done.stdout.splitlines()], done.stderr)


@pytest.mark.go
@pytest.mark.conformance(14, "P")
def test_a_stock_host_reattaches_to_the_record_and_its_kill_ends_nothing(
    stock_host: StockHost, project: Path
) -> None:
    with debugged(project, stock_host.folder) as debug:
        first = attach(stock_host, debug, "ping,schema,kill")
        second = attach(stock_host, debug, "ping,schema,kill")
        assert is_alive(debug.pid)
        assert debug.end(signal.SIGTERM) == 128 + signal.SIGTERM
        assert wait_until(lambda: not is_alive(debug.pid), within_s=30)

    record = debug.record["acme/box-connector"]
    assert (record["Protocol"], record["ProtocolVersion"], record["Test"]) == ("grpc", 1, True)
    assert (first.error("ping"), first["schema"]["value"]) == ("", "Python SDK")
    assert second["schema"]["value"] == "Python SDK"
    assert list(stock_host.folder.iterdir()) == []


@pytest.mark.go
def test_a_stock_host_finds_nothing_once_the_debugging_has_ended(
    stock_host: StockHost, project: Path
) -> None:
    with debugged(project, stock_host.folder) as debug:
        debug.end(signal.SIGINT)

    assert "reattachment process not found" in attach(stock_host, debug, "start").error("start")


def test_a_plugin_that_dies_ends_the_command_and_is_told(
    socket_folder: Path, project: Path
) -> None:
    with debugged(project, socket_folder) as debug:
        os.kill(debug.pid, signal.SIGKILL)
        _, stderr = debug.command.communicate(timeout=TIMEOUT_S)

    assert debug.command.returncode == 5
    assert "killed by SIGKILL" in stderr


@pytest.mark.parametrize(
    ("words", "config", "why"),
    [
        (("schema", "--debug"), "", "waits for other hosts"),
        (("--debug",), "[host]\nmtls = true\n", "cannot carry the keys"),
    ],
)
def test_what_does_not_go_with_debugging_is_refused(
    project: Path, socket_folder: Path, words: tuple[str, ...], config: str, why: str
) -> None:
    home = Path(os.environ["APERIO_HOME"])
    home.mkdir()
    (home / "config.toml").write_text(config)

    done = subprocess.run(
        arguments(str(project), *words),
        env=environment(socket_folder),
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
        text=True,
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr
