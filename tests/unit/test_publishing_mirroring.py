"""Mirrors: read by the rule for the registry that they copy, trusted by nothing else."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.errors import AperioError
from aperio_cli.errors.files import DigestMismatch
from aperio_cli.errors.registries import (
    IndexUnreadable,
    PluginNotFound,
    RegistryDamaged,
    RegistryOutputForeign,
    RegistrySignatureInvalid,
)
from aperio_cli.errors.usage import UsageError
from aperio_cli.models.artifact import BUNDLE_SUFFIX
from aperio_cli.models.platform import Platform
from aperio_cli.models.plugin_id import PluginRef
from aperio_cli.models.tlog.note import Note
from aperio_cli.models.tlog.proof import LogProof
from aperio_cli.publishing.checking import check_registry
from aperio_cli.publishing.mirroring import Mirrored, MirrorRequest, mirror
from aperio_cli.publishing.recording import RegistryLog
from aperio_cli.publishing.serving import serving
from aperio_cli.registry.rooted import RootedRegistry
from tests.builders import PLUGIN, go_members, snapshot, unchanged, write_artifact
from tests.registries import Site, artifact_of, plugin_entry, signed_rule, version_entry
from tests.trust import new_domain, root_of
from tests.unit.test_registry_signed import Client

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.signing.local import LocalDomain

ARTIFACT = "artifacts/acme/box.tar.gz"


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> LocalDomain:
    return new_domain(tmp_path_factory.mktemp("trust"))


class Origin:
    """A signed registry with two plugins and a log, and a client of it."""

    def __init__(self, root: Path, domain: LocalDomain, url: str = "") -> None:
        self.root = root
        self.domain = domain
        self.site = Site(root / "origin", domain)
        self.log = RegistryLog()
        self.client = Client(root / "inside", domain)
        self.publish(url)

    def publish(self, url: str = "", **root: Any) -> None:
        """Publish; the artifact lies in the registry, or at an address."""
        built = write_artifact(self.root / "dist", go_members())
        built.with_name(built.name + BUNDLE_SUFFIX).write_bytes(b"{}")
        stated = artifact_of(built)
        folder = self.site.folder / "artifacts/acme"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(built, self.site.folder / ARTIFACT)
        shutil.copy(built.with_name(built.name + BUNDLE_SUFFIX), folder / "box.sigstore.json")
        places = {"url": url or ARTIFACT, "sigstore_bundle": "artifacts/acme/box.sigstore.json"}
        box = plugin_entry(version_entry(artifacts=[stated | places]))
        other = plugin_entry(version_entry("3.0.0"), id="acme/other")
        self.site.publish(box, other, log=self.log, **root)

    def mirror(self, *refs: str, platform: str = "") -> list[Mirrored]:
        """Mirror plugins over http, from a machine outside."""
        with serving(self.site.folder) as url:
            return self.mirror_from(url, *refs, platform=platform)

    def mirror_from(self, place: Path | str, *refs: str, platform: str = "") -> list[Mirrored]:
        """Mirror plugins from a folder, or an address, which takes five times as long."""
        outside = Client(self.root / "outside", self.domain)
        reader = outside.opened(signed_rule(str(place))).ruled[0].reader
        assert isinstance(reader, RootedRegistry)
        wanted = MirrorRequest(
            [PluginRef.parse(ref) for ref in refs or (PLUGIN,)],
            self.root / "mirror",
            [Platform.parse(platform)] if platform else [],
        )
        return mirror(reader, wanted)

    def offered(self, ref: str = PLUGIN) -> Any:
        """What a machine that never saw the registry makes of the mirror, by the same rule."""
        return self.client.resolve(signed_rule(str(self.root / "mirror")), ref=ref)


@pytest.fixture
def origin(tmp_path: Path, domain: LocalDomain) -> Origin:
    return Origin(tmp_path, domain)


def test_mirror_is_read_by_the_rule_of_its_registry_alone(origin: Origin) -> None:
    (copied,) = origin.mirror()
    assert (copied.id, copied.version, copied.platform) == (PLUGIN, "1.2.3", "linux/amd64")
    found = origin.offered()
    assert found.digest.hex == copied.sha256
    assert found.log_proof.checkpoint == origin.log.checkpoint
    assert found.bundle == b"{}"
    assert (origin.root / "mirror" / ARTIFACT).read_bytes()
    # By nothing else: another signer's rule does not take it.
    stranger = Client(origin.root / "stranger", new_domain(origin.root / "strange"))
    with pytest.raises(RegistrySignatureInvalid):
        stranger.resolve(signed_rule(str(origin.root / "mirror")))


def test_proof_stands_beside_the_artifact(origin: Origin) -> None:
    origin.mirror_from(origin.site.folder)
    proof = LogProof.parse((origin.root / "mirror" / (ARTIFACT + ".tlog-proof")).read_bytes())
    assert proof.check(origin.log.entries[proof.index]) == origin.log.checkpoint


@pytest.mark.parametrize("spoil", ["", "other artifact", "other log", "no proof"])
def test_proof_beside_an_artifact_is_stated_and_has_to_prove_it(
    origin: Origin, domain: LocalDomain, spoil: str
) -> None:
    """`registry verify` of a mirror: the rest of what it finds here is that this is a part."""
    origin.mirror_from(origin.site.folder)
    mirrored = origin.root / "mirror"
    proof = mirrored / (ARTIFACT + ".tlog-proof")
    real = LogProof.parse(proof.read_bytes())
    if spoil == "other artifact":
        proof.write_bytes(replace(real, index=real.index ^ 1).to_bytes())
    elif spoil == "other log":
        note = Note(replace(real.checkpoint, origin="elsewhere").text)
        proof.write_bytes(replace(real, note=note).to_bytes())
    elif spoil:
        proof.write_bytes(b"nothing")
    (mirrored / "artifacts/acme/stray.tlog-proof").write_bytes(proof.read_bytes())

    with pytest.raises(RegistryDamaged) as caught:
        check_registry(mirrored, [root_of(domain)])
    about = [line for line in caught.value.why.splitlines() if "tlog-proof" in line]
    stray = "artifacts/acme/stray.tlog-proof: nothing states it"
    assert stray in about
    expected = {
        "other artifact": "it does not prove that the log has the artifact",
        "other log": "it leads to another checkpoint than the root states",
        "no proof": "it does not prove that the log has the artifact: its first line is not",
    }
    assert len(about) == (2 if spoil else 1)
    assert not spoil or any(expected[spoil] in line for line in about)
    assert not any("registry build" in step for step in caught.value.next)


def test_mirror_of_a_mirror_is_the_same(origin: Origin) -> None:
    origin.mirror_from(origin.site.folder)
    before = {path: data for path, (_, data) in snapshot(origin.root / "mirror").items()}
    shutil.copytree(origin.root / "mirror", origin.root / "first")
    origin.mirror_from(origin.root / "first")
    assert before == {path: data for path, (_, data) in snapshot(origin.root / "mirror").items()}


def test_plugin_that_was_not_chosen_is_not_there(origin: Origin) -> None:
    origin.mirror_from(origin.site.folder)
    origin.offered()
    with pytest.raises(IndexUnreadable, match="other"):
        origin.offered("acme/other")


@pytest.fixture(scope="module")
def lying_elsewhere(
    tmp_path_factory: pytest.TempPathFactory, domain: LocalDomain
) -> tuple[Origin, Mirrored]:
    """A registry whose artifact lies at another address, and what was copied into its mirror."""
    root = tmp_path_factory.mktemp("lying")
    elsewhere = root / "elsewhere"
    elsewhere.mkdir()
    with serving(elsewhere) as address:
        origin = Origin(root, domain, f"{address}box.tar.gz")
        shutil.copy(origin.site.folder / ARTIFACT, elsewhere / "box.tar.gz")
        (copied,) = origin.mirror()
    return origin, copied


def test_artifact_that_lies_elsewhere_is_found_in_the_mirror(
    lying_elsewhere: tuple[Origin, Mirrored],
) -> None:
    origin, copied = lying_elsewhere
    with serving(origin.root / "mirror") as url:
        found = origin.client.resolve(signed_rule(url))
        assert found.mirrors[-1] == f"{url}mirrored/sha256/{copied.sha256[:2]}/{copied.sha256}"


def test_mirror_of_a_mirror_needs_no_way_out_for_what_lay_elsewhere(
    lying_elsewhere: tuple[Origin, Mirrored], tmp_path: Path, domain: LocalDomain
) -> None:
    origin, copied = lying_elsewhere
    # A folder may not lead to this machine, so the address stands for one that is out of reach.
    first = tmp_path / "first"
    shutil.copytree(origin.root / "mirror", first)
    stated = "https://artifacts.example/box.tar.gz"
    entry = json.loads((first / "plugins" / f"{PLUGIN}.json").read_text())
    entry["versions"][0]["artifacts"][0]["url"] = stated
    Site(first, domain).publish(entry, log=RegistryLog())
    reader = Client(tmp_path / "inside-too", domain).opened(signed_rule(str(first))).ruled[0].reader
    assert isinstance(reader, RootedRegistry)
    second = mirror(reader, MirrorRequest([PluginRef.parse(PLUGIN)], tmp_path / "second"))
    assert second == [copied]
    path = f"mirrored/sha256/{copied.sha256[:2]}/{copied.sha256}"
    assert (tmp_path / "second" / path).read_bytes() == (first / path).read_bytes()


@pytest.mark.parametrize("key", ["url", "sigstore_bundle"])
def test_artifact_that_stands_in_a_documents_place_is_not_mirrored(
    origin: Origin, key: str
) -> None:
    folder, mirrored = origin.site.folder, origin.root / "mirror"
    origin.mirror_from(folder)
    before = snapshot(mirrored)
    box, other = (
        json.loads((folder / f"plugins/{name}.json").read_text()) for name in (PLUGIN, "acme/other")
    )
    artifact = box["versions"][0]["artifacts"][0]
    whole = (folder / artifact[key]).read_bytes()
    del artifact["bundle_sha256"]
    for serial, place in enumerate(
        ("registry.json", "registry.json", "log/checkpoint", "plugins/acme/other.json",
         "elsewhere/x", "x"),
        start=2,
    ):  # fmt: skip
        if not (folder / place).exists():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / place).write_bytes(whole)
        artifact[key] = place
        origin.site.publish(box, other, log=origin.log, serial=serial)
        with pytest.raises(IndexUnreadable) as caught:
            _ = origin.mirror() if serial == 2 and key == "url" else origin.mirror_from(folder)
        assert f"`{place}` is stated for an artifact" in caught.value.why
        assert snapshot(mirrored) == before


@pytest.mark.parametrize(
    "path",
    [
        ARTIFACT, "artifacts/acme/box.sigstore.json", "plugins/acme/box-connector.json",
        "log/tile/0/000.p/2", "registry.json", "registry.json.sigstore.json",
    ],
)  # fmt: skip
def test_copy_that_was_cut_short_is_found(origin: Origin, path: str) -> None:
    from aperio_cli.net.fetch import FetchRequest, fetch_bytes

    def use() -> None:
        offer = origin.offered()
        fetch_bytes(FetchRequest(offer.location, offer.size_bytes, offer.digest))

    origin.mirror_from(origin.site.folder)
    use()
    file = origin.root / "mirror" / path
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(AperioError):
        use()
    file.unlink()
    with pytest.raises(AperioError):
        use()


def test_earlier_mirror_is_replaced_wholly_or_not_at_all(origin: Origin) -> None:
    origin.mirror_from(origin.site.folder)
    before = snapshot(origin.root / "mirror")
    (origin.site.folder / ARTIFACT).write_bytes(b"other bytes")
    with pytest.raises(DigestMismatch):
        origin.mirror_from(origin.site.folder)
    assert snapshot(origin.root / "mirror") == before
    origin.publish(serial=2)
    origin.mirror_from(origin.site.folder, f"{PLUGIN}@1.2.3", platform="linux/amd64")
    assert origin.offered().index_serial == 2


def test_registry_is_not_replaced_by_a_mirror_of_itself(origin: Origin, tmp_path: Path) -> None:
    folder = origin.site.folder
    source = tmp_path / "source"
    shutil.copytree(folder, source / "public")
    (tmp_path / "link").symlink_to(folder)
    for named, destination in (
        (folder, folder),
        (folder, tmp_path / "link"),
        (source, source / "public"),
        (source, source),
    ):
        reader = origin.client.opened(signed_rule(str(named))).ruled[0].reader
        assert isinstance(reader, RootedRegistry)
        with unchanged(destination), pytest.raises(UsageError, match="that is to be mirrored"):
            mirror(reader, MirrorRequest([PluginRef.parse(PLUGIN)], destination))


@pytest.mark.parametrize("ref", ["acme/nothing", f"{PLUGIN}@9.9.9"])
def test_what_the_registry_does_not_have_is_not_mirrored(origin: Origin, ref: str) -> None:
    with pytest.raises(PluginNotFound, match="was not mirrored"):
        origin.mirror(ref)
    with pytest.raises(PluginNotFound, match="was not mirrored"):
        origin.mirror(platform="darwin/arm64")
    assert not (origin.root / "mirror").exists()


def test_folder_with_something_else_stays_as_it_is(origin: Origin) -> None:
    (origin.root / "mirror").mkdir()
    (origin.root / "mirror/thesis.txt").write_text("years of work")
    with unchanged(origin.root / "mirror"), pytest.raises(RegistryOutputForeign):
        origin.mirror()
