"""Signed registries: whose word they are, what is read of them, and what is not believed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from aperio_cli import clock
from aperio_cli.config import Config
from aperio_cli.errors import AperioError
from aperio_cli.errors.files import DigestMismatch, NetworkUnavailable, Offline
from aperio_cli.errors.registries import (
    IndexTooLarge,
    IndexUnreadable,
    NamespaceOwned,
    PluginNotFound,
    RegistryExpired,
    RegistryOutdated,
    RegistrySignatureInvalid,
    RegistryUnsigned,
)
from aperio_cli.files import owning
from aperio_cli.models.artifact import BUNDLE_SUFFIX
from aperio_cli.models.digest import Digest
from aperio_cli.models.plugin_id import PluginRef
from aperio_cli.models.registry.documents import (
    ADVISORIES_FILE,
    CATALOGUE_FILE,
    ROOT_FILE,
    plugin_path,
    shard_number,
    shard_path,
)
from aperio_cli.models.registry.rule import RegistryRule
from aperio_cli.net import fetch as net_fetch
from aperio_cli.net.cache import AnswerCache
from aperio_cli.net.model import Fetched
from aperio_cli.paths import Paths
from aperio_cli.publishing import serving
from aperio_cli.registry import Registry, Trust, http, open_registry
from aperio_cli.registry.rooted import RootedRegistry
from tests.builders import LINUX, PLUGIN, registry_folder
from tests.registries import (
    END,
    MOMENT,
    Site,
    artifact_entry,
    plugin_entry,
    signed_rule,
    version_entry,
)
from tests.rows import each_row
from tests.trust import new_domain, root_of

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.models.offer import Offer
    from aperio_cli.signing.local import LocalDomain

REF = PluginRef.parse(PLUGIN)
BUNDLE = ROOT_FILE + BUNDLE_SUFFIX
SHARD = shard_path(shard_number(PLUGIN))


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> LocalDomain:
    return new_domain(tmp_path_factory.mktemp("trust"))


@pytest.fixture
def site(tmp_path: Path, domain: LocalDomain) -> Site:
    made = Site(tmp_path / "registry", domain)
    made.publish(plugin_entry())
    return made


class Client:
    """One operator's machine."""

    def __init__(self, root: Path, domain: LocalDomain) -> None:
        home = root / "home"
        self.paths = Paths(home, home / "config.toml", home / "cache")
        self.trust = Trust(lambda: [root_of(domain)], self.paths.signed_documents)

    def opened(self, *rules: RegistryRule, stated: str = "", offline: bool = False) -> Registry:
        config = Config(registries=rules)
        return open_registry(stated, config, self.paths, offline=offline, trust=self.trust)

    def resolve(self, *rules: RegistryRule, ref: str = PLUGIN, offline: bool = False) -> Offer:
        return self.opened(*rules, offline=offline).resolve(PluginRef.parse(ref), LINUX)


@pytest.fixture
def client(tmp_path: Path, domain: LocalDomain) -> Client:
    return Client(tmp_path, domain)


def requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that are asked, in order."""
    asked: list[str] = []
    fetch = net_fetch.fetch_bytes

    def noting(request: Any) -> Any:
        asked.append(request.address.partition("/")[2].partition("/")[2].partition("/")[2])
        return fetch(request)

    monkeypatch.setattr(http, "fetch_bytes", noting)
    return asked


# ── what is read ──────────────────────────────────────────────────────────────────────────────────


def test_offer_of_a_signed_folder_names_registry_signer_and_edition(
    client: Client, site: Site
) -> None:
    found = client.resolve(signed_rule(str(site.folder)))
    assert found.source == str(site.folder)
    assert found.edition
    assert found.edition.signer
    assert found.edition.signer.identity == "alice@local"
    assert (found.edition.epoch, found.edition.serial, found.index_serial) == (1, 1, 1)
    assert found.location == f"{site.folder}/artifacts/box.tar.gz"


def test_plugin_is_looked_up_in_root_shard_and_its_own_file_alone(
    client: Client, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = requests(monkeypatch)
    with serving(site.folder) as url:
        client.resolve(signed_rule(url))
    assert asked == [ROOT_FILE, ROOT_FILE + ".sigstore.json", SHARD, plugin_path(REF.id)]


def test_documents_whose_digest_is_known_are_not_asked_for_again(
    client: Client, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(site.folder) as url:
        client.resolve(signed_rule(url))
        asked = requests(monkeypatch)
        client.resolve(signed_rule(url))
        assert asked == [ROOT_FILE, ROOT_FILE + ".sigstore.json"]
        site.publish(plugin_entry(version_entry("2.0.0")), serial=2)
        assert client.resolve(signed_rule(url)).version == "2.0.0"


def test_offline_answers_from_what_was_read(client: Client, site: Site) -> None:
    with serving(site.folder) as url:
        with pytest.raises(Offline):
            client.resolve(signed_rule(url), offline=True)
        client.resolve(signed_rule(url))
    assert client.resolve(signed_rule(url), offline=True).version == "1.2.3"


def test_same_documents_unsigned_are_read_from_a_folder_and_say_so(
    client: Client, site: Site
) -> None:
    found = client.resolve(RegistryRule(str(site.folder)))
    assert found.source == f"{site.folder} (unchecked index)"
    assert found.edition
    assert (found.edition.signer, found.edition.serial) == (None, 1)


def test_mirrors_and_digests_of_what_stands_beside_go_into_the_offer(
    client: Client, site: Site
) -> None:
    (site.folder / "bundle").write_bytes(b"{}")
    stated = artifact_entry(
        sigstore_bundle="bundle",
        bundle_sha256=Digest.of(b"{}").hex,
        mirrors=["https://mirror.example/box.tar.gz", "oci://mirror.example/box@sha256:1"],
        tree="t1:" + "c" * 64,
    )
    site.publish(plugin_entry(version_entry(artifacts=[stated])))
    found = client.resolve(signed_rule(str(site.folder)))
    assert (found.bundle, found.tree) == (b"{}", "t1:" + "c" * 64)
    assert found.mirrors == ("https://mirror.example/box.tar.gz",)
    (site.folder / "bundle").write_bytes(b"{ }")
    with pytest.raises(DigestMismatch):
        client.resolve(signed_rule(str(site.folder)))


# ── whose word ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stated", ["aperio", "https://registry.aperio.io/plugins.json"])
def test_known_registry_is_refused_until_somebody_says_who_signs_it(
    client: Client, stated: str
) -> None:
    with pytest.raises(RegistryUnsigned) as caught:
        client.opened(stated=stated)
    assert "https://registry.aperio.io/" in caught.value.what
    assert 'url = "aperio"' in caught.value.next[0] or "registry.aperio.io" in caught.value.next[0]
    ruled = client.opened(signed_rule("aperio"), stated=stated).ruled
    assert [each.reader.name for each in ruled] == ["https://registry.aperio.io/"]


def test_registry_that_a_call_names_is_read_by_the_rule_about_it(
    client: Client, site: Site
) -> None:
    rule = signed_rule(f"{site.folder}/")
    found = client.opened(rule, stated=str(site.folder)).resolve(REF, LINUX)
    assert found.edition
    assert found.edition.signer
    unruled = client.opened(stated=str(site.folder)).resolve(REF, LINUX)
    assert unruled.edition
    assert unruled.edition.signer is None


def test_unsigned_or_otherwise_signed_registry_is_refused_where_a_signer_is_stated(
    client: Client, site: Site, tmp_path: Path
) -> None:
    rule = signed_rule(str(site.folder))
    site.sign(new_domain(tmp_path / "other"))
    with pytest.raises(RegistrySignatureInvalid):
        client.resolve(rule)
    (site.folder / (ROOT_FILE + ".sigstore.json")).unlink()
    with pytest.raises(RegistryUnsigned):
        client.resolve(rule)
    site.sign()
    assert client.resolve(rule).version == "1.2.3"


def test_registry_that_nobody_can_have_signed_has_no_root(client: Client, tmp_path: Path) -> None:
    folder = registry_folder(tmp_path / "seed")
    assert client.resolve(RegistryRule(str(folder))).version == "1.2.3"
    with pytest.raises(IndexUnreadable):
        client.resolve(signed_rule(str(folder)))


@pytest.mark.parametrize("is_served", [False, True], ids=["folder", "http"])
def test_registry_that_was_taken_back_is_refused_everywhere(
    client: Client, site: Site, *, is_served: bool
) -> None:
    site.publish(plugin_entry(version_entry("2.0.0")), serial=2)
    with serving(site.folder) as url:
        rule = signed_rule(url if is_served else str(site.folder))
        client.resolve(rule)
        site.publish(plugin_entry(), serial=1)
        with pytest.raises(RegistryOutdated):
            client.resolve(rule)
        # A mirror is held to what the registry itself has shown.
        with pytest.raises(RegistryOutdated):
            client.resolve(signed_rule(str(site.folder)))
        site.publish(plugin_entry(), serial=1, epoch=2)
        assert client.resolve(rule).version == "1.2.3"


def test_registry_that_has_ended_is_refused_with_its_age_and_two_ways_out(
    client: Client, site: Site
) -> None:
    with serving(site.folder) as url:
        client.resolve(signed_rule(url))
        site.publish(plugin_entry(), serial=2, expires_at="2026-06-13T00:00:00Z")
        for offline in (False, True):
            if offline:  # as one that has ended since it was accepted
                cache = AnswerCache(client.paths.cache / "registries")
                for name in (ROOT_FILE, BUNDLE):
                    data = (site.folder / name).read_bytes()
                    answer = Fetched(Digest.of(data), len(data), None, is_modified=True)
                    cache.keep(f"{url}{name}", data, answer)
            with pytest.raises(RegistryExpired) as caught:
                client.resolve(signed_rule(url), offline=offline)
            assert "ended 2026-06-13T00:00:00Z, " in caught.value.why
            assert " days ago" in caught.value.why
            assert [step.split()[0] for step in caught.value.next[:2]] == ["get", "install"]


# ── what is not believed ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", [SHARD, plugin_path(REF.id)])
@pytest.mark.parametrize("is_served", [False, True], ids=["folder", "http"])
def test_document_that_was_changed_is_refused(
    client: Client, site: Site, path: str, *, is_served: bool
) -> None:
    file = site.folder / path
    right = file.read_bytes()
    with serving(site.folder) as url:
        rule = signed_rule(url if is_served else str(site.folder))
        for wrong, error in (
            (right[:-1] + b" ", DigestMismatch),
            (right[:-1], DigestMismatch),
            (right + b" ", IndexTooLarge),
        ):
            file.write_bytes(wrong)
            with pytest.raises(error):
                client.resolve(rule)
        file.unlink()
        with pytest.raises(IndexUnreadable):
            client.resolve(rule)
        file.write_bytes(right)
        assert client.resolve(rule).version == "1.2.3"


def test_file_that_speaks_for_another_plugin_is_refused(client: Client, site: Site) -> None:
    other = plugin_entry(id="acme/other-connector")
    ref = site.write(plugin_path(REF.id), other)
    shard = json.loads((site.folder / SHARD).read_bytes())
    shard["plugins"][PLUGIN] = ref
    root = json.loads((site.folder / ROOT_FILE).read_bytes())
    root["shards"][shard_number(PLUGIN)] = site.write(SHARD, shard)
    site.write(ROOT_FILE, root)
    site.sign()
    with pytest.raises(IndexUnreadable, match="was not read") as caught:
        client.resolve(signed_rule(str(site.folder)))
    assert "acme/other-connector" in caught.value.why


def test_documents_of_two_editions_are_read_again_from_the_server(
    client: Client, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a registry is published between two requests, or a cache on the way is older."""
    fetch = net_fetch.fetch_bytes
    with serving(site.folder) as url:
        old = (site.folder / ROOT_FILE).read_bytes()

        def stale(request: Any) -> Any:
            body, fetched = fetch(request)
            is_root = request.address.endswith(ROOT_FILE)
            return (body, fetched) if request.is_fresh or not is_root else (old, fetched)

        site.publish(plugin_entry(version_entry("2.0.0")), serial=2)
        monkeypatch.setattr(http, "fetch_bytes", stale)
        assert client.resolve(signed_rule(url)).version == "2.0.0"


@pytest.mark.parametrize("age", ["older than was seen", "ended"])
def test_root_that_a_cache_on_the_way_held_back_is_asked_of_the_server_itself(
    client: Client, site: Site, monkeypatch: pytest.MonkeyPatch, age: str
) -> None:
    fetch = net_fetch.fetch_bytes
    with serving(site.folder) as url:
        if age == "ended":
            site.publish(plugin_entry(), expires_at="2026-06-07T00:00:00Z")
        else:
            client.resolve(signed_rule(url))
        old = {
            name: (site.folder / name).read_bytes()
            for name in (ROOT_FILE, ROOT_FILE + BUNDLE_SUFFIX)
        }
        site.publish(plugin_entry(version_entry("2.0.0")), serial=2)
        client.resolve(signed_rule(url))

        def stale(request: Any) -> Any:
            body, fetched = fetch(replace(request, etag=None, last_modified=None))
            name = request.address.rpartition("/")[2]
            return (body, fetched) if request.is_fresh else (old.get(name, body), fetched)

        monkeypatch.setattr(http, "fetch_bytes", stale)
        assert client.resolve(signed_rule(url)).version == "2.0.0"


def test_registry_that_does_not_answer_is_waited_for_once(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def silent(request: Any) -> Any:
        asked.append(request.address)
        raise NetworkUnavailable("`it` was not fetched", why="30 s were over", next=["wait"])

    monkeypatch.setattr(http, "fetch_bytes", silent)
    registry = client.opened(signed_rule("https://registry.example/"))
    for _ in range(3):
        with pytest.raises(NetworkUnavailable, match="was not fetched") as caught:
            registry.resolve(REF, LINUX)
        assert (caught.value.why, caught.value.next) == ("30 s were over", ("wait",))
    assert asked == ["https://registry.example/registry.json"]


def test_registry_is_read_where_nothing_can_be_kept(client: Client, site: Site) -> None:
    client.paths.cache.parent.mkdir()
    client.paths.cache.write_text("a file in the place of the cache")
    with serving(site.folder) as url:
        assert client.resolve(signed_rule(url)).version == "1.2.3"


def test_cache_that_others_may_write_to_is_not_read(client: Client, site: Site) -> None:
    """Nothing else holds a root, and the index of a registry that nobody signs."""
    with serving(site.folder) as url:
        client.resolve(signed_rule(url))
        assert client.resolve(signed_rule(url), offline=True).version == "1.2.3"
        owning.forget()
        (client.paths.cache / "registries").chmod(0o777)
        with pytest.raises(Offline):
            client.resolve(signed_rule(url), offline=True)
        owning.forget()
        (client.paths.cache / "registries").chmod(0o700)
        assert client.resolve(signed_rule(url), offline=True).version == "1.2.3"


def test_id_that_nobody_has_is_told_whatever_is_wrong_with_suggestions(
    client: Client, site: Site
) -> None:
    (site.folder / CATALOGUE_FILE).unlink()
    with pytest.raises(PluginNotFound, match="was not found"):
        client.resolve(signed_rule(str(site.folder)), ref="acme/nothing-there")


def test_every_file_is_read_once_and_so_is_every_shard(
    client: Client, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard has hundreds of plugins: reading it for each of them is quadratic."""
    number = shard_number(PLUGIN)
    names = [f"acme/p{n}" for n in range(3000) if shard_number(f"acme/p{n}") == number][:5]
    site.publish(*(plugin_entry(id=name) for name in names))
    reader = client.opened(signed_rule(str(site.folder))).ruled[0].reader
    assert isinstance(reader, RootedRegistry)
    read: list[str] = []
    document = RootedRegistry._document

    def noted(self: RootedRegistry, url: str, *stated: Any) -> bytes:
        read.append(url)
        return document(self, url, *stated)

    monkeypatch.setattr(RootedRegistry, "_document", noted)
    assert [str(file.id) for file in reader.files()] == sorted(names)
    assert len(read) == len(set(read))


def test_old_root_that_was_kept_under_the_marks_of_the_new_one_is_asked_for_anew(
    client: Client, site: Site
) -> None:
    """Whoever serves it once must not have it confirmed by the registry itself ever after."""
    older = {each: (site.folder / each).read_bytes() for each in (ROOT_FILE, BUNDLE)}
    site.publish(plugin_entry(), serial=2)
    with serving(site.folder) as url:
        rule = signed_rule(url)
        assert client.resolve(rule).index_serial == 2
        cache = AnswerCache(client.paths.cache / "registries")
        for name, data in older.items():
            kept = cache.find(f"{url}{name}", len(data) * 2)
            assert kept
            assert kept.etag
            answer = Fetched(Digest.of(data), len(data), kept.etag, is_modified=True)
            cache.keep(f"{url}{name}", data, answer)
        assert client.resolve(rule).index_serial == 2


def test_what_somebody_put_into_the_cache_is_not_believed(client: Client, site: Site) -> None:
    with serving(site.folder) as url:
        client.resolve(signed_rule(url))
        folder = client.paths.cache / "registries"
        bodies = {path: path.read_bytes() for path in folder.iterdir()}
        for path, data in bodies.items():
            head, _, body = data.partition(b"\n")
            others = [other for other in bodies.values() if other != data]
            for wrong in (head + b"\n" + body[:-1] + b" ", body, b"", others[0], b"{}\n" + body):
                path.write_bytes(wrong)
                assert client.resolve(signed_rule(url)).version == "1.2.3"
                path.write_bytes(data)


@pytest.mark.parametrize("refused", ["forged", "older", "ended", "no bundle", "readable"])
def test_root_that_is_refused_leaves_the_last_good_one_in_the_cache(
    client: Client, site: Site, refused: str
) -> None:
    older = {each: (site.folder / each).read_bytes() for each in (ROOT_FILE, BUNDLE)}
    site.publish(plugin_entry(), serial=2)
    with serving(site.folder) as url:
        rule = signed_rule(url)
        client.resolve(rule)
        end = "2026-06-07T00:00:00Z" if refused == "ended" else END
        site.publish(plugin_entry(), serial=3, expires_at=end)
        if refused == "forged":
            (site.folder / ROOT_FILE).write_bytes((site.folder / ROOT_FILE).read_bytes() + b" ")
        elif refused == "older":
            for name, data in older.items():
                (site.folder / name).write_bytes(data)
        elif refused == "no bundle":
            (site.folder / BUNDLE).unlink()
        if refused == "readable":  # nothing is held back of one that is accepted
            client.resolve(rule)
        else:
            with pytest.raises(AperioError) as caught:
                client.resolve(rule)
            assert caught.value.code.startswith("registry-")
    found = client.resolve(rule, offline=True)
    assert found.index_serial == (3 if refused == "readable" else 2)


@pytest.mark.parametrize("is_readable", [False, True], ids=["unreadable", "readable"])
def test_document_that_is_refused_leaves_the_last_good_one_in_the_cache(
    client: Client, site: Site, *, is_readable: bool
) -> None:
    site.publish(plugin_entry(), serial=2)
    with serving(site.folder) as url:
        rule = signed_rule(url)
        reader = client.opened(rule).ruled[0].reader
        assert reader.rows()
        site.publish(plugin_entry(version_entry("2.0.0")), serial=3)
        if is_readable:
            assert client.opened(rule).ruled[0].reader.rows()
        else:
            root = json.loads((site.folder / ROOT_FILE).read_text())
            root["files"][CATALOGUE_FILE] = site.write(CATALOGUE_FILE, {"version": 1})
            site.write(ROOT_FILE, root)
            site.sign()
            with pytest.raises(IndexUnreadable):
                client.opened(rule).ruled[0].reader.rows()
    found = client.opened(rule, offline=True).ruled[0].reader
    assert [row.latest for row in found.rows()] == ["2.0.0" if is_readable else "1.2.3"]
    assert [each.edition.serial for each in found.older()] == ([] if is_readable else [2])


@pytest.mark.parametrize("is_stated", [False, True], ids=["digest-unknown", "digest-stated"])
def test_bundle_of_an_unknown_digest_is_never_confirmed_by_its_own_marks(
    client: Client, site: Site, *, is_stated: bool
) -> None:
    path = site.folder / "box.sigstore.json"
    stated = {"bundle_sha256": Digest.of(b"good").hex} if is_stated else {}
    artifact = artifact_entry(sigstore_bundle=path.name, **stated)
    site.publish(plugin_entry(version_entry(artifacts=[artifact])))
    path.write_bytes(b"good")
    with serving(site.folder) as url:
        rule = signed_rule(url)
        assert client.resolve(rule).bundle == b"good"
        cache, place = AnswerCache(client.paths.cache / "registries"), url + path.name
        good = cache.find(place, 100)
        assert good
        # Somebody on the way answered once, under the marks that the server gives its own.
        cache.keep(
            place,
            b"evil",
            Fetched(Digest.of(b"evil"), 4, good.etag, is_modified=True),
        )
        assert client.resolve(rule).bundle == b"good"
    assert client.resolve(rule, offline=True).bundle == b"good"


def test_index_that_cannot_be_read_leaves_the_last_one_in_the_cache(
    client: Client, tmp_path: Path
) -> None:
    folder = registry_folder(tmp_path / "unsigned")
    with serving(folder) as url:
        client.resolve(RegistryRule(url))
        (folder / "plugins.json").write_bytes(b'{"version": 1, "plugins": [7]}')
        with pytest.raises(IndexUnreadable):
            client.resolve(RegistryRule(url))
    assert client.resolve(RegistryRule(url), offline=True).version == "1.2.3"


def seen_then_changed(client: Client, site: Site, **first: Any) -> RegistryRule:
    """Read all of an edition, and of the next one only what installing reads."""
    site.publish(plugin_entry(), **first)
    with serving(site.folder) as url:
        rule = signed_rule(url)
        reader = client.opened(rule).ruled[0].reader
        assert [row.latest for row in reader.rows()] == ["1.2.3"]
        assert (reader.publishers(), reader.advisories(), reader.older()) == ((), (), ())
        advisory = {"id": "A-1", "modified": MOMENT, "affected": []}
        site.publish(plugin_entry(version_entry("2.0.0")), serial=2, advisories=[advisory])
        assert client.resolve(rule).version == "2.0.0"
    return rule


def test_offline_shows_what_an_earlier_edition_stated_and_says_which(
    client: Client, site: Site
) -> None:
    rule = seen_then_changed(client, site)
    reader = client.opened(rule, offline=True).ruled[0].reader
    assert (reader.publishers(), reader.older()) == ((), ())  # the same in both editions
    assert [row.latest for row in reader.rows()] == ["1.2.3"]
    assert reader.advisories(older=True) == ()
    assert [each.path for each in reader.older()] == [CATALOGUE_FILE, ADVISORIES_FILE]
    for each in reader.older():
        assert (each.edition.serial, each.newest.serial) == (1, 2)
        assert f"{each.path} of {rule.url} is that of edition 1: of 2, the newest" in str(each)
    # Whoever decides by it has the newest, or nothing; and installing still goes by the newest.
    with pytest.raises(Offline):
        reader.advisories()
    assert client.resolve(rule, offline=True).index_serial == 2


def test_offline_shows_the_newest_edition_once_it_was_read(client: Client, site: Site) -> None:
    url = seen_then_changed(client, site).url
    with serving(site.folder, port=urlsplit(url).port or 0) as again:
        assert again == url
        client.opened(signed_rule(url)).ruled[0].reader.rows()
    reader = client.opened(signed_rule(url), offline=True).ruled[0].reader
    assert ([row.latest for row in reader.rows()], reader.older()) == (["2.0.0"], ())


def test_offline_shows_nothing_of_an_earlier_edition_that_has_ended(
    client: Client, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = seen_then_changed(client, site, expires_at="2500-01-01T00:00:00Z")
    monkeypatch.setattr(clock, "timestamp", lambda: "2500-01-01T00:00:01Z")
    with pytest.raises(Offline):
        client.opened(rule, offline=True).ruled[0].reader.rows()
    monkeypatch.setattr(clock, "timestamp", lambda: "2500-01-01T00:00:00Z")
    assert client.opened(rule, offline=True).ruled[0].reader.rows()


@pytest.mark.parametrize("wrong", ["the document", "what was stated", "nothing", "the rule"])
def test_offline_shows_only_what_the_same_rule_has_accepted(
    client: Client, site: Site, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    rule = seen_then_changed(client, site)
    cache, place = AnswerCache(client.paths.cache / "registries"), f"{rule.url}{CATALOGUE_FILE}"
    data = b'{"version": 1, "plugins": []}'
    other = Fetched(Digest.of(data), len(data), None, is_modified=True)
    if wrong == "the document":
        cache.keep(place, data, other)
    elif wrong == "what was stated":
        cache.keep(f"{place}#edition", data, other)
    reader = client.opened(rule, offline=True).ruled[0].reader
    assert isinstance(reader, RootedRegistry)
    if wrong == "the rule":
        monkeypatch.setattr(reader, "rule", "another")
    if wrong == "nothing":
        assert reader.rows()
    else:
        with pytest.raises(Offline):
            reader.rows()


# ── where it may point ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "url", ["https://a..example/x", f"https://{'a' * 64}.example/x", "https://a.example:0/x"]
)
def test_registry_points_to_no_address_that_there_cannot_be(
    client: Client, site: Site, url: str
) -> None:
    rule = signed_rule(str(site.folder))
    site.publish(plugin_entry(version_entry(artifacts=[artifact_entry(url=url)])))
    with pytest.raises(IndexUnreadable, match="was not read") as caught:
        client.resolve(rule)
    assert "is not an address" in caught.value.why
    possible = f"https://{'a' * 63}.example:65535/x"
    site.publish(plugin_entry(version_entry(artifacts=[artifact_entry(url=possible)])), serial=2)
    assert client.resolve(rule).location == possible


@each_row(
    ("index", "url", "is_allowed"),
    [
        ("https://registry.example/", "https://cdn.example/x", True),
        ("https://registry.example/", "https://10.0.0.5/x", False),
        ("https://registry.example/", "https://192.168.1.1/x", False),
        ("https://registry.example/", "https://169.254.169.254/latest", False),
        ("https://registry.example/", "https://[fd00::1]/x", False),
        ("https://registry.example/", "https://intranet/x", False),
        ("https://registry.example/", "https://files.corp.internal/x", False),
        ("https://registry.example/", "https://127.0.0.1/x", False),
        ("https://registry.example/", "file:///etc/passwd", False),
        ("https://registry.example/", "https://user:secret@cdn.example/x", False),
        ("https://registry.example/", "http://cdn.example/x", True),  # refused where it is fetched
        ("https://10.0.0.5/", "https://10.0.0.6/x", True),
        ("https://10.0.0.5/", "https://cdn.example/x", True),
        ("https://intranet/", "https://192.168.1.1/x", True),
    ],
)
def test_public_registry_points_into_nobodys_own_network(
    tmp_path: Path, index: str, url: str, *, is_allowed: bool
) -> None:
    reader = http.HttpReader(index, http.Downloads(tmp_path, offline=True))
    if is_allowed:
        assert reader.locate(url) == url
        return
    with pytest.raises(IndexUnreadable) as caught:
        reader.locate(url)
    assert "secret" not in caught.value.why


# ── several ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def two(tmp_path: Path, domain: LocalDomain) -> tuple[Site, Site]:
    first, second = (Site(tmp_path / name, domain) for name in ("first", "second"))
    first.publish(plugin_entry(id="acme/other-connector"), namespaces=["acme"], name="first")
    second.publish(plugin_entry(), plugin_entry(id="beta/lamp-connector"), name="second")
    return first, second


def rules(two: tuple[Site, Site], **changes: Any) -> list[RegistryRule]:
    first, second = two
    return [
        signed_rule(str(first.folder), name="first", **changes),
        signed_rule(str(second.folder), name="second"),
    ]


def test_plugin_of_a_namespace_that_another_registry_states_is_refused_by_name(
    client: Client, two: tuple[Site, Site]
) -> None:
    with pytest.raises(NamespaceOwned) as caught:
        client.resolve(*rules(two))
    assert caught.value.exit_status == 3
    assert str(two[1].folder) in caught.value.what
    assert f"belongs to {two[0].folder}, as its index states" in caught.value.why


def test_plugin_of_a_namespace_that_nobody_states_is_found_in_the_second(
    client: Client, two: tuple[Site, Site]
) -> None:
    found = client.resolve(*rules(two), ref="beta/lamp-connector")
    assert found.source == str(two[1].folder)


def test_plugin_of_a_namespace_is_found_where_it_is_stated(
    client: Client, two: tuple[Site, Site]
) -> None:
    first, second = rules(two)
    found = client.resolve(second, first, ref="acme/other-connector")
    assert found.source == str(two[0].folder)
    with pytest.raises(PluginNotFound):
        client.resolve(first, second, ref="acme/nothing-connector")


def test_operator_says_whose_a_namespace_is_before_any_index_does(
    client: Client, two: tuple[Site, Site]
) -> None:
    first, second = rules(two)
    owning = replace(second, namespaces=("acme",))
    assert client.resolve(first, owning).source == str(two[1].folder)
    unsigned = RegistryRule(str(two[0].folder), namespaces=("beta",))
    with pytest.raises(NamespaceOwned) as caught:
        client.resolve(second, unsigned, ref="beta/lamp-connector")
    assert "as your configuration states" in caught.value.why


def test_registry_that_cannot_be_read_keeps_the_next_from_taking_over(
    client: Client, two: tuple[Site, Site]
) -> None:
    (two[0].folder / ROOT_FILE).write_bytes(b"broken")
    with pytest.raises(AperioError) as caught:
        client.resolve(*rules(two), ref="beta/lamp-connector")
    assert caught.value.exit_status in {3, 4}
