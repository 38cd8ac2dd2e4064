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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from aperio_cli.errors.trust import PublisherFileInvalid
from aperio_cli.models.publisher import ANY_NAMESPACE, LOCAL_DOMAIN
from aperio_cli.models.publisher_table import parse_publisher
from aperio_cli.models.reading import Bounds, described, parse_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aperio_cli.models.publisher import PublisherRule
    from aperio_cli.models.reading import Table

SCHEMA: Final = "aperio.publishers/v1"
MAX_PUBLISHER_FILE_BYTES: Final = 1024 * 1024


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
    bounds = Bounds(MAX_PUBLISHER_FILE_BYTES)
    table = parse_json(data, bounds, functools.partial(_fail, source))
    if table.values.get("schema") != SCHEMA:
        table.fail("schema", f"expected {SCHEMA}")
    table.check_keys(("schema", "name", "serial", "expires", "publishers"))
    return PublisherList(
        name=table.text("name") if "name" in table else "",
        serial=table.integer("serial", least=1),
        expires=table.moment("expires", is_end=True),
        rules=tuple(
            _publisher(publisher, domains=domains, source=source)
            for publisher in table.tables("publishers")
        ),
    )


def _publisher(table: Table, *, domains: Sequence[str], source: str) -> PublisherRule:
    rule = parse_publisher(table, domains=domains, stated_in=source)
    if rule.namespace == ANY_NAMESPACE:
        table.fail("namespace", "a publisher file names each namespace")
    if rule.domain == LOCAL_DOMAIN:
        table.fail("domain", "the local trust domain is each machine's own")
    return rule


def _fail(source: str, key: str, why: str) -> NoReturn:
    raise PublisherFileInvalid(
        f"`{source}` was not accepted: it is not a file of publishers",
        why=described(key, why),
        next=["tell whoever signs the file"],
    )
