"""Locks what aperio needs, by hashes, for the workflows of the projects that it makes.

    make lock

`aperio.lock` has aperio's own dependencies and the SDK's; `build.lock` what a build of aperio from
its source needs besides. The versions are those of this environment, which the tests ran with; the
hashes are those of the wheels for CPython 3.11 to 3.14 on Linux, amd64 and arm64, with the glibc of
current CI images and with older ones. pip resolves for each of them without installing anything,
and finds its index as it is configured for this user.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aperio_cli.building.dependencies import platform_tags
from aperio_cli.building.lock import Pin, normalized
from aperio_cli.models.digest import Digest
from aperio_cli.models.platform import Platform
from aperio_cli.scaffolding import LOCKED_TAGS
from aperio_cli.scaffolding.origin import APERIO_LOCK, BUILD_LOCK

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
PROJECTS = ("pyproject.toml", "sdk/python/pyproject.toml")
MADE = {"aperio-cli", "aperio-plugin-sdk"}
MACHINES = {Platform("linux", "amd64"): "x86_64", Platform("linux", "arm64"): "aarch64"}
# pip takes the wheel for the newest glibc that the machine has: these beside those of plugins.
NEWER_GLIBC_MINORS = range(39, 28, -1)
AT_ONCE = 4
DEADLINE_S = 300


def main() -> int:
    """Write both locks."""
    cli, sdk = (tomllib.loads((ROOT / path).read_text()) for path in PROJECTS)
    needed = [
        *cli["tool"]["hatch"]["metadata"]["hooks"]["custom"]["dependencies"],
        *sdk["project"]["dependencies"],
    ]
    pins = locked(needed)
    APERIO_LOCK.write_text(text_of("What aperio needs", pins.values()))
    backend = locked(cli["build-system"]["requires"])
    more = [pin for name, pin in backend.items() if name not in pins]
    BUILD_LOCK.write_text(text_of("What a build of aperio from its source needs besides", more))
    return 0


def locked(requirements: Sequence[str]) -> Mapping[str, Pin]:
    """Return what requirements resolve to, by name, with the hashes for all targets."""
    found: dict[str, dict[str, set[str]]] = {}
    wanted = [
        (tag, tags)
        for tag in LOCKED_TAGS
        for platform, machine in MACHINES.items()
        for tags in (
            platform_tags(platform),
            [*(f"manylinux_2_{minor}_{machine}" for minor in NEWER_GLIBC_MINORS),
             *platform_tags(platform)],
        )
    ]  # fmt: skip
    with ThreadPoolExecutor(AT_ONCE) as workers:
        for items in workers.map(lambda one: resolved(requirements, *one), wanted):
            for item in items:
                name, version = normalized(item["metadata"]["name"]), item["metadata"]["version"]
                digest = item["download_info"]["archive_info"]["hashes"]["sha256"]
                found.setdefault(name, {}).setdefault(version, set()).add(digest)
    return {name: pin_of(name, found[name]) for name in sorted(found)}


def pin_of(name: str, digests: Mapping[str, set[str]]) -> Pin:
    """Return the pin of a distribution that is the same version everywhere."""
    ((version, hashes),) = digests.items()
    return Pin(name, version, tuple(Digest(text) for text in sorted(hashes)))


def resolved(
    requirements: Sequence[str], tag: str, platforms: Sequence[str]
) -> list[dict[str, Any]]:
    """Return what pip would install for a target (pip's installation report, version 1)."""
    with tempfile.TemporaryDirectory() as folder:
        report, bounds = Path(folder) / "report.json", Path(folder) / "constraints.txt"
        bounds.write_text(constraints())
        command = [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"),
            *("--ignore-installed", "--only-binary=:all:", f"--target={folder}"),
            *("--implementation=cp", f"--abi={tag}", "--abi=abi3", "--abi=none"),
            f"--python-version={tag[2]}.{tag[3:]}",
            *(f"--platform={name}" for name in platforms),
            *(f"--constraint={bounds}", f"--report={report}", *requirements),
        ]
        subprocess.run(command, check=True, timeout=DEADLINE_S)
        installed: list[dict[str, Any]] = json.loads(report.read_bytes())["install"]
    return installed


def constraints() -> str:
    """Return the versions of this environment."""
    installed = {each.metadata["Name"]: each.version for each in metadata.distributions()}
    return "".join(f"{name}=={installed[name]}\n" for name in sorted(installed) if name not in MADE)


def text_of(what: str, pins: Iterable[Pin]) -> str:
    """Return a lock's text, as requirements.lock is written."""
    entries = [
        " \\\n    ".join([str(pin), *(f"--hash={digest}" for digest in pin.digests)])
        for pin in pins
    ]
    return "\n".join([f"# {what}; made by `make lock`.", *entries, ""])


if __name__ == "__main__":
    raise SystemExit(main())
