"""What every test has: a home of its own, an environment built from little, no network."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import aperio_cli
from aperio_cli.archive import writing
from aperio_cli.commands.app import program
from aperio_cli.files import owning
from aperio_cli.files.removing import remove_tree
from tests.forking import STARTS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
_KEPT = {"PATH", "LANG", "LC_ALL", "TERM", "TMPDIR", "PIP_NO_INDEX", "PIP_FIND_LINKS", "APERIO_CI"}
_KEPT |= {"APERIO_SANDBOX", STARTS}
_KEPT |= {"GOMODCACHE", "GOCACHE", "GOFLAGS", "GOPROXY"}  # what `make setup` filled, and no network
# A skip of these is a failure where APERIO_CI is set: there everything they need is installed.
_NEVER_SKIPPED_IN_CI = ("sandbox", "go")
_CONNECT = socket.socket.connect
LONG = (
    "tests/process/test_serving.py",
    "tests/lifecycle/test_signing_everywhere.py",
    "tests/process/test_soak.py",
    "tests/sandbox/test_hostile.py",
    "tests/interop/test_go_host.py",
    "tests/interop/test_aperio_postgres.py",
    "tests/lifecycle/test_pages.py",
    "tests/lifecycle/test_tutorial.py",
    "tests/lifecycle/test_story.py",
    "tests/process/test_launch.py",
    "tests/lifecycle/test_interrupts.py",
    "tests/process/test_plugin_test_command.py",
    "tests/lifecycle/test_surroundings.py",
    "tests/interop/test_go_plugin.py",
    "tests/security/test_hostile_documents.py",
    "tests/sandbox/test_limits.py",
    "tests/security/test_registry_attacks.py",
    "tests/contract/test_json_documents.py",
    "tests/lifecycle/test_host.py",
    "tests/lifecycle/test_keeping.py",
    "tests/security/test_attacks.py",
    "tests/process/test_control_bounds.py",
    "tests/interop/test_python_plugin.py",
    "tests/security/test_executions.py",
    "tests/templates/test_python_template.py",
    "tests/lifecycle/test_bad_registries.py",
    "tests/lifecycle/test_registry_commands.py",
    "tests/security/test_registry_links.py",
    "tests/lifecycle/test_forwarding.py",
    "tests/unit/test_building_go.py",
    "tests/interop/test_nats_jetstream.py",
    "tests/lifecycle/test_trust_commands.py",
    "tests/interop/test_go_callers.py",
    "tests/sandbox/test_egress.py",
    "tests/process/test_sync.py",
    "tests/process/test_accepting.py",
)
"""The test files that take the most time, from the longest on."""


def pytest_configure(config: pytest.Config) -> None:
    """Have interrupts mean something where the tests run in the background of a script.

    A shell without job control has such commands ignore SIGINT, and every child inherits that.
    """
    # What is packed here is thrown away again: to store ten megabytes takes a second less than to
    # compress them. tests/unit/test_archive.py compresses, as the reference says, and so do the
    # commands that tests/lifecycle/test_pages.py types.
    writing.GZIP_LEVEL = 0
    # Sandboxes have tests of their own: elsewhere a start is what it costs without one.
    os.environ["APERIO_SANDBOX"] = "none"
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not config.pluginmanager.hasplugin("dsession"):  # who only hands tests out collects none
        gc.disable()  # until all tests are there: what is imported and collected stays


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that no worker is left with it in the end.

    With `--no-loadscope-reorder`, workers take the files in this order.
    """
    places = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(LONG)))


def pytest_collection_finish() -> None:
    """Strip the environment for all tests, and have the collector of garbage pass over the tests.

    Some thousands of them stay until the end: no walk over them frees anything.
    """
    for name in [name for name in os.environ if not _stays(name)]:
        del os.environ[name]
    # What a version manager puts there are scripts that take a tenth of a second each to find the
    # Python behind them, and `aperio doctor` asks each for what it is.
    found = os.environ["PATH"].split(os.pathsep)
    real = f"{sys.base_prefix}/bin"
    shown = (real if Path(folder).name == "shims" else folder for folder in found)
    os.environ["PATH"] = os.pathsep.join(dict.fromkeys(shown))
    # A process that types one command after the other would make ready all of them at each new one.
    program()
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000)  # as `aperio` itself does
    gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """Collect what is left once: pytest does it five times, and goes over what is alive each time.

    What a destructor raises is told all the same.
    """
    gc.collect()
    gc.freeze()


def _stays(name: str) -> bool:
    return name in _KEPT or name == "HOME" or name.startswith("PYTEST_")


def _connect_here_only(self: socket.socket, address: Any) -> None:
    if self.family in {socket.AF_INET, socket.AF_INET6} and address[0] not in {
        "127.0.0.1",
        "::1",
        "localhost",
    }:
        pytest.fail(f"a test tried to reach {address}")
    _CONNECT(self, address)


@pytest.fixture(autouse=True)
def _surroundings(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Give a test a home of its own, this machine's loopback and no slow disk.

    One fixture for all of it: there are thousands of tests, and each pays for each fixture.
    """
    # Only what is named above; above all no PYTHON*, no proxies, no PLUGIN_*. Little is found here
    # that was not at the start.
    for name in [name for name in os.environ if not _stays(name)]:
        monkeypatch.delenv(name)
    home = tmp_path / "user-home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("APERIO_HOME", str(tmp_path / "aperio-home"))
    monkeypatch.setattr(aperio_cli, "SYSTEM_HOME", str(tmp_path / "no-system-home"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(ROOT / ".cache" / "wheels"))
    # A process looks once at each folder above what it trusts; a test changes their modes.
    owning.forget()
    # A connection to anything but this machine's loopback is a failed test.
    monkeypatch.setattr(socket.socket, "connect", _connect_here_only)
    # Only a power failure shows whether a file was synced; tests of that are marked `durable`. As
    # fsync does, fstat refuses what is not an open file.
    if not request.node.get_closest_marker("durable"):
        monkeypatch.setattr(os, "fsync", os.fstat)


@pytest.fixture
def aperio_home(tmp_path: Path) -> Path:
    """The home that this test's commands use; not there yet."""
    return tmp_path / "aperio-home"


@pytest.fixture
def apart() -> Iterator[Path]:
    """A folder for trees that pytest could not remove, should the test be killed: it recurses."""
    folder = Path(tempfile.mkdtemp(prefix="aperio-test-"))
    yield folder
    remove_tree(folder)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = yield
    if report.skipped and os.environ.get("APERIO_CI") and not hasattr(report, "wasxfail"):
        marks = [name for name in _NEVER_SKIPPED_IN_CI if item.get_closest_marker(name)]
        if marks:
            report.outcome = "failed"
            report.longrepr = f"skipped in CI, where {marks[0]} tests may not be: {report.longrepr}"
    return report
