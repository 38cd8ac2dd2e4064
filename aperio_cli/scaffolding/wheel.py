"""A deterministic wheel of the bundled SDK, so that a new project needs no index for it.

Format: PEP 427 (wheel 1.0), PEP 376 (RECORD), core metadata 2.4. Members are stored, not
compressed, sorted and dated 1980-01-01, so the bytes depend on the SDK's source only: the hash
in a committed requirements.lock holds on every machine.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import re
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from aperio_cli.errors.usage import NotFound
from aperio_cli.files.reading import read_capped
from aperio_cli.files.writing import write_atomic
from aperio_cli.models.digest import Digest
from aperio_cli.models.reading import Bounds, described, parse_toml
from aperio_cli.paths import bundled

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from aperio_cli.models.reading import Table

_PACKAGE = "aperio_plugin"
_SUFFIXES = (".py", ".pyi", ".typed")
_DOS_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip archive can say
_REGULAR_0644 = 0o100644 << 16
_UNIX = 3
_MAX_FILE_BYTES = 4 * 1024 * 1024
_WHEEL = """\
Wheel-Version: 1.0
Generator: aperio
Root-Is-Purelib: true
Tag: py3-none-any
"""


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel in memory.

    Attributes:
        distribution: its name as indexes write it, such as `aperio-plugin-sdk`.
        version: its version.
        data: the file's bytes.
    """

    distribution: str
    version: str
    data: bytes

    @property
    def file_name(self) -> str:
        """The file's name, which a wheel must have for an installer to take it (PEP 427)."""
        return f"{self.distribution.replace('-', '_')}-{self.version}-py3-none-any.whl"

    @property
    def digest(self) -> Digest:
        """The digest of the file."""
        return Digest.of(self.data)


def sdk_wheel(source: Path | None = None) -> Wheel:
    """Return the wheel of the Python SDK, without its tests.

    Args:
        source: the SDK's folder with pyproject.toml; None means the one that ships with aperio.

    Raises:
        NotFound: this installation of aperio lacks the SDK.
        OSError: a file may not be read.
    """
    root = bundled("sdk/python") if source is None else source
    metadata = _project(root)
    name, version = metadata.text("name"), _version(root, metadata)
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    files = _sources(root)
    files[f"{info}/METADATA"] = _metadata(root, metadata, version)
    files[f"{info}/WHEEL"] = _WHEEL.encode()
    if (root / "LICENSE").is_file():
        files[f"{info}/licenses/LICENSE"] = read_capped(root / "LICENSE", _MAX_FILE_BYTES)
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD")
    return Wheel(name, version, _zip(files))


def _project(root: Path) -> Table:
    """Return the `[project]` table of the SDK's pyproject.toml."""
    data = read_capped(root / "pyproject.toml", _MAX_FILE_BYTES)
    return parse_toml(data, Bounds(_MAX_FILE_BYTES), functools.partial(_fail, root)).table(
        "project"
    )


def _fail(root: Path, key: str, why: str) -> NoReturn:
    raise NotFound(
        f"`{root}` holds no SDK",
        why=f"pyproject.toml: {described(key, why)}",
        next=["install aperio-cli again"],
    )


def _version(root: Path, metadata: Table) -> str:
    """Return the version in pyproject.toml, or the package's own when it is declared dynamic."""
    if "version" in metadata:
        return metadata.text("version")
    text = read_capped(root / _PACKAGE / "__init__.py", _MAX_FILE_BYTES).decode()
    found = re.search(r'^__version__(?:: \w+)? = "([^"]+)"$', text, re.MULTILINE)
    if not found:
        raise NotFound(f"`{root}` states no version of the SDK", next=["install aperio-cli again"])
    return found[1]


def _sources(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): read_capped(path, _MAX_FILE_BYTES)
        for path in (root / _PACKAGE).rglob("*")
        if (path.suffix in _SUFFIXES or path.name == "py.typed") and path.is_file()
    }


def _metadata(root: Path, metadata: Table, version: str) -> bytes:
    """Return METADATA: what the SDK's pyproject.toml says, as core metadata 2.4, and its README."""
    extras = metadata.inner("optional-dependencies")
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {metadata.text('name')}",
        f"Version: {version}",
        f"Summary: {metadata.optional_text('description')}",
        f"License-Expression: {metadata.optional_text('license') or 'MIT'}",
        f"Requires-Python: {metadata.text('requires-python')}",
        *(f"Requires-Dist: {requirement}" for requirement in metadata.texts("dependencies")),
    ]
    for extra in extras.values:
        lines.append(f"Provides-Extra: {extra}")
        lines += [f"Requires-Dist: {one}; extra == '{extra}'" for one in extras.texts(extra)]
    readme = root / "README.md"
    if readme.is_file():
        text = read_capped(readme, _MAX_FILE_BYTES).decode()
        lines += ["Description-Content-Type: text/markdown", "", text]
    return "\n".join(lines).encode() + b"\n"


def _record(files: Mapping[str, bytes], own_name: str) -> bytes:
    """RECORD: path, digest in URL-safe base64 without padding, length; itself without either."""
    lines = []
    for name in sorted(files):
        digest = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).rstrip(b"=")
        lines.append(f"{name},sha256={digest.decode()},{len(files[name])}")
    return "\n".join([*lines, f"{own_name},,"]).encode() + b"\n"


def _zip(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        # Sorted, except that the metadata come last, as PEP 427 recommends.
        for name in sorted(files, key=lambda name: (".dist-info/" in name, name)):
            member = zipfile.ZipInfo(name, _DOS_EPOCH)
            member.external_attr = _REGULAR_0644
            member.create_system = _UNIX
            archive.writestr(member, files[name])
    return buffer.getvalue()


def refresh(project: Path, wheel: Wheel) -> bool:
    """Put the wheel into a project's `vendor/` and its hash into requirements.lock.

    Other wheels of the same distribution are removed from `vendor/`. Files that are right
    already are left untouched.

    Returns:
        Whether anything had to change.

    Raises:
        NotFound: the project's requirements.lock has no line for the distribution.
        OSError: a file cannot be read or written.
    """
    vendor = project / "vendor"
    vendor.mkdir(exist_ok=True)
    stale = set(vendor.glob(f"{wheel.distribution.replace('-', '_')}-*.whl"))
    wanted = vendor / wheel.file_name
    stale.discard(wanted)
    for path in stale:
        path.unlink()
    is_changed = _write_if_different(wanted, wheel.data)
    lock = project / "requirements.lock"
    locked = lock_with(read_capped(lock, _MAX_FILE_BYTES).decode(), wheel, where=lock)
    return _write_if_different(lock, locked.encode()) or is_changed or bool(stale)


def _write_if_different(path: Path, data: bytes) -> bool:
    if path.is_file() and path.read_bytes() == data:
        return False
    write_atomic(path, data)
    return True


def lock_with(text: str, wheel: Wheel, *, where: Path) -> str:
    """Return the text of a lock with the wheel's version and its one hash in its entry.

    Raises:
        NotFound: it has no entry for the distribution.
    """
    entry = re.compile(
        rf"^{re.escape(wheel.distribution)}==[^\s\\]+(?:[ \t]*\\\n[ \t]+|[ \t]+)--hash=\S+$",
        re.MULTILINE,
    )
    pinned = f"{wheel.distribution}=={wheel.version} \\\n    --hash={wheel.digest}"
    replaced, count = entry.subn(lambda _: pinned, text)
    if count != 1:
        raise NotFound(
            f"`{where}` has no entry for {wheel.distribution}; it was left as it was",
            why=f"expected {wheel.distribution}==VERSION with one --hash",
            next=["add such a line, with any hash"],
        )
    return replaced
