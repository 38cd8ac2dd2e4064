"""Which edition a document that is kept was read in, for where a newer one has not been read.

A root may be read without all that it states: `install` reads neither the catalogue nor whom the
registry knows. Offline, what an earlier root stated of such a document still serves whoever only
looks, until that earlier edition has ended. Nothing is installed by it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from aperio_cli.models.reading import Bounds, parse_json
from aperio_cli.models.registry.documents import FileRef

if TYPE_CHECKING:
    from aperio_cli.models.reading import Table
    from aperio_cli.models.registry.edition import Edition
    from aperio_cli.registry.reader import Documents

_BOUNDS: Final = Bounds(4096)
_SUFFIX: Final = "#edition"
"""Behind an address: no document has such a one, since no server is ever told of it."""


@dataclass(frozen=True, slots=True)
class Older:
    """A document of an older edition than the newest that was read.

    Attributes:
        path: which one.
        edition: that it is of.
        newest: the edition whose own document was not read.
    """

    path: str
    edition: Edition
    newest: Edition

    def to_json(self) -> dict[str, object]:
        """Return it as reports carry it."""
        return {
            "document": self.path,
            "registry": self.edition.registry,
            "epoch": self.edition.epoch,
            "serial": self.edition.serial,
            "expires_at": self.edition.expires_at,
            "newest_serial": self.newest.serial,
        }

    def __str__(self) -> str:
        """Return what people are told."""
        return (
            f"{self.path} of {self.edition.registry} is that of edition {self.edition.serial}:"
            f" of {self.newest.serial}, the newest that was seen, it has not been read;"
            " once without `--offline` reads it"
        )


@dataclass(frozen=True, slots=True)
class Stated:
    """What an accepted root stated of a document that was then read.

    Attributes:
        ref: what the document is.
        rule: by what the root was accepted; one that was by another counts no more.
        epoch: of the edition.
        serial: of the edition.
        expires_at: its end, RFC 3339 in UTC.
    """

    ref: FileRef
    rule: str
    epoch: int
    serial: int
    expires_at: str

    @classmethod
    def of(cls, ref: FileRef, rule: str, edition: Edition) -> Stated:
        """Return what an edition states of a document."""
        return cls(ref, rule, edition.epoch or 0, edition.serial or 0, edition.expires_at)

    def keep(self, documents: Documents, path: str) -> None:
        """Keep it beside the document, where it is not kept yet."""
        place = documents.locate(path) + _SUFFIX
        stated = self.ref.to_json() | {
            "rule": self.rule,
            "epoch": self.epoch,
            "serial": self.serial,
            "expires_at": self.expires_at,
        }
        data = json.dumps(stated).encode()
        if documents.kept(place, _BOUNDS.size_bytes) != data:
            documents.keep(place, data)

    @classmethod
    def find(cls, documents: Documents, path: str) -> Stated | None:
        """Return what is kept of a document; None for nothing that can be read."""
        data = documents.kept(documents.locate(path) + _SUFFIX, _BOUNDS.size_bytes)
        if data is None:
            return None
        try:
            return cls._parse(parse_json(data, _BOUNDS, _fail))
        except ValueError:
            return None

    @classmethod
    def _parse(cls, table: Table) -> Stated:
        return cls(
            ref=FileRef.from_json(table),
            rule=table.recorded("rule"),
            epoch=table.integer("epoch"),
            serial=table.integer("serial"),
            expires_at=table.moment("expires_at"),
        )

    def serves(self, rule: str, newest: Edition, now: str) -> bool:
        """Return whether it may stand in for a newest edition: of the same registry, not ended."""
        is_earlier = (self.epoch, self.serial) < (newest.epoch or 0, newest.serial or 0)
        return self.rule == rule and is_earlier and now <= self.expires_at

    def read(self, documents: Documents, path: str) -> bytes | None:
        """Return the document itself; None when it is kept no more."""
        ref = self.ref
        return documents.kept(documents.locate(path), ref.size_bytes, ref.digest)


def _fail(key: str, why: str) -> NoReturn:
    raise ValueError(f"{key}: {why}")
