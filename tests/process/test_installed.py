"""Launching installed versions: everything is checked before anything runs."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from aperio_cli.errors.files import FilesChanged
from aperio_cli.errors.installing import ProtocolIncompatible, ReceiptInvalid
from aperio_cli.errors.running import (
    InterpreterChanged,
    PluginExitedEarly,
    PluginFault,
    PluginNotExecutable,
)
from aperio_cli.files import tree
from aperio_cli.host.calls.invocation import Invocation
from aperio_cli.models.digest import Digest
from aperio_cli.models.evidence import ExceptionGranted
from aperio_cli.models.grant import Grant
from aperio_cli.models.receipt import Receipt
from aperio_cli.paths import find_paths
from aperio_cli.store.installed import Store

from .conftest import LIBRARY, PACKAGES, PLUGINS, THIS_PYTHON, Host, manifest

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.host.launch import RunningPlugin


@pytest.fixture
def store(host: Host, tmp_path: Path) -> Store:
    made = Store(find_paths({}, home=str(tmp_path / "home")))
    host.options["store"] = made
    return made


@pytest.fixture
def receipt(tmp_path: Path) -> Receipt:
    """An installed version whose plugin leaves a mark when it is executed."""
    folder = tmp_path / "home" / "plugins" / "acme" / "box" / "1.2.0"
    (folder / "files" / "bin").mkdir(parents=True)
    start = folder / "files" / "bin" / "box.py"
    places = [str(LIBRARY), str(PLUGINS), str(PACKAGES)]
    start.write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w').close()\n"
        f"import sys; sys.path[:0] = {places!r}\n"
        "import bare\nbare.serve()\n"
    )
    start.chmod(0o644)
    listed = tree.format_tree(tree.list_tree(folder / "files"))
    (folder / "files.sha256").write_bytes(listed)
    made = Receipt(
        manifest=manifest(),
        platform="linux/amd64",
        artifact_digest=Digest("0" * 64),
        tree_digest=tree.tree_digest(listed),
        installed_at="2026-01-01T00:00:00Z",
        badge="local",
        evidence=ExceptionGranted("unsigned", "2099-01-01", "a test"),
        source="a test",
        interpreter=THIS_PYTHON,
        folder=folder,
        state_owner="acme/box",
        grant=Grant(manifest()),
    )
    (folder / "receipt.json").write_bytes(made.to_bytes())
    return made


def test_an_installed_version_runs_and_is_not_called_development(
    host: Host, store: Store, receipt: Receipt
) -> None:
    async def use(plugin: RunningPlugin) -> tuple[str, bool]:
        schema = await plugin.connector.schema(Invocation())
        return schema.name, store.in_use(receipt.id, receipt.version)

    assert host.run(receipt, use) == ("Bare", True)
    assert host.messages() == ["not enforced: cpu memory egress processes tmp isolation"]
    assert not store.in_use(receipt.id, receipt.version)


def test_an_interpreter_starts_without_what_its_packages_do_at_each_start(
    host: Host, store: Store, receipt: Receipt
) -> None:
    del store

    async def words(plugin: RunningPlugin) -> list[str]:
        with open(f"/proc/{plugin.pid}/cmdline") as file:  # noqa: ASYNC230, PTH123 - of the kernel
            return file.read().split("\0")

    started = host.run(receipt, words)
    assert started[1:5] == ["-I", "-S", "-B", str(receipt.files / "bin" / "box.py")]


@pytest.mark.parametrize("change", ["other", "missing", "new", "link", "mode"])
def test_changed_files_are_named_and_nothing_is_executed(
    host: Host, store: Store, receipt: Receipt, tmp_path: Path, change: str
) -> None:
    start = receipt.files / "bin" / "box.py"
    original = start.read_bytes()
    match change:
        case "other":
            start.write_bytes(original + b"\n")
        case "missing":
            start.unlink()
        case "new":
            (receipt.files / "bin" / "bare.py").write_text("")
        case "link":
            start.rename(tmp_path / "moved.py")
            start.symlink_to(tmp_path / "moved.py")
        case _:
            start.chmod(0o755)

    with pytest.raises(FilesChanged) as caught:
        host.run(receipt)

    assert (caught.value.code, caught.value.exit_status) == ("files-changed", 3)
    assert "bin/b" in caught.value.why
    assert not (tmp_path / "ran").exists()
    assert not store.in_use(receipt.id, receipt.version)


def test_a_list_of_files_that_is_not_the_receipts_is_refused(
    host: Host, store: Store, receipt: Receipt, tmp_path: Path
) -> None:
    del store
    (receipt.files / "bin" / "box.py").write_text("raise SystemExit('other')")
    listed = tree.format_tree(tree.list_tree(receipt.files))
    (receipt.folder / "files.sha256").write_bytes(listed)

    with pytest.raises(ReceiptInvalid):
        host.run(receipt)

    assert not (tmp_path / "ran").exists()


def test_another_major_version_is_refused_at_load(
    host: Host, store: Store, receipt: Receipt, tmp_path: Path
) -> None:
    del store
    with pytest.raises(ProtocolIncompatible) as caught:
        host.run(replace(receipt, manifest=manifest(protocol=(2, 0))))

    assert (caught.value.exit_status, "2.0" in caught.value.why) == (6, True)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("gone", ["executable", "library"])
def test_an_interpreter_that_is_gone_is_named_with_what_to_do(
    host: Host, store: Store, receipt: Receipt, tmp_path: Path, gone: str
) -> None:
    del store
    change = (
        {"executable": str(tmp_path / "python3.11")}
        if gone == "executable"
        else {"base_prefix": str(tmp_path)}
    )

    with pytest.raises(InterpreterChanged) as caught:
        host.run(replace(receipt, interpreter=replace(THIS_PYTHON, **change)))

    assert (caught.value.code, caught.value.exit_status) == ("interpreter-changed", 6)
    assert str(tmp_path) in caught.value.why
    assert "install the plugin again" in caught.value.next[0]
    assert not (tmp_path / "ran").exists()


def binary(receipt: Receipt, contents: bytes, mode: int) -> Receipt:
    """The version with a binary instead of a Python program."""
    (receipt.files / "bin" / "box.py").unlink()
    start = receipt.files / "bin" / "box"
    start.write_bytes(contents)
    start.chmod(mode)
    listed = tree.format_tree(tree.list_tree(receipt.files))
    (receipt.folder / "files.sha256").write_bytes(listed)
    return replace(receipt, interpreter=None, tree_digest=tree.tree_digest(listed))


def test_a_binary_for_another_architecture_is_named(
    host: Host, store: Store, receipt: Receipt
) -> None:
    del store
    other = 62 if os.uname().machine == "aarch64" else 183
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + (2).to_bytes(2, "little")
    foreign = binary(receipt, header + other.to_bytes(2, "little") + bytes(44), 0o755)

    with pytest.raises(PluginFault) as caught:
        host.run(foreign)

    assert caught.value.exit_status == 5
    assert f"this machine is {os.uname().machine}" in caught.value.why


def test_a_binary_that_runs_is_executed_from_its_sealed_copy(
    host: Host, store: Store, receipt: Receipt
) -> None:
    del store
    shell = shutil.which("sh")
    code = f'#!{shell}\necho "$0" >&2\nexit 7\n'

    with pytest.raises(PluginExitedEarly) as caught:
        host.run(binary(receipt, code.encode(), 0o755))

    assert "exit status 7" in caught.value.why
    assert "/fd/" in caught.value.why


def test_what_cannot_be_executed_is_named_with_its_permissions(
    host: Host, store: Store, receipt: Receipt
) -> None:
    del store

    with pytest.raises(PluginNotExecutable) as caught:
        host.run(binary(receipt, b"#!/bin/sh\n", 0o644))

    assert (caught.value.code, caught.value.exit_status) == ("plugin-not-executable", 5)
    assert "may not be executed: mode 0644" in caught.value.why


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ("contents", "bin/box  has other contents"),
        ("missing", "bin/box  is missing"),
        ("link", "bin/box  is a symbolic link"),
        ("mode", "bin/box  has mode 0644, expected 0755"),
    ],
)
def test_a_changed_binary_is_named_beside_every_other_file(
    host: Host, store: Store, receipt: Receipt, tmp_path: Path, damage: str, why: str
) -> None:
    del store
    changed = binary(receipt, f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n".encode(), 0o755)
    start = receipt.files / "bin" / "box"
    match damage:
        case "contents":
            start.write_bytes(start.read_bytes() + b"\n")
        case "mode":
            start.chmod(0o644)
        case _:
            start.rename(tmp_path / "moved")
    if damage == "link":
        start.symlink_to(tmp_path / "moved")
    (receipt.files / "LICENSE").write_text("another")

    with pytest.raises(FilesChanged) as caught:
        host.run(changed)

    assert why in caught.value.why
    assert "LICENSE" in caught.value.why
    assert not (tmp_path / "ran").exists()


def test_a_cancelled_check_lets_go_of_the_version(
    host: Host, store: Store, receipt: Receipt
) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(host.use(receipt, lambda plugin: plugin))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert not store.in_use(receipt.id, receipt.version)
