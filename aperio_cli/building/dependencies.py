"""The locked dependencies of a Python plugin, installed for one interpreter and one platform."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from aperio_cli.building.closure import check_closure, check_roots
from aperio_cli.building.contents import VENDOR
from aperio_cli.building.lock import normalized
from aperio_cli.building.pip import PipRun, run_pip
from aperio_cli.building.pyproject import read_pyproject
from aperio_cli.errors.building import DependencyDigestMismatch, RuntimeUnsupported
from aperio_cli.files import tree
from aperio_cli.files.reading import open_regular
from aperio_cli.files.temporary import temporary_folder
from aperio_cli.models.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aperio_cli.building.lock import Lock
    from aperio_cli.models.platform import Platform

# PEP 600: glibc 2.28 is the newest that `linux/*` promises (docs/reference/artifact.md), whatever
# the machine that builds. glibc 2.17 was the first for arm64, 2.5 the oldest any wheel names.
_NEWEST_GLIBC_MINOR = 28
_LINUX = {"amd64": ("x86_64", 5), "arm64": ("aarch64", 17)}
_LEGACY_NAMES = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}  # PEP 513, 571, 599
# pip adds the older releases and universal2 to a macOS platform by itself.
_DARWIN = {"amd64": "macosx_11_0_x86_64", "arm64": "macosx_11_0_arm64"}
# Of `*.dist-info`: what an installer writes about itself (PEP 376, PEP 610).
_INSTALLER_FILES = ("INSTALLER", "RECORD", "REQUESTED", "direct_url.json")
_SCRIPTS = "bin"
# How RECORD names a script: pip installs into a folder of its own and moves what is there.
_SCRIPT_PREFIX = f"../../{_SCRIPTS}/"
_HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Target:
    """What dependencies are resolved for: an interpreter tag such as `cp311`, and a platform."""

    tag: str
    platform: Platform

    def __str__(self) -> str:
        return f"{self.tag} on {self.platform}"

    @property
    def python_version(self) -> str:
        """The tag as a version, `3.11`."""
        return f"{self.tag[2]}.{self.tag[3:]}"


@dataclass(frozen=True, slots=True)
class InstalledWheel:
    """One dependency as it was installed.

    Attributes:
        name: normalized.
        version: as locked.
        file_name: of the wheel, which names the tags it fits.
        digest: of the wheel.
        dropped: names of its scripts that were left out, because they name the interpreter that
            ran pip or would stand where another wheel's package does.
    """

    name: str
    version: str
    file_name: str
    digest: Digest
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DependencyRequest:
    """What to install, and with what.

    Attributes:
        project: the project's folder; wheels in its `vendor/` are found without an index.
        lock: what is installed, all of it and nothing else.
        target: what it is resolved for.
        environment: the caller's; see `pip.PASSED_ON`.
        download_cache: folder where downloads are kept between builds; None keeps none. Every
            file from it is compared with the lock again.
    """

    project: Path
    lock: Lock
    target: Target
    environment: Mapping[str, str]
    download_cache: Path | None = None


def install_dependencies(
    request: DependencyRequest, destination: Path
) -> tuple[InstalledWheel, ...]:
    """Install the locked dependencies into a new folder, and say what was installed.

    Only wheels are used, so nothing of a dependency is executed. What depends on the run of the
    installer is dropped: scripts that it wrote its own interpreter into, bytecode, records of the
    installer about itself. Files keep the modes of their wheels, executable or not.

    Args:
        request: what to install.
        destination: the folder to make; it must not exist.

    Raises:
        RuntimeUnsupported: the platform is not one that Python plugins are built for.
        BuildDependencyUnavailable: a pinned version has no wheel for the target.
        DependencyDigestMismatch: a wheel is not one of those locked.
        LockInconsistent: the lock lacks something that the project or a package needs.
        NetworkUnavailable: the index could not be reached.
        BuildDependencyFailed: pip failed for another reason or took too long.
        OSError: a folder cannot be written.
    """
    tags = platform_tags(request.target.platform)
    wanted = read_pyproject(request.project).dependencies
    check_roots(request.project, request.lock, wanted, request.target)
    destination.mkdir()
    if not request.lock.pins:
        return ()
    with temporary_folder("aperio-pip-") as folder:
        scratch = Path(folder)
        report = scratch / "report.json"
        requirements = scratch / "requirements.txt"
        requirements.write_text(request.lock.to_requirements())
        arguments = [
            *_fixed_arguments(request),
            *(f"--platform={tag}" for tag in tags),
            f"--target={destination}",
            f"--report={report}",
            f"--requirement={requirements}",
        ]
        purpose = str(request.target)
        run_pip(PipRun(arguments, scratch, request.environment, request.project, purpose))
        wheels = _read_report(report)
    _check_against(request.lock, wheels)
    check_closure(request.project, request.lock, wanted, request.target, destination)
    dropped = _drop_scripts(destination)
    _drop_traces(destination)
    return tuple(replace(wheel, dropped=dropped.get(wheel.name, ())) for wheel in wheels)


def _fixed_arguments(request: DependencyRequest) -> list[str]:
    target = request.target
    vendor = request.project / VENDOR
    cache = request.download_cache
    return [
        "install",
        "--quiet",
        "--require-hashes",
        "--no-deps",
        "--only-binary=:all:",
        "--no-compile",
        "--implementation=cp",
        f"--python-version={target.python_version}",
        f"--abi={target.tag}",
        f"--cache-dir={cache}" if cache else "--no-cache-dir",
        *([f"--find-links={vendor}"] if vendor.is_dir() else []),
    ]


def platform_tags(platform: Platform) -> list[str]:
    """Return the platform tags of wheels that run there, best first.

    Raises:
        RuntimeUnsupported: Python plugins are not built for the platform.
    """
    if platform.os == "linux":
        machine, oldest = _LINUX[platform.arch]
        tags = []
        for minor in range(_NEWEST_GLIBC_MINOR, oldest - 1, -1):
            tags.append(f"manylinux_2_{minor}_{machine}")
            if minor in _LEGACY_NAMES:
                tags.append(f"{_LEGACY_NAMES[minor]}_{machine}")
        return tags
    if platform.os == "darwin":
        return [_DARWIN[platform.arch]]
    raise RuntimeUnsupported(
        f"a Python plugin cannot be built for {platform}; nothing was built",
        why="this version builds Python plugins for linux and darwin, on amd64 and arm64",
        next=["leave this platform out"],
    )


def _read_report(path: Path) -> tuple[InstalledWheel, ...]:
    """Return what pip installed, by name (pip documentation, "Installation Report", version 1)."""
    document = json.loads(path.read_bytes())
    wheels = []
    for item in document["install"]:
        download = item["download_info"]
        # The address is not kept: the lock, not the place, says which file it is.
        file_name = unquote(PurePosixPath(urlsplit(download["url"]).path).name)
        metadata = item["metadata"]
        digest = Digest(download["archive_info"]["hashes"]["sha256"])
        wheels.append(
            InstalledWheel(normalized(metadata["name"]), metadata["version"], file_name, digest)
        )
    return tuple(sorted(wheels, key=lambda wheel: wheel.name))


def _check_against(lock: Lock, wheels: tuple[InstalledWheel, ...]) -> None:
    """Check that exactly the locked names are there with locked digests; pip saw to that."""
    allowed = {pin.name: pin.digests for pin in lock.pins}
    installed = {wheel.name for wheel in wheels}
    strangers = [wheel for wheel in wheels if wheel.digest not in allowed.get(wheel.name, ())]
    if strangers or installed != allowed.keys():
        differing = {wheel.name for wheel in strangers} | (installed ^ allowed.keys())
        raise DependencyDigestMismatch(
            "the installed dependencies are not the locked ones; nothing was built",
            why=", ".join(sorted(differing)),
            next=["`python -m pip --version`: use a newer pip"],
        )


def _drop_scripts(library: Path) -> dict[str, tuple[str, ...]]:
    """Drop scripts that are not their wheel's bytes; return the dropped names by distribution.

    A wheel's own programs stay, and so does a package that is called `bin`.
    """
    listed = {info: list(_record(info)) for info in sorted(library.glob("*.dist-info"))}
    packaged = {path for paths in listed.values() for path in paths}
    dropped = {}
    for info, paths in listed.items():
        scripts = [p.removeprefix(_SCRIPT_PREFIX) for p in paths if p.startswith(_SCRIPT_PREFIX)]
        gone = []
        for name in scripts:
            place = f"{_SCRIPTS}/{name}"
            if place in packaged:
                gone.append(name)
            elif not _is_kept(library / place):
                (library / place).unlink(missing_ok=True)
                gone.append(name)
            else:
                (library / place).chmod(0o755)  # whatever the wheel says: it is there to be run
        # Core metadata: the folder is the distribution's name, a hyphen and its version.
        dropped[normalized(info.name.partition("-")[0])] = tuple(sorted(gone))
    if (library / _SCRIPTS).is_dir() and not any((library / _SCRIPTS).iterdir()):
        (library / _SCRIPTS).rmdir()
    return dropped


def _record(info: Path) -> Iterator[str]:
    """Yield the paths that a distribution's RECORD lists (PEP 376)."""
    for row in csv.reader(io.StringIO((info / "RECORD").read_text("utf-8"))):
        if row and ".." not in row[0].removeprefix(_SCRIPT_PREFIX).split("/"):
            yield row[0]


def _is_kept(script: Path) -> bool:
    """Return whether a script is there and does not name the interpreter that ran pip."""
    try:
        with open_regular(script) as file:
            return os.fsencode(sys.executable) not in file.read(_HEAD_BYTES)
    except FileNotFoundError:
        return False


def _drop_traces(library: Path) -> None:
    for name in tree.file_names(library):
        if name.endswith((".pyc", ".pyo")):
            (library / name).unlink()
    for info in library.glob("*.dist-info"):
        for name in _INSTALLER_FILES:
            (info / name).unlink(missing_ok=True)
