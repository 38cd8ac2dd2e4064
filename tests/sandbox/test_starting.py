"""Starts in a sandbox: what is said, what is refused, how host and plugins stay apart."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from aperio_cli.data.state import StateDatabase
from aperio_cli.errors.running import PluginNotExecutable, SandboxFailed
from aperio_cli.host.calls.invocation import Invocation
from aperio_cli.host.launch import LaunchOptions, launch
from aperio_cli.host.sandbox import groups, network
from aperio_cli.host.sandbox.bubblewrap import Bubblewrap
from aperio_cli.host.sandbox.interface import Doorway
from tests.clearances import cleared
from tests.process.conftest import LIBRARY, descriptors_from_1024_on, is_alive, wait_until
from tests.sandbox.conftest import (
    ORDINARY,
    PATIENT,
    ROOT,
    ROOT_ONLY,
    acting,
    host_process,
    interpreter,
    own_groups,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence

    from aperio_cli.host.sandbox.interface import Sandbox
    from tests.sandbox.conftest import Stage

pytestmark = pytest.mark.sandbox


def test_every_start_says_what_is_enforced_and_by_whom(stage: Stage, sandbox: Sandbox) -> None:
    with acting(stage.build(), sandbox) as actor:
        said = [record.message for record in actor.logs]
    assert said[1].startswith("contained by bubblewrap: kernel ")
    assert {"egress", "tmp", "open_files", "isolation"} <= set(said[1].replace(";", "").split())
    assert not [text for text in said if text.startswith("not enforced")]


def test_a_host_with_more_descriptors_than_select_knows_makes_sandboxes(
    stage: Stage, sandbox: Sandbox
) -> None:
    with descriptors_from_1024_on(), acting(stage.build(), sandbox) as actor:
        assert actor.plugin.pid


@pytest.fixture
def stub() -> Iterator[Path]:
    """A program in the place of bubblewrap; everybody may execute it."""
    folder = Path(tempfile.mkdtemp(prefix="aperio-stub-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder / "bwrap"
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 'bwrap: No permissions to create new namespace' >&2; exit 1", "No permissions"),
        ("echo 'Unknown option --size' >&2; exit 1", "Unknown option --size"),
        ("exit 0", ""),
    ],
)
def test_a_sandbox_that_cannot_be_made_refuses_and_nothing_runs(
    script: str, why: str, stage: Stage, sandbox: Sandbox, stub: Path
) -> None:
    assert isinstance(sandbox, Bubblewrap)
    stub.write_text(f"#!/bin/sh\n{script}\n")
    stub.chmod(0o755)
    broken = replace(sandbox, tools=replace(sandbox.tools, bwrap=str(stub)))
    with pytest.raises(SandboxFailed) as caught, acting(stage.build(), broken):
        pass
    error = caught.value
    assert (error.code, error.exit_status) == ("sandbox-failed", 3)
    assert "was not started" in error.what
    assert why in error.why
    assert any("aperio doctor" in step for step in error.next)


def test_a_limit_that_cannot_be_set_refuses(
    stage: Stage, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_group: object, _limits: object) -> None:
        raise PermissionError(13, "memory.limit_in_bytes: Permission denied")

    monkeypatch.setattr(groups.Group, "limit", refuse)
    assert isinstance(sandbox, Bubblewrap)
    if not sandbox.offer.controllers:
        pytest.skip("this machine offers no control groups")
    before = own_groups()
    with (
        pytest.raises(SandboxFailed, match="was not started") as caught,
        acting(stage.build(), sandbox),
    ):
        pass
    assert "Permission denied" in caught.value.why
    assert own_groups() == before


def test_what_cannot_be_executed_is_told_as_without_a_sandbox(
    stage: Stage, sandbox: Sandbox
) -> None:
    build = stage.build()
    script = build.script.with_name("not-executable")
    script.write_text("#!/bin/sh\n")
    gone = replace(build, interpreter=None, dependencies=None, script=script)
    with pytest.raises(PluginNotExecutable, match="could not be executed") as caught:
        acting(gone, sandbox).__enter__()
    assert "may not be executed: mode 0644" in caught.value.why


# ── the door ──────────────────────────────────────────────────────────────────────────────────────


def answer_all(sockets: Sequence[socket.socket], taken: list[str]) -> None:
    """Take the listeners, as the host's door does."""
    taken += [f"{host}:{port}" for host, port in (each.getsockname() for each in sockets)]
    sockets_kept.extend(sockets)


sockets_kept: list[socket.socket] = []


def test_the_hosts_door_listens_inside_before_the_plugin_runs(
    stage: Stage, sandbox: Sandbox
) -> None:
    taken: list[str] = []
    addresses = (("127.0.0.1", 3128), ("127.10.0.1", 443))
    doorway = Doorway(
        {"HTTPS_PROXY": "http://127.0.0.1:3128"},
        (("127.10.0.1", "api.box.com"),),
        addresses,
        lambda sockets: answer_all(sockets, taken),
    )
    build = stage.build(egress=("api.box.com:443",))
    with acting(build, sandbox, door=doorway) as actor:
        assert taken == ["127.0.0.1:3128", "127.10.0.1:443"]
        assert actor.do("connect", "AF_INET", ["api.box.com", 443]) == "connected"
        assert actor.do("connect", "AF_INET", ["127.0.0.1", 3128]) == "connected"
        assert actor.do("connect", "AF_INET", ["127.0.0.1", 3129]) == "ECONNREFUSED"
        assert actor.do("connect", "AF_INET", ["192.0.2.1", 443]) == "ENETUNREACH"
        environment = actor.do("environment_of", "self")
        assert environment["HTTPS_PROXY"] == "http://127.0.0.1:3128"
        assert not [r for r in actor.logs if r.message.startswith("not enforced")]
    while sockets_kept:
        sockets_kept.pop().close()


def test_a_door_that_fails_refuses_the_start(stage: Stage, sandbox: Sandbox) -> None:
    def fail(sockets: Sequence[socket.socket]) -> None:
        for each in sockets:
            each.close()
        raise SandboxFailed("the door does not work")

    doorway = Doorway({}, (), (("127.0.0.1", 3128),), fail)
    with (
        pytest.raises(SandboxFailed, match="does not work"),
        acting(stage.build(), sandbox, door=doorway),
    ):
        pass


def test_too_many_listeners_are_refused() -> None:
    with pytest.raises(SandboxFailed, match="could not be opened"):
        network.open_in_namespace(os.getpid(), [("127.0.0.1", 1)] * 251)


# ── the host's own services, and its end ──────────────────────────────────────────────────────────


def test_the_key_value_store_is_reached_from_inside(
    stage: Stage, sandbox: Sandbox, tmp_path: Path
) -> None:
    build = stage.build(state=True)
    build = replace(build, script=build.script.with_name("remembers.py"))
    base = Path(tempfile.mkdtemp(prefix="aperio-run-", dir="/tmp"))

    async def main() -> Any:
        with StateDatabase(tmp_path / "state.db") as state:
            options = LaunchOptions(base, state=state, patience=PATIENT, sandbox=sandbox)
            async with launch(cleared(build), options, lambda _record: None) as plugin:
                return await plugin.connector.schema(Invocation())

    assert asyncio.run(main()).name == "1 PERMISSION_DENIED FAILED_PRECONDITION NOT_FOUND runs 1"
    base.rmdir()


@ROOT_ONLY
def test_an_ordinary_users_plugins_are_contained_too(stage: Stage, base: Path) -> None:
    """With namespaces of their own; memory and processor are looked after by the host."""
    deeds = [
        ["own"], ["read", "/etc/shadow"], ["processes"], ["signal_process", os.getpid()],
        ["connect", "AF_INET", ["192.0.2.1", 80]], ["children", 100], ["fill", "/tmp", 64],
        ["connect", "AF_INET", ["127.10.0.1", 443]], ["make_device", "/tmp/x"],
        ["system_call", 272, 0x10000000], ["hog", 4096], ["burn", 2.0],
    ]  # fmt: skip
    process = host_process(stage, base, deeds, uid=ORDINARY)
    out, err = process.communicate("", timeout=120)
    assert process.returncode == 0, err
    found = json.loads(out.splitlines()[-1])
    own, shadow, processes, signalled, network_, children, filled, *others = found["done"]
    door, device, call, *hog = others
    assert door == "connected"  # by the helper that enters the namespace for an ordinary user
    assert own["uid"] == ORDINARY
    assert (own["host"], shadow) == ("plugin", "ENOENT")
    assert len(processes) < 5
    assert (signalled, network_, device, call) == ("ESRCH", "ENETUNREACH", "EPERM", "EPERM")
    assert 8 < children < 48
    assert filled <= 8
    # On a busy machine it may be refused more before anybody looks at it: stopped after that.
    assert any(str(each).startswith("plugin-limit-reached: memory: limit 256MiB") for each in hog)
    assert "polled cpu memory" in found["said"]


def test_a_host_that_is_killed_leaves_nothing(stage: Stage, base: Path) -> None:
    process = host_process(stage, base, [["daemon"], ["wait"]], uid=os.geteuid())
    assert process.stdout
    line = process.stdout.readline()
    assert line, process.communicate(timeout=30)
    pids = json.loads(line)["pids"]
    assert len(pids) > 3
    process.kill()
    process.communicate(timeout=30)
    assert wait_until(lambda: not any(map(is_alive, pids)), within_s=30)


DOCTOR = """
import sys
sys.path[:0] = sys.argv[1:]
from aperio_cli.__main__ import main
sys.exit(main(["doctor", "--json"]))
"""
FORBID = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
# In a user namespace of its own a test may forbid further ones; outside nothing changes.
WITHOUT_NAMESPACES = ("unshare", "--user", "--map-root-user", "sh", "-c", FORBID, "sh")


@pytest.mark.parametrize(
    ("before", "has_bubblewrap", "remedy"),
    [
        (WITHOUT_NAMESPACES, True, "`sysctl -w user.max_user_namespaces=15000`"),
        ((), False, "install bubblewrap"),
        (("setpriv", f"--reuid={ORDINARY}", "--clear-groups"), False, "install bubblewrap"),
    ],
    ids=["namespaces off", "no bubblewrap", "no bubblewrap, an ordinary user"],
)
def test_where_nothing_can_be_enforced_that_is_said_and_what_is_required_refused(
    before: tuple[str, ...], *, has_bubblewrap: bool, remedy: str, base: Path
) -> None:
    """No lesser sandbox takes the place of the one that cannot be made."""
    if os.geteuid() and "setpriv" in before:
        pytest.skip("this is an ordinary user")
    packages = str(Path(grpc.__file__).resolve().parents[1])
    (base / "home").mkdir(mode=0o755)
    stated = '[sandbox]\nmode = "auto"\nrequire = ["isolation", "egress"]\n'
    (base / "home" / "config.toml").write_text(stated)
    if "setpriv" in before:
        for place in (base / "home", base / "home" / "config.toml"):
            os.chown(place, ORDINARY, ORDINARY)
    base.chmod(0o755)  # a configuration that others may change is read by nobody
    start = [shutil.which(before[0]) or "", *before[1:]] if before else []
    done = subprocess.run(
        [*start, interpreter().executable, "-B", "-c", DOCTOR, str(ROOT), str(LIBRARY), packages],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
        env={
            "PATH": os.environ["PATH"] if has_bubblewrap else str(base),
            "HOME": str(base / "home"),
            "APERIO_HOME": str(base / "home"),
        },
    )
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)["data"]
    limits = {each["limit"]: each for each in found["limits"]}
    assert found["sandbox"] == "none"
    assert limits["isolation"]["level"] == limits["egress"]["level"] == "none"
    assert limits["isolation"]["remedy"] == remedy
    (finding,) = [each for each in found["findings"] if each["code"] == "limit-required"]
    assert finding["why"] == "[sandbox] require names egress, isolation"


def test_a_stranger_does_not_reach_a_plugins_socket(stage: Stage, sandbox: Sandbox) -> None:
    """Neither by the folder of this run, nor through the sandbox."""
    with acting(stage.build(), sandbox) as actor:
        address = actor.plugin.address
        assert address.is_socket()
        folder = next(Path("/tmp").glob("aperio-run-*/aperio-*"))
        assert folder.stat().st_mode & 0o077 == 0
        if os.geteuid() == 0:
            test = ["setpriv", "--reuid=65533", "--clear-groups", "test", "-S", str(address)]
            assert subprocess.run(test, check=False, timeout=30).returncode == 1
    assert not address.exists()
