"""Publisher files: JSON in which somebody whom the operator named states publishers.

Format `aperio.publishers/v1` (docs/reference/configuration.md, "Publisher files"):

    {"schema": "aperio.publishers/v1", "serial": 7, "expires": "2027-01-01T00:00:00Z",
     "publishers": [{"namespace": "acme", "domain": "public", ...}]}

A signer who keeps several such files gives each a `name`. The keys of a publisher are those of
`[[publishers]]`. Publishers are named one by one, so `*` is none; and the local trust domain is
each machine's own, so nobody else speaks for it.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from aperio_cli.errors.trust import PublisherFileInvalid
from aperio_cli.models.publisher import ANY_NAMESPACE, LOCAL_DOMAIN
from aperio_cli.models.publisher_table import parse_publisher
from aperio_cli.models.reading import Table
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aperio_cli.models.publisher import PublisherRule

SCHEMA: Final = "aperio.publishers/v1"
MAX_PUBLISHER_FILE_BYTES: Final = 1024 * 1024
_MAX_SERIAL = 2**53 - 1  # what every reader of JSON keeps exactly (RFC 8259, section 6)


@dataclass(frozen=True, slots=True)
class PublisherList:
    """What a publisher file states.

    Attributes:
        name: which of its signer's files it is; empty: the only one.
        serial: its number; rises whenever it says something else.
        expires: its last moment, RFC 3339 in UTC.
        rules: its publishers; their source is the file.
    """

    name: str
    serial: int
    expires: str
    rules: tuple[PublisherRule, ...]


def parse_publisher_file(data: bytes, *, domains: Sequence[str], source: str) -> PublisherList:
    """Return what the bytes of a publisher file state.

    Args:
        data: the file.
        domains: names of the trust domains known here.
        source: its path, for messages.

    Raises:
        PublisherFileInvalid: it is not JSON, or has a key that is unknown, missing, blank or of
            another type.
    """
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError) as error:
        raise _invalid(source, f"it is not JSON: {clean(error)}") from error
    if not isinstance(document, dict):
        raise _invalid(source, "expected a JSON object")
    table = Table(document, functools.partial(_fail, source, ""))
    if document.get("schema") != SCHEMA:
        table.fail("schema", f"expected {SCHEMA}")
    table.check_keys(("schema", "name", "serial", "expires", "publishers"))
    return PublisherList(
        name=table.text("name") if "name" in table else "",
        serial=_serial(table),
        expires=table.moment("expires", is_end=True),
        rules=tuple(
            _publisher(publisher, domains=domains, source=source)
            for publisher in _publishers(table, source)
        ),
    )


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that stands twice: readers differ in which of the two they take."""
    found = dict(pairs)
    if len(found) != len(pairs):
        message = "a key stands twice in one object"
        raise ValueError(message)
    return found


def _serial(table: Table) -> int:
    serial = table.values.get("serial")
    if not isinstance(serial, int) or isinstance(serial, bool) or not 1 <= serial <= _MAX_SERIAL:
        table.fail("serial", "expected a whole number above 0")
    return serial


def _publishers(table: Table, source: str) -> list[Table]:
    value = table.values.get("publishers")
    if not isinstance(value, list) or any(not isinstance(item, dict) for item in value):
        table.fail("publishers", "expected a list of objects")
    return [
        Table(item, functools.partial(_fail, source, f"publishers[{number}]."))
        for number, item in enumerate(value)
    ]


def _publisher(table: Table, *, domains: Sequence[str], source: str) -> PublisherRule:
    rule = parse_publisher(table, domains=domains, source=source)
    if rule.namespace == ANY_NAMESPACE:
        table.fail("namespace", "a publisher file names each namespace")
    if rule.domain == LOCAL_DOMAIN:
        table.fail("domain", "the local trust domain is each machine's own")
    return rule


def _fail(source: str, prefix: str, key: str, why: str) -> NoReturn:
    raise _invalid(source, f"`{prefix}{clean(key, limit=80)}`: {why}")


def _invalid(source: str, why: str) -> PublisherFileInvalid:
    return PublisherFileInvalid(
        f"`{source}` was not accepted: it is not a file of publishers",
        why=why,
        next=["tell whoever signs the file"],
    )
