"""What was hashed is what runs: a single binary is executed from a sealed copy of it."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.errors.files import FileNotRegular, FilesChanged
from aperio_cli.files import tree
from aperio_cli.host import starting
from aperio_cli.host.calls.invocation import Invocation
from aperio_cli.host.launch import LaunchOptions, launch
from aperio_cli.host.process.sealed import seal_binary
from aperio_cli.host.process.spawning import spawn
from aperio_cli.machine import kernel
from aperio_cli.models.digest import Digest
from aperio_cli.models.evidence import ExceptionGranted
from aperio_cli.models.grant import Grant
from aperio_cli.models.manifest import Runtime
from aperio_cli.models.receipt import Receipt
from aperio_cli.paths import find_paths
from aperio_cli.store.installed import Store
from tests.clearances import cleared
from tests.descriptors import open_descriptors
from tests.interop.conftest import HURRIED, OurHost, go_build
from tests.process.conftest import manifest

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.host.launch import RunningPlugin
    from aperio_cli.host.process.spawning import Process
    from aperio_cli.host.sandbox.interface import Command, Confinement, Sandbox
    from tests.interop.conftest import Programs

pytestmark = pytest.mark.go


@dataclass(frozen=True)
class Wrong:
    """Another program, which leaves a mark as soon as it runs."""

    binary: Path
    mark: Path


@pytest.fixture(scope="session")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Wrong:
    folder = tmp_path_factory.mktemp("wrong")
    made = Wrong(folder / "plugin", folder / "mark")
    flags = f"-ldflags=-X main.identity=wrong -X main.mark={made.mark}"
    go_build(made.binary, flags, "./plugin")
    return made


@dataclass
class Installed:
    """An installed version that consists of the stock plugin."""

    host: OurHost
    store: Store
    receipt: Receipt

    @property
    def binary(self) -> Path:
        return self.receipt.files / "bin" / "box"

    def put(self, source: Path) -> None:
        """Put another file in the binary's place, in one step."""
        aside = self.receipt.folder / "aside"
        os.link(source, aside)
        aside.replace(self.binary)

    def report(self) -> Any:
        """Launch it and ask what it found around itself."""

        async def main() -> Any:
            options = LaunchOptions(self.host.runtime_base, store=self.store, patience=HURRIED)
            async with launch(cleared(self.receipt), options, self.host.logs.append) as plugin:
                return await described(plugin)

        return asyncio.run(main())


async def described(plugin: RunningPlugin) -> Any:
    return json.loads((await plugin.connector.schema(Invocation())).description)


@pytest.fixture
def installed(our_host: OurHost, tmp_path: Path) -> Installed:
    folder = tmp_path / "home" / "plugins" / "acme" / "box" / "1.2.0"
    (folder / "files" / "bin").mkdir(parents=True)
    shutil.copyfile(our_host.plugin, folder / "files" / "bin" / "box")
    (folder / "files" / "bin" / "box").chmod(0o755)
    listed = tree.format_tree(tree.list_tree(folder / "files"))
    (folder / "files.sha256").write_bytes(listed)
    asked = manifest(runtime=Runtime("go", ()))
    made = Receipt(
        manifest=asked,
        platform="linux/amd64",
        artifact_digest=Digest("0" * 64),
        tree_digest=tree.tree_digest(listed),
        installed_at="2026-01-01T00:00:00Z",
        badge="local",
        evidence=ExceptionGranted("unsigned", "2099-01-01", "a test"),
        source="a test",
        interpreter=None,
        folder=folder,
        state_owner="acme/box",
        grant=Grant(asked),
    )
    (folder / "receipt.json").write_bytes(made.to_bytes())
    return Installed(our_host, Store(find_paths({}, home=str(tmp_path / "home"))), made)


@pytest.mark.conformance(27, "H")
def test_a_binary_with_the_right_digest_runs_from_its_sealed_copy(installed: Installed) -> None:
    found = installed.report()

    assert found["identity"] == "good"
    assert found["executable"].startswith("/memfd:box")
    assert not [text for text in installed.host.messages() if "not sealed" in text]


@pytest.mark.conformance(27, "H")
def test_a_binary_with_another_digest_is_refused_before_anything_runs(
    installed: Installed, wrong: Wrong
) -> None:
    installed.put(wrong.binary)

    with pytest.raises(FilesChanged, match="nothing was executed"):
        installed.report()

    assert not wrong.mark.exists()


def test_a_file_swapped_after_the_check_is_not_what_runs(
    installed: Installed, wrong: Wrong, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def swapping(command: Command, sandbox: Sandbox, wanted: Confinement) -> Process:
        installed.put(wrong.binary)
        return await spawn(command, sandbox, wanted)

    monkeypatch.setattr(starting, "spawn", swapping)

    assert installed.report()["identity"] == "good"
    assert not wrong.mark.exists()


def test_without_executable_memory_the_host_says_that_the_file_itself_runs(
    installed: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> int:
        raise PermissionError("vm.memfd_noexec = 2")

    monkeypatch.setattr(kernel, "memfd_create", refuse)

    found = installed.report()

    assert found["executable"] == str(installed.binary)
    assert "not sealed: no executable memfd here; the checked file itself runs" in (
        installed.host.messages()
    )


def test_no_wrong_byte_runs_while_the_file_is_swapped_in_a_loop(
    installed: Installed, wrong: Wrong, stock: Programs
) -> None:
    ended = threading.Event()
    right = installed.receipt.folder / "right"
    shutil.copy(stock.plugin, right)
    right.chmod(0o755)

    def swap() -> None:
        while not ended.is_set():
            installed.put(wrong.binary)
            ended.wait(0.01)
            installed.put(right)
            ended.wait(0.05)  # long enough for some checks to pass

    identities: list[str] = []
    refused = attempts = 0
    attacker = threading.Thread(target=swap)
    attacker.start()
    try:
        while (len(identities) < 3 or refused < 3) and attempts < 100:
            attempts += 1
            try:
                identities.append(installed.report()["identity"])
            except (FilesChanged, FileNotRegular):
                refused += 1
    finally:
        ended.set()
        attacker.join()

    assert set(identities) == {"good"}
    assert refused >= 3
    assert not wrong.mark.exists()


def test_a_sealed_copy_cannot_be_changed(tmp_path: Path) -> None:
    source = tmp_path / "tool"
    source.write_bytes(b"#!/bin/sh\n")
    sealed = seal_binary(source, Digest.of(b"#!/bin/sh\n").hex, subject="it")
    assert sealed

    seals = fcntl.fcntl(sealed.descriptor, 1034)  # F_GET_SEALS: some builds have no names
    with pytest.raises(PermissionError):
        os.pwrite(sealed.descriptor, b"x", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(sealed.descriptor, 1)
    sealed.close()

    expected = 0x1 | 0x2 | 0x4 | 0x8  # F_SEAL_SEAL, _SHRINK, _GROW, _WRITE
    assert seals & expected == expected


def test_a_copy_with_another_digest_is_refused_and_let_go(tmp_path: Path) -> None:
    (tmp_path / "tool").write_bytes(b"#!/bin/sh\n")
    before = open_descriptors()

    with pytest.raises(FilesChanged) as caught:
        seal_binary(tmp_path / "tool", "0" * 64, subject="it")

    assert caught.value.why.startswith("checksums did not match: tool")
    assert not open_descriptors() - before


def test_a_sealed_copy_that_nobody_holds_is_let_go(tmp_path: Path) -> None:
    (tmp_path / "tool").write_bytes(b"x")
    before = open_descriptors()

    assert seal_binary(tmp_path / "tool", Digest.of(b"x").hex, subject="it")

    assert not open_descriptors() - before


def test_a_link_in_the_place_of_the_binary_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "tool").symlink_to("/bin/sh")

    with pytest.raises(FileNotRegular):
        seal_binary(tmp_path / "tool", "0" * 64, subject="it")
