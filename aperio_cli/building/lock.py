r"""requirements.lock: every dependency of a Python plugin, one version each, with its hashes.

The format is the part of pip's requirements file that pins and nothing else (pip documentation,
"Secure installs"): `name==version \` followed by `--hash=sha256:<hex> \` lines, and comments.
A name may have extras, as some tools write them: what they need has lines of its own. Options,
addresses and environment markers are refused: an option could name another index, and pip
evaluates a marker for the interpreter that runs it, not for the one built for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from aperio_cli.building.contents import VENDOR
from aperio_cli.errors.building import LockInvalid
from aperio_cli.errors.files import FileTooLarge
from aperio_cli.files.beneath import Beneath
from aperio_cli.models.digest import Digest
from aperio_cli.models.reading import Unreadable, text_of
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE_NAME = "requirements.lock"
MAX_BYTES = 1024 * 1024

# Core metadata: names and extras (PEP 508), and versions (PEP 440), local ones among them.
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?"
_PIN = re.compile(
    rf"(?P<name>{_NAME})\s*(?:\[\s*(?P<extras>{_NAME}(?:\s*,\s*{_NAME}){{0,30}})?\s*\])?\s*"
    r"==\s*(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]{0,98})(?P<rest>(?:\s+\S+)*)\s*",
    re.ASCII,
)
_HASH = re.compile(r"--hash=sha256:(?P<hex>[0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Pin:
    """One locked dependency.

    Attributes:
        name: normalized as indexes do: lower case, runs of `-_.` as one hyphen (PEP 503).
        version: exactly this one.
        digests: of the files that may be used, at least one.
        extras: whose dependencies are wanted, too; normalized.
    """

    name: str
    version: str
    digests: tuple[Digest, ...]
    extras: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"

    def to_requirement(self) -> str:
        """Return the pin as one line of a requirements file."""
        return " ".join([str(self), *(f"--hash={digest}" for digest in self.digests)])


@dataclass(frozen=True, slots=True)
class Lock:
    """The locked dependencies in the order of the file.

    Attributes:
        pins: one for each name.
        digest: of the file's bytes; equal locks give equal dependencies.
    """

    pins: tuple[Pin, ...]
    digest: Digest

    def to_requirements(self) -> str:
        """Return the lock as pip reads it, with nothing in it but pins."""
        return "".join(pin.to_requirement() + "\n" for pin in self.pins)


def normalized(name: str) -> str:
    """Return the name of a distribution as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(project: Path) -> Lock:
    """Return the lock of a project folder.

    Raises:
        LockInvalid: it is missing, longer than 1 MiB, or not as `parse_lock` wants it.
        FileNotRegular: a link, a folder, a pipe or a device stands in its place.
    """
    path = project / FILE_NAME
    try:
        with Beneath(project) as files:
            data = files.read(FILE_NAME, limit_bytes=MAX_BYTES)
    except FileNotFoundError:
        raise _invalid(path, "the file is missing") from None
    except FileTooLarge as error:
        raise _invalid(path, error.why) from error
    return parse_lock(data, path)


def parse_lock(data: bytes, path: Path) -> Lock:
    """Return the lock in these bytes.

    Args:
        data: contents of a requirements.lock.
        path: what to call the file in messages.

    Raises:
        LockInvalid: not UTF-8; or a line is not a pinned version (PEP 440) with SHA-256 hashes; or
            a name stands there twice.
    """
    try:
        text = text_of(data)
    except Unreadable as error:
        raise _invalid(path, str(error)) from error
    pins: dict[str, Pin] = {}
    for number, line in _logical_lines(text):
        pin = _parse(line, path, number)
        if pin.name in pins:
            raise _invalid(path, f"line {number}: {pin.name} is there twice")
        pins[pin.name] = pin
    return Lock(tuple(pins.values()), Digest.of(data))


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield lines with their continuations joined and comments dropped, numbered from 1."""
    parts: list[str] = []
    first = 0
    for number, raw in enumerate(text.splitlines(), start=1):
        line = re.sub(r"(^|\s)#.*", "", raw).strip()
        first = first if parts else number
        parts.append(line.removesuffix("\\").strip())
        if not line.endswith("\\"):
            if joined := " ".join(filter(None, parts)):
                yield first, joined
            parts = []
    if joined := " ".join(filter(None, parts)):
        yield first, joined


def _parse(line: str, path: Path, number: int) -> Pin:
    pin = _PIN.fullmatch(line)
    words = pin["rest"].split() if pin else []
    hashes = [_HASH.fullmatch(word) for word in words]
    if not pin or not all(hashes):
        shown = clean(line, limit=120)
        expected = "name==version with --hash=sha256:… and nothing else"
        raise _invalid(path, f"line {number}: expected {expected}\nreceived {shown}")
    if not hashes:
        raise _invalid(path, f"line {number}: {pin['name']}=={pin['version']} has no hash")
    try:
        Version(pin["version"])
    except InvalidVersion as error:
        raise _invalid(path, f"line {number}: {pin['version']} is no version (PEP 440)") from error
    digests = tuple(Digest(found["hex"]) for found in hashes if found)
    extras = tuple(normalized(extra.strip()) for extra in (pin["extras"] or "").split(",") if extra)
    return Pin(normalized(pin["name"]), pin["version"], digests, extras)


def _invalid(path: Path, why: str) -> LockInvalid:
    return LockInvalid(
        f"`{path}` cannot be used; nothing was built",
        why=why,
        next=[f"lock the dependencies with their hashes: {compile_command(path.parent)}"],
    )


def compile_command(project: Path) -> str:
    """Return the command that locks a project's dependencies, as messages show it."""
    vendored = f" --find-links {VENDOR}" if (project / VENDOR).is_dir() else ""
    options = f"--generate-hashes --python-version 3.11{vendored}"
    return f"`uv pip compile {options} pyproject.toml -o {FILE_NAME}`, in the project's folder"
