from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.config import Config, RegistryRule
from aperio_cli.errors import AperioError
from aperio_cli.errors.files import InsecureUrl, Offline
from aperio_cli.errors.installing import PlatformIncompatible, ProtocolIncompatible
from aperio_cli.errors.registries import (
    IndexTooLarge,
    IndexUnreadable,
    PluginNotFound,
    RegistryUnconfigured,
    RegistryUnsigned,
)
from aperio_cli.models.plugin_id import PluginRef
from aperio_cli.net.fetch import Fetched, FetchRequest, fetch_bytes
from aperio_cli.paths import Paths
from aperio_cli.publishing import serving
from aperio_cli.registry import Registry, http, open_registry
from aperio_cli.registry.folder import FolderReader
from aperio_cli.registry.http import Downloads, HttpReader
from tests.builders import (
    ARM,
    LINUX,
    PLUGIN,
    index_bytes,
    index_entry,
    index_version,
    registry_folder,
    unchanged,
)
from tests.rows import each_row

if TYPE_CHECKING:
    from aperio_cli.models.offer import Offer

ARM_ARTIFACT = {"os": "linux", "arch": "arm64", "url": "a", "sha256": "b" * 64}


def opened(tmp_path: Path, stated: str, *, offline: bool = False, **config: Any) -> Registry:
    paths = Paths(tmp_path / "home", tmp_path / "config.toml", tmp_path / "cache")
    return open_registry(stated, Config(**config), paths, offline=offline)


def resolve(tmp_path: Path, index: bytes, ref: str = PLUGIN) -> Offer:
    folder = registry_folder(tmp_path / "registry", index)
    return opened(tmp_path, str(folder)).resolve(PluginRef.parse(ref), LINUX)


# ── from a folder ─────────────────────────────────────────────────────────────────────────────────


def test_resolve_gives_the_offer_of_a_folder(tmp_path: Path) -> None:
    found = resolve(tmp_path, index_bytes())
    assert found.location == str(tmp_path / "registry/artifacts/box.tar.gz")
    assert (found.version, found.kind, found.platform) == ("1.2.3", "connector", LINUX)
    assert (found.digest and found.digest.hex, found.bundle) == ("a" * 64, b"{}")
    assert found.source == f"{tmp_path / 'registry'} (unchecked index)"


@each_row("form", ["{}", "file://{}", "{}/plugins.json"])
def test_open_registry_reads_every_way_to_write_a_folder(tmp_path: Path, form: str) -> None:
    folder = registry_folder(tmp_path / "a registry")
    text = form.format(str(folder).replace(" ", "%20") if form.startswith("file") else folder)
    assert opened(tmp_path, text).resolve(PluginRef.parse(PLUGIN), LINUX).version == "1.2.3"


def test_open_registry_reads_a_relative_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry_folder(tmp_path / "registry")
    monkeypatch.chdir(tmp_path)
    found = opened(tmp_path, "./registry").resolve(PluginRef.parse(PLUGIN), LINUX)
    assert Path(found.location).is_absolute()


def test_resolve_takes_the_highest_stable_version(tmp_path: Path) -> None:
    versions = [index_version(version=v) for v in ("1.9.0", "1.10.0", "2.0.0-rc.1")]
    assert resolve(tmp_path, index_bytes(index_entry(*versions))).version == "1.10.0"


def test_resolve_takes_a_prerelease_that_is_named(tmp_path: Path) -> None:
    versions = [index_version(version=v) for v in ("1.0.0", "2.0.0-rc.1")]
    found = resolve(tmp_path, index_bytes(index_entry(*versions)), f"{PLUGIN}@2.0.0-rc.1")
    assert found.version == "2.0.0-rc.1"


def test_resolve_passes_over_another_major_when_none_is_named(tmp_path: Path) -> None:
    versions = [
        index_version(version="1.0.0", protocols=["1.4"]),
        index_version(version="2.0.0", protocols=["2.0"]),
        index_version(version="1.5.0", protocols=["1.9", "2.0"]),
    ]
    assert resolve(tmp_path, index_bytes(index_entry(*versions))).version == "1.5.0"


def test_resolve_reads_a_bundle_that_is_a_file(tmp_path: Path) -> None:
    folder = registry_folder(
        tmp_path / "registry",
        index_bytes(index_entry(index_version(sigstore_bundle="bundles/box.json"))),
    )
    (folder / "bundles").mkdir()
    (folder / "bundles/box.json").write_bytes(b"the bundle")
    found = opened(tmp_path, str(folder)).resolve(PluginRef.parse(PLUGIN), LINUX)
    assert found.bundle == b"the bundle"


def test_resolve_offers_no_bundle_when_there_is_none(tmp_path: Path) -> None:
    assert (
        resolve(tmp_path, index_bytes(index_entry(index_version(sigstore_bundle="")))).bundle
        is None
    )


def test_resolve_finds_more_versions_in_the_detail_file(tmp_path: Path) -> None:
    detail = json.dumps(
        index_entry(index_version(), index_version(version="3.0.0", artifacts=[ARM_ARTIFACT]))
    ).encode()
    stated = {"url": "detail.json", "sha256": hashlib.sha256(detail).hexdigest()}
    folder = registry_folder(tmp_path / "registry", index_bytes(index_entry(detail=stated)))
    (folder / "detail.json").write_bytes(detail)
    registry = opened(tmp_path, str(folder))
    assert registry.resolve(PluginRef.parse(PLUGIN), ARM).version == "3.0.0"


# ── several registries ────────────────────────────────────────────────────────────────────────────


def both(tmp_path: Path, first: bytes, second: bytes) -> Registry:
    rules = [
        RegistryRule(str(registry_folder(tmp_path / name, index)))
        for name, index in (("first", first), ("second", second))
    ]
    return opened(tmp_path, "", registries=tuple(rules))


def test_first_registry_that_has_an_id_decides_about_it(tmp_path: Path) -> None:
    higher = index_bytes(index_entry(index_version(version="9.0.0")))
    found = both(tmp_path, index_bytes(), higher).resolve(PluginRef.parse(PLUGIN), LINUX)
    assert found.version == "1.2.3"


def test_second_registry_is_asked_for_what_the_first_does_not_have(tmp_path: Path) -> None:
    other = index_bytes(index_entry(id="acme/other"))
    registry = both(tmp_path, other, index_bytes())
    assert "second" in registry.resolve(PluginRef.parse(PLUGIN), LINUX).location


def test_registry_that_cannot_be_read_stops_the_search(tmp_path: Path) -> None:
    with pytest.raises(IndexUnreadable):
        both(tmp_path, b"broken", index_bytes()).resolve(PluginRef.parse(PLUGIN), LINUX)


def test_stated_registry_takes_the_place_of_the_configured_ones(tmp_path: Path) -> None:
    folder = registry_folder(tmp_path / "stated")
    registry = opened(tmp_path, str(folder), registries=(RegistryRule("/none"),))
    assert registry.resolve(PluginRef.parse(PLUGIN), LINUX).version == "1.2.3"


# ── refused ───────────────────────────────────────────────────────────────────────────────────────


def test_open_registry_refuses_when_none_is_configured(tmp_path: Path) -> None:
    with pytest.raises(RegistryUnconfigured) as caught:
        opened(tmp_path, "")
    assert caught.value.exit_status == 2
    assert any("[[registries]]" in step for step in caught.value.next)


@each_row(
    "address",
    [
        "https://registry.example.org/",
        "http://registry.example.org/",
        "http://127.0.0.1.example.org/",
        "http://127.0.0.1@example.org/",
        "http://user:secret@example.org/",
        "http://0.0.0.0/",
        "ftp://example.org/",
        "oci://example.org/registry",
    ],
)
def test_open_registry_refuses_one_elsewhere_that_is_not_signed(
    tmp_path: Path, address: str
) -> None:
    with pytest.raises(RegistryUnsigned) as caught:
        opened(tmp_path, address)
    assert (caught.value.code, caught.value.exit_status) == ("registry-unsigned", 3)
    assert "secret" not in caught.value.what + caught.value.why


def test_resolve_refuses_a_plugin_that_is_not_there_and_names_what_comes_close(
    tmp_path: Path,
) -> None:
    with pytest.raises(PluginNotFound) as caught:
        resolve(tmp_path, index_bytes(), "acme/box-conector")
    assert (caught.value.code, caught.value.exit_status) == ("plugin-not-found", 1)
    assert caught.value.next == ("did you mean `acme/box-connector`?",)


def test_resolve_refuses_a_version_that_is_not_there_and_names_those_that_are(
    tmp_path: Path,
) -> None:
    with pytest.raises(PluginNotFound) as caught:
        resolve(tmp_path, index_bytes(), f"{PLUGIN}@9.9.9")
    assert "1.2.3" in caught.value.why


def test_resolve_refuses_prereleases_when_none_is_named(tmp_path: Path) -> None:
    entry = index_entry(index_version(version="1.0.0-rc.1"))
    with pytest.raises(PluginNotFound) as caught:
        resolve(tmp_path, index_bytes(entry))
    assert "1.0.0-rc.1" in caught.value.why


@pytest.mark.parametrize("ref", [PLUGIN, f"{PLUGIN}@1.2.3"])
def test_resolve_refuses_another_major_of_the_interface(tmp_path: Path, ref: str) -> None:
    entry = index_entry(index_version(protocols=["2.3"]))
    with pytest.raises(ProtocolIncompatible) as caught:
        resolve(tmp_path, index_bytes(entry), ref)
    assert caught.value.exit_status == 6
    assert caught.value.why == "plugin 2.3\naperio 1.0"


def test_resolve_passes_over_a_version_that_is_not_there_for_the_platform(tmp_path: Path) -> None:
    entry = index_entry(
        index_version(version="1.0.0"), index_version(version="2.0.0", artifacts=[ARM_ARTIFACT])
    )
    found = resolve(tmp_path, index_bytes(entry))
    assert found.choice
    assert [(each.version, each.verdict) for each in found.choice.considered] == [
        ("2.0.0", "platform"),
        ("1.0.0", "chosen"),
    ]


def test_resolve_refuses_another_platform_and_names_those_there_are(tmp_path: Path) -> None:
    entry = index_entry(
        index_version(version="1.0.0"), index_version(version="2.0.0", artifacts=[ARM_ARTIFACT])
    )
    with pytest.raises(PlatformIncompatible) as caught:
        resolve(tmp_path, index_bytes(entry), f"{PLUGIN}@2.0.0")
    assert caught.value.exit_status == 6
    assert caught.value.why == "this machine linux/amd64\nthere are    linux/arm64"
    assert caught.value.next[0] == f"`aperio plugin install {PLUGIN}@1.0.0`"


def test_resolve_refuses_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(IndexUnreadable) as caught:
        opened(tmp_path, str(tmp_path / "none")).resolve(PluginRef.parse(PLUGIN), LINUX)
    assert caught.value.exit_status == 4


def test_resolve_reads_what_was_built_from_a_source(tmp_path: Path) -> None:
    registry_folder(tmp_path / "source" / "public")
    found = opened(tmp_path, str(tmp_path / "source")).resolve(PluginRef.parse(PLUGIN), LINUX)
    assert found.source == f"{tmp_path / 'source' / 'public'} (unchecked index)"


# ── over http ─────────────────────────────────────────────────────────────────────────────────────


def test_resolve_reads_http_on_this_machine(tmp_path: Path) -> None:
    folder = registry_folder(tmp_path / "registry")
    with serving(folder) as url:
        found = opened(tmp_path, url).resolve(PluginRef.parse(PLUGIN), LINUX)
        assert found.location == f"{url}artifacts/box.tar.gz"
        assert found.source == f"{url} (unchecked index)"


def test_index_is_fetched_again_only_when_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = registry_folder(tmp_path / "registry")
    answers = []

    def noting(request: FetchRequest) -> tuple[bytes, Fetched]:
        answers.append(fetch_bytes(request))
        return answers[-1]

    monkeypatch.setattr(http, "fetch_bytes", noting)
    with serving(folder) as url:
        for _ in range(2):
            opened(tmp_path, url).resolve(PluginRef.parse(PLUGIN), LINUX)
        registry_folder(folder, index_bytes(index_entry(index_version(version="2.0.0"))))
        found = opened(tmp_path, url).resolve(PluginRef.parse(PLUGIN), LINUX)
    assert [fetched.is_modified for _, fetched in answers] == [True, False, True]
    assert found.version == "2.0.0"


def test_offline_reads_the_cache_and_nothing_else(tmp_path: Path) -> None:
    with serving(registry_folder(tmp_path / "registry")) as url:
        with pytest.raises(Offline):
            opened(tmp_path, url, offline=True).resolve(PluginRef.parse(PLUGIN), LINUX)
        opened(tmp_path, url).resolve(PluginRef.parse(PLUGIN), LINUX)
    found = opened(tmp_path, url, offline=True).resolve(PluginRef.parse(PLUGIN), LINUX)
    assert found.version == "1.2.3"


def test_file_address_of_another_machine_is_no_folder_here(tmp_path: Path) -> None:
    folder = registry_folder(tmp_path / "a registry")
    for address in (folder.as_uri(), f"file://localhost{folder.as_uri()[len('file://') :]}"):
        found = opened(tmp_path, address).resolve(PluginRef.parse(PLUGIN), LINUX)
        assert found.version == "1.2.3"
    with pytest.raises(InsecureUrl, match="names no other machine"):
        opened(tmp_path, f"file://elsewhere{folder}")


def test_offline_reads_a_folder(tmp_path: Path) -> None:
    folder = registry_folder(tmp_path / "registry")
    registry = opened(tmp_path, str(folder), offline=True)
    assert registry.resolve(PluginRef.parse(PLUGIN), LINUX).version == "1.2.3"


def test_registry_that_is_gone_is_not_answered_from_the_cache(tmp_path: Path) -> None:
    with serving(registry_folder(tmp_path / "registry")) as url:
        opened(tmp_path, url).resolve(PluginRef.parse(PLUGIN), LINUX)
    with pytest.raises(AperioError) as caught:
        opened(tmp_path, url).resolve(PluginRef.parse(PLUGIN), LINUX)
    assert caught.value.exit_status == 4


def test_damaged_cache_is_not_believed_and_is_mended(tmp_path: Path) -> None:
    with serving(registry_folder(tmp_path / "registry")) as url:
        opened(tmp_path, url).resolve(PluginRef.parse(PLUGIN), LINUX)
        (cached,) = (tmp_path / "cache" / "registries").iterdir()
        cached.write_bytes(b"")
        assert opened(tmp_path, url).resolve(PluginRef.parse(PLUGIN), LINUX).version == "1.2.3"


def test_index_over_the_limit_is_refused_and_not_kept(tmp_path: Path) -> None:
    folder = registry_folder(tmp_path / "registry")
    with (folder / "plugins.json").open("r+b") as file:
        file.truncate(33 * 1024**2)
    with serving(folder) as url, unchanged(tmp_path / "cache"), pytest.raises(IndexTooLarge):
        opened(tmp_path, url).resolve(PluginRef.parse(PLUGIN), LINUX)


# ── where an index may point ──────────────────────────────────────────────────────────────────────


def in_folder(tmp_path: Path) -> FolderReader:
    return FolderReader(Path("/srv/registry"), Path("/srv"), Downloads(tmp_path, offline=True))


def behind_http(tmp_path: Path) -> HttpReader:
    return HttpReader("http://127.0.0.1:8080/", Downloads(tmp_path, offline=True))


@each_row("url", ["https://[::1", "https://a:port/", "https:///x", "http:x"])
def test_location_in_an_index_that_is_no_address_is_refused(tmp_path: Path, url: str) -> None:
    for reader in (in_folder(tmp_path), behind_http(tmp_path)):
        with pytest.raises(IndexUnreadable, match="was not read"):
            reader.locate(url if reader.below else url.replace("http:x", "//[::1"))


@each_row(
    ("url", "location"),
    [
        ("a/b.tar.gz", "/srv/registry/a/b.tar.gz"),
        ("a%20b.tar.gz", "/srv/registry/a b.tar.gz"),
        ("https://cdn.example.org/b.tar.gz?v=1", "https://cdn.example.org/b.tar.gz?v=1"),
    ],
)
def test_index_in_a_folder_points_into_it_and_to_other_machines(
    tmp_path: Path, url: str, location: str
) -> None:
    assert in_folder(tmp_path).locate(url) == location


@each_row(
    ("url", "location"),
    [
        ("a/b.tar.gz", "http://127.0.0.1:8080/a/b.tar.gz"),
        ("/b.tar.gz", "http://127.0.0.1:8080/b.tar.gz"),
        ("http://127.0.0.1:9090/b.tar.gz", "http://127.0.0.1:9090/b.tar.gz"),
        ("https://localhost/b.tar.gz", "https://localhost/b.tar.gz"),
        ("https://cdn.example.org/b.tar.gz", "https://cdn.example.org/b.tar.gz"),
    ],
)
def test_index_from_this_machine_over_http_points_there_and_elsewhere(
    tmp_path: Path, url: str, location: str
) -> None:
    assert behind_http(tmp_path).locate(url) == location


HERE = ["127.0.0.1:9", "localhost", "LOCALHOST:9", "127.8.9.1", "[::1]:9"]
UNCLEAR = [
    "2130706433",
    "017700000001",
    "0x7f000001",
    "0x7f.1",
    "127.1:9",
    "0.0.0.0",  # noqa: S104 - nothing is bound
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "127.0.0.1.",
    "localhost.",
    "x.localhost",
    "%6cocalhost",
    "127\N{IDEOGRAPHIC FULL STOP}0.0.1.",
]


@each_row("host", [*HERE, *UNCLEAR])
@each_row("scheme", ["http", "https", "HTTP"])
def test_index_in_a_folder_points_to_no_notation_of_this_machine(
    tmp_path: Path, scheme: str, host: str
) -> None:
    with pytest.raises(IndexUnreadable, match="was not read"):
        in_folder(tmp_path).locate(f"{scheme}://{host}/x")


@each_row("host", UNCLEAR)
def test_index_from_this_machine_hides_no_machine(tmp_path: Path, host: str) -> None:
    for url in (f"http://{host}/x", f"//{host}/x"):
        with pytest.raises(IndexUnreadable, match="was not read"):
            behind_http(tmp_path).locate(url)


@each_row(
    "url",
    [
        "https://registry.example@127.0.0.1/x",
        "https://user:hunter2@registry.example/x",
        "https://hunter2@registry.example/x",
        "https://registry.example\\@127.0.0.1/x",
        "https://user:hunter2/@127.0.0.1/x",
    ],
)
def test_location_with_a_user_is_refused_and_not_shown(tmp_path: Path, url: str) -> None:
    for reader in (in_folder(tmp_path), behind_http(tmp_path)):
        with pytest.raises(IndexUnreadable) as caught:
            reader.locate(url)
        assert "hunter2" not in json.dumps(caught.value.to_json())


def test_location_that_only_looks_as_if_it_had_a_user_is_read(tmp_path: Path) -> None:
    url = "https://registry.example/@acme/box"
    for reader in (in_folder(tmp_path), behind_http(tmp_path)):
        assert reader.locate(url) == url


# ── secrets in the registry's address ─────────────────────────────────────────────────────────────


@each_row(
    "address",
    [
        "http://user:hunter2@127.0.0.1:9/",
        "http://hunter2@127.0.0.1:9/",
        "http://127.0.0.1:9/?token=hunter2",
        "http://127.0.0.1:9/#hunter2",
        "http://127.0.0.1:9/?token=hunter2&file=plugins.json",
        "http://user:hunter2/x@127.0.0.1:9/",
        "http://user:x/hunter2@127.0.0.1:9/",
    ],
)
@each_row("is_configured", [False, True])
def test_address_that_holds_a_secret_is_refused_and_not_shown(
    tmp_path: Path, address: str, *, is_configured: bool
) -> None:
    stated, rules = ("", (RegistryRule(address),)) if is_configured else (address, ())
    with pytest.raises(AperioError) as caught:
        opened(tmp_path, stated, registries=rules)
    assert caught.value.code in {"usage", "insecure-url"}
    assert "hunter2" not in json.dumps(caught.value.to_json())
