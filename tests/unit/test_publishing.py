from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.config import Config
from aperio_cli.errors import AperioError
from aperio_cli.errors.files import DiskFull, Offline
from aperio_cli.errors.installing import ManifestMismatch
from aperio_cli.errors.registries import (
    PublishedVersionChanged,
    RegistrySourceExists,
    RegistrySourceInvalid,
)
from aperio_cli.errors.trust import PublisherUnknown, SignatureMissing
from aperio_cli.errors.usage import NotFound
from aperio_cli.models.artifact import BUNDLE_SUFFIX
from aperio_cli.models.plugin_id import PluginId, PluginRef
from aperio_cli.models.policy import Policy
from aperio_cli.models.registry.documents import FIXED_FILES, SCHEMA_FILES, shard_path
from aperio_cli.publishing import Added, AddRequest, add, build, init, serving
from aperio_cli.publishing.source import open_source
from aperio_cli.registry import open_registry
from tests.builders import (
    ARM,
    LINUX,
    PLUGIN,
    Machine,
    go_members,
    manifest,
    rule,
    snapshot,
    unchanged,
    write_artifact,
)
from tests.contract import v1_reader
from tests.rows import each_row
from tests.simulators.guarded import Guarded
from tests.trust import IDENTITY, new_domain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aperio_cli.archive import writing
    from aperio_cli.models.offer import Offer
    from aperio_cli.models.platform import Platform
    from aperio_cli.publishing.record import Record
    from aperio_cli.signing.local import LocalDomain

BOX = PluginId("acme", "box-connector")


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> LocalDomain:
    return new_domain(tmp_path_factory.mktemp("trust"))


@pytest.fixture
def machine(tmp_path: Path, domain: LocalDomain) -> Machine:
    """A maintainer's machine with the source of an empty registry."""
    init(tmp_path / "registry")
    return Machine(tmp_path, domain)


def request(machine: Machine, what: Path | str, **changes: Any) -> AddRequest:
    stated: dict[str, Any] = {
        "directory": machine.root / "registry",
        "what": str(what),
        "policy": machine.policy,
        "roots": machine.roots,
        "machine": LINUX,
    }
    return AddRequest(**stated | changes)


def put(
    machine: Machine, members: list[writing.Member] | None = None, **changes: Any
) -> list[Added]:
    return add(request(machine, machine.signed(members, **changes)))


def put_for(machine: Machine, platform: Platform, **changes: Any) -> list[Added]:
    return add(request(machine, made_for(machine, platform, **changes)))


def made_for(
    machine: Machine, platform: Platform, identity: str = IDENTITY, **changes: Any
) -> Path:
    path = write_artifact(machine.root / "dist", go_members(**changes), platform=platform)
    return machine.sign(path, identity=identity)


def recorded(machine: Machine) -> Record | None:
    with open_source(machine.root / "registry") as registry:
        return registry.record(BOX)


def resolve(machine: Machine, platform: Platform = LINUX, ref: str = PLUGIN) -> Offer:
    folder = machine.root / "registry" / "public"
    registry = open_registry(str(folder), Config(), machine.paths, offline=True)
    return registry.resolve(PluginRef.parse(ref), platform)


# ── the source ────────────────────────────────────────────────────────────────────────────────────


def test_init_makes_an_empty_registry_that_builds(tmp_path: Path) -> None:
    init(tmp_path / "registry")
    report = build(tmp_path / "registry")
    assert (report.plugins, report.versions, report.serial) == (0, 0, 0)
    index = v1_reader.read((tmp_path / "registry/public/plugins.json").read_text())
    assert index.plugins == ()


def test_init_takes_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    init(tmp_path / "registry")


@pytest.mark.parametrize("name", ["aperio-registry.json", "something.txt"])
def test_init_refuses_a_folder_that_is_not_empty(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")
    with unchanged(tmp_path), pytest.raises(RegistrySourceExists) as caught:
        init(tmp_path)
    assert caught.value.exit_status == 1


@each_row("contents", [None, b"", b"{}", b"[]", b'{"schema": "other"}', b"\xff"])
def test_folder_that_is_no_source_is_refused(tmp_path: Path, contents: bytes | None) -> None:
    if contents is not None:
        (tmp_path / "aperio-registry.json").write_bytes(contents)
    with unchanged(tmp_path), pytest.raises(RegistrySourceInvalid) as caught:
        build(tmp_path)
    assert (caught.value.code, caught.value.exit_status) == ("registry-source-invalid", 1)


# ── adding ────────────────────────────────────────────────────────────────────────────────────────


def test_add_copies_artifact_and_bundle(machine: Machine) -> None:
    path = machine.signed()
    (added,) = add(request(machine, path))
    folder = machine.root / "registry/artifacts/acme/box-connector/1.2.3"
    assert (folder / path.name).read_bytes() == path.read_bytes()
    bundle = path.name + BUNDLE_SUFFIX
    assert (folder / bundle).read_bytes() == path.with_name(bundle).read_bytes()
    assert (added.id, added.version, added.was_there) == (BOX, "1.2.3", False)


def test_add_records_what_was_verified(machine: Machine) -> None:
    put(machine)
    record = recorded(machine)
    assert record is not None
    (version,) = record.versions
    assert version.signer.identity == "alice@local"
    assert version.manifest == manifest()


def test_add_takes_a_folder_of_artifacts(machine: Machine) -> None:
    machine.signed()
    machine.signed(version="1.3.0")
    added = add(request(machine, machine.root / "dist"))
    assert [each.version for each in added] == ["1.2.3", "1.3.0"]


def test_add_takes_an_artifact_of_another_platform(machine: Machine) -> None:
    put(machine)
    (added,) = put_for(machine, ARM)
    record = recorded(machine)
    assert record is not None
    assert added.artifact.platform == ARM
    assert [artifact.platform for artifact in record.versions[0].artifacts] == [LINUX, ARM]


def test_add_takes_an_address(machine: Machine) -> None:
    path = machine.signed()
    with serving(path.parent) as url:
        (added,) = add(request(machine, url + path.name))
    assert added.version == "1.2.3"


def test_add_does_nothing_when_it_is_there(machine: Machine) -> None:
    path = machine.signed()
    add(request(machine, path))
    with unchanged(machine.root / "registry"):
        (added,) = add(request(machine, path))
    assert added.was_there


def test_add_counts_the_editions(machine: Machine) -> None:
    put(machine)
    put(machine, version="2.0.0")
    with open_source(machine.root / "registry") as registry:
        assert registry.edition().serial == 2


def refused(machine: Machine, asked: AddRequest, expected: type[AperioError]) -> AperioError:
    with unchanged(machine.root / "registry"), pytest.raises(expected) as caught:
        add(asked)
    return caught.value


def test_add_refuses_an_unsigned_artifact(machine: Machine) -> None:
    path = write_artifact(machine.root / "dist")
    assert refused(machine, request(machine, path), SignatureMissing).exit_status == 3


def test_add_refuses_an_unsigned_address(machine: Machine) -> None:
    path = write_artifact(machine.root / "dist")
    with serving(path.parent) as url:
        refused(machine, request(machine, url + path.name), SignatureMissing)


def test_add_refuses_a_publisher_without_a_rule(machine: Machine) -> None:
    refused(machine, request(machine, machine.signed(), policy=Policy()), PublisherUnknown)


def test_add_refuses_other_contents_of_a_version(machine: Machine) -> None:
    put(machine)
    changed = machine.signed(description="something else")
    error = refused(machine, request(machine, changed), PublishedVersionChanged)
    assert (error.code, error.exit_status) == ("published-version-changed", 3)
    assert error.why.count("sha256:") == 2


def test_add_refuses_another_manifest_for_another_platform(machine: Machine) -> None:
    """What one platform asks for beyond the other would be shown to nobody."""
    put(machine)
    wider = made_for(machine, ARM, permissions={"egress": ["api.evil.test:443"]})
    error = refused(machine, request(machine, wider), PublishedVersionChanged)
    assert "permissions: " in error.why
    assert "api.evil.test:443" in error.why
    put_for(machine, ARM)


def test_add_refuses_another_signer_for_another_platform(machine: Machine) -> None:
    """The record, and the log, say of a version once who signed it."""
    put(machine)
    mallory = made_for(machine, ARM, "mallory@local")
    policy = Policy((rule(), rule(identity="mallory@local")))
    error = refused(machine, request(machine, mallory, policy=policy), PublishedVersionChanged)
    assert "alice@local" in error.why
    assert "mallory@local" in error.why


def test_add_refuses_a_plugin_that_changed_its_kind(machine: Machine) -> None:
    put(machine)
    changed = machine.signed(version="2.0.0", kind="destination")
    error = refused(machine, request(machine, changed), ManifestMismatch)
    assert "destination" in error.why


def test_add_refuses_a_name_that_the_manifest_does_not_give(machine: Machine) -> None:
    path = machine.signed()
    renamed = path.with_name("other_1.2.3_linux_amd64.tar.gz")
    path.rename(renamed)
    machine.sign(renamed)
    error = refused(machine, request(machine, renamed), ManifestMismatch)
    assert "box-connector_1.2.3_linux_amd64.tar.gz" in error.why


def test_add_refuses_all_of_a_folder_when_one_is_refused(machine: Machine) -> None:
    machine.signed()
    write_artifact(machine.root / "dist", go_members(version="2.0.0"))
    refused(machine, request(machine, machine.root / "dist"), SignatureMissing)


def test_add_refuses_a_folder_without_artifacts(machine: Machine) -> None:
    (machine.root / "dist").mkdir()
    assert refused(machine, request(machine, machine.root / "dist"), NotFound).exit_status == 1


def test_add_refuses_what_is_not_there(machine: Machine) -> None:
    refused(machine, request(machine, machine.root / "none.tar.gz"), NotFound)


@pytest.mark.parametrize(
    "name", ["x.zip", ".tar.gz", "..%2fx.tar.gz", "", "?x.tar.gz", "x?y=/x.tar.gz", "x#/x.tar.gz"]
)
def test_add_refuses_the_address_of_something_else(machine: Machine, name: str) -> None:
    refused(machine, request(machine, f"http://127.0.0.1:9/{name}"), NotFound)


@pytest.fixture
def guarded(machine: Machine) -> Iterator[Guarded]:
    with Guarded(machine.root / "dist").running() as server:
        yield server


def test_add_sends_password_and_query_with_all_that_stands_beside_an_artifact(
    machine: Machine, guarded: Guarded
) -> None:
    name = machine.signed().name
    (added,) = add(request(machine, guarded.url(name)))
    assert added.artifact.file_name == name
    asked = [f"/{name}{suffix}?token=hunter2" for suffix in ("", BUNDLE_SUFFIX, ".intoto.jsonl")]
    assert guarded.paths == asked
    files = [path for path in (machine.root / "registry").rglob("*") if path.is_file()]
    kept = b"".join(path.read_bytes() for path in files)
    assert b"hunter2" not in kept + json.dumps(added.to_json()).encode()


@pytest.mark.parametrize(
    ("name", "host", "code"),
    [
        ("none.tar.gz", "user:hunter2@127.0.0.1", "not-found-at-source"),
        ("none.tar.gz", "user:hunter2/x@127.0.0.1", "insecure-url"),
        ("none.tar.gz", "other:hunter2@127.0.0.1", "network-unavailable"),
        ("none.tar.gz", "user:hunter2@registry.example", "insecure-url"),
        ("none.zip", "user:hunter2@127.0.0.1", "not-found"),
    ],
)
def test_add_shows_no_password_and_no_query(
    machine: Machine, guarded: Guarded, name: str, host: str, code: str
) -> None:
    with pytest.raises(AperioError) as caught:
        add(request(machine, guarded.url(name, host)))
    assert caught.value.code == code
    assert "hunter2" not in json.dumps(caught.value.to_json())


def test_add_downloads_nothing_offline(machine: Machine) -> None:
    asked = request(machine, "http://127.0.0.1:9/box_1.2.3_linux_amd64.tar.gz", offline=True)
    refused(machine, asked, Offline)


def test_add_tells_a_full_disk_and_keeps_the_record(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(machine)
    path = machine.signed(version="2.0.0")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(DiskFull):
        add(request(machine, path))
    record = recorded(machine)
    assert record is not None
    assert [version.version for version in record.versions] == ["1.2.3"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: record.clear(),
        lambda record: record.update(schema="other"),
        lambda record: record.update(id="acme/other"),
        lambda record: record.update(versions=[]),
        lambda record: record["versions"].append(record["versions"][0]),
        lambda record: record["versions"][0].update(version="../x"),
        lambda record: record["versions"][0].update(manifest={}),
        lambda record: record["versions"][0].update(signer={}),
        lambda record: record["versions"][0].update(version="9.9.9"),
        lambda record: record["versions"][0]["manifest"].update(id="acme/other"),
        lambda record: record.update(kind="destination"),
        lambda record: record.update(kind=["connector"]),
        lambda record: record["versions"][0].update(artifacts=[5]),
        lambda record: record["versions"][0]["artifacts"][0].update(os="plan9"),
        lambda record: record["versions"][0]["artifacts"][0].update(size="many"),
        lambda record: record["versions"][0]["artifacts"][0].update(attestations_sha256=None),
        lambda record: record["versions"][0]["artifacts"][0].update(file="../../x"),
        lambda record: record["versions"][0]["artifacts"][0].update(sha256="x"),
    ],
)
def test_damaged_record_is_refused_and_named(machine: Machine, damage: Any) -> None:
    put(machine)
    path = machine.root / "registry/records/acme/box-connector.json"
    record = json.loads(path.read_bytes())
    damage(record)
    path.write_text(json.dumps(record))
    with unchanged(machine.root / "registry"), pytest.raises(RegistrySourceInvalid) as caught:
        build(machine.root / "registry")
    assert str(path) in caught.value.what


def test_record_of_an_earlier_or_a_later_release_is_read(machine: Machine) -> None:
    put(machine)
    path = machine.root / "registry/records/acme/box-connector.json"
    build(machine.root / "registry")
    built = snapshot(machine.root / "registry/public")
    record = json.loads(path.read_bytes())
    [version] = record["versions"]
    for key in ("homepage", "source", "limits", "state"):
        del version["manifest"][key]
    for each in (record, version, version["manifest"], version["signer"], version["artifacts"][0]):
        each["of_later"] = {}
    path.write_text(json.dumps(record))
    build(machine.root / "registry")
    assert snapshot(machine.root / "registry/public") == built


# ── building ──────────────────────────────────────────────────────────────────────────────────────


def test_frozen_reader_reads_what_is_built(machine: Machine) -> None:
    put(machine)
    put(machine, version="1.10.0")
    put(machine, id="acme/a-plugin")
    build(machine.root / "registry")
    public = machine.root / "registry/public"
    index = v1_reader.read((public / "plugins.json").read_text())
    assert [plugin.id for plugin in index.plugins] == ["acme/a-plugin", "acme/box-connector"]
    newest = index.plugins[1].versions[0]
    assert (newest.version, index.plugins[1].kind) == ("1.10.0", "connector")
    artifact = (public / newest.download_url).read_bytes()
    assert hashlib.sha256(artifact).hexdigest() == newest.sha256
    assert (public / newest.sigstore_bundle).read_bytes().startswith(b"{")
    assert newest.publisher == v1_reader.Publisher("acme", verified=False)


def test_built_registry_is_installed_from(machine: Machine) -> None:
    put(machine)
    build(machine.root / "registry")
    with machine.verify(resolve(machine)) as admitted:
        assert admitted.artifact.manifest.version == "1.2.3"


def test_version_without_the_seed_platform_is_left_out_of_version_1_only(machine: Machine) -> None:
    put(machine)
    put_for(machine, ARM, version="2.0.0")
    report = build(machine.root / "registry")
    public = machine.root / "registry/public"
    index = v1_reader.read((public / "plugins.json").read_text())
    assert [version.version for version in index.plugins[0].versions] == ["1.2.3"]
    assert report.left_out == ("acme/box-connector@2.0.0",)
    assert resolve(machine, ARM).version == "2.0.0"


def test_build_gives_the_same_bytes_anywhere(machine: Machine, tmp_path: Path) -> None:
    put(machine)
    put_for(machine, ARM)
    build(machine.root / "registry", tmp_path / "first")
    shutil.copytree(machine.root / "registry", tmp_path / "copy")
    build(tmp_path / "copy", tmp_path / "second")
    assert contents(tmp_path / "first") == contents(tmp_path / "second")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.removeprefix(str(folder)): data for path, (_, data) in snapshot(folder).items()}


def test_build_again_changes_nothing(machine: Machine) -> None:
    put(machine)
    build(machine.root / "registry")
    with unchanged(machine.root / "registry"):
        build(machine.root / "registry")


def test_built_files_state_each_other_truly(machine: Machine) -> None:
    put(machine)
    build(machine.root / "registry")
    public = machine.root / "registry/public"
    root = json.loads((public / "registry.json").read_bytes())
    assert set(root["files"]) == {*FIXED_FILES, *SCHEMA_FILES}
    catalogue = json.loads((public / "catalogue.json").read_bytes())
    (row,) = catalogue["plugins"]
    stated = root["files"] | {row["detail"]["url"]: row["detail"]}
    stated |= {shard_path(number): ref for number, ref in enumerate(root["shards"])}
    for location, claim in stated.items():
        data = (public / location).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (claim["size"], claim["sha256"])
    assert (root["serial"], root["epoch"]) == (1, 1)
    assert row["latest"] == "1.2.3"


def test_index_carries_what_operators_ask_about(machine: Machine) -> None:
    put(machine)
    build(machine.root / "registry")
    (entry,) = json.loads((machine.root / "registry/public/plugins.json").read_bytes())["plugins"]
    assert entry["permissions"] == {
        "oauth_scopes": ["manage_enterprise_properties"],
        "egress": ["api.box.com:443"],
        "needs_kv": False,
    }
    assert entry["signer"]["identity"] == "alice@local"
    assert entry["versions"][0]["protocols"] == ["1.0"]
    assert entry["versions"][0]["artifacts"][0]["size"] > 0


@pytest.mark.parametrize("name", ["", BUNDLE_SUFFIX])
def test_build_refuses_when_a_file_is_gone(machine: Machine, name: str) -> None:
    (added,) = put(machine)
    folder = machine.root / "registry/artifacts/acme/box-connector/1.2.3"
    (folder / (added.artifact.file_name + name)).unlink()
    with unchanged(machine.root / "registry"), pytest.raises(RegistrySourceInvalid):
        build(machine.root / "registry")


def test_build_refuses_an_artifact_that_was_exchanged(machine: Machine) -> None:
    (added,) = put(machine)
    path = machine.root / "registry/artifacts/acme/box-connector/1.2.3" / added.artifact.file_name
    path.write_bytes(b"evil")
    with unchanged(machine.root / "registry"), pytest.raises(RegistrySourceInvalid) as caught:
        build(machine.root / "registry")
    assert str(path) in caught.value.what
