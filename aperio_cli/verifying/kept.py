"""Artifacts that were downloaded before, kept in the cache under their digest.

A kept file is worth no more than its digest: it is read into the private copy and hashed there as
any download is, and one that is something else by now is dropped. So nothing has to be known of
who wrote it, and it is written without waiting for the disk. Beside it stands what has arrived of
one that is not whole yet.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from aperio_cli.errors import AperioError
from aperio_cli.files import reading
from aperio_cli.files.trimming import Bound, note_use, trim
from aperio_cli.models.artifact import SUFFIX
from aperio_cli.net.part import Part

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from aperio_cli.models.digest import Digest

_CHUNK_BYTES: Final = 1024 * 1024
_PART: Final = ".part"
_DAY_S: Final = 24 * 60 * 60.0
ARTIFACTS_BOUND: Final = Bound(4 * 1024**3, 90 * _DAY_S)
"""What is kept of artifacts, whole and cut, besides those that stay whatever the bound is."""


@dataclass(frozen=True, slots=True)
class KeptArtifacts:
    """The artifacts in one folder, which may not be there yet, and may be removed at any time."""

    folder: Path

    def copy_into(self, digest: Digest, sink: BinaryIO, limit_bytes: int) -> bool:
        """Write the artifact of this digest into an open file; return whether it is kept.

        When it is not, the file is empty.

        Args:
            digest: what the artifact has to be.
            sink: a file at its beginning that can be written, sought and truncated.
            limit_bytes: the longest artifact.

        Raises:
            OSError: the file cannot be written.
        """
        try:
            file = reading.open_regular(self._path(digest))
        except (OSError, AperioError):
            return False
        with file:
            if self._copied(file, sink, limit_bytes) == digest.hex:
                note_use(self._path(digest))
                return True
        sink.seek(0)
        sink.truncate()
        with contextlib.suppress(OSError):
            self._path(digest).unlink()
        return False

    @contextlib.contextmanager
    def part(self, digest: Digest) -> Iterator[Part | None]:
        """Hold what has arrived of an artifact; None when it cannot be had for this process alone.

        Args:
            digest: what the whole artifact has to be.
        """
        path = self._path(digest)
        with Part.opened(path.with_name(path.name + _PART), digest) as part:
            yield part

    def finish(self, part: Part, found: Digest) -> None:
        """Keep an artifact that has arrived wholly; one that is another is dropped.

        Args:
            part: what has arrived.
            found: the digest of it.
        """
        if found == part.digest:
            part.finish(self._path(found))
        else:
            part.remove()

    def clean(
        self, now_s: float, stays: Collection[Digest], bound: Bound = ARTIFACTS_BOUND
    ) -> None:
        """Bring what is kept within its bound.

        Args:
            now_s: the current moment, seconds since 1970.
            stays: artifacts that are kept however much there is.
            bound: what may be kept.
        """
        names = {self._path(digest).name for digest in stays}
        trim(self.folder, bound, now_s, lambda name, _: name in names)

    def _path(self, digest: Digest) -> Path:
        return self.folder / f"{digest.hex}{SUFFIX}"

    @staticmethod
    def _copied(file: BinaryIO, sink: BinaryIO, limit_bytes: int) -> str:
        """Copy up to a limit, and return the digest of what was copied."""
        found, left = hashlib.sha256(), limit_bytes + 1
        while chunk := file.read(min(_CHUNK_BYTES, left)):
            left -= len(chunk)
            found.update(chunk)
            sink.write(chunk)
        return found.hexdigest()
