"""A copy of exactly what would be packed, which is built from and run from.

The contents are read below a folder descriptor, through no link, and once: what is looked
through for secrets is what is packed, and what runs in development is what is installed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from typing import TYPE_CHECKING, BinaryIO

from aperio_cli.files.beneath import Beneath
from aperio_cli.files.reading import hash_file

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# `#!`, ELF, and Mach-O of 32 and 64 bits and for several processors.
_PROGRAMS = (
    b"#!",
    b"\x7fELF",
    b"\xfe\xed\xfa\xce",
    b"\xce\xfa\xed\xfe",
    b"\xfe\xed\xfa\xcf",
    b"\xcf\xfa\xed\xfe",
    b"\xca\xfe\xba\xbe",
)
_MODULE = ".py"


def make_view(project: Path, names: Iterable[str], destination: Path) -> None:
    """Copy files of a project below a new folder, each with mode 0755 or 0644.

    Args:
        project: the project's folder.
        names: the files' paths in it, parts joined by `/`.
        destination: the folder to make; it must not exist.

    Raises:
        FileNotRegular: a link stands at or above one of the paths.
        OSError: a file is gone or may not be read; the folder cannot be written.
    """
    destination.mkdir()
    with Beneath(project) as files:
        for name in names:
            target = destination / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with files.open_file(*name.split("/")) as source, target.open("xb") as copy:
                mode = mode_of(name, source)
                shutil.copyfileobj(source, copy)
                os.fchmod(copy.fileno(), mode)


def content_digest(folder: Path, names: Iterable[str], *circumstances: str) -> str:
    """Return a digest of files with the modes they are packed with, and of what else matters.

    Args:
        folder: a project, or a view of one.
        names: the files' paths in it.
        circumstances: whatever else decides what is made of them.

    Raises:
        FileNotRegular, OSError: as `make_view`.
    """
    digest = hashlib.sha256("\n".join(circumstances).encode())
    with Beneath(folder) as files:
        for name in names:
            with files.open_file(*name.split("/")) as source:
                mode = mode_of(name, source)
                contents = hash_file(source).hex
            digest.update(b"\0%s\0%o %s" % (os.fsencode(name), mode, contents.encode()))
    return digest.hexdigest()


def mode_of(name: str, source: BinaryIO) -> int:
    """Return the mode that a file is packed with; it is read from its beginning again.

    0755 if its owner may execute it and it begins like a program: on some file systems everything
    may be executed. A module never is, whatever its first line.
    """
    may_be = os.fstat(source.fileno()).st_mode & stat.S_IXUSR and not name.endswith(_MODULE)
    if not may_be:
        return 0o644
    head = source.read(max(map(len, _PROGRAMS)))
    source.seek(0)
    return 0o755 if head.startswith(_PROGRAMS) else 0o644
