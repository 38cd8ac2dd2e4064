"""A registry carries the statements about an artifact from whoever signs to whoever installs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from aperio_cli.config import Config
from aperio_cli.errors import AperioError
from aperio_cli.errors.registries import RegistrySourceInvalid
from aperio_cli.errors.trust import BundleMalformed
from aperio_cli.models.artifact import ATTESTATIONS_SUFFIX
from aperio_cli.models.plugin_id import PluginRef
from aperio_cli.models.registry.documents import ROOT_FILE, plugin_path
from aperio_cli.models.registry_index import FILE_NAME
from aperio_cli.publishing import AddRequest, add, build, init, serving
from aperio_cli.publishing.source import version_folder
from aperio_cli.registry import open_registry
from tests.builders import LINUX, snapshot
from tests.contract import v1_reader
from tests.registries import Site
from tests.security.world import BOX, World, attest, beside, digest_of
from tests.trust import new_domain

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.models.offer import Offer
    from aperio_cli.signing.local import LocalDomain

OUTSIDE = "../../../../etc/passwd"


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> LocalDomain:
    return new_domain(tmp_path_factory.mktemp("trust"))


@pytest.fixture
def world(tmp_path: Path, domain: LocalDomain) -> World:
    """A maintainer's machine with the source of an empty registry."""
    init(tmp_path / "source")
    return World(tmp_path, domain, domain)


def attested(world: World) -> Path:
    artifact = world.signed()
    return attest(artifact, world.forge().statement(digest_of(artifact)))


def put(world: World, artifact: Path) -> Path:
    """Adds an artifact; gives its folder in the source."""
    add(AddRequest(world.root / "source", str(artifact), world.policy, world.roots, LINUX))
    return (world.root / "source").joinpath(*version_folder(BOX, "1.2.3"))


def offered(world: World, location: str) -> Offer:
    registry = open_registry(location, Config(), world.machine.paths, offline=False)
    return registry.resolve(PluginRef(BOX, None), LINUX)


def test_add_keeps_attestations_beside_the_artifact(world: World) -> None:
    artifact = attested(world)
    folder = put(world, artifact)
    kept = folder / (artifact.name + ATTESTATIONS_SUFFIX)
    assert kept.read_bytes() == beside(artifact, ATTESTATIONS_SUFFIX).read_bytes()


def test_add_refuses_attestations_that_do_not_verify(world: World) -> None:
    artifact = attest(world.signed(), b"{}")
    before = snapshot(world.root / "source")
    with pytest.raises(BundleMalformed):
        put(world, artifact)
    assert snapshot(world.root / "source") == before


@pytest.mark.parametrize("is_served", [False, True])
def test_offer_brings_the_attestations_of_the_built_registry(
    world: World, *, is_served: bool
) -> None:
    artifact = attested(world)
    put(world, artifact)
    out = build(world.root / "source").out
    if is_served:
        with serving(out) as url:
            offer = offered(world, url)
    else:
        offer = offered(world, str(out))
    assert offer.attestations == beside(artifact, ATTESTATIONS_SUFFIX).read_bytes()
    assert offer.index_serial == 1


def test_offer_without_attestations_brings_none(world: World) -> None:
    put(world, world.signed())
    assert offered(world, str(build(world.root / "source").out)).attestations is None


def test_index_with_attestations_reads_as_before(world: World) -> None:
    put(world, attested(world))
    index = build(world.root / "source").out / "plugins.json"
    assert v1_reader.read(index.read_text()).plugins[0].versions[0].version == "1.2.3"


@pytest.mark.parametrize("change", ["removed", "changed"])
def test_build_refuses_when_attestations_are_not_those_that_were_added(
    world: World, change: str
) -> None:
    artifact = attested(world)
    kept = put(world, artifact) / (artifact.name + ATTESTATIONS_SUFFIX)
    if change == "removed":
        kept.unlink()
    else:
        kept.write_bytes(b"{}\n")
    with pytest.raises(RegistrySourceInvalid, match=r"intoto\.jsonl"):
        build(world.root / "source")


def test_index_that_lies_about_attestations_is_refused(world: World) -> None:
    """An index without a root, as builds of before wrote it: else nobody reads it."""
    put(world, attested(world))
    out = build(world.root / "source").out
    (out / ROOT_FILE).unlink()
    document = json.loads((out / FILE_NAME).read_text())
    del document["plugins"][0]["detail"]
    (out / FILE_NAME).write_text(json.dumps(document))
    assert offered(world, str(out)).attestations
    stated = document["plugins"][0]["versions"][0]["artifacts"][0]
    stated["attestations"] = OUTSIDE
    (out / FILE_NAME).write_text(json.dumps(document))
    with pytest.raises(AperioError) as caught:
        offered(world, str(out))
    assert caught.value.code == "index-unreadable"


def test_plugin_file_that_lies_about_attestations_is_refused(world: World) -> None:
    """Below a root that states the very file that lies."""
    put(world, attested(world))
    out = build(world.root / "source").out
    document = json.loads((out / plugin_path(BOX)).read_text())
    stated = document["versions"][0]["artifacts"][0]
    Site(out).publish(document)
    assert offered(world, str(out)).attestations
    stated["attestations"] = OUTSIDE
    Site(out).publish(document)
    with pytest.raises(AperioError) as caught:
        offered(world, str(out))
    assert caught.value.code == "index-unreadable"
    assert "attestations" in caught.value.why
