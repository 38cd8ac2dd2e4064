"""The start of a plugin's process, up to the first answered health check."""

from __future__ import annotations

import grp
import os
import re
import socket
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import grpc
import pytest
from aperio_plugin import _launch
from sdk_host import COOKIE, TIMEOUT_S, Launch, stop_by_signal

from tests.rows import each_row

if TYPE_CHECKING:
    from collections.abc import Mapping

BY_HAND = b"This binary is a plugin. These are not meant to be executed directly.\n"


@pytest.mark.parametrize("environment", [{}, {"APERIO_PLUGIN_MAGIC_COOKIE": "other"}])
def test_a_plugin_refuses_to_start_by_hand(launch: Launch, environment: dict[str, str]) -> None:
    plugin = launch(environment=environment)
    assert plugin.wait() == 1
    assert plugin.handshake == ""
    assert plugin.stderr().startswith(BY_HAND)
    assert plugin.stderr().count(b"\n") == 3


def test_the_handshake_has_six_fields_without_certificate(
    launch: Launch, socket_folder: Path
) -> None:
    plugin = launch()
    folder = re.escape(str(socket_folder))
    assert re.fullmatch(rf"1\|1\|unix\|{folder}/plugin[0-9a-f]{{8}}\|grpc\|\n", plugin.handshake)


def test_the_seventh_field_is_there_only_when_the_host_asks_for_multiplexing(
    launch: Launch,
) -> None:
    plugin = launch(environment={**COOKIE, "PLUGIN_MULTIPLEX_GRPC": "true"})
    assert plugin.handshake.endswith("|grpc||false\n")
    assert plugin.health() == 1


def test_health_answers_for_the_plugin_and_the_server_only(launch: Launch) -> None:
    plugin = launch()
    assert (plugin.health("plugin"), plugin.health(""), plugin.health("plugin")) == (1, 1, 1)
    with pytest.raises(grpc.RpcError) as caught:
        plugin.health("connector")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_client_certificate_that_is_none_is_refused_with_a_reason(launch: Launch) -> None:
    plugin = launch(environment={**COOKIE, "PLUGIN_CLIENT_CERT": "-----BEGIN CERTIFICATE-----"})
    assert plugin.wait() == 1
    assert plugin.handshake == ""
    assert b"PLUGIN_CLIENT_CERT" in plugin.stderr()
    assert plugin.stderr().count(b"\n") == 1


@each_row("patched", ["threading", "thread", "queue", "select", "socket", ""])
def test_a_plugin_whose_threads_are_gevents_is_refused_with_a_reason(
    monkeypatch: pytest.MonkeyPatch, patched: str
) -> None:
    gevent = SimpleNamespace(is_module_patched=lambda name: name == patched)
    monkeypatch.setitem(sys.modules, "gevent.monkey", gevent)  # type: ignore[arg-type] # a stand-in
    if patched in {"threading", "thread", "queue"}:
        with pytest.raises(_launch.LaunchRefused, match=r"take gevent\.monkey\.patch_all\(\) out"):
            _launch.require_threads()
    else:
        _launch.require_threads()


@each_row("patched", ["thread", "select", "socket", ""])
def test_a_plugin_whose_threads_are_eventlets_is_refused_with_a_reason(
    monkeypatch: pytest.MonkeyPatch, patched: str
) -> None:
    eventlet = SimpleNamespace(is_monkey_patched=lambda name: name == patched)
    monkeypatch.setitem(sys.modules, "eventlet.patcher", eventlet)  # type: ignore[arg-type] # a stand-in
    if patched in {"thread", "select"}:
        with pytest.raises(_launch.LaunchRefused, match=r"take eventlet\.monkey_patch\(\) out"):
            _launch.require_threads()
    else:
        _launch.require_threads()


@each_row(
    ("offered", "served"),
    [("1", 1), ("7,1,3", 1), ("9,x", 1), ("", 1), (None, 1), ("x,,-1,٣", 1)],
)
def test_the_version_is_shared_or_else_the_lowest(offered: str | None, served: int) -> None:
    assert _launch.negotiate(offered) == served


def test_the_highest_shared_version_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_launch, "PROTOCOL_VERSIONS", (1, 2, 3))
    assert _launch.negotiate("2,1,4") == 2
    assert _launch.negotiate("9") == 1


def test_a_host_of_another_major_version_is_answered_and_reads_the_difference(
    launch: Launch,
) -> None:
    plugin = launch(environment={**COOKIE, "PLUGIN_PROTOCOL_VERSIONS": "2,9"})
    assert plugin.handshake.split("|")[:2] == ["1", "1"]


@pytest.mark.parametrize(
    ("names", "expected"), [(("TMPDIR",), 0), (("PLUGIN_UNIX_SOCKET_DIR", "TMPDIR"), 0)]
)
def test_the_socket_is_in_the_hosts_folder_else_in_tmpdir(
    launch: Launch, tmp_path_factory: pytest.TempPathFactory, names: tuple[str, ...], expected: int
) -> None:
    folders = {name: tmp_path_factory.mktemp("f") for name in names}
    plugin = launch(environment={**COOKIE, **{k: str(v) for k, v in folders.items()}})
    assert plugin.socket.parent == folders[names[expected]]


def test_only_this_user_can_connect_whatever_the_umask(launch: Launch) -> None:
    plugin = launch(before="import os; os.umask(0)")
    mode = plugin.socket.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) & 0o077 == 0


@pytest.mark.parametrize("name", ["gid", "name"])
def test_the_hosts_group_can_connect(launch: Launch, name: str) -> None:
    group = grp.getgrgid(os.getgid())
    text = str(group.gr_gid) if name == "gid" else group.gr_name
    plugin = launch(environment={**COOKIE, "PLUGIN_UNIX_SOCKET_GROUP": text})
    status = plugin.socket.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o660, group.gr_gid)
    assert plugin.health() == 1


def test_an_unknown_group_is_named(launch: Launch) -> None:
    plugin = launch(environment={**COOKIE, "PLUGIN_UNIX_SOCKET_GROUP": "no-such-group"})
    assert plugin.wait() == 1
    assert b"no-such-group" in plugin.stderr()


def _folder_of_length(base: Path, length: int) -> Path:
    """A folder whose socket path has so many bytes: a slash and 14 characters are added."""
    missing = length - len(str(base)) - len("/" + "/plugin12345678")
    folder = base / ("x" * missing)
    folder.mkdir()
    return folder


def test_a_socket_path_of_107_bytes_works(launch: Launch, socket_folder: Path) -> None:
    folder = _folder_of_length(socket_folder, 107)
    plugin = launch(environment={**COOKIE, "PLUGIN_UNIX_SOCKET_DIR": str(folder)})
    assert len(str(plugin.socket)) == 107
    assert plugin.health() == 1


def test_a_socket_path_of_108_bytes_is_refused_with_the_limit(
    launch: Launch, socket_folder: Path
) -> None:
    folder = _folder_of_length(socket_folder, 108)
    plugin = launch(environment={**COOKIE, "PLUGIN_UNIX_SOCKET_DIR": str(folder)})
    assert plugin.wait() == 1
    assert b"108 bytes, 107 are the most" in plugin.stderr()
    assert not list(folder.iterdir())


@pytest.mark.parametrize("name", ["a%41b", "a?b", "a#b", "a b", "ü"])
def test_odd_characters_in_the_folder_do_not_matter(
    launch: Launch, socket_folder: Path, name: str
) -> None:
    folder = socket_folder / name
    folder.mkdir()
    plugin = launch(environment={**COOKIE, "PLUGIN_UNIX_SOCKET_DIR": str(folder)})
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(TIMEOUT_S)
        client.connect(str(plugin.socket))  # as a Go host does, by path
    assert plugin.socket.parent == folder


def test_a_folder_that_cannot_stand_in_the_line_is_refused(
    launch: Launch, socket_folder: Path
) -> None:
    folder = socket_folder / "a|b"
    folder.mkdir()
    plugin = launch(environment={**COOKIE, "PLUGIN_UNIX_SOCKET_DIR": str(folder)})
    assert plugin.wait() == 1
    assert plugin.handshake == ""
    assert b"cannot stand in a handshake line" in plugin.stderr()


def test_a_missing_folder_is_named_and_the_status_is_not_0(
    launch: Launch, socket_folder: Path
) -> None:
    missing = socket_folder / "missing"
    plugin = launch(environment={**COOKIE, "PLUGIN_UNIX_SOCKET_DIR": str(missing)})
    assert plugin.wait() == 1
    assert str(missing).encode() in plugin.stderr()


def test_prints_while_modules_are_imported_do_not_break_the_handshake(launch: Launch) -> None:
    plugin = launch(
        """
        print("a module says hello")
        print("and an error", file=sys.stderr)
        os.write(1, b"straight to the descriptor\\n")
        ctypes.CDLL(None).puts(b"from C")
        ctypes.CDLL(None).fflush(None)
        sys.stdout.write("no newline")
        connector.serve(Plain())
        """
    )
    assert plugin.handshake.startswith("1|1|unix|")
    assert plugin.health() == 1
    assert stop_by_signal(plugin) == 0
    for text in (b"a module says hello", b"straight to the descriptor", b"from C"):
        assert text in plugin.stderr()


def test_the_handshake_is_seen_at_once_although_output_is_buffered(launch: Launch) -> None:
    plugin = launch()  # its environment has no PYTHONUNBUFFERED; begin() has a deadline
    assert plugin.process.poll() is None
    assert plugin.handshake.endswith("\n")


def test_programs_that_a_plugin_starts_do_not_take_themselves_for_plugins(
    launch: Launch,
) -> None:
    plugin = launch(
        """
        logging.basicConfig()
        sys.stderr.write(f"names: {sorted(os.environ)}\\n")
        connector.serve(Plain())
        """,
        environment={**COOKIE, "PLUGIN_MIN_PORT": "10000", "PLUGIN_OWN": "kept"},
    )
    assert stop_by_signal(plugin) == 0
    assert b"PLUGIN_OWN" in plugin.stderr()
    for name in (b"APERIO_PLUGIN_MAGIC_COOKIE", b"PLUGIN_PROTOCOL_VERSIONS", b"PLUGIN_MIN_PORT"):
        assert name not in plugin.stderr()


def test_importing_the_sdk_elsewhere_changes_nothing() -> None:
    code = "import aperio_plugin.connector, os, sys; print(os.fstat(1).st_ino); sys.exit(0)"
    environment: Mapping[str, str] = {"PYTHONPATH": str(Path(_launch.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    assert done.stdout.strip().isdigit()
    assert done.stderr == b""


def test_an_author_module_imports_neither_grpc_nor_protobuf_before_serving() -> None:
    code = (
        "import sys, aperio_plugin.connector, aperio_plugin.remediation, aperio_plugin.destination;"
        "print([m for m in sys.modules if m.split('.')[0] in ('grpc', 'google')])"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": str(Path(_launch.__file__).parents[1])},
        capture_output=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    assert done.stdout == b"[]\n"
