"""What the start of a plugin's process does not pay for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aperio_plugin
import grpc
import pytest
from sdk_host import COOKIE, Launch, Plugin

if TYPE_CHECKING:
    from collections.abc import Iterator

SDK = Path(aperio_plugin.__file__).resolve().parents[1]
PACKAGES = Path(grpc.__file__).resolve().parents[1]
PLUGIN = """\
import sys
sys.path[:0] = sys.argv[1:3]
from aperio_plugin import connector

class Plain(connector.Connector):
    def schema(self):
        return connector.Schema(
            provider="X", name="X", fields=[connector.Field(key="count", label="Count")]
        )
    def test_connection(self, context):
        return connector.TestResult(ok=True)
    def sync(self, context, cursor):
        yield connector.Checkpoint(b"1")

def note():
    import gc, json
    thresholds, frozen = gc.get_threshold(), gc.get_freeze_count()
    with open(sys.argv[3], "w") as file:
        json.dump([sorted(sys.modules), thresholds, frozen], file)

import atexit
atexit.register(note)
"""
# Of the SDK, what syncs, other kinds of plugins, tests and mutual TLS need; of others, what takes
# longer to import than it is worth for what a connector does.
SPARED: Final = {
    "aperio_plugin._convert.events",
    "aperio_plugin._convert.findings",
    "aperio_plugin._convert.letters",
    "aperio_plugin._delivering",
    "aperio_plugin._delivery_keys",
    "aperio_plugin._event_rules",
    "aperio_plugin._finding_rules",
    "aperio_plugin._fitting",
    "aperio_plugin._generated.aperio.host",
    "aperio_plugin._generated.aperio.plugin.v1.capabilities_pb2",
    "aperio_plugin._generated.aperio.plugin.v1.destination_pb2",
    "aperio_plugin._generated.aperio.plugin.v1.host_pb2",
    "aperio_plugin._generated.aperio.plugin.v1.remediation_pb2",
    "aperio_plugin._mtls",
    "aperio_plugin._remediating",
    "aperio_plugin._stream",
    "aperio_plugin.destination",
    "aperio_plugin.remediation",
    "aperio_plugin.rest",
    "aperio_plugin.testing",
    "cryptography",
    "email",
    "google.protobuf.descriptor_pb2",
    "google.protobuf.json_format",
    "grpc_health",
    "grpc_reflection",
    "hashlib",
    "http",
    "importlib.metadata",
    "importlib.resources",
    "logging.config",
    "multiprocessing",
    "pathlib",
    "tempfile",
    "unittest",
    "urllib",
    "zipfile",
}


@pytest.fixture
def start(tmp_path: Path, socket_folder: Path) -> Iterator[Launch]:
    """Give a function that starts the plugin as aperio's hosts do, without `site`."""
    plugins: list[Plugin] = []

    def begin(body: str = "connector.serve(Plain())", *, before: str = "", **_: object) -> Plugin:
        script = tmp_path / "plugin.py"
        script.write_text(f"{before}\n{PLUGIN}{body}\n")
        arguments = [str(SDK), str(PACKAGES), str(tmp_path / "noted.json")]
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", str(script), *arguments],
            env={**COOKIE, "PLUGIN_UNIX_SOCKET_DIR": str(socket_folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        plugins.append(Plugin(process))
        return plugins[-1].begin()

    yield begin
    for plugin in plugins:
        plugin.end()


def noted(plugin: Plugin, folder: Path) -> tuple[set[str], list[int], int]:
    """Modules, thresholds and frozen objects of a plugin that has answered one call and ended."""
    assert plugin.schema().provider == "X", plugin.stderr()
    plugin.shut_down()
    assert plugin.wait() == 0
    modules, thresholds, frozen = json.loads((folder / "noted.json").read_text())
    return set(modules), thresholds, frozen


def test_a_connector_that_answers_a_call_has_imported_nothing_that_only_others_need(
    start: Launch, tmp_path: Path
) -> None:
    modules, _, _ = noted(start(), tmp_path)
    assert "aperio_plugin._connecting" in modules
    assert modules & SPARED == set()


def test_what_a_start_has_made_is_never_looked_at_for_garbage(
    start: Launch, tmp_path: Path
) -> None:
    _, thresholds, frozen = noted(start(), tmp_path)
    ask = [
        sys.executable,
        "-c",
        "import gc; print(*gc.get_threshold())",
    ]  # this one may have others
    usual = subprocess.run(ask, capture_output=True, text=True, check=True, timeout=60).stdout
    assert thresholds == list(map(int, usual.split()))
    assert frozen > 10_000


@pytest.mark.parametrize("choice", ["gc.set_threshold(123, 4, 5)", "gc.set_threshold(0)"])
def test_a_threshold_of_the_authors_own_stays(start: Launch, tmp_path: Path, choice: str) -> None:
    body = f"import gc; {choice}; connector.serve(Plain())"
    _, thresholds, frozen = noted(start(body), tmp_path)
    assert thresholds[0] in {123, 0}
    assert frozen == 0
