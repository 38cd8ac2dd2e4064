from datetime import UTC, datetime, timedelta

import pytest
from aperio_plugin import errors
from aperio_plugin.connector import Config

from box_connector.settings import Settings

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def parse(**values: object) -> Settings:
    return Settings.parse(Config({"enterprise_id": "8675309"} | values), NOW)


def test_only_the_enterprise_is_needed() -> None:
    settings = parse()
    assert settings.enterprise_id == "8675309"
    assert settings.base_url == "https://api.box.com"
    assert settings.created_after is None
    assert settings.internal_domains == frozenset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        (" ", None),
        ("2026-01-31T00:00:00Z", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T00:00:00-08:00", datetime(2026, 1, 31, 8, tzinfo=UTC)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2001-01-01", NOW - timedelta(days=365)),
    ],
)
def test_created_after_is_a_time_within_what_box_keeps(
    text: str, expected: datetime | None
) -> None:
    assert parse(created_after=text).created_after == expected


def test_internal_domains_are_split_and_lowered() -> None:
    settings = parse(internal_domains=" Example.com, @example.org,, ")
    assert settings.internal_domains == {"example.com", "example.org"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("enterprise_id", None),
        ("enterprise_id", 8675309),
        ("base_url", 7),
        ("created_after", "soon"),
        ("created_after", "2027-01-01"),
        ("created_after", "0001-01-01T00:00:00+14:00"),
        ("created_after", 7),
        ("internal_domains", "example"),
        ("internal_domains", "https://example.com"),
        ("internal_domains", ["example.com"]),
    ],
)
def test_a_malformed_setting_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(errors.InvalidConfig) as caught:
        parse(**{key: value})
    assert caught.value.attribute == (key,)
