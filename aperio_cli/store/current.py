"""current.json: the version of a plugin that is used, and those that were before it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aperio_cli.errors import AperioError
from aperio_cli.files import owning, reading
from aperio_cli.models.newer import is_ours, refuse_newer
from aperio_cli.models.plugin_id import check_version
from aperio_cli.models.reading import Bounds, Unreadable, read_json

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME: Final = "current.json"
_SCHEMA: Final = 1
_BOUNDS: Final = Bounds(4096)
_MOST_BEFORE: Final = 16


@dataclass(frozen=True, slots=True)
class Current:
    """Which version is used.

    Attributes:
        version: that one.
        before: those that were used before it, the latest last, each once; None in a file of
            before there was such a list.
    """

    version: str
    before: tuple[str, ...] | None = ()

    def followed_by(self, version: str) -> Current:
        """Return what it is once another version is used."""
        kept = [each for each in self.before or () if each not in {version, self.version}]
        return Current(version, tuple([*kept, self.version][-_MOST_BEFORE:]))

    def gone_back_to(self, version: str) -> Current:
        """Return what it is once a version is gone back to; one not used before follows."""
        known = self.before or ()
        if self.before is not None and version not in known:
            return self.followed_by(version)
        kept = known[: known.index(version)] if version in known else ()
        return Current(version, kept)

    def to_bytes(self) -> bytes:
        """Return the contents of the file."""
        document = {"schema": _SCHEMA, "version": self.version, "before": list(self.before or ())}
        return json.dumps(document, sort_keys=True).encode() + b"\n"


def read_current(path: Path) -> Current | None:
    """Return what the file says; None when it is not there, or cannot be read.

    What to use is not known then.

    Raises:
        RecordNewer: a newer aperio made it.
        PathShared: somebody else may change it.
    """
    owning.require_own(path)
    try:
        document = read_json(reading.read_capped(path, _BOUNDS.size_bytes), _BOUNDS)
    except (OSError, AperioError, Unreadable):
        return None
    if not isinstance(document, dict):
        return None
    schema = document.get("schema", _SCHEMA)  # written before it had one
    refuse_newer(path, schema, _SCHEMA)
    if not is_ours(schema, _SCHEMA):
        return None
    version = document.get("version")
    return Current(str(version), _before(document)) if is_version(version) else None


def _before(document: dict[str, object]) -> tuple[str, ...] | None:
    stated = document.get("before")
    return tuple(filter(is_version, stated)) if isinstance(stated, list) else None


def is_version(found: object) -> bool:
    """Return whether something is a version."""
    try:
        return isinstance(found, str) and bool(check_version(found))
    except AperioError:
        return False
