"""What differs between two trusted roots, by the names of authorities and logs."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aperio_cli.models.digest import Digest
from aperio_cli.models.reading import Bounds, Unreadable, read_json
from aperio_cli.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

# sigstore_trustroot.proto, TrustedRoot: its lists, and what one entry is called.
_KINDS = {
    "certificateAuthorities": "certificate authority",
    "ctlogs": "certificate log",
    "tlogs": "log",
    "timestampAuthorities": "timestamp authority",
}
_FOREVER = "9999"  # behind every date in text order
_NAME_CHARACTERS = 120


@dataclass(frozen=True, slots=True)
class Change:
    """One authority or log that two roots do not trust alike.

    Attributes:
        what: `added`, `removed`, `ended` (its last moment is earlier) or `changed`.
        name: kind, address and the beginning of its key's digest.
        until: its last moment in the newer root; empty when it is open or it is not there.
    """

    what: str
    name: str
    until: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the change as reports carry it."""
        return {"what": self.what, "name": self.name, "until": self.until}

    def __str__(self) -> str:
        return f"{self.what} {self.name}" + (f" (until {self.until})" if self.until else "")


@dataclass(frozen=True, slots=True)
class _Period:
    start: str
    end: str


def compare_roots(before: bytes, after: bytes) -> tuple[Change, ...]:
    """Return what the newer root trusts otherwise than the older one; kinds in their usual order.

    Args:
        before: sigstore_trustroot.proto's TrustedRoot as JSON; empty, or one that cannot be read,
            trusts nothing.
        after: the newer one.
    """
    older, newer = dict(_entries(before)), dict(_entries(after))
    return tuple(
        change
        for name in dict.fromkeys((*newer, *older))
        if (change := _compare(name, older.get(name), newer.get(name)))
    )


def _compare(name: str, before: _Period | None, after: _Period | None) -> Change | None:
    if after is None:
        return Change("removed", name)
    until = "" if after.end == _FOREVER else after.end
    if before is None:
        return Change("added", name, until)
    if before == after:
        return None
    # A later beginning takes trust away too.
    is_narrower = after.end < before.end or after.start > before.start
    return Change("ended" if is_narrower else "changed", name, until)


def _entries(document: bytes) -> Iterator[tuple[str, _Period]]:
    try:
        root = read_json(document, Bounds(len(document)))
    except Unreadable:
        return
    if not isinstance(root, dict):
        return
    for kind, called in _KINDS.items():
        for entry in root.get(kind, []):
            place = one_line(
                entry.get("uri") or entry.get("baseUrl") or "unnamed", limit=_NAME_CHARACTERS
            )
            yield f"{called} {place} (key {_key_of(entry)[:8]})", _period_of(entry)


def _key_of(entry: dict[str, Any]) -> str:
    """Return the sha256 of a log's key, or of an authority's chain, in hex."""
    chain = entry.get("certChain", {}).get("certificates", [])
    parts = [part["rawBytes"] for part in chain] or [entry["publicKey"]["rawBytes"]]
    return Digest.of(b"".join(base64.b64decode(part) for part in parts)).hex


def _period_of(entry: dict[str, Any]) -> _Period:
    period = entry.get("publicKey", entry).get("validFor") or {}
    return _Period(period.get("start", ""), period.get("end", _FOREVER))
