"""The software bill of materials of an artifact: CycloneDX 1.5, JSON.

Made from what was installed or linked, which the lock fixes; without serial number and time,
which the format leaves optional and a reproducible build cannot have.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from aperio_cli.building.go_modules import Module

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aperio_cli.building.dependencies import InstalledWheel
    from aperio_cli.building.go_modules import Linked
    from aperio_cli.models.manifest import Manifest

FILE_NAME = "sbom.cdx.json"
_WHEEL_PROPERTY = "aperio:wheel"
# A module's sum covers its files one by one, so it is no hash of a file as CycloneDX means it.
_SUM_PROPERTY = "aperio:go:sum"
_FOLDER_PROPERTY = "aperio:go:replaced-by"


def make_sbom(manifest: Manifest, wheels: Mapping[str, Sequence[InstalledWheel]]) -> bytes:
    """Return the contents of sbom.cdx.json.

    Args:
        manifest: the plugin, which is the bill's main component.
        wheels: what was installed, by interpreter tag.
    """
    by_component: dict[tuple[str, str], list[tuple[str, InstalledWheel]]] = {}
    for tag in sorted(wheels):
        for wheel in wheels[tag]:
            by_component.setdefault((wheel.name, wheel.version), []).append((tag, wheel))
    return _document(
        manifest, [_component(*key, found) for key, found in sorted(by_component.items())]
    )


def make_go_sbom(manifest: Manifest, linked: Linked) -> bytes:
    """Return the contents of sbom.cdx.json of a Go plugin.

    Args:
        manifest: the plugin, which is the bill's main component.
        linked: what its program was linked from.
    """
    standard_library = Module("std", linked.toolchain.removeprefix("go"))
    return _document(manifest, [_go_component(m) for m in (*linked.modules, standard_library)])


def _document(manifest: Manifest, components: Sequence[dict[str, Any]]) -> bytes:
    main = f"{manifest.id}@{manifest.version}"
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": _main_component(manifest, main)},
        "components": components,
        "dependencies": [
            {"ref": main, "dependsOn": [component["bom-ref"] for component in components]},
            *({"ref": component["bom-ref"]} for component in components),
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def _main_component(manifest: Manifest, reference: str) -> dict[str, Any]:
    return {
        "type": "application",
        "bom-ref": reference,
        "group": manifest.id.namespace,
        "name": manifest.id.name,
        "version": manifest.version,
        "description": manifest.description,
        "licenses": [{"expression": manifest.license}],
    }


def _component(
    name: str, version: str, found: Sequence[tuple[str, InstalledWheel]]
) -> dict[str, Any]:
    # Package URL specification, type `pypi`: normalized name, percent-encoded version.
    purl = f"pkg:pypi/{name}@{quote(version, safe='')}"
    digests = sorted({wheel.digest.hex for _, wheel in found})
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "hashes": [{"alg": "SHA-256", "content": digest} for digest in digests],
        "purl": purl,
        "properties": [
            {"name": f"{_WHEEL_PROPERTY}:{tag}", "value": wheel.file_name} for tag, wheel in found
        ],
    }


def _go_component(module: Module) -> dict[str, Any]:
    # Package URL specification, type `golang`: the module's path as it stands, lower case in
    # practice, and its version. `std` is the standard library, as vulnerability databases name it.
    purl = f"pkg:golang/{quote(module.path, safe='/')}@{quote(module.version, safe='')}"
    properties = {_SUM_PROPERTY: module.sum, _FOLDER_PROPERTY: module.folder}
    return {
        "type": "library",
        "bom-ref": purl,
        "name": module.path,
        "version": module.version,
        "purl": purl,
        "properties": [
            {"name": name, "value": value} for name, value in properties.items() if value
        ],
    }
