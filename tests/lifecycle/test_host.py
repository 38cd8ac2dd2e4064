"""`aperio host …` as an operator types it: started, looked at, broken, reloaded, ended."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import signal
import socket
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.data.run_receipts import RunReceipts
from aperio_cli.host.control.client import connect
from aperio_cli.models.plugin_id import PluginId
from tests.lifecycle.cli import DEADLINE_S, Aperio, finish, wait_until
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


METRICS = '\n[host]\nmetrics = "127.0.0.1:0"\n'
STANDING = f'{METRICS}\n[[run]]\nplugin = "{BARE}"\n'


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
        with (self.aperio.folder / "host.err").open("wb") as err:
            self.process = self.aperio.start("host", "run", *words, stderr=err)
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

    def scraped(self) -> str:
        """What Prometheus finds."""
        told = (self.aperio.folder / "host.err").read_text()
        port = next(line.split()[2] for line in told.splitlines() if line.startswith("metrics:"))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    def ends(self) -> tuple[str, str]:
        """Wait for the host's end; what it wrote."""
        out, _ = self.process.communicate(timeout=DEADLINE_S)
        return out.decode(), (self.aperio.folder / "host.err").read_text()


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
    kept = stated.read_text().partition("\n[host]")[0] if stated.exists() else ""
    stated.write_text(kept + text)


def comes_up(hosted: Hosted) -> dict[str, Any]:
    """What can run does, what cannot is named with the reason and the remedy; gives the first."""
    aperio = hosted.aperio
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
    one: dict[str, Any] = aperio("host", "status", "acme/nowhere", "--json").document["data"]
    assert [each["plugin"] for each in one["instances"]] == ["acme/nowhere"]
    assert one["host"]["summary"] == "1 of 4 plugins are ready, 3 failed"
    unknown = aperio.type("host", "status", f"{BARE}s")
    assert (unknown.status, f"did you mean `{BARE}`?" in unknown.err) == (1, True)
    return ready


def test_a_host_keeps_plugins_up_and_says_how_they_are(hosted: Hosted) -> None:
    aperio = hosted.aperio
    state(aperio, METRICS + RUNS)
    hosted.start("--json")

    ready = comes_up(hosted)

    # It is killed: it comes back, and that is told to all who want to know.
    watching = aperio.start("host", "status", BARE, "--watch", "--json")
    following = aperio.start("host", "logs", BARE, "-f", "--last", "1")
    assert following.stdout
    assert b"given up" in following.stdout.readline()
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
    watched, followed = finish(watching), finish(following)
    assert watched.status == 0
    assert {"READY", "BACKOFF", "STARTING"} <= {line["state"] for line in watched.lines}
    assert {line["plugin"] for line in watched.lines} == {BARE}
    assert "killed by SIGKILL" in followed.out
    out, err = hosted.ends()
    assert hosted.process.returncode == 0
    assert "ending 1 plugin" in err
    changes = [json.loads(line) for line in out.splitlines()]
    assert {"BACKOFF", "READY", "FAILED"} <= {change["state"] for change in changes}
    ended = aperio.type("host", "status")
    assert (ended.status, "host-not-running" in ended.err) == (1, True)
    assert "`aperio host run" in ended.err


def test_a_reload_and_an_installation_are_taken_up(hosted: Hosted) -> None:
    aperio = hosted.aperio
    state(aperio, METRICS)
    hosted.start()
    assert hosted.status()["instances"] == []
    assert "State which in a [[run]] table" in aperio("host", "status").out

    state(aperio, STANDING)
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

    # A call through the API is a receipt, a wide event, a number in the metrics.
    shutil.rmtree(aperio.home / "host" / "logs")
    asyncio.run(called(Path(hosted.status()["host"]["socket"])))
    receipts = RunReceipts(aperio.home / "host" / "receipts")
    # The host writes a run's end soon after the caller has it: its beginning may be found first.
    assert wait_until(
        lambda: [run for run in receipts.newest(PluginId.parse(BARE)) if run.status != "RUNNING"],
        within_s=DEADLINE_S,
    )
    (receipt,) = receipts.newest(PluginId.parse(BARE))
    assert (receipt.operation, receipt.status) == ("sync", "SUCCEEDED")
    assert hosted.instance()["last_run"] == receipt.to_json()
    counted = f'fate="sent",operation="sync",plugin="{BARE}"}} 2.0'
    assert wait_until(lambda: counted in hosted.scraped(), within_s=DEADLINE_S)

    hosted.process.send_signal(signal.SIGINT)
    out, _ = hosted.ends()
    assert hosted.process.returncode == 130
    (event,) = (json.loads(line) for line in out.splitlines())
    assert (event["event_name"], event["run_id"]) == ("plugin.run", receipt.run_id)


def test_what_a_host_runs_is_ended_in_order_and_then_removed(hosted: Hosted) -> None:
    aperio = hosted.aperio
    state(aperio, STANDING)
    hosted.start()
    first = hosted.comes_to("READY")

    # What it may do is changed under the host, and it is started with that.
    told = aperio.type("plugin", "grant", BARE, "--limit", "memory=300MiB")
    assert told.status == 0, told.err
    assert f"the host ended `{BARE}` for local local" in told.err
    second = hosted.comes_to("READY")
    assert second["pid"] != first["pid"]

    # Another process holds the version, a Go server say: refused, and the host goes on with it.
    (receipt,) = (aperio.home / "plugins" / BARE).glob("*/receipt.json")
    with receipt.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        told = aperio.type("plugin", "remove", BARE)
        assert told.status == 1
        assert "plugin-in-use" in told.err
        third = hosted.comes_to("READY")
        assert third["pid"] == second["pid"], "it was not even asked to end it"

    # The caller of a release dies: so does the release.
    asyncio.run(released_for_a_moment(Path(hosted.status()["host"]["socket"])))
    fourth = hosted.comes_to("READY")
    assert fourth["pid"] != third["pid"]

    told = aperio.type("plugin", "remove", BARE, "--purge")
    assert told.status == 0, told.err
    assert f"removed `{BARE}`" in told.out
    assert f"still names `{BARE}`" in told.err
    gone = hosted.comes_to("FAILED")
    assert gone["code"] == "not-installed"
    assert not Path(f"/proc/{fourth['pid']}").exists()
    assert not receipt.exists()
    hosted.process.terminate()
    hosted.ends()
    assert hosted.process.returncode == 0


def test_a_damaged_version_that_a_host_runs_is_repaired_under_it(
    hosted: Hosted, tmp_path: Path
) -> None:
    aperio = hosted.aperio
    state(aperio, STANDING)
    hosted.start()
    first = hosted.comes_to("READY")
    (artifact,) = tmp_path.glob("bare/**/*.tar.gz")
    (receipt,) = (aperio.home / "plugins" / BARE).glob("*/receipt.json")
    damaged = next((receipt.parent / "files").rglob("*.py"))
    before = damaged.read_bytes()
    damaged.chmod(0o600)
    damaged.write_bytes(b"# changed")

    # Something else holds it, too: nothing is repaired, and what runs goes on.
    with receipt.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        told = aperio.type("plugin", "install", artifact, "--yes")
        assert told.status == 1
        assert "plugin-in-use" in told.err
    assert damaged.read_bytes() == b"# changed"
    assert hosted.comes_to("READY")["pid"] == first["pid"]

    # It dies, and cannot be started again: nobody runs it when it is repaired.
    os.kill(first["pid"], signal.SIGKILL)
    assert hosted.comes_to("FAILED")["code"] == "files-changed"
    told = aperio.type("plugin", "install", artifact, "--yes")
    assert told.status == 0, told.err
    second = hosted.comes_to("READY")
    damaged.chmod(0o600)
    damaged.write_bytes(b"# changed")

    told = aperio.type("plugin", "install", artifact, "--yes")
    assert told.status == 0, told.err
    assert f"the host ended `{BARE}` for local local" in told.err
    assert "was damaged, and is repaired" in told.out
    assert damaged.read_bytes() == before
    third = hosted.comes_to("READY")
    assert len({first["pid"], second["pid"], third["pid"]}) == 3
    hosted.process.terminate()
    hosted.ends()
    assert hosted.process.returncode == 0


def test_a_host_hears_by_itself_what_its_registry_says(hosted: Hosted, tmp_path: Path) -> None:
    aperio = hosted.aperio
    public = aperio.folder / "registry" / "public"
    aperio("registry", "init", "registry")
    (artifact,) = tmp_path.glob("bare/**/*.tar.gz")
    aperio("registry", "add", artifact, "--dir", "registry")
    aperio("registry", "build", "--dir", "registry")
    state(aperio, f'{STANDING}\n[[registries]]\nurl = "{public}"\n')
    hosted.start()
    ready = hosted.comes_to("READY")

    aside = public.rename(public.with_name("aside"))
    hosted.process.send_signal(signal.SIGHUP)  # which does not wait for the hours that are stated
    assert wait_until(
        lambda: hosted.status()["host"]["registries_problem"] is not None, within_s=DEADLINE_S
    )
    assert "registries  not heard since the host runs: " in aperio("host", "status").out
    assert hosted.comes_to("READY")["pid"] == ready["pid"]

    aside.rename(public)
    version, why = ready["version"], ("--reason", "it leaks tokens", "--dir", "registry")
    aperio("registry", "revoke", f"{BARE}@{version}", *why)
    aperio("registry", "build", "--dir", "registry")
    hosted.process.send_signal(signal.SIGHUP)
    revoked = hosted.comes_to("FAILED")
    assert revoked["code"] == "revoked"
    assert not Path(f"/proc/{ready['pid']}").exists()
    heard = hosted.status()["host"]
    assert (heard["registries_problem"], heard["registries_heard_at"] is None) == (None, False)
    hosted.process.terminate()
    _, err = hosted.ends()
    assert err.count("what registries say against versions was not heard: ") == 1
    assert "the registries can be read again" in err


async def released_for_a_moment(path: Path) -> None:
    async with connect(path) as client:
        entered = client.release(PluginId.parse(BARE))
        (key,) = await entered.__aenter__()
        assert str(key.plugin) == BARE
        # and the connection goes without a word


async def called(path: Path) -> None:
    """Sync through the control API, as another program would."""
    from aperio_plugin.wire import control_pb2

    call = control_pb2.Call(plugin=BARE, organization_id="local", integration_id="local")
    async with connect(path) as client:
        items = [item async for item in client.stream("Sync", control_pb2.SyncRequest(call=call))]
    assert items[-1].receipt.sent == 2


@pytest.mark.parametrize(
    ("words", "is_said"), [((), True), (("--all",), False)], ids=["no table", "--all"]
)
def test_a_host_that_keeps_nothing_running_says_why(
    hosted: Hosted, words: tuple[str, ...], *, is_said: bool
) -> None:
    hosted.start(*words)
    err, end = hosted.aperio.folder / "host.err", "is READY" if words else "[[run]]"
    assert wait_until(lambda: end in err.read_text(), within_s=DEADLINE_S)
    assert ("no plugin is to be kept running" in err.read_text()) == is_said
    hosted.process.terminate()
    hosted.ends()


def test_a_host_that_was_killed_leaves_nothing_that_keeps_the_next_from_starting(
    hosted: Hosted,
) -> None:
    aperio = hosted.aperio
    hosted.start("--all")
    running = hosted.comes_to("READY")
    told = aperio.type("host", "pause", BARE, "--org", "nobody")
    assert (told.status, "is not supervised for nobody" in told.err) == (1, True)
    told = aperio.type("host", "pause", f"{BARE}s")
    assert (told.status, f"did you mean `{BARE}`?" in told.err) == (1, True)
    aperio("host", "pause", BARE, "--reason", "its service is down")
    assert hosted.comes_to("PAUSED")["pause"]["reason"] == "its service is down"
    assert hosted.status()["host"]["summary"] == "0 of 1 plugins are ready, 1 paused"
    hosted.process.kill()
    hosted.ends()

    told = aperio.type("host", "status")
    assert told.status == 1
    assert f"process {hosted.process.pid}, which ran since" in told.err
    assert wait_until(lambda: not Path(f"/proc/{running['pid']}").exists(), within_s=DEADLINE_S)
    for folder in aperio.runtime.glob("aperio-*"):  # nobody is left who could take it away
        shutil.rmtree(folder)

    hosted.start("--all")
    paused = hosted.comes_to("PAUSED")
    assert paused["next"] == [f"`aperio host resume {BARE}`, once that is over"]
    shown = aperio("host", "status").out
    assert f"since     {paused['pause']['at']}, by {paused['pause']['by']}" in shown
    assert "why       its service is down" in shown
    assert f"resumed `{BARE}` for local local" in aperio("host", "resume", BARE).out
    assert hosted.comes_to("READY")["pause"] is None
    hosted.process.terminate()
    hosted.ends()
    assert hosted.process.returncode == 0


def test_logs_of_a_plugin_that_is_not_there_are_not_waited_for(aperio: Aperio) -> None:
    done = aperio("host", "logs", "acme/bear", "-f", status=1)
    assert "`acme/bear` is not installed" in done.err
    kept = aperio.home / "host" / "logs" / "acme" / "bear.jsonl"
    kept.parent.mkdir(parents=True)
    kept.write_text("")
    done = aperio("host", "logs", "acme/bear", "-f", status=1)  # it was removed, say
    assert "no host runs" in done.err
    assert f"what it kept of this plugin is in {kept}" in done.err
