"""Evidence about a process that ended, and sockets that are what they seem."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aperio_cli.errors.running import HandshakeAddressRefused
from aperio_cli.errors.usage import UsageError
from aperio_cli.host.process.diagnosis import describe_exit, elf_machine, explain
from aperio_cli.host.process.surroundings import PrivateFolder, build_environment
from aperio_cli.host.wire.channel import Pinned, pin_socket
from tests.descriptors import open_descriptors
from tests.rows import each_row

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a path that is short enough for sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="d") as name:
        yield Path(name)


@each_row(
    ("returncode", "text"),
    [
        (None, "it is still running"),
        (0, "exit status 0"),
        (3, "exit status 3"),
        (-11, "killed by SIGSEGV"),
        (-99, "killed by signal 99"),
    ],
)
def test_how_a_process_ended_is_said_in_words(returncode: int | None, text: str) -> None:
    assert describe_exit(returncode) == text


@each_row(
    ("header", "machine"),
    [
        (b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00", "aarch64"),
        (b"\x7fELF\x02\x02\x01" + bytes(9) + b"\x00\x02\x00\x16", "ELF machine 22"),
        (b"\x7fELF\x02\x01", ""),
        (b"#!/bin/sh\nexit 1\n...............", ""),
        (b"", ""),
    ],
)
def test_the_architecture_is_read_from_the_elf_header(
    tmp_path: Path, header: bytes, machine: str
) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(header)

    assert elf_machine(binary) == machine


def test_the_evidence_names_exit_permissions_and_last_words(tmp_path: Path) -> None:
    binary = tmp_path / "plugin"
    binary.write_bytes(b"")
    binary.chmod(0o644)

    text = explain(126, ["cannot start"], binary)

    assert "exit status 126" in text
    assert f"{binary} may not be executed: mode 0644" in text
    assert "  cannot start" in text


def test_a_missing_binary_and_silence_are_evidence_too(tmp_path: Path) -> None:
    text = explain(127, [], tmp_path / "gone")

    assert f"{tmp_path / 'gone'}: No such file or directory" in text
    assert "it wrote nothing on stderr" in text


def test_this_programs_own_architecture_is_no_problem() -> None:
    python = Path("/proc/self/exe").resolve()

    assert elf_machine(python) == os.uname().machine
    assert explain(1, ["x"], python) == "exit status 1\nits last lines on stderr:\n  x"


# ── sockets and folders ───────────────────────────────────────────────────────────────────────────


def test_a_pinned_socket_is_dialled_whatever_becomes_of_its_name(short: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(short / "s"))
        server.listen()
        pinned = pin_socket(short / "s", "x")
        (short / "s").unlink()
        (short / "s").symlink_to("/var/run/docker.sock")

        client.connect(pinned.target.removeprefix("unix:"))

        pinned.close()


def test_a_reserved_number_is_refused_until_it_is_the_sockets(short: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(short / "s"))
        server.listen()
        before = open_descriptors()
        reserved = Pinned.reserve()
        with pytest.raises(ConnectionRefusedError):
            client.connect(reserved.target.removeprefix("unix:"))

        reserved.take(pin_socket(short / "s", "x"))

        assert not os.get_inheritable(reserved.descriptor)
        client.connect(reserved.target.removeprefix("unix:"))
        reserved.close()
        assert not open_descriptors() - before


@pytest.mark.parametrize("kind", ["missing", "file", "folder", "fifo", "link"])
def test_what_is_no_socket_is_not_pinned_and_no_descriptor_is_left(short: Path, kind: str) -> None:
    path = short / "s"
    match kind:
        case "file":
            path.write_bytes(b"")
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "link":
            with socket.socket(socket.AF_UNIX) as real:
                real.bind(str(short / "real"))
            path.symlink_to(short / "real")
        case _:
            pass
    before = open_descriptors()

    with pytest.raises(HandshakeAddressRefused):
        pin_socket(path, "x")

    assert not open_descriptors() - before


def test_a_private_folder_is_this_users_alone_and_goes_away_whole(short: Path) -> None:
    mask = os.umask(0)
    try:
        folder = PrivateFolder.make(short, subject="x")
    finally:
        os.umask(mask)
    modes = {path.stat().st_mode & 0o777 for path in (folder.path, folder.own)}
    (folder.own / "link").symlink_to("/etc")

    folder.remove()

    assert modes == {0o700}
    assert not list(short.iterdir())
    assert Path("/etc").is_dir()


def test_a_private_folder_that_was_swapped_for_a_link_is_emptied_where_it_is(
    short: Path, tmp_path: Path
) -> None:
    """Whoever owns the base can do that; what the link leads to is not touched."""
    victim = tmp_path / "victim" / "folder"
    victim.mkdir(parents=True, mode=0o755)
    (victim / "file").touch()
    folder = PrivateFolder.make(short, subject="x")
    (folder.own / "token").touch()
    moved = folder.path.rename(short / "moved")
    folder.path.symlink_to(victim.parent)

    folder.remove()

    assert (victim / "file").exists()
    assert victim.stat().st_mode & 0o777 == 0o755
    assert not list(moved.iterdir())
    moved.rmdir()


def descriptors_below(folder: Path) -> int:
    return sum(target.startswith(str(folder)) for _number, target in open_descriptors())


@pytest.mark.parametrize("depth", [3000])
def test_a_private_folder_goes_away_however_deep_and_closed(short: Path, depth: int) -> None:
    folder = PrivateFolder.make(short, subject="x")
    here = os.open(folder.own, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.fchmod(here, 0)
        os.close(here)
        here = inner
    os.close(here)
    folder.path.chmod(0)
    held = descriptors_below(short)

    folder.remove()

    assert not list(short.iterdir())
    assert (held, descriptors_below(short)) == (3, 0)


def test_a_base_with_a_long_path_is_refused_and_left_empty(tmp_path: Path) -> None:
    base = tmp_path / ("x" * 80)
    base.mkdir()

    with pytest.raises(UsageError, match="too long for unix sockets"):
        PrivateFolder.make(base, subject="x")

    assert not list(base.iterdir())


def test_the_environment_is_built_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")

    environment = build_environment(Path("/run/x/plugin"))

    assert "SECRET" not in environment
    assert environment["TMPDIR"] == environment["HOME"] == "/run/x/plugin"
    assert "APERIO_HOST_SOCKET" not in environment
    assert build_environment(Path("/x"), "/s")["APERIO_HOST_SOCKET"] == "/s"
