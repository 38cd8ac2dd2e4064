"""The list of a tree's files, with modes and digests.

Format of `files.sha256`: one line for each regular file below a folder,
`<sha256 in hex>  <0755|0644>  <path>` and a line feed. Paths are relative, parts joined by `/`;
lines are in the order of the paths' UTF-8 bytes. The tree digest is `t1:` and the sha256 in hex
of exactly these bytes. Folders are not listed, so an empty one makes no difference.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import re
import stat
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aperio_cli.errors.files import (
    FilesChanged,
    TreeNotPlain,
)
from aperio_cli.files.reading import FOLDER_FLAGS, READ_FLAGS, kind_of
from aperio_cli.text import clean, show_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path


FILE_MODES = (0o644, 0o755)
"""The only modes that a file of an artifact, or of an installed tree, has."""

_NAMED_AT_MOST = 5
_SHOWN_CHARACTERS = 100  # of a path that is longer than one can be
_BUFFER_BYTES = 256 * 1024  # what is read is hashed while it is still in the processor's cache
_ODD_NAME = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_LARGE = (".so",)  # read first, so that no thread is left with one when the other has ended
_helper = threading.Lock()
"""Held by the one check that has a second thread: several keep the processors busy anyhow."""
_TREE_LINE = re.compile(rb"([0-9a-f]{64})  (0755|0644)  ([^\x00-\x1f\x7f]+)\n")


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file of a tree.

    Attributes:
        path: relative to the tree, parts joined by `/`.
        mode: permission bits, such as 0o644.
        sha256: digest of the contents, 64 lower-case hex digits.
    """

    path: str
    mode: int
    sha256: str


def list_tree(root: Path) -> list[FileRecord]:
    """Return every file below a folder, in the order of the paths' UTF-8 bytes.

    Raises:
        TreeNotPlain: it holds a link, a device, or a name with control characters or not UTF-8;
            folders are nested too deeply; or `root` itself is a link.
        OSError: something is missing or may not be read.
    """
    scan = _scan(root, {})
    _refuse_oddities(root, scan.oddities)
    return scan.records


def file_names(root: Path) -> list[str]:
    """Return the path of every file below a folder, relative to it, without recursion.

    Raises:
        TreeNotPlain: as `list_tree`.
        OSError: a folder may not be read.
    """
    oddities: list[str] = []
    descriptor = os.open(root, FOLDER_FLAGS)
    try:
        names = list(_walk(descriptor, oddities))
    finally:
        os.close(descriptor)
    _refuse_oddities(root, oddities)
    return names


def _refuse_oddities(root: Path, oddities: Sequence[str]) -> None:
    if oddities:
        raise TreeNotPlain(
            f"`{root}` holds what is not a plain file",
            why=_at_most_five(oddities),
            next=["put regular files in their place, or leave them out"],
        )


def format_tree(records: Iterable[FileRecord]) -> bytes:
    """Return the contents of `files.sha256` for these files, in whatever order they come.

    Raises:
        ValueError: a mode is neither 0644 nor 0755.
    """
    lines = []
    for record in sorted(records, key=_path_bytes):
        if record.mode not in FILE_MODES:
            raise ValueError(f"mode {record.mode:04o} of {record.path!r} cannot be listed")
        lines.append(_line(record))
    return "".join(lines).encode()


def tree_digest(text: bytes) -> str:
    """Return the tree digest, `t1:<hex>`, of the contents of a `files.sha256`."""
    return f"t1:{hashlib.sha256(text).hexdigest()}"


def parse_tree(text: bytes) -> list[FileRecord]:
    """Return the files that the contents of a `files.sha256` list, in their order.

    Raises:
        FilesChanged: the text is not what `format_tree` writes: another form, an order that is
            not bytewise, a path twice, or one that leads outside.
    """
    records = [_parse_line(line) for line in text.splitlines(keepends=True)]
    keys = [_path_bytes(record) for record in records]
    if any(second <= first for first, second in itertools.pairwise(keys)):
        raise _list_damaged("its lines are not in the order of their paths")
    return records


def compare_tree(
    root: Path, expected: bytes, *, subject: str, digests: Mapping[str, str] | None = None
) -> None:
    """Check that the files below `root` are exactly those listed; runs before every launch.

    Contents, modes and the set of files are compared; 300 files of 25 MB take some 15 ms.

    Args:
        root: the folder.
        expected: the contents of `files.sha256`, which the caller has checked against the
            receipt's tree digest.
        subject: the installed thing, for the message: "`acme/box-connector` 1.2.0".
        digests: SHA-256 in hexadecimal, by path, of files that the caller has just read to the
            end and uses only what was read of: they are not read a second time.

    Raises:
        FilesChanged: names at most five files that differ, are missing, or are new.
        OSError: a file may not be read.
    """
    try:
        scan = _scan(root, digests or {})
    except FileNotFoundError:
        scan = _Scan()
    found = "".join(map(_line, scan.records)).encode()
    if found == expected and not scan.oddities:
        return
    differences = sorted(scan.oddities + _differences(parse_tree(expected), scan.records))
    count = f"{len(differences)} file{'s' if len(differences) > 1 else ''}"
    raise FilesChanged(
        f"{subject} is not as it was installed: {count} changed; nothing was executed",
        why=_at_most_five(differences),
        next=[
            "install it again, which brings back the published files",
            "if nobody changed these files on purpose, find out who can write to this account",
        ],
    )


@dataclass(slots=True)
class _Scan:
    """What is below a folder: records in the order of the format, and oddities in words."""

    records: list[FileRecord] = field(default_factory=list)
    oddities: list[str] = field(default_factory=list)


def _scan(root: Path, digests: Mapping[str, str]) -> _Scan:
    scan = _Scan()
    try:
        descriptor = os.open(root, FOLDER_FLAGS)
    except NotADirectoryError:  # also what O_NOFOLLOW with O_DIRECTORY answers for a link
        scan.oddities.append(f"{root}  is not a folder")
        return scan
    try:
        paths = list(_walk(descriptor, scan.oddities))
        _hash_all(descriptor, paths, digests, scan)
    finally:
        os.close(descriptor)
    scan.records.sort(key=_path_bytes)
    return scan


def _walk(root: int, oddities: list[str]) -> Iterator[str]:
    """Yield paths of everything below that looks like a file; the rest goes to the oddities."""
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            descriptor = os.open(folder or ".", FOLDER_FLAGS, dir_fd=root)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            oddities.append(_nested(folder))
            continue
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(path)
                    elif not entry.is_file(follow_symlinks=False):
                        mode = entry.stat(follow_symlinks=False).st_mode
                        oddities.append(f"{show_path(path)}  is {kind_of(mode)}")
                    elif not _is_listable(path):
                        oddities.append(f"{show_path(path)}  has a name that cannot be listed")
                    else:
                        yield path
        finally:
            os.close(descriptor)


def _nested(path: str) -> str:
    return f"{clean(path, limit=_SHOWN_CHARACTERS)}  is nested too deeply"


def _is_listable(path: str) -> bool:
    return _ODD_NAME.search(path) is None


def _hash_all(root: int, paths: Sequence[str], digests: Mapping[str, str], scan: _Scan) -> None:
    """Fill the scan's records from two threads: reading and hashing release the GIL.

    Of several checks at the same time one has two; for the others they would only take turns.
    """
    large = [path for path in paths if path.endswith(_LARGE)]
    others = (path for path in paths if not path.endswith(_LARGE))
    remaining = iter([*large, *others])  # advancing a list's iterator is atomic
    failures: list[OSError] = []

    def work() -> None:
        buffer = memoryview(bytearray(_BUFFER_BYTES))
        try:
            for path in remaining:
                record = _record(root, path, digests.get(path), buffer)
                if isinstance(record, FileRecord):
                    scan.records.append(record)
                else:
                    scan.oddities.append(record)
        except OSError as error:
            failures.append(error)

    if _helper.acquire(blocking=False):
        try:
            thread = threading.Thread(target=work)
            thread.start()
            work()
            thread.join()
        finally:
            _helper.release()
    else:
        work()
    if failures:
        raise failures[0]


def _record(root: int, path: str, digest: str | None, buffer: memoryview) -> FileRecord | str:
    """Return the record of one file, or what is odd about it when it was swapped since it was seen.

    It is read unless its digest is known.
    """
    try:
        descriptor = os.open(path, READ_FLAGS, dir_fd=root)
    except (FileNotFoundError, NotADirectoryError):
        return f"{path}  disappeared while it was read"
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:
            return f"{path}  became a link or a device while it was read"
        if error.errno == errno.ENAMETOOLONG:
            return _nested(path)
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return f"{path}  is {kind_of(status.st_mode)}"
        digest = digest or _sha256(descriptor, status.st_size, buffer)
        return FileRecord(path, stat.S_IMODE(status.st_mode), digest)
    finally:
        os.close(descriptor)


def _sha256(descriptor: int, size_bytes: int, buffer: memoryview) -> str:
    """Return the SHA-256 of a file, in hexadecimal, read into a buffer that is used again."""
    digest, done_bytes = hashlib.sha256(), 0
    while count := os.readv(descriptor, [buffer]):
        digest.update(buffer[:count])
        done_bytes += count
        # All that it has, and room for more: asked again it would say that this was the end.
        if count < len(buffer) and done_bytes == size_bytes:
            break
    return digest.hexdigest()


def _differences(expected: Sequence[FileRecord], found: Sequence[FileRecord]) -> list[str]:
    before = {record.path: record for record in expected}
    after = {record.path: record for record in found}
    lines = [f"{path}  is missing" for path in before.keys() - after.keys()]
    lines += [f"{path}  is new" for path in after.keys() - before.keys()]
    for path in before.keys() & after.keys():
        if before[path].sha256 != after[path].sha256:
            lines.append(f"{path}  has other contents")
        elif before[path].mode != after[path].mode:
            was, now = before[path].mode, after[path].mode
            lines.append(f"{path}  has mode {now:04o}, expected {was:04o}")
    return lines


def _at_most_five(lines: Sequence[str]) -> str:
    shown = sorted(lines)[:_NAMED_AT_MOST]
    if len(lines) > _NAMED_AT_MOST:
        shown.append(f"and {len(lines) - _NAMED_AT_MOST} more")
    return "\n".join(shown)


def _path_bytes(record: FileRecord) -> bytes:
    return record.path.encode()


def _line(record: FileRecord) -> str:
    return f"{record.sha256}  {record.mode:04o}  {record.path}\n"


def _parse_line(line: bytes) -> FileRecord:
    matched = _TREE_LINE.fullmatch(line)
    try:
        path = matched[3].decode() if matched else ""
    except UnicodeDecodeError:
        path = ""
    if not matched or not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise _list_damaged(f"not a line of it: {clean(line)}")
    return FileRecord(path, int(matched[2], 8), matched[1].decode())


def _list_damaged(why: str) -> FilesChanged:
    return FilesChanged(
        "the list of installed files, files.sha256, is damaged",
        why=why,
        next=["remove the plugin and install it again"],
    )
