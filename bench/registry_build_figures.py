"""What building a registry costs: 10,000 plugins of three versions, artifacts elsewhere.

Times are absolute, as the promise is; each bundle is another one, as long as genuine ones are.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from figures import TIMEOUT_S, Figure

from aperio_cli.models.artifact import BUNDLE_SUFFIX, published_name
from aperio_cli.models.digest import Digest
from aperio_cli.models.manifest import Manifest
from aperio_cli.models.platform import Platform
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.publisher import Signer
from aperio_cli.publishing import init
from aperio_cli.publishing.record import PublishedArtifact, PublishedVersion, Record
from aperio_cli.publishing.source import record_parts, version_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

APERIO: Final = Path(sys.executable).with_name("aperio")
PLUGINS: Final = 10_000
NAMESPACES: Final = 500
VERSIONS: Final = ("2.0.0", "1.1.0", "1.0.0")
BUNDLE_BYTES: Final = 9_000
MOST_S: Final = 10.0
MOST_AGAIN_S: Final = 2.0
MOST_MB: Final = 500.0
LINUX: Final = Platform("linux", "amd64")
SIGNER: Final = Signer(
    "public",
    "https://github.com/acme/aperio-plugin/.github/workflows/release.yml@refs/tags/v1.0.0",
    "https://token.actions.githubusercontent.com",
    "2026-11-01T00:00:00Z",
    "ab" * 32,
)
MANIFEST: Final = """\
schema: aperio.plugin.manifest/v1
id: {id}
version: {version}
kind: connector
provider: BENCH
name: Bench
description: Audit events from a service, one of ten thousand
license: Apache-2.0
source: https://github.com/acme/aperio-plugin
permissions:
  egress: [api.service.example:443]
protocol: "1.0"
runtime:
  language: go
entrypoint: plugin
"""


def measure(folder: Path, environment: Mapping[str, str]) -> list[Figure]:
    """The figures of `registry build`: whole, again after one change, and its memory.

    Args:
        folder: one that is not there yet.
        environment: of `aperio`.

    Raises:
        subprocess.CalledProcessError: a build failed.
    """
    source = folder / "registry"
    write_source(source, PLUGINS)
    whole_s, memory_mb = build(source, environment)
    change(source, plugin(PLUGINS // 2))
    again_s, _ = build(source, environment)
    detail = f"{PLUGINS} plugins, {len(VERSIONS)} versions each"
    figures = [
        Figure(name="registry build", value=whole_s, unit=" s", at_most=MOST_S, detail=detail),
        Figure(
            name="registry build, one change", value=again_s, unit=" s", at_most=MOST_AGAIN_S,
            detail=detail,
        ),
        Figure(
            name="registry build, peak memory", value=memory_mb, unit=" MB", at_most=MOST_MB,
            detail=detail,
        ),
    ]  # fmt: skip
    shutil.rmtree(folder)
    return figures


def build(source: Path, environment: Mapping[str, str]) -> tuple[float, float]:
    """Seconds and peak megabytes of one `registry build`."""
    began_s = time.perf_counter()
    process = subprocess.Popen(
        [APERIO, "registry", "build", "--dir", source, "--quiet"],
        env=dict(environment),
        stdout=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    took_s = time.perf_counter() - began_s
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or took_s > TIMEOUT_S:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return took_s, used.ru_maxrss * 1024 / 1e6


# ── a source ──────────────────────────────────────────────────────────────────────────────────────


def plugin(number: int) -> PluginId:
    """The id of one of them."""
    return PluginId(f"org{number % NAMESPACES:03}", f"service-{number:06}")


def write_source(source: Path, plugins: int) -> None:
    """The source of a registry of so many plugins, each file of it another one."""
    init(source)
    for number in range(plugins):
        write_plugin(source, plugin(number))
    edition = source / "aperio-registry.json"
    stated = json.loads(edition.read_bytes())
    edition.write_text(json.dumps(stated | {"serial": 1}))


def write_plugin(source: Path, name: PluginId) -> None:
    """One record, with the bundles of its versions."""
    versions = tuple(write_version(source, name, version) for version in VERSIONS)
    path = source.joinpath(*record_parts(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(Record(name, "connector", versions).to_bytes())


def write_version(source: Path, name: PluginId, version: str) -> PublishedVersion:
    """One version, with the bundle of its one artifact on the disk."""
    manifest = Manifest.parse(MANIFEST.format(id=name, version=version).encode())
    digest = Digest.of(f"{name} {version}".encode())
    bundle = json.dumps({"artifact": digest.hex, "filler": "x" * BUNDLE_BYTES}).encode()
    file_name = published_name(name, version, LINUX)
    folder = source.joinpath(*version_folder(name, version))
    folder.mkdir(parents=True)
    (folder / (file_name + BUNDLE_SUFFIX)).write_bytes(bundle)
    artifact = PublishedArtifact(
        LINUX,
        file_name,
        digest,
        8_000_000,
        url=f"https://github.com/{name.namespace}/releases/download/v{version}/{file_name}",
        bundle=Digest.of(bundle),
        tree=f"t1:{digest.hex}",
    )
    return PublishedVersion(version, "2026-11-01T00:00:00Z", SIGNER, manifest, (artifact,))


def change(source: Path, name: PluginId) -> None:
    """Take the oldest version of a plugin out, as an edition of its own."""
    path = source.joinpath(*record_parts(name))
    record = json.loads(path.read_bytes())
    record["versions"].pop()
    path.write_text(json.dumps(record))
    edition = source / "aperio-registry.json"
    stated = json.loads(edition.read_bytes())
    edition.write_text(json.dumps(stated | {"serial": stated["serial"] + 1}))


if __name__ == "__main__":
    for figure in measure(Path(sys.argv[1]), os.environ):
        print(figure.row(36))
