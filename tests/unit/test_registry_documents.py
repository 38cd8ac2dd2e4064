"""Documents of a registry: what is read of each, and what makes one be refused."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.errors.registries import IndexUnreadable, IndexVersionUnknown
from aperio_cli.models.digest import Digest
from aperio_cli.models.platform import Platform
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.publisher import Signer
from aperio_cli.models.registry import documents
from aperio_cli.models.registry.advisories import parse_advisories
from aperio_cli.models.registry.catalogue import parse_catalogue
from aperio_cli.models.registry.documents import FileRef, shard_number, shard_path
from aperio_cli.models.registry.plugin_file import parse_plugin_file
from aperio_cli.models.registry.publishers import parse_publishers
from aperio_cli.models.registry.root import parse_root
from aperio_cli.models.registry.shard import Shard, parse_shard
from tests.rows import each_row, for_each, for_rows

if TYPE_CHECKING:
    from collections.abc import Callable

BOX = PluginId("acme", "box-connector")
SHA = "ab" * 32
REF = {"sha256": SHA, "size": 12}
NUMBER = shard_number(str(BOX))
OTHER = next(f"acme/p{n}x" for n in range(1000) if shard_number(f"acme/p{n}x") != NUMBER)
HOME = next(f"n{n}" for n in range(10_000) if shard_number(f"n{n}") == NUMBER)
STATUS = {"state": "yanked", "reason": "loses events", "at": "2026-11-01T00:00:00Z"}


def root(**changes: Any) -> dict[str, Any]:
    return {
        "version": 1, "updated_at": "2026-11-01T00:00:00Z", "epoch": 1, "serial": 7,
        "expires_at": "2026-12-01T00:00:00Z", "previous": {"serial": 6, "sha256": SHA},
        "files": dict.fromkeys(documents.FIXED_FILES, REF), "shards": [REF] * 256,
        "log": {"origin": "registry.example/log", "size": 3, "root": SHA},
    } | changes  # fmt: skip


def shard(**changes: Any) -> dict[str, Any]:
    return {
        "version": 1, "shard": f"{NUMBER:02x}", "plugins": {str(BOX): REF}, "namespaces": [HOME],
    } | changes  # fmt: skip


def artifact(**changes: Any) -> dict[str, Any]:
    return {
        "os": "linux", "arch": "amd64", "url": "artifacts/acme/box.tar.gz", "sha256": SHA,
        "size": 99, "mirrors": ["https://mirror.example/box.tar.gz", "oci://ghcr.example/acme/box"],
        "sigstore_bundle": f"bundles/sha256/ab/{SHA}.sigstore.json", "bundle_sha256": SHA,
        "attestations": "artifacts/acme/box.intoto.jsonl", "attestations_sha256": SHA,
        "tree": f"t1:{SHA}", "log_index": 4,
    } | changes  # fmt: skip


def version(**changes: Any) -> dict[str, Any]:
    return {
        "version": "1.0.0", "published_at": "2026-11-01T00:00:00Z", "protocols": ["1.0"],
        "publisher": {"name": "acme", "verified": True, "tier": "verified"},
        "signer": {"type": "public", "issuer": "https://issuer.example", "identity": "a@b"},
        "artifacts": [artifact()], "requires_host": ">=1.0,<2",
    } | changes  # fmt: skip


def plugin(**changes: Any) -> dict[str, Any]:
    return {
        "version": 1, "id": str(BOX), "kind": "connector", "description": "Box", "license": "MIT",
        "permissions": {"oauth_scopes": ["a"], "egress": ["b:443"], "needs_kv": True},
        "versions": [version()],
    } | changes  # fmt: skip


def row(**changes: Any) -> dict[str, Any]:
    return {
        "id": str(BOX), "kind": "connector", "description": "Box", "latest": "1.0.0",
        "platforms": ["linux/amd64"], "publisher": {"name": "acme", "verified": True},
        "status": "active",
    } | changes  # fmt: skip


def catalogue(**changes: Any) -> dict[str, Any]:
    return {"version": 1, "serial": 7, "plugins": [row()]} | changes


def publisher(**changes: Any) -> dict[str, Any]:
    signer = {"domain": "public", "identity": "alice@acme.example", "issuer": "https://i.example"}
    return {
        "namespace": "acme", "display_name": "Acme", "tier": "verified", "status": "active",
        "signers": [signer],
    } | changes  # fmt: skip


def publishers(**changes: Any) -> dict[str, Any]:
    return {"version": 1, "publishers": [publisher()]} | changes


def advisory(**changes: Any) -> dict[str, Any]:
    events = [{"introduced": "0"}, {"fixed": "1.2.0"}]
    return {
        "id": "APERIO-2026-0001", "modified": "2026-11-01T00:00:00Z", "summary": "leaks",
        "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N"}], "aliases": ["CVE-2026-1"],
        "references": [{"type": "WEB", "url": "https://acme.example"}],
        "affected": [{
            "package": {"ecosystem": "Aperio", "name": str(BOX)},
            "ranges": [{"type": "SEMVER", "events": events}], "versions": ["2.0.0"],
        }],
    } | changes  # fmt: skip


def advisories(**changes: Any) -> dict[str, Any]:
    return {"version": 1, "advisories": [advisory()]} | changes


KINDS: dict[str, tuple[Callable[..., object], dict[str, Any]]] = {
    "root": (parse_root, root()),
    "shard": (lambda data, *, where: parse_shard(data, number=NUMBER, where=where), shard()),
    "plugin": (parse_plugin_file, plugin()),
    "catalogue": (parse_catalogue, catalogue()),
    "publishers": (parse_publishers, publishers()),
    "advisories": (parse_advisories, advisories()),
}


def read(kind: str, document: object) -> Any:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return KINDS[kind][0](data, where=f"{kind}.json")


def refuses(kind: str, document: object) -> str:
    with pytest.raises(IndexUnreadable) as caught:
        read(kind, document)
    assert caught.value.what == f"`{kind}.json` was not read"
    assert caught.value.exit_status == 4
    return caught.value.why


# ── all of them ───────────────────────────────────────────────────────────────────────────────────


@each_row("kind", KINDS)
def test_unknown_keys_are_ignored_at_the_top(kind: str) -> None:
    document = KINDS[kind][1]
    assert read(kind, document | {"later": {"x": 1}}) == read(kind, document)


@each_row("kind", KINDS)
@each_row(
    ("spoil", "said"),
    [
        (lambda text: text[:-1], "not JSON"),
        (lambda _: "[]", "not a mapping"),
        (lambda text: '{"version": 1, ' + text[1:], "stands twice"),
        (lambda text: text.replace("1", "true", 1), "`version`: expected a whole number"),
        (lambda text: text.replace('"version"', '"version_"', 1), "`version` is missing"),
        (lambda text: text[:-1] + ', "x": ' + "[" * 1000 + "]" * 1000 + "}", "too deeply"),
        (lambda text: text[:-1] + ', "x": NaN}', "NaN is no number"),
        (lambda text: text[:-1] + ', "x": "\\ud800"}', "surrogate"),
    ],
    ids=["cut", "list", "twice", "true", "unversioned", "deep", "nan", "half"],
)
def test_bytes_that_are_no_document_are_refused(
    kind: str, spoil: Callable[[str], str], said: str
) -> None:
    text = json.dumps(KINDS[kind][1])
    read(kind, text.encode())
    assert said in refuses(kind, spoil(text).encode())


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"catalogue"}))  # 128 MiB take a second
def test_text_of_megabytes_is_refused_before_it_is_parsed(kind: str) -> None:
    assert "too large" in refuses(kind, KINDS[kind][1] | {"x": "y" * 16 * 1024 * 1024})


@each_row("kind", KINDS)
def test_another_version_of_the_format_is_told_apart(kind: str) -> None:
    with pytest.raises(IndexVersionUnknown) as caught:
        read(kind, {"version": 2})
    assert caught.value.why == "expected version 1\nfound    2"


@for_rows([
        # the root
        ("root", root(serial=-1), "`serial`: expected a whole number from 0"),
        ("root", root(serial=2**53), "`serial`: expected a whole number"),
        ("root", root(serial="7"), "`serial`: expected a whole number"),
        ("root", root(epoch=0), "`epoch`: expected a whole number from 1"),
        ("root", root(updated_at="2026-11-01T00:00:00"), "`updated_at`: expected a date"),
        ("root", root(expires_at="2026-12-01 00:00"), "`expires_at`: expected a date"),
        ("root", root(expires_at="2026-10-01T00:00:00Z"), "ends before it begins"),
        ("root", root(expires_at=None), "`expires_at`: expected a date"),
        ("root", root(files={}), "`files.plugins.json`: `plugins.json` is missing"),
        ("root", root(files=[]), "`files`: expected an object"),
        ("root", root(files=root()["files"] | {"../x": REF}), "expected paths below"),
        ("root", root(files=root()["files"] | {"file:///etc": REF}), "expected paths below"),
        ("root", root(files=root()["files"] | {"x.json": REF | {"size": -1}}), "x.json.size"),
        ("root", root(files={f"f{n}": REF for n in range(65)}), "expected at most 64"),
        ("root", root(shards=[REF] * 255), "`shards`: expected 256, found 255"),
        ("root", root(shards=[REF] * 257), "`shards`: more than 256"),
        ("root", root(shards=[REF | {"sha256": "AB" * 32}] * 256), "`shards[0].sha256`"),
        ("root", root(shards=[REF | {"size": 2**40}] * 256), "`shards[0].size`"),
        ("root", root(previous={"serial": 7, "sha256": SHA}), "lower serial than its own"),
        ("root", root(log={"origin": "x", "size": -1, "root": SHA}), "`log.size`"),
        ("root", root(log={"origin": " x", "size": 1, "root": SHA}), "`log.origin`"),
        ("root", root(name=""), "`name`: expected text"),
        # a shard
        ("shard", shard(shard="zz"), f"`shard`: expected {NUMBER:02x}"),
        ("shard", shard(plugins={OTHER: REF}), "belongs into shard"),
        ("shard", shard(plugins={str(BOX): REF | {"size": -1}}), "size"),
        ("shard", shard(plugins={str(BOX): SHA}), "expected an object"),
        ("shard", shard(plugins={str(BOX): REF | {"size": 5 * 1024 * 1024}}), "size"),
        ("shard", shard(namespaces=["n" * 41]), "is not a namespace"),
        ("shard", shard(namespaces=["acme" if HOME != "acme" else "b"]), "belongs into shard"),
        # a plugin's file
        ("plugin", plugin(id="Acme/Box"), "is not a plugin id"),
        ("plugin", plugin(kind="gadget"), "`kind`: unknown: gadget"),
        ("plugin", plugin(versions=[version(), version()]), "1.0.0 is there twice"),
        (
            "plugin",
            plugin(versions=[version(version="1.0.0-RC"), version(version="1.0.0-rc")]),
            "is there twice",
        ),
        ("plugin", plugin(versions=[version(version="1.0")]), "is not a version"),
        ("plugin", plugin(versions=[version(version="1.0.0+b")]), "is not a version"),
        ("plugin", plugin(versions=[version(published_at="2026-11-01T00:00")]), "published_at"),
        ("plugin", plugin(versions=[version(status=STATUS)]), "and nothing else, is `withdrawn`"),
        ("plugin", plugin(withdrawn=[version(version="2.0.0")]), "is `withdrawn`"),
        ("plugin", plugin(versions=[version(status=STATUS | {"state": "x"})]), "unknown: x"),
        (
            "plugin",
            plugin(versions=[version(status={"state": "deprecated", "at": STATUS["at"]})]),
            "`reason` is missing",
        ),
        ("plugin", plugin(versions=[version(protocols=["1"])]), "is not MAJOR.MINOR"),
        ("plugin", plugin(versions=[version(artifacts=[artifact(), artifact()])]), "twice"),
        ("plugin", plugin(versions=[version(artifacts=[artifact(size=-5)])]), "artifacts[0].size"),
        ("plugin", plugin(versions=[version(artifacts=[artifact(tree=SHA)])]), "t1: and 64 hex"),
        ("plugin", plugin(versions=[version(artifacts=[artifact(log_index=-1)])]), "log_index"),
        (
            "plugin",
            plugin(versions=[version(artifacts=[artifact(mirrors=["file:///etc/passwd"])])]),
            "neither https nor http",
        ),
        (
            "plugin",
            plugin(versions=[version(artifacts=[artifact(mirrors=["oci://a:b@c/d"])])]),
            "has a user or a password",
        ),
        ("plugin", plugin(versions=[version(artifacts=[artifact(mirrors=["x"] * 17)])]), "at most"),
        (
            "plugin",
            plugin(versions=[version(artifacts=[artifact(mirrors=["https://a.example/b\nc"])])]),
            "printable",
        ),
        # the catalogue
        ("catalogue", catalogue(plugins=[row(), row()]), "is there twice"),
        ("catalogue", catalogue(plugins=[row(id="box")]), "is not a plugin id"),
        ("catalogue", catalogue(plugins=[row(latest="one")]), "is not a version"),
        ("catalogue", catalogue(plugins={}), "expected a list of objects"),
        # publishers
        ("publishers", publishers(publishers=[publisher()] * 2), "`acme` is there twice"),
        ("publishers", publishers(publishers=[publisher(namespace="*")]), "expected a namespace"),
        ("publishers", publishers(publishers=[publisher(tier="best")]), "unknown: best"),
        ("publishers", publishers(publishers=[publisher(status="odd")]), "unknown: odd"),
        (
            "publishers",
            publishers(publishers=[publisher(signers=[{"namespace": "box"}])]),
            "the publisher states it",
        ),
        (
            "publishers",
            publishers(publishers=[publisher(signers=[{"domain": "public"}])]),
            "`identity` is missing",
        ),
        # advisories
        ("advisories", advisories(advisories=[advisory(), advisory()]), "is there twice"),
        (
            "advisories",
            advisories(advisories=[advisory(), advisory(id="aperio-2026-0001")]),
            "is there twice",
        ),
        ("advisories", advisories(advisories=[advisory(id="../x")]), "the id of an advisory"),
        ("advisories", advisories(advisories=[advisory(modified="2026-11-01T1:00Z")]), "modified"),
        ("advisories", advisories(advisories=[advisory(affected=None)]), "a list of objects"),
    ])  # fmt: skip
def test_document_that_breaks_a_rule_is_refused(
    kind: str, document: dict[str, Any], said: str
) -> None:
    read(kind, KINDS[kind][1])
    assert said in refuses(kind, document)


# ── the root and its shards ───────────────────────────────────────────────────────────────────────


def test_root_is_read_whole() -> None:
    found = read("root", root(name="main"))
    assert (found.name, found.epoch, found.serial) == ("main", 1, 7)
    assert found.expires == found.expires_at == "2026-12-01T00:00:00Z"
    assert found.files["plugins.json"] == FileRef(Digest(SHA), 12)
    assert (found.previous.serial, found.log.size) == (6, 3)
    assert found.shards[NUMBER] == FileRef(Digest(SHA), 12)
    assert found.to_json() == root(name="main")


def test_root_of_a_first_edition_has_no_predecessor_and_no_log() -> None:
    first = root(previous=None)
    del first["log"]
    found = read("root", first)
    assert (found.previous, found.log) == (None, None)
    assert found.to_json() == first


def test_shard_of_a_name_is_the_first_byte_of_its_digest() -> None:
    assert shard_number("acme/box-connector") == hashlib.sha256(b"acme/box-connector").digest()[0]
    assert shard_path(10) == "shards/0a.json"


def test_shard_is_read_and_written_alike() -> None:
    found = read("shard", shard())
    assert found == Shard(NUMBER, {BOX: FileRef(Digest(SHA), 12)}, frozenset({HOME}))
    assert found.to_json() == shard()


# ── a plugin ──────────────────────────────────────────────────────────────────────────────────────


def test_plugin_file_is_read_with_what_is_withdrawn() -> None:
    gone = version(version="2.0.0", status=STATUS | {"replacement": "1.0.0"})
    found = read("plugin", plugin(withdrawn=[gone]))
    assert [each.version for each in found.versions] == ["2.0.0", "1.0.0"]
    assert found.versions[0].status.is_withdrawn
    assert found.versions[0].status.replacement == "1.0.0"
    assert found.versions[0].status.to_json() == gone["status"]
    active = found.version("1.0.0")
    assert (active.status, active.requires_host) == (None, ">=1.0,<2")
    assert active.artifacts[0].log_index == 4
    assert active.publisher.is_verified
    assert dict(active.signer)["identity"] == "a@b"
    (offered,) = active.artifacts
    assert active.artifact(Platform("linux", "amd64")) is offered
    assert active.artifact(Platform("linux", "arm64")) is None
    assert (offered.tree, offered.bundle_digest) == (f"t1:{SHA}", Digest(SHA))
    assert len(offered.mirrors) == 2
    assert found.permissions.egress == ("b:443",)


def test_deprecated_version_stays_among_the_versions() -> None:
    found = read("plugin", plugin(versions=[version(status=STATUS | {"state": "deprecated"})]))
    assert not found.versions[0].status.is_withdrawn


def test_artifact_for_a_platform_of_the_future_is_left_out() -> None:
    listed = [artifact(), artifact(arch="riscv64")]
    (found,) = read("plugin", plugin(versions=[version(artifacts=listed)])).versions
    assert [str(each.platform) for each in found.artifacts] == ["linux/amd64"]


@each_row("url", ["artifacts/a_1.0.0~x.tar.gz", "https://a.example/b?c=d", "http://127.0.0.1:1/x"])
def test_location_is_a_path_or_an_address(url: str) -> None:
    (found,) = read("plugin", plugin(versions=[version(artifacts=[artifact(url=url)])])).versions
    assert found.artifacts[0].url == url


@for_each([
        "../x", "a/../x", "/etc/passwd", "a//b", "a\\b", "a%2e", ".hidden", "file:///etc/passwd",
        "FILE:x", "ftp://a.example/x", "data:,x", "https://u:p@a.example/x", "http://u@a.example",
        "", " ", "a" * 5000,
    ])  # fmt: skip
def test_location_that_leads_elsewhere_is_refused(url: str) -> None:
    refuses("plugin", plugin(versions=[version(artifacts=[artifact(url=url)])]))


# ── views ─────────────────────────────────────────────────────────────────────────────────────────


def test_catalogue_leaves_out_kinds_of_the_future() -> None:
    found = read("catalogue", catalogue(plugins=[row(id="acme/zz"), row(kind="gadget"), row()]))
    assert [str(each.id) for each in found.rows] == ["acme/box-connector", "acme/zz"]
    assert found.rows[0].is_verified


def test_catalogue_row_of_a_plugin_without_an_installable_version_is_read() -> None:
    (found,) = read("catalogue", catalogue(plugins=[row(latest="", status="yanked")])).rows
    assert (found.latest, found.status) == ("", "yanked")


# ── publishers ────────────────────────────────────────────────────────────────────────────────────


def signed(identity: str) -> Signer:
    return Signer("public", identity, "https://i.example", "2026-11-01T00:00:00Z", SHA)


def test_publisher_stands_for_its_own_signers_only() -> None:
    (found,) = read("publishers", publishers())
    assert found.verifies(BOX, "1.0.0", signed("alice@acme.example"))
    assert not found.verifies(BOX, "1.0.0", signed("mallory@acme.example"))
    assert not found.verifies(PluginId("box", "box"), "1.0.0", signed("alice@acme.example"))
    assert found.rules[0].tier == "verified"
    assert found.to_json() == publisher()


@pytest.mark.parametrize("changes", [{"tier": "community"}, {"status": "lapsed"}])
def test_publisher_that_is_not_known_well_verifies_nobody(changes: dict[str, str]) -> None:
    (found,) = read("publishers", publishers(publishers=[publisher(**changes)]))
    assert not found.verifies(BOX, "1.0.0", signed("alice@acme.example"))


def test_signer_with_a_key_of_the_future_is_left_out() -> None:
    narrower = publisher()["signers"][0] | {"only_on_mondays": True}
    both = publisher(signers=[narrower, publisher()["signers"][0]])
    (found,) = read("publishers", publishers(publishers=[both]))
    assert len(found.rules) == 1


# ── advisories ────────────────────────────────────────────────────────────────────────────────────


@each_row(
    ("events", "inside", "outside"),
    [
        ([{"introduced": "0"}, {"fixed": "1.2.0"}], ["0.0.0-a", "1.1.9", "1.2.0-rc.1"], ["1.2.0"]),
        ([{"introduced": "1.0.0"}, {"last_affected": "1.2.0"}], ["1.0.0", "1.2.0"], ["1.2.1"]),
        ([{"fixed": "3.0.0"}, {"introduced": "2.0.0"}], ["2.5.0"], ["1.9.9", "3.0.0"]),
        (
            [{"introduced": "1.0.0"}, {"fixed": "1.0.5"}, {"introduced": "2.0.0"}],
            ["1.0.4", "2.0.0", "9.0.0"],
            ["1.0.5", "1.9.0"],
        ),
        ([{"introduced": "0"}, {"limit": "2.0.0"}], ["1.9.9"], ["2.0.0"]),
        ([{"introduced": "0"}, {"limit": "*"}], ["9.9.9"], []),
    ],
)
def test_advisory_tells_which_versions_are_affected(
    events: list[dict[str, str]], inside: list[str], outside: list[str]
) -> None:
    about = advisory()["affected"][0] | {"ranges": [{"type": "SEMVER", "events": events}]}
    del about["versions"]
    (found,) = read("advisories", advisories(advisories=[advisory(affected=[about])]))
    assert [v for v in [*inside, *outside] if found.affects(BOX, v)] == inside


def test_advisory_is_read_whole() -> None:
    (found,) = read("advisories", advisories())
    assert found.affects(BOX, "2.0.0")  # named one by one
    assert not found.affects(PluginId("acme", "other"), "1.0.0")
    assert found.fixed_in(BOX) == ("1.2.0",)
    assert (found.severity, found.aliases) == ((("CVSS_V3", "CVSS:3.1/AV:N"),), ("CVE-2026-1",))


def test_advisory_that_was_taken_back_affects_nothing() -> None:
    gone = advisory(withdrawn="2026-11-02T00:00:00Z")
    (found,) = read("advisories", advisories(advisories=[gone]))
    assert not found.affects(BOX, "1.0.0")


def test_advisory_of_another_ecosystem_is_none_of_ours() -> None:
    about = [{"package": {"ecosystem": "PyPI", "name": "Box"}, "ranges": [{"type": "ECOSYSTEM"}]}]
    (found,) = read("advisories", advisories(advisories=[advisory(affected=about)]))
    assert found.affected == ()


@each_row(
    ("events", "said"),
    [
        ([{"fixed": "1.0.0"}], "where it was introduced"),
        ([{"introduced": "0", "fixed": "1.0.0"}], "expected one of"),
        ([{}], "expected one of"),
        ([{"introduced": "1"}], "is not a version"),
        ([{"introduced": "0"}, {"fixed": "0"}], "is not a version"),
    ],
)
def test_range_that_says_nothing_clear_is_refused(events: list[dict[str, str]], said: str) -> None:
    about = advisory()["affected"][0] | {"ranges": [{"type": "SEMVER", "events": events}]}
    assert said in refuses("advisories", advisories(advisories=[advisory(affected=[about])]))
