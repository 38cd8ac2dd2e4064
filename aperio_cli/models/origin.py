"""Where a version came from, and for which platforms there is one of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aperio_cli.models.address import is_address
from aperio_cli.models.digest import Digest
from aperio_cli.models.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aperio_cli.models.reading import Table

REGISTRY: Final = "registry"
FILE: Final = "file"
ADDRESS: Final = "url"
ORIGINS: Final = (REGISTRY, FILE, ADDRESS)
_PLATFORM: Final = re.compile(r"([a-z0-9]{1,20})/([a-z0-9]{1,20})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a version came from.

    Attributes:
        kind: `registry`, `file` or `url`; the last two are artifacts that somebody named.
        place: the registry's folder or address, the file's absolute path, or the address.
    """

    kind: str
    place: str

    def to_json(self) -> dict[str, str]:
        """Return the origin as receipts carry it."""
        return {self.kind: self.place}

    @classmethod
    def from_json(cls, table: Table) -> Origin:
        """Return the origin that a table states, under exactly one of its three keys."""
        stated = [kind for kind in ORIGINS if kind in table]
        if len(stated) != 1:
            table.fail(
                stated[-1] if stated else REGISTRY, f"expected exactly one of {', '.join(ORIGINS)}"
            )
        return cls(stated[0], table.text(stated[0]))

    @classmethod
    def of_record(cls, table: Table) -> Origin | None:
        """Return the origin that a record carries; None for a kind of later releases."""
        stated = next((kind for kind in ORIGINS if kind in table), None)
        return cls(stated, table.recorded(stated)) if stated else None

    @classmethod
    def of_source(cls, source: str) -> Origin:
        """Return what a record of before origins meant by where its artifact came from."""
        return cls(ADDRESS if is_address(source) else FILE, source)


@dataclass(frozen=True, slots=True)
class Build:
    """One artifact of a version.

    Attributes:
        platform: what it runs on.
        digest: of its bytes.
        size_bytes: its length; None when nobody said it.
    """

    platform: Platform
    digest: Digest
    size_bytes: int | None = None

    def to_json(self) -> dict[str, object]:
        """Return the build as receipts and lock files carry it."""
        size = {} if self.size_bytes is None else {"size": self.size_bytes}
        return {"platform": str(self.platform), "sha256": self.digest.hex, **size}

    @classmethod
    def from_json(cls, table: Table) -> Build:
        """Return the build that a record carries."""
        return cls(
            platform=table.converted("platform", _platform),
            digest=table.converted("sha256", Digest),
            size_bytes=table.integer("size") if "size" in table else None,
        )


def _platform(text: str) -> Platform:
    """Return a platform, one that this release knows nothing of included.

    Raises:
        ValueError: the text is none.
    """
    found = _PLATFORM.fullmatch(text)
    if not found:
        message = "expected a platform, such as linux/amd64"
        raise ValueError(message)
    return Platform(found[1], found[2])


def joined(builds: Iterable[Build]) -> tuple[Build, ...]:
    """Return builds in the order of their platforms, the first of each counting."""
    found: dict[Platform, Build] = {}
    for build in builds:
        found.setdefault(build.platform, build)
    return tuple(found[platform] for platform in sorted(found))
