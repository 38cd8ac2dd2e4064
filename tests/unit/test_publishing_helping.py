"""The second process of a build: it saves time, and changes neither what is built nor an error."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from aperio_cli.errors.files import FileNotRegular
from aperio_cli.errors.registries import RegistrySourceInvalid
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.publishing import build, helping, init
from aperio_cli.publishing.copying import Copier
from tests.builders import snapshot
from tests.descriptors import open_descriptors
from tests.writing_registries import put, record_of, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aperio_cli.publishing.rendering import Copied

Refused = (RegistrySourceInvalid, FileNotRegular)
NAMES = ("a1", "b2", "c3", "d4")


possible = helping._is_possible


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The source of a registry with four plugins."""
    init(tmp_path / "registry", name="main")
    for name in NAMES:
        put(tmp_path / "registry", PluginId("acme", name), "1.0.0")
    return tmp_path / "registry"


@pytest.fixture(autouse=True)
def helped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second process is worth it from the second file on, whatever this machine has."""
    monkeypatch.setattr(helping, "WORTH", 2)
    monkeypatch.setattr(helping, "_is_possible", lambda: True)


@pytest.fixture
def own_copies(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What this process has copied itself, in that order."""
    copied: list[str] = []
    copy = Copier._copy

    def noted(self: Copier, each: Copied) -> None:
        copied.append(each.source.split("/")[2])
        copy(self, each)

    monkeypatch.setattr(Copier, "_copy", noted)
    return copied


def bundle(source: Path, name: str) -> Path:
    [found] = source.glob(f"artifacts/acme/{name}/1.0.0/*.sigstore.json")
    return found


def contents(source: Path, out: Path | None = None) -> dict[str, object]:
    """What is built, by its path in there, with its mode."""
    built = build(source, out).out
    return {path.removeprefix(str(built)): each for path, each in snapshot(built).items()}


def anew(source: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What one process makes of the source."""
    with monkeypatch.context() as patched:
        patched.setattr(helping, "_is_possible", lambda: False)
        return contents(source, source.parent / "anew")


def test_second_process_copies_and_the_bytes_are_the_same(
    source: Path, own_copies: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    built = contents(source)
    assert own_copies == []
    assert built == anew(source, monkeypatch)
    assert own_copies == list(NAMES)


def test_second_process_that_is_killed_costs_time_only(
    source: Path, own_copies: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = helping.Helper.finish

    def killed(self: helping.Helper) -> set[Copied]:
        os.kill(self._pid, signal.SIGKILL)
        return finish(self)

    with monkeypatch.context() as patched:
        patched.setattr(helping.Helper, "finish", killed)
        built = contents(source)
    assert own_copies == list(NAMES)
    assert built == anew(source, monkeypatch)


def test_without_room_for_a_second_process_the_first_copies(
    source: Path, own_copies: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    before = open_descriptors()
    with monkeypatch.context() as patched:
        patched.setattr(os, "fork", full)
        built = contents(source)
    assert not open_descriptors() - before
    assert own_copies == list(NAMES)
    assert built == anew(source, monkeypatch)


def _missing(source: Path) -> None:
    bundle(source, "c3").unlink()


def _another(source: Path) -> None:
    bundle(source, "c3").write_bytes(b"{}")


def _link(source: Path) -> None:
    source.joinpath("artifacts/acme/c3").rename(source / "artifacts/acme/moved")
    source.joinpath("artifacts/acme/c3").symlink_to("moved")


def _two(source: Path) -> None:
    """The first of two is told."""
    _missing(source)
    bundle(source, "b2").write_bytes(b"{}")


def _record(source: Path) -> None:
    """A record is told before any file that it names."""
    _missing(source)
    plugin = PluginId("acme", "d4")
    write(source, plugin, record_of(source, plugin) | {"versions": []})


@pytest.mark.parametrize("damage", [_missing, _another, _link, _two, _record])
def test_second_process_leaves_refusing_to_the_first(
    source: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
) -> None:
    damage(source)

    def refusal() -> tuple[str, str, str]:
        with pytest.raises(Refused) as caught:
            build(source)
        return caught.typename, str(caught.value), getattr(caught.value, "why", "")

    helped = refusal()
    assert [path for path in source.iterdir() if path.name.startswith(".aside")] == []
    monkeypatch.setattr(helping, "_is_possible", lambda: False)
    assert helped == refusal()


def test_two_records_with_one_bundle_are_told_apart_by_where_it_is(
    source: Path, own_copies: list[str]
) -> None:
    """The last one names the file that is copied, as without a second process."""
    first, last = PluginId("acme", "a1"), PluginId("acme", "d4")
    shared = record_of(source, first)["versions"][0]["artifacts"][0]["bundle_sha256"]
    record = record_of(source, last)
    record["versions"][0]["artifacts"][0]["bundle_sha256"] = shared
    write(source, last, record)
    with pytest.raises(RegistrySourceInvalid) as caught:
        build(source)
    assert str(bundle(source, "d4")) in caught.value.what
    bundle(source, "d4").write_bytes(bundle(source, "a1").read_bytes())
    own_copies.clear()
    build(source)
    assert own_copies == ["d4"]


def test_process_with_threads_is_not_split() -> None:
    held = threading.Event()
    thread = threading.Thread(target=held.wait, args=(30.0,))
    thread.start()
    try:
        assert not possible()
    finally:
        held.set()
        thread.join()
