"""A monitor of registries: what it reads, and what it finds where somebody lied."""

from __future__ import annotations

import json
import sqlite3
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.errors.files import DiskFull
from aperio_cli.errors.registries import RegistryLogUnproven
from aperio_cli.models.registry.log_entry import (
    REMOVED,
    OtherEntry,
    PublisherEntry,
    StatusEntry,
    digest_of,
)
from aperio_cli.publishing.recording import RegistryLog, log_files
from aperio_cli.publishing.serving import serving
from aperio_cli.registry import monitoring
from aperio_cli.registry.monitoring import FINDINGS, Watched, watch
from aperio_cli.registry.rooted import RootedRegistry
from aperio_cli.registry.unsigned import UnsignedRegistry
from tests.registries import Site, artifact_entry, plugin_entry, version_entry, withdrawn
from tests.unit.test_registry_log import BOX, entry
from tests.unit.test_registry_signed import Client

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.models.registry.log_entry import LogEntry

SIGNER = {"type": "public", "issuer": "https://issuer.example", "identity": "a@b"}


class Published:
    """An unsigned registry with a log, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.site = Site(folder)
        self.log = RegistryLog()

    def publish(self, *versions: dict[str, Any], **more: Any) -> Published:
        """An honest edition."""
        self.site.publish(plugin_entry(*versions), log=self.log, **more)
        return self

    def restate(self) -> None:
        """Publish the log as it is now, whatever stands in it."""
        self.log.conclude()
        for path, data in log_files(self.log):
            (self.site.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.site.folder / path).write_bytes(data)
        root = self.site.folder / "registry.json"
        checkpoint = self.log.checkpoint
        assert checkpoint
        root.write_text(json.dumps(json.loads(root.read_text()) | {"log": checkpoint.to_json()}))

    def add(self, added: LogEntry) -> None:
        """Log something that nobody asked for."""
        self.log.append(added.to_bytes(), added.subject)
        self.restate()

    def watch(self, home: Path) -> Watched:
        """What a monitor sees."""
        reader = Client(home, None).opened(stated=str(self.site.folder)).ruled[0].reader  # type: ignore[arg-type]
        assert isinstance(reader, UnsignedRegistry)
        rooted = reader.chosen()
        assert isinstance(rooted, RootedRegistry)
        return watch(rooted)


@pytest.fixture
def registry(tmp_path: Path) -> Published:
    return Published(tmp_path / "registry").publish(
        version_entry("1.1.0", artifacts=[artifact_entry(sha256="b" * 64)], signer=SIGNER),
        version_entry("1.0.0"),
        withdrawn("yanked", "0.9.0"),
        publishers=[],
    )


def kinds(found: Watched) -> list[tuple[str, str]]:
    return [(each.kind, each.subject) for each in found.findings]


def test_honest_registry_has_no_findings(registry: Published, tmp_path: Path) -> None:
    found = registry.watch(tmp_path)
    assert found.findings == ()
    assert (found.plugins, found.artifacts, found.checkpoint) == (1, 3, registry.log.checkpoint)
    registry.publish(version_entry("1.0.0"), serial=2)  # the others are logged as removed
    registry.add(OtherEntry(b'{"entry":"vsa/v1"}'))
    assert registry.watch(tmp_path).findings == ()


def test_what_the_log_lacks_is_told(registry: Published, tmp_path: Path) -> None:
    registry.site.publish(
        plugin_entry(
            version_entry("1.0.0", artifacts=[artifact_entry(sha256="e" * 64, log_index=1)]),
            version_entry("2.0.0", artifacts=[artifact_entry(sha256="f" * 64, log_index=9)]),
            withdrawn("revoked", "0.9.0"),
        )
    )
    registry.restate()
    found = registry.watch(tmp_path)
    assert set(kinds(found)) == {
        ("unlogged", f"{BOX} 2.0.0 linux/amd64"),
        ("unlogged", f"{BOX} 1.0.0 linux/amd64"),
        ("unlogged", f"{BOX} 0.9.0"),
        ("unlogged", f"{BOX} 0.9.0 linux/amd64"),
        ("denied", f"{BOX} 1.1.0 linux/amd64"),
    }
    assert {each.kind for each in found.findings} <= set(FINDINGS)


def test_log_that_says_two_things_is_told(registry: Published, tmp_path: Path) -> None:
    registry.add(entry(0))
    registry.add(entry(0, digest=entry(1).digest))
    registry.add(StatusEntry(BOX, "1.0.0", REMOVED, None))
    registry.add(PublisherEntry("acme", digest_of({"tier": "official"})))
    found = registry.watch(tmp_path)
    assert {kind for kind, _ in kinds(found)} == {"contradicted", "unlogged", "denied"}
    assert ("denied", "acme") in kinds(found)


def test_entry_that_is_none_is_told(registry: Published, tmp_path: Path) -> None:
    registry.add(OtherEntry(b'{"entry":"artifact/v1","id":"Acme/Box"}'))
    found = registry.watch(tmp_path)
    assert [each.kind for each in found.findings] == ["unreadable"]
    assert found.findings[0].index == len(registry.log.entries) - 1


@pytest.mark.parametrize("path", ["log/tile/entries/000.p/4", "log/tile/0/000.p/4"])
def test_log_whose_files_are_not_its_own_is_refused(
    registry: Published, tmp_path: Path, path: str
) -> None:
    assert registry.watch(tmp_path).findings == ()
    file = registry.site.folder / path
    data = bytearray(file.read_bytes())
    data[40] ^= 1
    file.write_bytes(data)
    with pytest.raises(RegistryLogUnproven, match="not the one that its root states"):
        registry.watch(tmp_path)


def test_log_takes_the_same_memory_however_long_it_is(tmp_path: Path) -> None:
    """Entries of a kilobyte each: four times as many take no more than a few of them."""
    peaks = []
    for number, count in enumerate((500, 2000)):
        registry = Published(tmp_path / f"long-{number}").publish()
        for each in range(count):
            data = b'{"entry":"later/v1","n":"%d","x":"%s"}' % (each, b"x" * 1000)
            registry.log.append(data, ("later", str(each)))
        registry.restate()
        tracemalloc.start()
        found = registry.watch(tmp_path / f"home-{number}")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (found.checkpoint.size, found.findings) == (count + 1, ())
    assert peaks[1] < peaks[0] + 500_000


def test_findings_are_listed_up_to_a_number_and_then_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitoring, "_MOST_FINDINGS", 3)
    registry = Published(tmp_path / "registry").publish()
    for each in range(5):
        registry.log.append(b"{%d" % each, ("none", str(each)))
    registry.restate()
    found = registry.watch(tmp_path)
    assert (len(found.findings), found.left_out) == (3, 2)
    assert found.log_json()["left_out"] == 2


def test_what_the_log_says_has_to_be_kept_somewhere(
    registry: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(monitoring._Said, "offer", full)
        with pytest.raises(DiskFull, match="was not watched") as caught:
            registry.watch(tmp_path)
    assert "disk is full" in caught.value.why
    assert registry.watch(tmp_path).findings == ()


def test_entries_are_not_put_into_the_cache(tmp_path: Path) -> None:
    registry = Published(tmp_path / "registry").publish()
    with serving(registry.site.folder) as url:
        client = Client(tmp_path, None)  # type: ignore[arg-type]
        reader = client.opened(stated=url).ruled[0].reader
        assert isinstance(reader, UnsignedRegistry)
        rooted = reader.chosen()
        assert isinstance(rooted, RootedRegistry)
        assert watch(rooted).findings == ()
    kept = [
        json.loads(path.read_bytes().partition(b"\n")[0])["url"].removeprefix(url)
        for path in (client.paths.cache / "registries").iterdir()
    ]
    assert [each for each in kept if each.startswith("log/")] == ["log/tile/0/000.p/1"]


def test_registry_without_a_log_cannot_be_watched(tmp_path: Path) -> None:
    plain = Published(tmp_path / "plain")
    plain.site.publish(plugin_entry())
    with pytest.raises(RegistryLogUnproven, match="has no log"):
        plain.watch(tmp_path)


def test_log_without_end_is_not_read(tmp_path: Path) -> None:
    """A server may make up as many entries as somebody reads."""
    published = Published(tmp_path / "registry").publish()
    path = tmp_path / "registry" / "registry.json"
    root = json.loads(path.read_text())
    root["log"]["size"] = 2**50
    path.write_text(json.dumps(root))
    with pytest.raises(RegistryLogUnproven, match="too long") as caught:
        published.watch(tmp_path / "home")
    assert f"stated   {2**50}" in caught.value.why
