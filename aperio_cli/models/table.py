"""A table of a configuration file or a publisher file, read key by key: name, type and form."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from aperio_cli import clock
from aperio_cli.errors import AperioError
from aperio_cli.models.address import is_loopback
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_NUMBER = re.compile(r"[1-9][0-9]{0,19}", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
# RFC 3339, section 5.6, in whole seconds; `datetime.fromisoformat` reads many other forms too.
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII)
_Converted = TypeVar("_Converted")
_FIRST_YEAR = 1970  # years before 1000 would be written with fewer digits, and sort wrongly


class Table:
    """The keys and values of one table.

    Args:
        values: what the parser of TOML or JSON gave.
        fail: raises the error of the file: a key, and what is wrong with it.
    """

    def __init__(self, values: Mapping[str, Any], fail: Callable[[str, str], NoReturn]) -> None:
        self.values = values
        self.fail = fail

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def check_keys(self, known: Sequence[str]) -> None:
        """Fail on a key that is none of the known ones."""
        for key in self.values:
            if key not in known:
                self.fail(key, unknown(key, known))

    def text(self, key: str) -> str:
        """Text that has to be there, printable and not blank."""
        if key not in self.values:
            self.fail(key, f"`{key}` is missing")
        value = self.values[key]
        if not isinstance(value, str) or not value.strip():
            self.fail(key, "expected text that is not blank")
        if not value.isprintable():
            self.fail(key, "expected printable characters on one line")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts, none of them blank; empty when the key is not there."""
        value = self.values.get(key, [])
        if not isinstance(value, list) or any(
            not isinstance(text, str) or not text.strip() for text in value
        ):
            self.fail(key, "expected a list of texts that are not blank")
        return tuple(value)

    def flag(self, key: str) -> bool:
        """True or false; false when the key is not there."""
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            self.fail(key, "expected true or false")
        return value

    def choice(self, key: str, known: Sequence[str]) -> str:
        """One of a few words."""
        value = self.text(key)
        if value not in known:
            self.fail(key, unknown(value, known))
        return value

    def number_text(self, key: str) -> str:
        """The digits of a number above 0, however it was written: as a number or as text."""
        if key not in self.values:
            self.fail(key, f"`{key}` is missing")
        value = self.values[key]
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if not isinstance(text, str) or not _NUMBER.fullmatch(text):
            self.fail(key, "expected a number above 0, as digits")
        return text

    def url(self, key: str) -> str:
        """An https address, or http on this machine, without user, query and fragment."""
        value = self.text(key)
        problem = _url_problem(value)
        if problem:
            self.fail(key, problem)
        return value

    def moment(self, key: str, *, is_end: bool = False) -> str:
        """A moment, RFC 3339 in UTC; a date means its first second, or its last one."""
        found = _moment(self.values.get(key), is_end=is_end)
        if found is None:
            self.fail(
                key, "expected a date, or date and time with its offset: 2026-01-31T12:00:00Z"
            )
        return found

    def day(self, key: str) -> str:
        """A date, `YYYY-MM-DD`."""
        value = self.values.get(key)
        is_date = isinstance(value, date) and not isinstance(value, datetime)
        found = _moment(value, is_end=False) if is_date or _is_date_text(value) else None
        if found is None:
            self.fail(key, "expected a date such as 2026-12-31")
        return found[: len("YYYY-MM-DD")]

    # ── records of our own: a later release may have added keys, an earlier one lacks some ────────

    def recorded(self, key: str, default: str | None = None) -> str:
        """Return text as a record keeps it: it may be blank, or have several lines.

        Args:
            key: its name.
            default: stands for a key that is not there; with None the key has to be there.
        """
        value = self.values.get(key, default)
        if not isinstance(value, str):
            self.fail(key, "expected text" if key in self.values else f"`{key}` is missing")
        return value

    def whole(self, key: str) -> int:
        """Return a whole number, 0 or above."""
        value = self.values.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            self.fail(key, "expected a whole number")
        return value

    def converted(self, key: str, convert: Callable[[str], _Converted]) -> _Converted:
        """Return what a function makes of text, whose ValueError or AperioError is the key's."""
        text = self.recorded(key)
        try:
            return convert(text)
        except (AperioError, ValueError) as error:
            self.fail(key, str(error))

    def table(self, key: str) -> Table:
        """Return the table that a key holds."""
        found = self.optional(key)
        if found is None:
            self.fail(key, "expected a table" if key in self.values else f"`{key}` is missing")
        return found

    def optional(self, key: str) -> Table | None:
        """Return the table that a key holds; None when the key is not there, or null."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.fail(key, "expected a table")
        return Table(value, lambda inner, why: self.fail(f"{key}.{inner}", why))

    def tables(self, key: str) -> tuple[Table, ...]:
        """Return a list of tables; empty when the key is not there."""
        value = self.values.get(key, [])
        if not isinstance(value, list):
            self.fail(key, "expected a list of tables")
        # One by one as a table of its own, so that messages name the place in the list.
        numbered = Table({f"{key}[{n}]": item for n, item in enumerate(value)}, self.fail)
        return tuple(numbered.table(name) for name in numbered.values)


def unknown(name: str, known: Sequence[str]) -> str:
    """What to say of a name that is none of the known ones, and which of them was meant."""
    import difflib  # here and below: few configurations need it, every start reads one

    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean `{close[0]}`?" if close else f"; known: {', '.join(known)}"
    return f"unknown: {clean(name, limit=80)}{hint}"


def _url_problem(value: str) -> str:
    """What is wrong with an address; empty when nothing is."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(value)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return "expected an address that starts with https://"
    if any(character.isspace() or character == "\\" for character in value) or not host:
        return "expected an address that starts with https://"
    if "@" in parts.netloc or "?" in value or "#" in value:
        return "expected an address without user, query and fragment"
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        return "expected https://, or http:// on this machine"
    return ""


def _is_date_text(value: object) -> bool:
    return isinstance(value, str) and bool(_DATE.fullmatch(value))


def _moment(value: object, *, is_end: bool) -> str | None:
    try:
        if isinstance(value, str):
            value = _parsed(value)
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime.combine(value, time(23, 59, 59) if is_end else time(), tzinfo=UTC)
        if not isinstance(value, datetime) or value.tzinfo is None or value.microsecond:
            return None
        moment = value.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return clock.format_timestamp(moment) if moment.year >= _FIRST_YEAR else None


def _parsed(text: str) -> date | None:
    if _DATE.fullmatch(text):
        return date.fromisoformat(text)
    return datetime.fromisoformat(text.upper()) if _MOMENT.fullmatch(text) else None
