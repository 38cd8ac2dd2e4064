"""Sources of registries written straight to the disk, without anything being built or signed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aperio_cli.models.artifact import BUNDLE_SUFFIX, published_name
from aperio_cli.models.digest import Digest
from aperio_cli.publishing.record import PublishedArtifact, PublishedVersion, Record
from aperio_cli.publishing.source import open_source, record_parts, version_folder
from tests.builders import LINUX, manifest, signer

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.models.plugin_id import PluginId


def put(source: Path, plugin: PluginId, version: str, *, has_artifact: bool = False) -> None:
    """Add a version to the source of a registry, as `registry add` would record it.

    Args:
        source: the source.
        plugin: whose version.
        version: the version; published later than those before it.
        has_artifact: whether the registry keeps the artifact; else it is elsewhere.
    """
    file_name = published_name(plugin, version, LINUX)
    contents = f"{plugin} {version}".encode()
    bundle = json.dumps({"of": f"{plugin} {version}"}).encode()
    folder = source.joinpath(*version_folder(plugin, version))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / (file_name + BUNDLE_SUFFIX)).write_bytes(bundle)
    if has_artifact:
        (folder / file_name).write_bytes(contents)
    artifact = PublishedArtifact(
        LINUX,
        file_name,
        Digest.of(contents),
        len(contents),
        url="" if has_artifact else f"https://artifacts.example/{plugin}/{file_name}",
        bundle=Digest.of(bundle),
    )
    declared = replace(manifest(), id=plugin, version=version)
    with open_source(source) as registry:
        known = registry.record(plugin)
        before = known.versions if known else ()
        added_at = f"2026-11-01T00:00:{len(before):02}Z"
        made = PublishedVersion(version, added_at, signer(), declared, (artifact,))
        registry.write_record(Record(plugin, declared.kind, (made, *before)))


def record_of(source: Path, plugin: PluginId) -> dict[str, Any]:
    """What the record of a plugin says."""
    document: dict[str, Any] = json.loads(source.joinpath(*record_parts(plugin)).read_bytes())
    return document


def write(source: Path, plugin: PluginId, record: dict[str, Any]) -> None:
    """Replace the record of a plugin by hand: the edition stays."""
    source.joinpath(*record_parts(plugin)).write_text(json.dumps(record))
