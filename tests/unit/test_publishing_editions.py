"""Editions of a registry: what is built of a source, what is kept of it, and what stops one."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from aperio_cli.errors.registries import EditionSigned, RegistrySourceInvalid
from aperio_cli.errors.usage import UsageError
from aperio_cli.files import owning
from aperio_cli.files.beneath import Beneath
from aperio_cli.models.digest import Digest
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.registry.advisories import parse_advisories
from aperio_cli.models.registry.catalogue import parse_catalogue
from aperio_cli.models.registry.documents import shard_number
from aperio_cli.models.registry.plugin_file import parse_plugin_file
from aperio_cli.models.registry.publishers import parse_publishers
from aperio_cli.models.registry.root import parse_root
from aperio_cli.models.registry.shard import parse_shard
from aperio_cli.publishing import build, init
from aperio_cli.publishing.source import open_source
from tests.builders import snapshot, unchanged
from tests.contract import v1_reader
from tests.unit.test_registry_documents import advisory, publisher
from tests.writing_registries import put, record_of, write

if TYPE_CHECKING:
    from pathlib import Path

BOX = PluginId("acme", "box")
YANKED = {"state": "yanked", "reason": "loses events", "at": "2026-11-02T00:00:00Z"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The source of a registry with one plugin of two versions."""
    init(tmp_path / "registry", name="main")
    put(tmp_path / "registry", BOX, "1.0.0")
    put(tmp_path / "registry", BOX, "1.1.0")
    return tmp_path / "registry"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.removeprefix(str(folder)): data for path, (_, data) in snapshot(folder).items()}


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))


def state(source: Path, version: int, **status: Any) -> None:
    """Give a version of the record a status; 0 is the newest."""
    record = record_of(source, BOX)
    record["versions"][version]["status"] = YANKED | status
    write(source, BOX, record)


def refused(source: Path, **options: Any) -> str:
    with pytest.raises(RegistrySourceInvalid) as caught:
        build(source, **options)
    assert not (source / "public").exists()
    return f"{caught.value.what}\n{caught.value.why}"


# ── what is built ─────────────────────────────────────────────────────────────────────────────────


def test_every_document_is_read_by_its_reader(source: Path) -> None:
    (source / "publishers").mkdir()
    stated = {"schema": "aperio.registry.publisher/v1"} | publisher()
    (source / "publishers/acme.json").write_text(json.dumps(stated))
    (source / "advisories").mkdir()
    (source / "advisories/APERIO-2026-0001.json").write_text(json.dumps(advisory()))
    out = build(source).out
    root = parse_root((out / "registry.json").read_bytes(), where="root")
    number = shard_number(str(BOX))
    shard = parse_shard((out / f"shards/{number:02x}.json").read_bytes(), number=number, where="s")
    file = (out / "plugins/acme/box.json").read_bytes()
    assert shard.plugins[BOX].digest == Digest.of(file)
    home = shard_number("acme")
    stated_there = (out / f"shards/{home:02x}.json").read_bytes()
    assert parse_shard(stated_there, number=home, where="s").namespaces == {"acme"}
    assert [v.version for v in parse_plugin_file(file, where="p").versions] == ["1.1.0", "1.0.0"]
    (row,) = parse_catalogue((out / "catalogue.json").read_bytes(), where="c").rows
    assert (row.id, row.latest, row.is_verified) == (BOX, "1.1.0", False)
    (known,) = parse_publishers((out / "publishers.json").read_bytes(), where="p")
    assert known.namespace == "acme"
    (fault,) = parse_advisories((out / "advisories.json").read_bytes(), where="a")
    assert fault.id == "APERIO-2026-0001"
    assert (root.name, root.previous) == ("main", None)
    assert root.log
    assert root.log.size == 3  # a publisher and two artifacts


def test_root_states_every_file_truly(source: Path) -> None:
    out = build(source).out
    root = parse_root((out / "registry.json").read_bytes(), where="root")
    stated = dict(root.files) | {f"shards/{n:02x}.json": ref for n, ref in enumerate(root.shards)}
    for path, ref in stated.items():
        data = (out / path).read_bytes()
        assert (Digest.of(data), len(data)) == (ref.digest, ref.size_bytes), path
    below = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    unstated = {p for p in below - stated.keys() if not p.startswith(("plugins/", "bundles/"))}
    # Artifacts are elsewhere, and the log is held to the checkpoint that the root states.
    assert {p for p in unstated if not p.startswith("log/")} == {"registry.json"}


def test_bundles_stand_under_their_own_digest(source: Path) -> None:
    out = build(source).out
    bundles = [path for path in (out / "bundles").rglob("*") if path.is_file()]
    assert len(bundles) == 2
    for path in bundles:
        digest = Digest.of(path.read_bytes()).hex
        assert path.name == f"{digest}.sigstore.json"
        assert path.parent.name == digest[:2]


def test_withdrawn_versions_stand_apart_from_what_readers_of_before_see(source: Path) -> None:
    state(source, 0, replacement="1.0.0")
    out = build(source).out
    index = v1_reader.read((out / "plugins.json").read_text())
    assert [version.version for version in index.plugins[0].versions] == ["1.0.0"]
    raw = json.loads((out / "plugins/acme/box.json").read_bytes())
    assert [version["version"] for version in raw["versions"]] == ["1.0.0"]
    whole = parse_plugin_file((out / "plugins/acme/box.json").read_bytes(), where="p")
    assert [(v.version, bool(v.status)) for v in whole.versions] == [
        ("1.1.0", True),
        ("1.0.0", False),
    ]
    (row,) = parse_catalogue((out / "catalogue.json").read_bytes(), where="c").rows
    assert (row.latest, row.status) == ("1.0.0", "active")


def test_deprecated_version_is_offered_still_but_not_first(source: Path) -> None:
    state(source, 0, state="deprecated")
    out = build(source).out
    index = v1_reader.read((out / "plugins.json").read_text())
    assert [version.version for version in index.plugins[0].versions] == ["1.1.0", "1.0.0"]
    (row,) = parse_catalogue((out / "catalogue.json").read_bytes(), where="c").rows
    assert (row.latest, row.status) == ("1.0.0", "active")


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (["deprecated", "deprecated"], "deprecated"),
        (["revoked", "yanked"], "yanked"),
        (["revoked", "revoked"], "revoked"),
        (["deprecated", "revoked"], "deprecated"),
    ],
)
def test_plugin_is_what_all_its_versions_are(
    source: Path, states: list[str], expected: str
) -> None:
    for number, each in enumerate(states):
        state(source, number, state=each)
    out = build(source).out
    (row,) = parse_catalogue((out / "catalogue.json").read_bytes(), where="c").rows
    assert row.status == expected
    assert bool(row.latest) == (expected == "deprecated")
    v1_reader.read((out / "plugins.json").read_text())


def test_publisher_is_verified_when_the_registry_knows_who_signed(source: Path) -> None:
    record = record_of(source, BOX)
    signer = {key: record["versions"][0]["signer"][key] for key in ("domain", "identity", "issuer")}
    (source / "publishers").mkdir()
    path = source / "publishers/acme.json"
    stated = {"schema": "aperio.registry.publisher/v1"} | publisher(signers=[signer])
    for tier, is_verified in (("verified", True), ("community", False)):
        path.write_text(json.dumps(stated | {"tier": tier}))
        index = v1_reader.read((build(source).out / "plugins.json").read_text())
        assert index.plugins[0].versions[0].publisher.verified is is_verified


def test_feed_tells_what_happened_newest_first(source: Path) -> None:
    state(source, 0, reason="loses <events> & more")
    feed = ET.fromstring((build(source).out / "feed.atom").read_bytes())  # noqa: S314 - our own
    atom = "{http://www.w3.org/2005/Atom}"
    titles = [entry.findtext(f"{atom}title") for entry in feed.iter(f"{atom}entry")]
    assert titles == ["acme/box 1.1.0: yanked", "acme/box 1.1.0", "acme/box 1.0.0"]
    assert feed.findtext(f"{atom}updated") == YANKED["at"]
    entry = next(feed.iter(f"{atom}entry"))
    assert entry.findtext(f"{atom}summary") == "loses <events> & more"


def test_long_index_lists_the_newest_version_of_each_plugin(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aperio_cli.publishing import views

    put(source, BOX, "2.0.0-rc.1")
    for most, expected in ((10**6, ["2.0.0-rc.1", "1.1.0", "1.0.0"]), (10, ["1.1.0"])):
        monkeypatch.setattr(views, "WHOLE_VIEW_BYTES", most)
        index = v1_reader.read((build(source).out / "plugins.json").read_text())
        assert [version.version for version in index.plugins[0].versions] == expected


# ── what the source may not say ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "changes",
    [{"kind": "gadget"}, {"schema": "aperio.registry.record/v2", "kind": 7, "versions": "x"}],
)
def test_record_of_the_future_is_left_out_and_told(source: Path, changes: dict[str, Any]) -> None:
    put(source, PluginId("acme", "other"), "1.0.0")
    change(source / "records/acme/box.json", **changes)
    report = build(source)
    assert report.skipped == ("records/acme/box.json",)
    index = v1_reader.read((report.out / "plugins.json").read_text())
    assert [plugin.id for plugin in index.plugins] == ["acme/other"]


def artifact(**changes: Any) -> Any:
    def apply(record: dict[str, Any]) -> None:
        record["versions"][0]["artifacts"][0].update(changes)

    return apply


def first(**changes: Any) -> Any:
    return lambda record: record["versions"][0].update(changes)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (artifact(size=-1), "expected a whole number from 0"),
        (artifact(size=1.5), "expected a whole number from 0"),
        (artifact(url="file:///etc/passwd"), "neither https nor http"),
        (artifact(url="artifacts/x"), "expected an https address"),
        (artifact(url="http://artifacts.example/x"), "is not https"),
        (artifact(url="https://user:secret@artifacts.example/x"), "has a user or a password"),
        (artifact(url="https://127.0.0.1/x"), "in a private network, or this machine"),
        (artifact(url="https://10.1.2.3/x"), "in a private network, or this machine"),
        (artifact(url="https://[fd00::1]/x"), "in a private network, or this machine"),
        (artifact(url="https://169.254.169.254/latest"), "in a private network"),
        (artifact(url="https://intranet/x"), "in a private network, or this machine"),
        (artifact(url="https://0x7f.1/x"), "in a private network, or this machine"),
        (artifact(url="https://host:port/x"), "is not an address"),
        (artifact(url="https://a.example:0/x"), "is not an address"),
        (artifact(url="https://a..b/x"), "is not an address"),
        (artifact(url=f"https://{'a' * 64}.example/x"), "is not an address"),
        (artifact(mirrors=[f"https://{'a.' * 127}example/x"]), "is not an address"),
        (artifact(mirrors=["https://nas.local/x"]), "in a private network, or this machine"),
        (artifact(mirrors=["file:///x"]), "neither https nor http"),
        (artifact(mirrors=["/x"]), "no path below"),
        (artifact(mirrors=["https://a.example/x"] * 17), "at most 16"),
        (artifact(bundle_sha256="x"), "64 lower-case hexadecimal digits"),
        (artifact(tree="x"), "t1: and 64 hex digits"),
        (first(added_at="2026-11-01T00:00:00"), "expected a date"),
        (first(status=YANKED | {"at": "2026-11-01 00:00:00"}), "expected a date"),
        (first(status=YANKED | {"state": "gone"}), "unknown: gone"),
        (first(status=YANKED | {"reason": " "}), "not blank"),
        (first(status=YANKED | {"reason": "x" * 10_000_000}), "at most 2000 characters"),
        (first(status=YANKED | {"replacement": "soon"}), "is not a version"),
    ],
)
def test_record_that_breaks_a_rule_is_refused_by_name(source: Path, damage: Any, said: str) -> None:
    record = record_of(source, BOX)
    damage(record)
    write(source, BOX, record)
    told = refused(source)
    assert f"{source}/records/acme/box.json" in told
    assert said in told
    assert "secret" not in told


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text.replace("{", '{"id": "acme/box", ', 1), "stands twice"),
        (lambda text: text[:-2] + ', "x": ' + "[" * 1000 + "]" * 1000 + "}", "too deeply"),
        (lambda text: text[:-2] + ', "x": "' + "y" * 17_000_000 + '"}', "too long"),
        (lambda text: text.replace("1.0.0", "1.0.0-a").replace("1.1.0", "1.0.0-A"), "there twice"),
    ],
    ids=["key", "depth", "length", "case"],
)  # fmt: skip
def test_record_that_readers_would_read_differently_is_refused(
    source: Path, spoil: Any, said: str
) -> None:
    path = source / "records/acme/box.json"
    path.write_text(spoil(path.read_text()))
    assert said in refused(source)


def test_registry_of_one_network_may_point_into_it(source: Path) -> None:
    record = record_of(source, BOX)
    artifact(url="http://10.1.2.3/x", mirrors=["http://nas.local/x"])(record)
    write(source, BOX, record)
    assert "is not https" in refused(source)
    change(source / "aperio-registry.json", private=True)
    whole = (build(source).out / "plugins/acme/box.json").read_bytes()
    assert parse_plugin_file(whole, where="p").versions[0].artifacts[0].url == "http://10.1.2.3/x"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"updated_at": "2026-11-01T00:00:00"}, "`updated_at`: expected a date"),
        ({"updated_at": "9999-12-31"}, "`updated_at`: it leaves no 30 days"),
        ({"serial": -1}, "`serial`"),
        ({"epoch": 0}, "`epoch`"),
        ({"valid_days": 0}, "`valid_days`"),
        ({"valid_days": 401}, "`valid_days`"),
        ({"private": "no"}, "`private`"),
        ({"name": " "}, "`name`"),
        ({"signed": [{"serial": 99, "sha256": "ab" * 32}]}, "`signed[0].serial`"),
    ],
)
def test_edition_that_is_none_is_refused(source: Path, changes: dict[str, Any], said: str) -> None:
    change(source / "aperio-registry.json", **changes)
    assert said in refused(source)


@pytest.mark.parametrize(
    ("path", "document", "said"),
    [
        ("publishers/acme.json", {}, "expected aperio.registry.publisher/v1"),
        ("publishers/box.json", publisher(), "it speaks for `acme`"),
        ("publishers/acme.json", publisher(signers=[{"domain": "x", "odd": 1}]), "unknown: odd"),
        ("publishers/acme.json", publisher(tier="verified "), "unknown"),
        ("advisories/APERIO-2026-0002.json", advisory(), "it is `APERIO-2026-0001`"),
        ("advisories/APERIO-2026-0001.json", advisory(modified="2026-11-01T00:00"), "a date"),
    ],
)
def test_what_is_stated_besides_plugins_is_refused_by_name(
    source: Path, path: str, document: dict[str, Any], said: str
) -> None:
    place = source / path
    place.parent.mkdir()
    schema = (
        {"schema": "aperio.registry.publisher/v1"} if document and "namespace" in document else {}
    )
    place.write_text(json.dumps(schema | document))
    told = refused(source)
    assert said in told
    assert str(place) in told


# ── manifests of several versions ─────────────────────────────────────────────────────────────────


def manifest_of(source: Path, place: int, **changes: Any) -> None:
    """Change the manifest of a version in the record; 0 is the newest."""
    record = record_of(source, BOX)
    record["versions"][place]["manifest"] |= changes
    write(source, BOX, record)


def read_versions(source: Path) -> list[dict[str, object]]:
    with open_source(source) as registry:
        record = registry.record(BOX)
    assert record is not None
    return [each.manifest.to_json() for each in record.versions]


def test_each_version_has_its_own_manifest(source: Path) -> None:
    put(source, BOX, "1.2.0")
    newest, middle, oldest = read_versions(source)
    assert newest | {"version": ""} == middle | {"version": ""} == oldest | {"version": ""}
    assert [each["version"] for each in (newest, middle, oldest)] == ["1.2.0", "1.1.0", "1.0.0"]
    manifest_of(source, 1, description="another one", state=True)
    assert read_versions(source) == [
        newest,
        middle | {"description": "another one", "state": True},
        oldest,
    ]


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("state", 0, "`versions[1].manifest.state`: unknown: 0"),  # equal to false, and is not it
        ("version", 1, "`versions[1].manifest.version`: `1` is not a version"),
        ("version", "1.0", "`versions[1].manifest.version`: `1.0` is not a version"),
        ("version", "2.0.0", "`versions[1].version`: expected 2.0.0, as the manifest says"),
    ],
)
def test_manifest_that_nearly_is_the_one_before_is_refused(
    source: Path, key: str, value: object, why: str
) -> None:
    manifest_of(source, 1, **{key: value})
    with pytest.raises(RegistrySourceInvalid) as caught:
        build(source)
    assert caught.value.why.startswith(why)


def test_manifest_without_its_version_is_refused(source: Path) -> None:
    record = record_of(source, BOX)
    del record["versions"][1]["manifest"]["version"]
    write(source, BOX, record)
    with pytest.raises(RegistrySourceInvalid) as caught:
        build(source)
    assert "`version` is missing" in caught.value.why


# ── building again ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def age(source: Path) -> None:
    """Have every record be older than the moment in which a change could be missed."""
    for path in source.glob("records/*/*.json"):
        os.utime(path, (1, 1))


def remake(source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[str]]:
    """Build with what was kept; give which records were read."""
    from aperio_cli.publishing.source import RegistryFolder

    read: list[str] = []
    known_record = RegistryFolder.known_record

    def noted(self: RegistryFolder, parts: tuple[str, ...]) -> Any:
        read.append("/".join(parts))
        return known_record(self, parts)

    monkeypatch.setattr(RegistryFolder, "known_record", noted)
    monkeypatch.setattr("aperio_cli.publishing.kept._RECENT_NS", -(10**18))
    out = build(source, cache=cache).out
    monkeypatch.undo()
    return out, read


def same_as_anew(source: Path, out: Path) -> None:
    again = source.parent / "again"
    build(source, again)
    assert contents(out) == contents(again)


def test_build_reads_only_what_changed_and_gives_the_same_bytes(
    source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a1", "b2", "c3"):
        put(source, PluginId("acme", name), "1.0.0")
    assert len(remake(source, cache, monkeypatch)[1]) == 4
    put(source, PluginId("acme", "b2"), "1.1.0")
    out, read = remake(source, cache, monkeypatch)
    assert read == ["records/acme/b2.json"]
    same_as_anew(source, out)
    assert remake(source, cache, monkeypatch)[1] == []


def test_build_forgets_a_plugin_and_its_files(
    source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(source, PluginId("zeta", "gone"), "1.0.0", has_artifact=True)
    out, _ = remake(source, cache, monkeypatch)
    assert (out / "artifacts/zeta").is_dir()
    (source / "records/zeta/gone.json").unlink()
    remake(source, cache, monkeypatch)
    assert not (out / "artifacts").exists() or not list((out / "artifacts").rglob("*"))
    same_as_anew(source, out)


def test_build_mends_what_somebody_did_to_the_last_one(
    source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(source, PluginId("zeta", "kept"), "1.0.0", has_artifact=True)
    out, _ = remake(source, cache, monkeypatch)
    (out / "plugins/acme/box.json").write_text("{}")
    for path in [*out.glob("bundles/sha256/*/*"), *out.glob("artifacts/*/*/*/*")]:
        path.unlink()
    (out / "bundles/stray").mkdir()
    (out / "bundles/stray/file").write_text("x")
    assert remake(source, cache, monkeypatch)[1] == ["records/acme/box.json"]
    same_as_anew(source, out)


@pytest.mark.parametrize("damage", [b"", b"not a database", None])
def test_what_was_kept_may_be_damaged(
    source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes | None
) -> None:
    remake(source, cache, monkeypatch)
    (kept,) = cache.glob("*.db")
    if damage is None:
        kept.unlink()
    else:
        kept.write_bytes(damage)
    out, read = remake(source, cache, monkeypatch)
    assert read == ["records/acme/box.json"]
    same_as_anew(source, out)


@pytest.mark.parametrize("is_shared", [True, False])
def test_what_somebody_else_may_have_kept_is_not_built(
    source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, *, is_shared: bool
) -> None:
    """It would be signed with all the rest."""
    remake(source, cache, monkeypatch)
    (kept,) = cache.glob("*.db")
    with contextlib.closing(sqlite3.connect(kept)) as database, database:
        database.execute("UPDATE rows SET catalogue = ?", (b'{"id":"evil/evil"}',))
    owning.forget()
    cache.chmod(0o777 if is_shared else 0o700)
    out, read = remake(source, cache, monkeypatch)
    assert (read == []) is not is_shared
    assert (b"evil" in (out / "catalogue.json").read_bytes()) is not is_shared
    owning.forget()
    cache.chmod(0o700)


def test_what_was_kept_of_another_build_is_not_used(
    source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = remake(source, cache, monkeypatch)
    build(source)  # by somebody who keeps nothing: another folder stands there
    assert remake(source, cache, monkeypatch)[1] == ["records/acme/box.json"]
    same_as_anew(source, out)


def test_publisher_that_changes_changes_its_plugins(
    source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remake(source, cache, monkeypatch)
    (source / "publishers").mkdir()
    stated = {"schema": "aperio.registry.publisher/v1"} | publisher()
    (source / "publishers/acme.json").write_text(json.dumps(stated))
    out, read = remake(source, cache, monkeypatch)
    assert read == ["records/acme/box.json"]
    same_as_anew(source, out)


# ── editions ──────────────────────────────────────────────────────────────────────────────────────


def test_build_takes_no_time_from_the_clock(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first_build = contents(build(source).out)
    monkeypatch.setattr("aperio_cli.clock.now", None)
    assert contents(build(source).out) == first_build


def test_renewed_edition_has_the_next_serial_and_a_later_end(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = build(source)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "4102444800")
    after = build(source, is_renewed=True)
    assert (after.serial, after.expires_at) == (before.serial + 1, "2100-01-31T00:00:00Z")
    assert build(source).serial == after.serial


def test_edition_of_the_highest_serial_has_none_after_it(source: Path) -> None:
    path = source / "aperio-registry.json"
    change(path, serial=2**53 - 1)
    assert build(source).serial == 2**53 - 1
    with unchanged(source), pytest.raises(RegistrySourceInvalid, match="serial is the highest"):
        build(source, is_renewed=True)
    change(path, serial=0, epoch=2)
    assert build(source, is_renewed=True).serial == 1


@pytest.mark.parametrize("value", ["soon", "-1", "1.5", "9" * 30])
def test_source_date_epoch_that_is_no_time_is_refused(
    source: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", value)
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
        build(source, is_renewed=True)


def test_edition_is_never_earlier_than_the_one_before(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_source(source) as registry:
        before = registry.edition()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    assert before.next().updated_at == before.updated_at


def test_signed_edition_is_not_built_otherwise(source: Path) -> None:
    out = build(source).out
    with open_source(source) as registry:
        edition = registry.edition()
        digest = Digest.of((out / "registry.json").read_bytes())
        registry.write_edition(edition.signed_as(digest, edition.serial))
    assert build(source).serial == edition.serial  # the same bytes
    state(source, 0)
    with pytest.raises(EditionSigned) as caught:
        build(source)
    assert (caught.value.code, caught.value.exit_status) == ("edition-signed", 1)
    root = parse_root(
        (build(source, is_renewed=True).out / "registry.json").read_bytes(), where="r"
    )
    assert root.previous
    assert (root.previous.serial, root.previous.digest) == (edition.serial, digest)


def test_signature_stays_as_long_as_it_is_for_the_same_bytes(source: Path) -> None:
    out = build(source).out
    bundle = out / "registry.json.sigstore.json"
    bundle.write_bytes(b"{}")
    assert build(source).is_signed
    assert bundle.read_bytes() == b"{}"
    renewed = build(source, is_renewed=True)
    assert (renewed.is_signed, renewed.is_waiting) == (False, True)
    bundle.unlink()
    assert not build(source).is_waiting
    assert not list(source.glob(".aside-*"))


def test_failure_while_it_is_replaced_brings_the_earlier_build_back(
    source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(source, PluginId("zeta", "gone"), "1.0.0")
    out, _ = remake(source, cache, monkeypatch)
    put(source, BOX, "1.2.0")
    put(source, PluginId("acme", "fresh"), "1.0.0")
    (source / "records/zeta/gone.json").unlink()
    rename = Beneath.rename

    def fail(self: Beneath, name: str, other: str) -> None:
        if other == "public" and (self.path(name) / "plugins/acme/fresh.json").exists():
            raise OSError(5, "Input/output error")
        rename(self, name, other)

    before = contents(out)
    with monkeypatch.context() as failing:
        failing.setattr("aperio_cli.publishing.kept._RECENT_NS", -(10**18))
        failing.setattr(Beneath, "rename", fail)
        with pytest.raises(OSError, match="Input/output"):
            build(source, cache=cache)
    assert contents(out) == before
    assert not list(source.glob(".aside-*"))
    remake(source, cache, monkeypatch)
    same_as_anew(source, out)
