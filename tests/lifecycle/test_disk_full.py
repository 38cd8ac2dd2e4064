"""A disk that is full, at each step: told as such, and what was half written is gone.

The disk is a real one of 4 MiB where this user may mount it; else those tests are skipped, and the
last ones, where the system says "no space" when a file is flushed, stand in for them.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lifecycle.plugins import PLUGIN, artifact_of, project_of, simulating

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lifecycle.cli import Aperio, Refused

DISK_BYTES = 4 * 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk, mounted in the test's folder."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if (
        shutil.which("mount") is None
        or subprocess.run(command, check=False, capture_output=True).returncode
    ):
        pytest.skip("this user may not mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def on_disk(aperio: Aperio, disk: Path, monkeypatch: pytest.MonkeyPatch) -> Aperio:
    """An operator whose home is on the small disk."""
    shutil.copytree(aperio.home, disk / "home")
    (disk / "home").chmod(0o700)
    aperio.home = disk / "home"
    monkeypatch.setenv("APERIO_HOME", str(aperio.home))
    return aperio


def fill(disk: Path) -> Path:
    """Fill the disk to its last byte; the file that does it."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (64 * 1024, 4096, 1):
            with pytest.raises(OSError, match="No space left"):  # noqa: PT012 - until it is full
                while True:
                    file.write(bytes(size))
    return filler


def is_full(aperio: Aperio, *words: object, noted: bool = False) -> Refused:
    """The command says that the disk is full, and has changed nothing."""
    told = aperio.refuses(*words, code="disk-full", status=1, noted=noted)
    assert "the disk is full" in told.what
    assert told.next[0].startswith("free some space")
    return told


def files_of(aperio: Aperio) -> dict[Path, bytes]:
    """Every file, without the log of what was signed and the store's lock."""
    return {
        path: path.read_bytes()
        for path in aperio.sandbox.rglob("*")
        if path.is_file()
        and "log" not in path.parts
        and path.name not in {"store.lock", "managed.lock", ".lock"}
    }


# ── a real disk ───────────────────────────────────────────────────────────────────────────────────


def test_init_says_so(stranger: Aperio, disk: Path) -> None:
    fill(disk)
    words = ("plugin", "init", "github.com/acme/aperio-plugin-x", "--output", disk / "x")
    is_full(stranger, *words)
    assert [path.name for path in disk.iterdir()] == ["filler"]


def test_build_says_so(aperio: Aperio, disk: Path) -> None:
    project = project_of(aperio.folder / "project", "print()\n")
    fill(disk)
    is_full(aperio, "plugin", "build", project, "--out", disk / "dist")
    assert [path.name for path in disk.rglob("*") if path.is_file()] == ["filler"]


def test_sign_says_so(aperio: Aperio, disk: Path) -> None:
    artifact = artifact_of(disk / "dist", "print()\n")
    fill(disk)
    is_full(aperio, "plugin", "sign", artifact, "--trust", "local", noted=True)
    assert [path.name for path in artifact.parent.iterdir()] == [artifact.name]


def test_sign_says_so_when_its_log_cannot_grow(on_disk: Aperio, disk: Path) -> None:
    artifact = artifact_of(on_disk.folder / "dist", "print()\n")
    filler = fill(disk)
    words = ("plugin", "sign", artifact, "--trust", "local")
    told = is_full(on_disk, *words, noted=True)
    assert told.what.startswith("nothing was signed")
    filler.unlink()
    on_disk(*words)
    on_disk("plugin", "verify", artifact)


def test_trust_local_init_says_so(
    stranger: Aperio, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APERIO_HOME", str(disk / "home"))
    filler = fill(disk)
    is_full(stranger, "trust", "local", "init")
    filler.unlink()
    stranger("trust", "local", "init")


@pytest.mark.parametrize("command", ["add", "build"])
def test_a_registry_says_so(aperio: Aperio, disk: Path, whole_hello: Path, command: str) -> None:
    source = disk / "registry"
    aperio("registry", "init", source)
    if command == "build":
        small = artifact_of(aperio.folder / "small", "print()\n")
        aperio("plugin", "sign", small, "--trust", "local")
        aperio("registry", "add", small, "--dir", source)
    filler = fill(disk)
    words = ("add", whole_hello / "dist") if command == "add" else ("build",)
    is_full(aperio, "registry", *words, "--dir", source)
    filler.unlink()
    assert not [path for path in source.rglob("*") if path.name.startswith(".aside-")]


def test_install_says_so_after_it_has_unpacked_a_part(on_disk: Aperio, whole_hello: Path) -> None:
    [hello_artifact] = (whole_hello / "dist").glob("*.tar.gz")
    with on_disk.unchanged(noted=True):
        on_disk("plugin", "list")
    told = on_disk.type("plugin", "install", hello_artifact)
    assert (told.status, "disk-full (exit 1)" in told.err) == (1, True)
    is_full(on_disk, "plugin", "install", hello_artifact)
    assert not list((on_disk.home / "plugins").iterdir())


def test_an_installed_plugin_survives_a_full_disk(on_disk: Aperio, disk: Path) -> None:
    first = artifact_of(on_disk.folder / "one", simulating("bare"))
    second = artifact_of(on_disk.folder / "two", simulating("bare"), version="2.0.0")
    on_disk("plugin", "sign", first, second, "--trust", "local")
    on_disk("plugin", "install", first)
    filler = fill(disk)
    is_full(on_disk, "plugin", "install", second)
    assert '"1.2.3"' in on_disk("plugin", "list", "--json").out
    filler.unlink()
    on_disk("plugin", "run", PLUGIN, "schema")
    on_disk("plugin", "install", second)


def test_removing_frees_a_full_disk(on_disk: Aperio, disk: Path) -> None:
    artifact = artifact_of(on_disk.folder / "one", simulating("bare"))
    on_disk("plugin", "sign", artifact, "--trust", "local")
    on_disk("plugin", "install", artifact)
    fill(disk)
    on_disk("plugin", "remove", PLUGIN)
    assert on_disk("plugin", "list").out == "no plugins are installed\n"
    assert PLUGIN not in (on_disk.home / "aperio.lock").read_text()


def test_a_sync_whose_checkpoint_cannot_be_stored_says_so_and_gives_it_again(
    on_disk: Aperio, disk: Path
) -> None:
    artifact = artifact_of(on_disk.folder / "dist", simulating("bare"))
    on_disk("plugin", "sign", artifact, "--trust", "local")
    on_disk("plugin", "install", artifact)
    on_disk("plugin", "run", PLUGIN, "schema")
    filler = fill(disk)
    done = on_disk("plugin", "run", PLUGIN, "sync", status=1)
    assert "disk-full (exit 1)" in done.err
    assert len(done.lines) in {0, 2}
    filler.unlink()
    again = on_disk("plugin", "run", PLUGIN, "sync").lines
    assert [line["envelope"]["source_event_id"] for line in again] == ["e0", "e1"]


# ── "no space" said by the system, or by where the output goes ────────────────────────────────────


@pytest.mark.parametrize("step", ["build", "sign", "install", "add"])
def test_a_file_that_cannot_be_flushed_is_a_full_disk(
    aperio: Aperio, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = project_of(aperio.folder / "project", "print()\n")
    artifact = artifact_of(aperio.folder / "dist", "print()\n")
    aperio("plugin", "sign", artifact, "--trust", "local")
    aperio("registry", "init", "registry")
    aperio("plugin", "install", artifact)
    other = artifact_of(aperio.folder / "dist", "print()\n", version="2.0.0")
    aperio("plugin", "sign", other, "--trust", "local")

    def no_space(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", no_space)
    words: tuple[object, ...] = {
        "build": ("plugin", "build", project),
        "sign": ("plugin", "sign", artifact, "--trust", "local"),
        "install": ("plugin", "install", other),
        "add": ("registry", "add", artifact, "--dir", "registry"),
    }[step]
    before = files_of(aperio)
    told = aperio.type(*words)
    assert files_of(aperio) == before
    assert told.status == 1
    assert "disk-full (exit 1)" in told.err
    aperio.assert_nothing_left()


@pytest.mark.parametrize(
    "words", [("plugin", "list"), ("plugin", "list", "--check"), ("doctor",), ("--version",)]
)
def test_output_to_a_full_disk_is_told(aperio: Aperio, words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = aperio.run(*words, stdout=full)
    assert done.status == 1
    assert "error: the output was not written: the disk is full" in done.err


def test_a_sync_into_a_full_file_is_told_and_gives_its_events_again(dripping: Aperio) -> None:
    with Path("/dev/full").open("wb") as full:
        done = dripping.run("plugin", "run", PLUGIN, stdout=full)
    assert done.status == 1
    assert "disk-full (exit 1)" in done.err
    assert '"e0"' in dripping("plugin", "run", PLUGIN).out


# ── a file that may not become that long ──────────────────────────────────────────────────────────


def limited(limit_bytes: int) -> list[str]:
    """What a command is executed by whose files may have that many bytes."""
    if shutil.which("prlimit") is None:
        pytest.skip("there is no prlimit (util-linux)")
    # Python would leave a part of its bytecode behind, for whoever imports it next.
    return ["env", "PYTHONDONTWRITEBYTECODE=1", "prlimit", f"--fsize={limit_bytes}"]


@pytest.mark.parametrize(
    ("words", "unbuffered"),
    [
        (("--version",), "1"),
        (("--help",), ""),
        (("--help",), "1"),
        (("plugin", "list", "--json"), "1"),
        (("doctor",), ""),
    ],
)
def test_output_that_is_cut_is_told(
    aperio: Aperio, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], unbuffered: str
) -> None:
    """A write of a part is no error to the system, and without a buffer was none to anybody."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    path = aperio.folder / "output"
    with path.open("wb") as file:
        cut = aperio.run(*words, stdout=file, prefix=limited(10))
    assert (cut.status, path.stat().st_size) == (1, 10)
    assert "error: the output was not written: a file would become longer than it may" in cut.err
    assert "files of this process may have 10 bytes" in cut.err
    assert "file-size-limited (exit 1)" in cut.err


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_to_a_file_that_is_long_enough_is_whole(
    aperio: Aperio, monkeypatch: pytest.MonkeyPatch, unbuffered: str
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    path = aperio.folder / "output"
    with path.open("wb") as file:
        whole = aperio.run("plugin", "--help", stdout=file, prefix=limited(1024 * 1024))
    assert (whole.status, whole.err) == (0, "")
    assert path.read_text() == aperio("plugin", "--help").out


@pytest.mark.parametrize(
    ("step", "limit_bytes"),
    [("init", 2000), ("sign", 2000), ("install", 0), ("install", 2000), ("run", 0), ("run", 2000)],
)
def test_a_file_that_may_not_become_that_long_is_no_full_disk(
    dripping: Aperio, step: str, limit_bytes: int
) -> None:
    other = artifact_of(dripping.folder / "dist", "print()\n", version="2.0.0")
    dripping("plugin", "sign", other, "--trust", "local")
    words: tuple[object, ...] = {
        "init": ("plugin", "init", "github.com/acme/aperio-plugin-x"),
        "sign": ("plugin", "sign", other, "--trust", "local"),
        "install": ("plugin", "install", other),
        "run": ("plugin", "run", PLUGIN),
    }[step]

    told = dripping.run(*words, most_bytes=limit_bytes)

    assert told.status == 1, told
    assert "a file would become longer than it may" in told.err
    assert f"files of this process may have {limit_bytes} bytes" in told.err
    assert "file-size-limited (exit 1)" in told.err
    dripping.assert_nothing_left()
