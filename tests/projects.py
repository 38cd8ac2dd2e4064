"""Small plugin projects, and wheels made on the spot for them to depend on."""

from __future__ import annotations

import hashlib
import platform
import sys
import zipfile
from pathlib import Path

from aperio_cli.models.platform import Platform

ROOT = Path(__file__).resolve().parents[1]
WHEELS = ROOT / ".cache" / "wheels"
SDK = ROOT / "sdk" / "python"
TAG = f"cp{sys.version_info[0]}{sys.version_info[1]}"
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
HERE = Platform.of_machine(platform.system(), platform.machine())
NO_INDEX = {"PIP_NO_INDEX": "1"}

MANIFEST = """\
schema: aperio.plugin.manifest/v1
id: acme/box-connector
version: 1.2.3
kind: connector
provider: BOX
name: Box
description: Audit events from Box
license: MIT
protocol: "1.0"
runtime:
  language: python
  tags: [TAGS]
entrypoint: box-connector
"""


def make_wheel(  # noqa: PLR0913 - one argument for each part of a wheel
    folder: Path,
    name: str,
    files: dict[str, str] | None = None,
    *,
    tag: str = "py3-none-any",
    executable: tuple[str, ...] = (),
    version: str = "1.0",
    requires: tuple[str, ...] = (),
) -> str:
    """A wheel in a folder; gives its entry of a lock.

    Args:
        folder: made when it is missing.
        name: of the distribution and, without `files`, of its only module.
        files: contents by path.
        tag: the last part of the file's name.
        executable: paths of files with mode 0755.
        version: of the distribution.
        requires: what it says that it needs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    contents = files or {f"{name}.py": f"NAME = {name!r}\n"}
    contents = {
        **contents,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
        f"{info}/RECORD": "",
    }
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in contents.items():
            entry = zipfile.ZipInfo(member)
            entry.external_attr = (0o100755 if member in executable else 0o100644) << 16
            archive.writestr(entry, text)
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def make_project(folder: Path, *, tags: tuple[str, ...] = (TAG,)) -> Path:
    """A project without a dependency, whose plugin.py prints what it was started with."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder, "manifest.yaml", MANIFEST.replace("TAGS", ", ".join(tags)))
    write(folder, "plugin.py", "import sys\nprint(__name__, __file__, sys.argv[1:])\n")
    write(folder, "LICENSE", "MIT\n")
    write(folder, "README.md", "# Box\n")
    write(folder, "requirements.lock", "")
    return folder


def write(folder: Path, name: str, text: str) -> Path:
    """A file below a folder, with the folders above it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its contents, to assert that nothing changed."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }
