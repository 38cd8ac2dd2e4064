"""The operator's configuration, parsed once."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Self

from aperio_plugin import errors
from aperio_plugin.connector import Config
from aperio_plugin.times import parse_time

from box_connector.client import PUBLIC_BASE_URL

HISTORY_RETENTION: Final = timedelta(days=365)  # Box's guide "Stream Types"
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
_ZONE: Final = re.compile(r"([Zz]|[+-]\d\d(:?\d\d)?)$")
_DOMAIN: Final = re.compile(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a call needs to know.

    Attributes:
        enterprise_id: the Box enterprise, as the operator wrote it.
        base_url: Box's API.
        created_after: where a backfill begins; None: no backfill.
        internal_domains: the enterprise's mail domains in lower case.
    """

    enterprise_id: str
    base_url: str
    created_after: datetime | None
    internal_domains: frozenset[str]

    @classmethod
    def parse(cls, config: Config, now: datetime) -> Self:
        """Read the configuration object.

        Raises:
            errors.InvalidConfig: a value that is missing or malformed; it names the key.
        """
        return cls(
            enterprise_id=config.text("enterprise_id").strip(),
            base_url=config.text("base_url", PUBLIC_BASE_URL).strip(),
            created_after=_created_after(config.text("created_after", "").strip(), now),
            internal_domains=_domains(config.text("internal_domains", "")),
        )


def _created_after(text: str, now: datetime) -> datetime | None:
    """Give the time, or None for no text; not further back than Box keeps events."""
    if not text:
        return None
    try:
        time = parse_time(_with_zone(text))
    except ValueError:
        raise errors.InvalidConfig(
            "created_after must be a time such as 2026-01-31T00:00:00Z", field="created_after"
        ) from None
    if time > now:
        raise errors.InvalidConfig("created_after is in the future", field="created_after")
    return max(time, now - HISTORY_RETENTION)


def _with_zone(text: str) -> str:
    """Give a date, or a time without a zone, as a time in UTC."""
    if _DATE.fullmatch(text):
        return f"{text}T00:00:00Z"
    return text if _ZONE.search(text) else f"{text}Z"


def _domains(text: str) -> frozenset[str]:
    domains = {part.strip().lower().removeprefix("@") for part in text.split(",")} - {""}
    for domain in sorted(domains):
        if not _DOMAIN.fullmatch(domain):
            raise errors.InvalidConfig(
                "internal_domains must be mail domains, such as example.com, example.org",
                field="internal_domains",
            )
    return frozenset(domains)
