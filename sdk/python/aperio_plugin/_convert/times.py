"""When something happened, as the seconds and nanoseconds of a Timestamp.

Text is RFC 3339 with what services write beside it: `t` and `z` in lower case, a space instead of
the `T`, offsets without a colon or minutes. Digits beyond the ninth of a second are dropped. A
second `60` is the next second, which is what a leap second is to every clock without them. The
rule is the same in every SDK, and sdk/testdata/times.json holds them to it.
"""

from __future__ import annotations

import functools
import re
from datetime import UTC, date, datetime
from typing import Final

from aperio_plugin.limits import MAX_SECONDS, MIN_SECONDS

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_OF_NO_ZONE: Final = _EPOCH.replace(tzinfo=None)
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_NANOSECONDS: Final = 1_000_000_000
_DAY_S: Final = 86_400
_WHOLE_HOURS_S: Final = {"Z": 0} | {
    f"{sign}{hours:02}:00": factor * hours * 3600
    for sign, factor in (("+", 1), ("-", -1))
    for hours in range(24)
}
_MOST_PLAIN: Final = len("2026-01-01T00:00:00+00:00")
_MAX_QUOTED: Final = 64
_RFC3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ]([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)(?:[.,](\d+))?"
    r"(?:(?P<utc>[Zz])|(?P<sign>[+-])([01]\d|2[0-3])(?::?([0-5]\d))?)?",
    re.ASCII,
)


def time_fields(value: object) -> dict[str, int]:
    """Return the arguments of a Timestamp: of a datetime, of text, or of seconds since 1970.

    Raises:
        ValueError: it is none of these, has no time zone, or is outside of the years 1 to 9999 in
            UTC.
        TypeError: it has another type.
    """
    if isinstance(value, str):
        # No longer ones, which it would remember.
        if len(value) <= _MOST_PLAIN and (seconds := _plain_seconds(value)) is not None:
            return {"seconds": seconds}
        seconds, nanos = _from_text(value)
    elif isinstance(value, datetime):
        if value.utcoffset() is None:
            raise ValueError(f"occurred_at has no time zone: {value}")
        since = value - _EPOCH
        seconds, nanos = since.days * _DAY_S + since.seconds, since.microseconds * 1000
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds, nanos = _from_number(value)
    else:
        kind = type(value).__name__
        raise TypeError(f"occurred_at: expected a datetime, text or seconds, received {kind}")
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise ValueError(f"occurred_at is outside of the years 1 to 9999 in UTC: {_shown(value)}")
    return {"seconds": seconds, "nanos": nanos}


def _from_number(value: float) -> tuple[int, int]:
    if isinstance(value, int):
        return value, 0
    if value - value != 0:  # NaN, infinities
        raise ValueError(f"occurred_at is not a time: {value}")
    seconds, microseconds = divmod(round(value * 1_000_000), 1_000_000)
    return seconds, microseconds * 1000


def _from_text(text: str) -> tuple[int, int]:
    digits = text[20:-1]
    # `.123Z`, the usual fraction of those that have one.
    if text[19:20] == "." and text[-1] == "Z" and digits.isdecimal() and digits.isascii():
        seconds = _plain_seconds(f"{text[:19]}Z")
        if seconds is not None:
            return seconds, int(digits[:9].ljust(9, "0"))
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise ValueError(f"occurred_at is not a time as RFC 3339 has it: {_shown(text)}")
    if not found["utc"] and not found["sign"]:
        raise ValueError(f"occurred_at has no time zone: {_shown(text)}")
    day, hour, minute, second, fraction, _, sign, offset_h, offset_min = found.groups()
    try:
        days = _days(day)
    except ValueError as error:
        raise ValueError(f"occurred_at is not a time: {_shown(text)}: {error}") from error
    offset_s = 3600 * int(offset_h or 0) + 60 * int(offset_min or 0)
    seconds = days * _DAY_S + 3600 * int(hour) + 60 * int(minute) + int(second)
    seconds += offset_s if sign == "-" else -offset_s
    return seconds, int((fraction or "")[:9].ljust(9, "0"))


@functools.lru_cache(maxsize=1024)  # events come in order: many share a second
def _plain_seconds(text: str) -> int | None:
    """Return the seconds of `2026-01-01T00:00:00Z`, or of the same with an offset of whole hours.

    That is what most services write; None for anything else, and for what is wrong with it.
    """
    offset_s = _WHOLE_HOURS_S.get(text[19:])
    if (
        offset_s is not None
        and text[4] == text[7] == "-"
        and text[10] == "T"
        and text[13] == text[16] == ":"
        and text[11:13] != "24"  # newer Pythons take it for the next day
        and "0001" < text[:4] < "9999"
    ):
        try:
            # Without its zone: to compare two that have one takes as long as all the rest.
            since = datetime.fromisoformat(text[:19]) - _EPOCH_OF_NO_ZONE
        except ValueError:
            return None
        return since.days * _DAY_S + since.seconds - offset_s
    return None


def _days(day: str) -> int:
    """Return a date as days since 1970.

    Raises:
        ValueError: there is no such day.
    """
    return date.fromisoformat(day).toordinal() - _EPOCH_DAY


def _shown(value: object) -> str:
    return repr(value)[:_MAX_QUOTED]
