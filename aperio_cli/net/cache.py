"""Answers of servers, kept on disk with what they can be asked about again with.

A file's first line says which address it is of, its marks, and the digest of the body behind it: a
body that is not that one, or of another address, is no answer, and neither is any in a folder that
others may write to.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aperio_cli.errors import AperioError
from aperio_cli.files import owning, reading, writing
from aperio_cli.files.trimming import note_use
from aperio_cli.models.digest import Digest
from aperio_cli.models.newer import is_ours
from aperio_cli.models.reading import Bounds, Unreadable, read_json

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.net.model import Fetched

_SCHEMA: Final = 1
_MAX_HEAD_BYTES: Final = 8192


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An earlier answer.

    Attributes:
        body: what it was.
        etag: what it was marked with; None for nothing.
        last_modified: when it was last changed, as the server said; None when it did not.
    """

    body: bytes
    etag: str | None
    last_modified: str | None


@dataclass(frozen=True, slots=True)
class AnswerCache:
    """The answers in one folder, which is made when missing and may be removed at any time."""

    folder: Path

    def find(self, url: str, limit_bytes: int) -> KeptAnswer | None:
        """Return the answer that is kept of an address; None for none within the limit.

        One that somebody else may have put there is none: nothing else holds a document whose
        digest nobody knows.
        """
        try:
            owning.require_own(self.folder)
            data = reading.read_capped(self._file(url), limit_bytes + _MAX_HEAD_BYTES)
        except (OSError, AperioError):
            return None
        line, _, body = data.partition(b"\n")
        head = _head(line)
        is_it = is_ours(head.get("schema"), _SCHEMA) and head.get("url") == url
        if not is_it or head.get("sha256") != Digest.of(body).hex or len(body) > limit_bytes:
            return None
        note_use(self._file(url))
        return KeptAnswer(body, _mark(head, "etag"), _mark(head, "last_modified"))

    def keep(self, url: str, body: bytes, fetched: Fetched) -> None:
        """Keep an answer in place of the one before.

        Raises:
            DiskFull, FolderNotPrivate, OSError: it cannot be written.
        """
        head = {
            "schema": _SCHEMA,
            "url": url,
            "etag": fetched.etag,
            "last_modified": fetched.last_modified,
            "sha256": fetched.digest.hex,
        }
        writing.ensure_own(self.folder)
        data = json.dumps(head).encode() + b"\n" + body
        with writing.AsideFile(self._file(url), mode=0o600) as aside:
            aside.file.write(data)
            aside.commit(durable=False)  # what a power failure leaves of it has another digest

    def _file(self, url: str) -> Path:
        return self.folder / hashlib.sha256(url.encode("utf-8", "replace")).hexdigest()


def _head(line: bytes) -> dict[str, Any]:
    try:
        found = read_json(line, Bounds(_MAX_HEAD_BYTES))
    except Unreadable:
        return {}
    return found if isinstance(found, dict) else {}


def _mark(head: dict[str, Any], key: str) -> str | None:
    mark = head.get(key)
    return mark if isinstance(mark, str) and mark.isprintable() and mark.isascii() else None
