from __future__ import annotations

import json
from typing import Any

import pytest

from aperio_cli.errors.registries import IndexUnreadable, IndexVersionUnknown
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.registry_index import SEED_PLATFORM, RegistryIndex, parse_detail
from tests.builders import ARM, LINUX, index_bytes, index_entry, index_version
from tests.rows import each_row, for_each

BOX = PluginId("acme", "box-connector")
ARTIFACT = {"os": "linux", "arch": "arm64", "url": "arm.tar.gz", "sha256": "b" * 64, "size": 7}
AMD = {"os": "linux", "arch": "amd64", "url": "amd.tar.gz", "sha256": "a" * 64}


def parse(data: bytes) -> RegistryIndex:
    return RegistryIndex.parse(data, where="plugins.json")


def refused(data: bytes) -> str:
    with pytest.raises(IndexUnreadable) as caught:
        parse(data)
    assert (caught.value.code, caught.value.exit_status) == ("index-unreadable", 4)
    assert caught.value.what == "the index `plugins.json` was not read"
    return caught.value.why


def test_index_of_the_seed_schema_is_read() -> None:
    entry = parse(index_bytes()).entry(BOX)
    assert entry is not None
    (version,) = entry.versions
    (download,) = version.downloads
    assert (version.version, version.publisher, version.protocols) == ("1.2.3", "acme", ())
    assert (download.platform, download.url) == (SEED_PLATFORM, "artifacts/box.tar.gz")
    assert (download.bundle, download.size_bytes) == ("{}", None)


def test_index_without_plugins_is_read() -> None:
    assert parse(b'{"version": 1, "plugins": []}').entries == ()


def test_unknown_keys_are_ignored_at_every_level() -> None:
    version = index_version(future={"a": 1}, publisher={"name": "acme", "tier": 9})
    data = index_bytes(index_entry(version, future=[1]), future=None, expires_at=7)
    assert parse(data).entry(BOX)


def test_artifacts_say_more_than_the_seed_keys() -> None:
    entry = parse(index_bytes(index_entry(index_version(artifacts=[ARTIFACT, AMD])))).entry(BOX)
    assert entry is not None
    assert [download.platform for download in entry.versions[0].downloads] == [LINUX, ARM]
    assert entry.versions[0].downloads[1].size_bytes == 7


def test_platform_of_the_future_is_left_out() -> None:
    unknown = ARTIFACT | {"os": "plan9"}
    entry = parse(index_bytes(index_entry(index_version(artifacts=[unknown, AMD])))).entry(BOX)
    assert entry is not None
    assert len(entry.versions[0].downloads) == 1


def test_versions_are_highest_first() -> None:
    stated = [index_version(version=v) for v in ("1.9.0", "2.0.0-rc.1", "1.10.0", "2.0.0")]
    entry = parse(index_bytes(index_entry(*stated))).entry(BOX)
    assert entry is not None
    found = [version.version for version in entry.versions]
    assert found == ["2.0.0", "2.0.0-rc.1", "1.10.0", "1.9.0"]


def test_entry_of_an_unknown_kind_is_skipped_whatever_it_says() -> None:
    index = parse(index_bytes(index_entry(), {"id": "acme/new", "kind": "dashboard"}))
    assert [str(entry.id) for entry in index.entries] == ["acme/box-connector"]
    assert index.skipped == ("acme/new",)


@each_row("version", [2, 0, "2", None, -1, [1], 1.5])
def test_index_of_another_version_is_refused(version: object) -> None:
    with pytest.raises(IndexVersionUnknown) as caught:
        parse(index_bytes(version=version))
    assert (caught.value.code, caught.value.exit_status) == ("index-version-unknown", 4)
    assert "expected version 1" in caught.value.why


@pytest.mark.parametrize("version", [True, 1.0])
def test_index_version_that_only_equals_one_is_refused(version: object) -> None:
    assert "`version`" in refused(index_bytes(version=version))


def test_index_without_version_is_refused() -> None:
    assert "`version`" in refused(b'{"plugins": []}')


@each_row(
    ("data", "named"),
    [
        (b"", "not JSON"),
        (b"<html>", "not JSON"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"version": 1, "version": 1, "plugins": []}', "twice"),
        (b'{"version": ' + b"1" * 5000 + b"}", "300 digits"),
        (b"[]", "not a mapping"),
        (b"null", "not a mapping"),
        (b'{"version": 1}', "`plugins`"),
        (b'{"version": 1, "plugins": {}}', "`plugins`"),
        (b'{"version": 1, "plugins": [7]}', "`plugins`"),
    ],
)
def test_index_that_is_no_index_is_refused(data: bytes, named: str) -> None:
    assert named in refused(data)


@for_each(
    [
        {"id": "../x"},
        {"id": "acme"},
        {"id": "Acme/Box"},
        {"id": "acme/box\n"},
        {"id": 7},
        {"kind": 7},
        {"kind": None},
        {"versions": {}},
        {"versions": [7]},
        {"detail": "x"},
        {"detail": {"url": "x", "sha256": "short"}},
        {"detail": {"url": "", "sha256": "a" * 64}},
        {"detail": {"url": "x", "sha256": "a" * 64, "size": -1}},
    ]
)
def test_entry_that_breaks_a_rule_makes_the_whole_file_invalid(changes: dict[str, Any]) -> None:
    refused(index_bytes(index_entry(id="acme/other"), index_entry(**changes)))


@for_each(
    [
        {"version": "1"},
        {"version": "1.2.3+build"},
        {"version": "../../1.2.3"},
        {"version": 1},
        {"download_url": ""},
        {"download_url": 7},
        {"download_url": "x" * 5000},
        {"download_url": "a\x00b"},
        {"download_url": "a\nb"},
        {"sha256": "A" * 64},
        {"sha256": "sha256:" + "a" * 64},
        {"sha256": None},
        {"sigstore_bundle": {}},
        {"protocols": "1.0"},
        {"protocols": ["1"]},
        {"protocols": ["one.two"]},
        {"artifacts": {}},
        {"artifacts": [7]},
        {"artifacts": [AMD, AMD]},
        {"artifacts": [AMD | {"sha256": "c" * 64}]},
        {"artifacts": [ARTIFACT | {"size": "7"}]},
        {"artifacts": [ARTIFACT | {"size": True}]},
        {"artifacts": [ARTIFACT | {"size": -1}]},
        {"artifacts": [{"os": "linux"}]},
    ]
)
def test_version_that_breaks_a_rule_makes_the_whole_file_invalid(changes: dict[str, Any]) -> None:
    refused(index_bytes(index_entry(index_version(**changes))))


def test_plugin_that_is_there_twice_is_refused() -> None:
    assert "there twice" in refused(index_bytes(index_entry(), index_entry()))


@pytest.mark.parametrize("second", ["1.0.0-rc.1", "1.0.0-RC.1"])
def test_version_that_is_there_twice_is_refused(second: str) -> None:
    versions = [index_version(version=v) for v in ("1.0.0-rc.1", second)]
    assert "there twice" in refused(index_bytes(index_entry(*versions)))


def test_more_versions_than_any_plugin_has_are_refused() -> None:
    versions = [index_version(version=f"1.0.{n}") for n in range(10_001)]
    assert "more than 10000" in refused(index_bytes(index_entry(*versions)))


def test_text_for_display_is_made_safe() -> None:
    index = parse(index_bytes(index_entry(description="a\x1b[31mb" + "c" * 9000)))
    assert "\x1b" not in index.entries[0].description
    assert len(index.entries[0].description) <= 2000


def test_fault_is_named_by_its_path() -> None:
    version = index_version(artifacts=[AMD, ARTIFACT | {"size": "7"}])
    data = index_bytes(index_entry(id="acme/other"), index_entry(version))
    assert "`plugins[1].versions[0].artifacts[1].size`: expected a whole" in refused(data)


def test_index_of_millions_of_members_is_refused_before_it_is_parsed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def parsed(*_: object, **__: object) -> None:
        pytest.fail("it was parsed")

    monkeypatch.setattr(json, "loads", parsed)
    assert "members" in refused(b'{"version": 1, "plugins": [' + b'{"":{}},' * 600_000 + b"{}]}")


def test_index_with_bundles_of_many_members_in_its_texts_is_read() -> None:
    bundle = json.dumps({"hashes": ["x"] * 1000})
    stated = [index_version(version=f"1.0.{n}", sigstore_bundle=bundle) for n in range(1100)]
    entry = parse(index_bytes(index_entry(*stated))).entry(BOX)
    assert entry is not None
    assert len(entry.versions) == 1100


def test_detail_file_is_one_entry() -> None:
    assert parse_detail(json.dumps(index_entry()).encode(), where="x").id == BOX


@each_row("data", [b"", b"{}", b"[]", b'{"id": "a/bc", "kind": "dashboard"}'])
def test_detail_file_that_is_no_entry_is_refused(data: bytes) -> None:
    with pytest.raises(IndexUnreadable):
        parse_detail(data, where="x")
