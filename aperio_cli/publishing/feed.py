"""`feed.atom`: what was published and withdrawn lately, as feed readers take it (RFC 4287).

Addresses in it are relative: a registry does not know where it is served from.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aperio_cli.publishing.edition import Edition
    from aperio_cli.publishing.rendering import Row

_ATOM: Final = "http://www.w3.org/2005/Atom"
_ENTRIES: Final = 100
# A tag URI (RFC 4151) names a thing without saying where it is.
_TAG: Final = "tag:aperio.io,2026:registry"
_Event = tuple[str, str, str, str, str]


def feed(rows: Iterable[Row], edition: Edition) -> bytes:
    """Return the feed of the newest events, newest first."""
    events = (
        (at, row.id, version, state, text)
        for row in rows
        for at, version, state, text in row.events
    )
    newest = heapq.nlargest(_ENTRIES, events)
    name = f":{edition.name}" if edition.name else ""
    ET.register_namespace("", _ATOM)
    root = _element("feed")
    _add(root, "id", _TAG + name)
    _add(root, "title", f"Plugins of the registry {edition.name}".rstrip())
    _add(root, "updated", newest[0][0] if newest else edition.updated_at)
    _add(root, "link", href="feed.atom", rel="self")
    _add(_add(root, "author"), "name", edition.name or "aperio registry")
    for event in newest:
        _add_entry(root, name, event)
    return b'<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root) + b"\n"


def _add_entry(root: ET.Element, name: str, event: _Event) -> None:
    at, plugin, version, state, text = event
    what = "" if state == "active" else f": {state}"
    entry = _add(root, "entry")
    _add(entry, "id", f"{_TAG}{name}:{plugin}@{version}:{state}")
    _add(entry, "title", f"{plugin} {version}{what}")
    _add(entry, "updated", at)
    _add(entry, "link", href=f"plugins/{plugin}.json", rel="alternate", type="application/json")
    _add(entry, "summary", text)


def _element(tag: str) -> ET.Element:
    return ET.Element(f"{{{_ATOM}}}{tag}")


def _add(parent: ET.Element, tag: str, text: str = "", **attributes: str) -> ET.Element:
    child = ET.SubElement(parent, f"{{{_ATOM}}}{tag}", attributes)
    child.text = text or None
    return child
