"""`aperio host …` as an operator types it: started, looked at, broken, reloaded, ended."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.lifecycle.cli import DEADLINE_S, Aperio, wait_until
from tests.lifecycle.plugins import artifact_of, simulating

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

BARE = "acme/bare"
RUNS = f"""
[[run]]
plugin = "{BARE}"

[[run]]
plugin = "acme/nowhere"

[[run]]
plugin = "{BARE}"
organization = "org_2"
settings = {{ nonsense = "x" }}

[[run]]
plugin = "{BARE}"
organization = "org_3"
settings = {{ key = "env:NOT_SET_ANYWHERE" }}
"""


@dataclass
class Hosted:
    """A home with a host of its own.

    Attributes:
        aperio: types commands.
        manager: the socket of a service manager.
        process: the host.
    """

    aperio: Aperio
    manager: socket.socket
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self, *words: str) -> None:
        """Start the host and wait until it has told its manager that it is ready."""
        self.process = self.aperio.start("host", "run", *words)
        self.hears("READY=1")

    def hears(self, wanted: str) -> str:
        """Wait until the manager hears something that begins so; return all of it."""
        heard: list[str] = []
        while not any(line.startswith(wanted) for line in heard):
            heard = self.manager.recv(65536).decode().splitlines()
        return "\n".join(heard)

    def status(self) -> dict[str, Any]:
        """What `host status` says."""
        found: dict[str, Any] = self.aperio("host", "status", "--json").document["data"]
        return found

    def instance(self, organization: str = "local", plugin: str = BARE) -> dict[str, Any]:
        """How one instance is."""
        return next(
            each
            for each in self.status()["instances"]
            if (each["plugin"], each["organization"]) == (plugin, organization)
        )

    def comes_to(self, state: str, **of: str) -> dict[str, Any]:
        """Wait until an instance is in a state."""
        assert wait_until(lambda: self.instance(**of)["state"] == state, within_s=DEADLINE_S)
        return self.instance(**of)

    def ends(self) -> tuple[str, str]:
        """Wait for the host's end; what it wrote."""
        out, err = self.process.communicate(timeout=DEADLINE_S)
        return out.decode(), err.decode()


@pytest.fixture
def hosted(aperio: Aperio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosted]:
    artifact = artifact_of(tmp_path / "bare", simulating("bare"), id=BARE)
    aperio("plugin", "sign", artifact, "--trust", "local")
    aperio("plugin", "install", artifact, "--yes")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(aperio.runtime / "notify"))
        manager.settimeout(DEADLINE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(aperio.runtime / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "30000000")
        try:
            yield Hosted(aperio, manager)
        finally:
            (aperio.runtime / "notify").unlink()


def state(aperio: Aperio, text: str) -> None:
    """Write config.toml anew, with the rules that are there."""
    stated = aperio.home / "config.toml"
    kept = stated.read_text().partition("\n[[run]]")[0] if stated.exists() else ""
    stated.write_text(kept + text)


def test_a_host_keeps_plugins_up_and_says_how_they_are(hosted: Hosted) -> None:
    aperio = hosted.aperio
    state(aperio, '\n[host]\nmetrics = "127.0.0.1:0"\n' + RUNS)
    hosted.start("--json")

    # What can run does, what cannot is named with the reason and the remedy.
    ready = hosted.comes_to("READY")
    assert (ready["next"], ready["restarts"], ready["badge"]) == ([], 0, "local")
    nowhere = hosted.comes_to("FAILED", plugin="acme/nowhere")
    assert nowhere["code"] == "not-installed"
    assert nowhere["next"][0] == "`aperio plugin install acme/nowhere`"
    wrong = hosted.comes_to("FAILED", organization="org_2")
    assert wrong["code"] == "plugin-config-invalid"
    assert "nonsense" in wrong["reason"]
    unset = hosted.comes_to("FAILED", organization="org_3")
    assert "NOT_SET_ANYWHERE" in unset["reason"]
    assert f"{aperio.home / 'config.toml'}:" in unset["reason"]
    assert "given up" in aperio("host", "logs", BARE).out

    shown = aperio("host", "status").out
    for words in (
        f"process {hosted.process.pid}",
        "1 of 4 plugins are ready, 3 failed",
        "state     FAILED: it is not started again until something changes",
        "why       `acme/nowhere` is not installed",
        "next      correct its [[run]] table in config.toml",
    ):
        assert words in shown

    # It is killed: it comes back, and that is told to all who want to know.
    os.kill(ready["pid"], signal.SIGKILL)
    assert wait_until(lambda: hosted.instance()["restarts"] == 1, within_s=DEADLINE_S)
    again = hosted.comes_to("READY")
    assert again["pid"] != ready["pid"]
    logged = [json.loads(line) for line in aperio("host", "logs", BARE, "--json").out.splitlines()]
    assert any("killed by SIGKILL" in line["message"] for line in logged)
    assert hosted.hears("STATUS=1 of 4 plugins are ready")

    # A second host on this home is refused, and names the first.
    told = aperio.type("host", "run")
    assert told.status == 1
    assert f"process {hosted.process.pid}, since " in told.err
    assert "code  host-running (exit 1)" in told.err

    hosted.process.send_signal(signal.SIGTERM)
    hosted.hears("STOPPING=1")
    out, err = hosted.ends()
    assert hosted.process.returncode == 0
    port = next(line.split()[2] for line in err.splitlines() if line.startswith("metrics: port"))
    assert port.isdigit()
    changes = [json.loads(line) for line in out.splitlines()]
    assert {"BACKOFF", "READY", "FAILED"} <= {change["state"] for change in changes}
    ended = aperio.type("host", "status")
    assert (ended.status, "host-not-running" in ended.err) == (1, True)
    assert "`aperio host run" in ended.err


def test_a_reload_and_an_installation_are_taken_up(hosted: Hosted) -> None:
    aperio = hosted.aperio
    hosted.start()
    assert hosted.status()["instances"] == []
    assert "State which in a [[run]] table" in aperio("host", "status").out

    state(aperio, f'\n[[run]]\nplugin = "{BARE}"\n')
    hosted.process.send_signal(signal.SIGHUP)
    assert "MONOTONIC_USEC=" in hosted.hears("RELOADING=1")
    hosted.hears("READY=1")
    assert wait_until(lambda: hosted.status()["instances"], within_s=DEADLINE_S)
    hosted.comes_to("READY")

    catalog = aperio("host", "catalog", "--json").document["data"]
    (offered,) = catalog["community"]["connectors"]
    assert (offered["plugin"], offered["definition"]["provider"]) == (BARE, "BOX")
    assert catalog["built_in"] == {"connectors": [], "remediations": [], "destinations": []}
    assert "community" in aperio("host", "catalog").out
    suggested = aperio("host", "suggest", BARE)
    assert "for manifest.yaml:" in suggested.out

    hosted.process.send_signal(signal.SIGINT)
    hosted.ends()
    assert hosted.process.returncode == 130


def test_a_host_that_was_killed_leaves_nothing_that_keeps_the_next_from_starting(
    hosted: Hosted,
) -> None:
    aperio = hosted.aperio
    hosted.start("--all")
    running = hosted.comes_to("READY")
    hosted.process.kill()
    hosted.ends()

    told = aperio.type("host", "status")
    assert told.status == 1
    assert f"process {hosted.process.pid}, which ran since" in told.err
    assert wait_until(lambda: not Path(f"/proc/{running['pid']}").exists(), within_s=DEADLINE_S)
    for folder in aperio.runtime.glob("aperio-*"):  # nobody is left who could take it away
        shutil.rmtree(folder)

    hosted.start("--all")
    hosted.comes_to("READY")
    hosted.process.terminate()
    hosted.ends()
    assert hosted.process.returncode == 0
