"""Ctrl-C, SIGTERM and SIGKILL, sent to real processes: nothing half done, nothing left running.

A moment is an event of Python's audit in the process itself (`interrupter.py`), so that the same
line is interrupted in every run; `Aperio.assert_nothing_left` also runs after each test.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.lifecycle.cli import Aperio, finish, processes_of, wait_until
from tests.lifecycle.plugins import PLUGIN, artifact_of, project_of, sdk_program, simulating

if TYPE_CHECKING:
    from pathlib import Path

HELLO = "acme/hello-connector"
INTERRUPTED = 130
TERMINATED = 143
DRIPS = 160  # as many events as tests/simulators/plugins/drips.py sends


def expect(aperio: Aperio, *words: object, at: str, status: int = INTERRUPTED) -> None:
    """The command is interrupted at the moment, ends so, and has changed nothing."""
    with aperio.unchanged(noted=True):
        done = aperio.run(*words, at=at)
        assert done.status == status, done
        assert done.out == ""
        assert "Traceback" not in done.err
        aperio.assert_nothing_left()


# ── init, build, sign, publish ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "moment", ["1:os.mkdir:.aside-", "5:open:.aside-", "1:os.rename:aperio-plugin-new"]
)
def test_init_leaves_no_folder_when_it_is_interrupted(stranger: Aperio, moment: str) -> None:
    words = ("plugin", "init", "github.com/acme/aperio-plugin-new")
    expect(stranger, *words, at=f"SIGINT:{moment}")


def test_build_ends_pip_with_it_when_it_is_interrupted(aperio: Aperio, whole_hello: Path) -> None:
    for path in (whole_hello / "dist").iterdir():
        path.unlink()
    expect(aperio, "plugin", "build", whole_hello, at="SIGINT:1:subprocess.Popen:pip")


@pytest.mark.parametrize(
    ("moment", "status"),
    [
        ("SIGINT:1:open:.aside-", INTERRUPTED),
        ("SIGINT:1:os.rename:.tar.gz", INTERRUPTED),
        ("SIGTERM:1:os.rename:.tar.gz", TERMINATED),
    ],
)
def test_build_leaves_no_artifact_when_it_is_interrupted(
    aperio: Aperio, moment: str, status: int
) -> None:
    project = project_of(aperio.folder / "project", "print()\n")
    (project / "dist").mkdir()
    expect(aperio, "plugin", "build", project, at=moment, status=status)


@pytest.mark.parametrize(
    "moment", ["1:socket.bind:", "1:socket.connect:", "2:socket.connect:", "1:os.rename:.sigstore"]
)
def test_sign_leaves_no_bundle_when_it_is_interrupted(aperio: Aperio, moment: str) -> None:
    artifact = artifact_of(aperio.folder / "dist", "print()\n")
    words = ("plugin", "sign", artifact, "--trust", "local")
    expect(aperio, *words, at=f"SIGINT:{moment}")


@pytest.mark.parametrize(
    "moment", ["1:open:.aside-", "1:os.rename:", "2:os.rename:", "3:os.rename:"]
)
def test_a_registry_offers_nothing_new_when_add_is_interrupted(
    aperio: Aperio, states: Path, moment: str
) -> None:
    aperio.begins_after(sign_one_for_a_new_registry, states)
    (artifact,) = (aperio.folder / "dist").glob("*.tar.gz")
    done = aperio.run("registry", "add", artifact, "--dir", "registry", at=f"SIGINT:{moment}")
    assert done.status == INTERRUPTED
    assert "0 plugins" in aperio("registry", "build", "--dir", "registry").out
    aperio("registry", "add", artifact, "--dir", "registry")
    assert "1 plugin" in aperio("registry", "build", "--dir", "registry").out


def sign_one_for_a_new_registry(aperio: Aperio) -> None:
    box_connector(aperio)
    aperio("registry", "init", "registry")


@pytest.mark.parametrize("moment", ["1:open:.aside-", "1:os.rename:", "1:os.rename:plugins.json"])
def test_what_clients_read_is_as_it_was_when_build_is_interrupted(
    aperio: Aperio, registry: Path, moment: str
) -> None:
    before = (registry / "plugins.json").read_bytes()
    aperio("registry", "add", box_connector(aperio), "--dir", registry.parent)
    done = aperio.run("registry", "build", "--dir", registry.parent, at=f"SIGINT:{moment}")
    assert done.status == INTERRUPTED
    assert (registry / "plugins.json").read_bytes() == before
    aperio("plugin", "verify", HELLO, "--registry", registry)


def box_connector(aperio: Aperio) -> Path:
    artifact = artifact_of(aperio.folder / "dist", "print()\n")
    aperio("plugin", "sign", artifact, "--trust", "local")
    return artifact


def test_serve_ends_with_ctrl_c(aperio: Aperio, registry: Path) -> None:
    with aperio.unchanged():
        server = aperio.start("registry", "serve", registry)
        assert server.stdout
        assert server.stdout.readline().startswith(b"http://127.0.0.1:")
        server.send_signal(signal.SIGINT)
        done = finish(server)
    assert (done.status, done.out) == (INTERRUPTED, "")


# ── install and remove ────────────────────────────────────────────────────────────────────────────

SLOW = pytest.mark.slow
INSTALL_MOMENTS = [
    pytest.param("1:open:.tar.gz", marks=SLOW),
    "1:os.mkdir:.aside-",
    pytest.param("1:open:.aside-", marks=SLOW),
    pytest.param("1:open:dependency.py", marks=SLOW),
    "1:subprocess.Popen:compile",
    pytest.param("1:open:receipt.json", marks=SLOW),
    pytest.param("1:os.rename:receipt.json", marks=SLOW),
    pytest.param("1:os.rename:2.0.0", marks=SLOW),
    "1:os.rename:current.json",
]
"""Every line of an installation is interrupted in tests/unit/test_installing.py, quickly."""


def install_one_of_two(aperio: Aperio) -> None:
    first, second = (
        artifact_of(aperio.folder / "dist", "print()\n", version=version)
        for version in ("1.0.0", "2.0.0")
    )
    aperio("plugin", "sign", first, second, "--trust", "local")
    aperio("plugin", "install", first)


@pytest.fixture
def second_version(aperio: Aperio, states: Path) -> Path:
    """One version is installed, and could be harmed; the next is given."""
    aperio.begins_after(install_one_of_two, states)
    (second,) = (aperio.folder / "dist").glob("*_2.0.0_*.tar.gz")
    return second


@pytest.mark.parametrize("moment", INSTALL_MOMENTS)
def test_install_leaves_the_store_as_it_was_when_it_is_interrupted(
    aperio: Aperio, second_version: Path, moment: str
) -> None:
    artifact = second_version
    expect(aperio, "plugin", "install", artifact, at=f"SIGINT:{moment}")
    assert "installed, in place of 1.0.0" in aperio("plugin", "install", artifact).out


def test_install_ends_so_with_sigterm_too(aperio: Aperio, second_version: Path) -> None:
    moment = "SIGTERM:1:os.rename:receipt.json"
    expect(aperio, "plugin", "install", second_version, at=moment, status=TERMINATED)


def test_what_a_killed_install_left_is_swept_by_the_next(
    aperio: Aperio, second_version: Path
) -> None:
    artifact = second_version
    killed = aperio.run("plugin", "install", artifact, at="SIGKILL:1:os.rename:receipt.json")
    assert killed.status == 128 + signal.SIGKILL
    [row] = aperio("plugin", "list", "--json").data["plugins"]
    assert (row["version"], row["current"]) == ("1.0.0", True)
    assert list((aperio.home / "plugins").glob(".aside-*"))
    aperio("plugin", "install", artifact)
    aperio.assert_nothing_left()


def test_a_download_that_is_interrupted_leaves_nothing(aperio: Aperio, registry: Path) -> None:
    server = aperio.start("registry", "serve", registry, stdin=subprocess.PIPE)
    assert server.stdout
    url = server.stdout.readline().decode().strip()
    words = ("plugin", "install", HELLO, "--registry", url)
    with aperio.unchanged(noted=True):
        done = aperio.run(*words, at="SIGINT:3:socket.connect:")
        assert done.status in {INTERRUPTED, 0}
        done = aperio.run(*words, at="SIGINT:2:socket.connect:")
        assert done.status == INTERRUPTED
    finish(server)


def test_remove_leaves_all_or_nothing_when_it_is_interrupted(installed: Aperio) -> None:
    done = installed.run("plugin", "remove", HELLO, at="SIGINT:1:os.remove:receipt.json")
    assert done.status == INTERRUPTED
    rows = installed("plugin", "list", "--json").data["plugins"]
    assert [row["problem"] for row in rows] in ([], [None])
    installed.type("plugin", "remove", HELLO)
    assert installed("plugin", "list").out == "no plugins are installed\n"
    assert not list((installed.home / "plugins").iterdir())


# ── run ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED)]
)
def test_a_run_that_is_ended_before_the_handshake_leaves_no_plugin(
    aperio: Aperio, number: signal.Signals, status: int
) -> None:
    project = project_of(aperio.folder / "project", simulating("hangs"))
    with aperio.unchanged(noted=True):
        run = aperio.start("plugin", "run", project)
        assert wait_until(lambda: len(processes_of(aperio.runtime)) > 1, within_s=30)
        assert wait_until(lambda: list(aperio.runtime.iterdir()), within_s=30)
        run.send_signal(number)
        assert finish(run).status == status
        aperio.assert_nothing_left()


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED)]
)
def test_a_sync_that_is_ended_leaves_no_plugin_and_loses_nothing(
    dripping: Aperio, number: signal.Signals, status: int
) -> None:
    run = dripping.start("plugin", "run", PLUGIN)
    assert run.stdout
    first = [run.stdout.readline() for _ in range(20)]
    run.send_signal(number)
    done = finish(run)
    assert done.status == status
    dripping.assert_nothing_left()
    assert_complete(
        [*first, *done.out.encode().splitlines()], dripping("plugin", "run", PLUGIN).out
    )


def test_a_host_that_is_killed_takes_its_plugin_with_it_and_loses_nothing(
    dripping: Aperio,
) -> None:
    run = dripping.start("plugin", "run", PLUGIN)
    assert run.stdout
    first = [run.stdout.readline() for _ in range(20)]
    plugins = [pid for pid in processes_of(dripping.runtime) if pid != run.pid]
    assert plugins
    run.kill()
    rest, _ = run.communicate(timeout=30)
    assert wait_until(lambda: not processes_of(dripping.runtime), within_s=30)
    lines = [*first, *(line for line in rest.splitlines(keepends=True) if line.endswith(b"\n"))]
    assert_complete(lines, dripping("plugin", "run", PLUGIN).out)
    for folder in dripping.runtime.iterdir():  # nobody was left to remove it; it holds no process
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        folder.rmdir()


def assert_complete(lines: list[bytes], rest: str) -> None:
    """Together they are all events; the second run did not begin anew."""
    found = [json.loads(line)["envelope"]["source_event_id"] for line in lines]
    further = [json.loads(line)["envelope"]["source_event_id"] for line in rest.splitlines()]
    assert {*found, *further} == {f"e{number}" for number in range(DRIPS)}
    assert further
    assert "e0" not in further


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED)]
)
def test_a_delivery_that_waits_for_its_input_can_be_ended(
    aperio: Aperio, number: signal.Signals, status: int
) -> None:
    artifact = artifact_of(
        aperio.folder / "dist", sdk_program("destination"), kind="destination", provider="STUB"
    )
    aperio("plugin", "sign", artifact, "--trust", "local")
    aperio("plugin", "install", artifact)
    run = aperio.start("plugin", "run", PLUGIN, stdin=subprocess.PIPE)
    assert run.stdin
    assert run.stderr
    for number_of_line in range(3):  # a batch is two
        line = {"id": f"x{number_of_line}", "kind": "event", "organization_id": "local"}
        run.stdin.write(json.dumps(line | {"record": {}}).encode() + b"\n")
    run.stdin.flush()
    assert any(b"took x0" in line for line in iter(run.stderr.readline, b""))
    run.send_signal(number)
    assert run.wait(30) == status
    aperio.assert_nothing_left()


@pytest.mark.parametrize("json_words", [[], ["--json"]])
def test_a_reader_that_closes_stdout_is_no_error_and_keeps_the_checkpoint(
    dripping: Aperio, json_words: list[str]
) -> None:
    run = dripping.start("plugin", "run", PLUGIN, *json_words)
    assert run.stdout
    first = [run.stdout.readline() for _ in range(10)]
    run.stdout.close()
    run.stdout = None
    done = finish(run)
    assert (done.status, "error" in done.err) == (0, False)
    dripping.assert_nothing_left()
    events = [line for line in first if json.loads(line)["type"] == "event"]
    rest = dripping("plugin", "run", PLUGIN).out
    further = [json.loads(line)["envelope"]["source_event_id"] for line in rest.splitlines()]
    assert further
    assert "e0" not in further
    assert len(events) < DRIPS


@pytest.mark.parametrize(
    "words", [("plugin", "list"), ("plugin", "list", "--json"), ("doctor",), ("--help",)]
)
def test_a_stdout_that_is_closed_already_is_no_error(
    installed: Aperio, words: tuple[str, ...]
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = installed.run(*words, stdout=writing)
    finally:
        os.close(writing)
    assert (done.status, done.err) == (0, "")


def test_an_interrupt_with_json_is_one_document(aperio: Aperio, hello_artifact: Path) -> None:
    done = aperio.run("plugin", "install", hello_artifact, "--json", at="SIGINT:1:os.mkdir:.aside-")
    assert done.status == INTERRUPTED
    [error] = done.document["errors"]
    assert (error["code"], error["what"]) == (
        "interrupted",
        "`aperio plugin install` was interrupted",
    )


def test_an_interrupted_stream_says_so_in_its_last_line(dripping: Aperio) -> None:
    run = dripping.start("plugin", "run", PLUGIN, "--json")
    assert run.stdout
    run.stdout.readline()
    run.send_signal(signal.SIGINT)
    done = finish(run)
    assert done.status == INTERRUPTED
    assert (done.lines[-1]["type"], done.lines[-1]["code"]) == ("error", "interrupted")
