from __future__ import annotations

import json
from typing import Any

from aperio_cli.building.dependencies import InstalledWheel
from aperio_cli.building.go_modules import Linked, Module
from aperio_cli.building.sbom import make_go_sbom, make_sbom
from aperio_cli.models.digest import Digest
from aperio_cli.models.manifest import Manifest
from tests.projects import MANIFEST

PLUGIN = Manifest.parse(MANIFEST.replace("TAGS", "cp311, cp312").encode())
A, B = Digest("a" * 64), Digest("b" * 64)


def sbom(**wheels: list[InstalledWheel]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(make_sbom(PLUGIN, wheels))
    return document


def test_sbom_describes_the_plugin() -> None:
    document = sbom(cp311=[])
    assert (document["bomFormat"], document["specVersion"], document["version"]) == (
        "CycloneDX",
        "1.5",
        1,
    )
    main = document["metadata"]["component"]
    assert (main["group"], main["name"], main["version"]) == ("acme", "box-connector", "1.2.3")
    assert main["licenses"] == [{"expression": "MIT"}]


def test_sbom_lists_each_dependency_once_with_every_hash_used() -> None:
    document = sbom(
        cp311=[InstalledWheel("grpcio", "1.0", "grpcio-1.0-cp311.whl", B)],
        cp312=[InstalledWheel("grpcio", "1.0", "grpcio-1.0-cp312.whl", A)],
    )
    (component,) = document["components"]
    assert component["purl"] == "pkg:pypi/grpcio@1.0"
    assert component["hashes"] == [
        {"alg": "SHA-256", "content": A.hex},
        {"alg": "SHA-256", "content": B.hex},
    ]
    assert component["properties"] == [
        {"name": "aperio:wheel:cp311", "value": "grpcio-1.0-cp311.whl"},
        {"name": "aperio:wheel:cp312", "value": "grpcio-1.0-cp312.whl"},
    ]


def test_sbom_encodes_a_version_in_its_address() -> None:
    (component,) = sbom(cp311=[InstalledWheel("one", "1!2.0+local", "one.whl", A)])["components"]
    assert component["purl"] == "pkg:pypi/one@1%212.0%2Blocal"


def test_sbom_says_what_the_plugin_depends_on() -> None:
    document = sbom(cp311=[InstalledWheel("one", "1.0", "one.whl", A)])
    assert document["dependencies"][0] == {
        "ref": "acme/box-connector@1.2.3",
        "dependsOn": ["pkg:pypi/one@1.0"],
    }


def test_sbom_has_neither_time_nor_chance_in_it() -> None:
    document = sbom(cp311=[])
    assert "serialNumber" not in document
    assert "timestamp" not in document["metadata"]


def test_sbom_does_not_depend_on_the_order_of_dependencies() -> None:
    one, two = (InstalledWheel(name, "1.0", f"{name}.whl", A) for name in ("one", "two"))
    assert make_sbom(PLUGIN, {"cp311": [one, two]}) == make_sbom(PLUGIN, {"cp311": [two, one]})


def test_sbom_of_a_go_plugin_lists_modules_and_the_standard_library() -> None:
    modules = (
        Module("example.com/a", "v1.0.0", "h1:x="),
        Module("example.com/b/v2", "v2.0.0+incompatible", folder="./third_party/b"),
    )
    document = json.loads(make_go_sbom(PLUGIN, Linked("go1.26.8", modules)))
    assert [component["purl"] for component in document["components"]] == [
        "pkg:golang/example.com/a@v1.0.0",
        "pkg:golang/example.com/b/v2@v2.0.0%2Bincompatible",
        "pkg:golang/std@1.26.8",
    ]
    assert [component["properties"] for component in document["components"]] == [
        [{"name": "aperio:go:sum", "value": "h1:x="}],
        [{"name": "aperio:go:replaced-by", "value": "./third_party/b"}],
        [],
    ]
    assert len(document["dependencies"]) == 1 + len(document["components"])
