"""The one reader of documents in JSON, YAML and TOML, and of their keys.

Two steps. `read_json`, `read_toml` and `read_yaml` give the values of a document that keeps its
`Bounds`, and raise `Unreadable` for any other. A `Table` then reads keys by name, type and form;
what is wrong with one is raised by the `fail` of whoever owns the document.

No reader takes, whatever the format: other encodings than UTF-8 (one byte order mark at the
start is skipped, as RFC 8259 lets a reader do: editors on Windows write it), a key twice in one
table, numbers that are not finite or too long, halves of surrogate pairs, and documents that are
larger, deeper or of more members than their bounds. All of it is found before anything is built
that could be much larger than the text.
"""

from __future__ import annotations

import codecs
import itertools
import json
import math
import re
import tomllib
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from aperio_cli import clock
from aperio_cli.errors import AperioError
from aperio_cli.models.address import is_loopback
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import yaml

MAX_SAFE_INTEGER: Final = 2**53 - 1
"""What every reader of JSON keeps exactly (RFC 8259, section 6)."""

_Converted = TypeVar("_Converted")

_MOST_DIGITS = 300  # whatever has no more is a finite float, and Python converts it quickly
_LARGEST = 10**_MOST_DIGITS
_TOO_LONG = f"it has a number of more than {_MOST_DIGITS} digits"
_HALF = "it has half of a surrogate pair, which is no character"
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_NO_MARKS = bytes(set(range(256)) - set(b'[]{}"'))
_SURROGATE = re.compile("[\ud800-\udfff]")
_KIND, _FIRST, _SECOND = 0xFC00, 0xD800, 0xDC00  # of surrogates (RFC 8259, section 7)
# One character beyond U+FFFF, as it is or escaped: Python keeps a text with it in four bytes each.
_WIDE = re.compile(rb"[\xf0-\xf4]|\\u[dD][89aAbB]")
_MOST_WIDE_BYTES = 64 * 1024 * 1024
_HALF_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
# A string, or what stands between two; possessive, so that a long one needs no memory.
_PART = re.compile(rb'[^"]++|"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_MARKS = (b",", b"{", b"[")
# What TOML is made of, as far as keys and strings go; possessive, so that each byte is passed once.
_BASIC, _LITERAL = r'"(?:[^"\\\n]|\\.)*+"', r"'[^'\n]*+'"
_KEY = rf"(?:[A-Za-z0-9_-]++|{_BASIC}|{_LITERAL})"
_TOML_PART = re.compile(
    r'#[^\n]*+|"""(?:[^"\\]|\\.|"(?!""))*+(?:""")?+|'
    r"'''(?:[^']|'(?!''))*+(?:''')?+|"
    rf"(?P<key>{_KEY}(?:[ \t]*+\.[ \t]*+{_KEY})*+)",
    re.DOTALL,
)
_KEY_PART = re.compile(_KEY, re.DOTALL)
_SHOWN = 80
_MOST_NAMES = 64
_NUMBER = re.compile(r"[1-9][0-9]{0,19}", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
# RFC 3339, section 5.6, in whole seconds; `datetime.fromisoformat` reads many other forms too.
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII)
_FIRST_YEAR = 1970  # years before 1000 would be written with fewer digits, and sort wrongly


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a document may have at most.

    Attributes:
        size_bytes: its length.
        depth: tables and lists inside each other, the document itself counted.
        members: values of lists and tables, counted in the text of JSON.
    """

    size_bytes: int
    depth: int = 64
    members: int = 100_000


_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Unreadable(ValueError):
    """Bytes that are no such document; the text says why.

    Attributes:
        place: the same without anything of the contents, for documents that hold secrets.
    """

    def __init__(self, why: str, *, place: str = "") -> None:
        super().__init__(why)
        self.place = place or why


# ── documents ─────────────────────────────────────────────────────────────────────────────────────


def read_json(data: bytes, bounds: Bounds) -> Any:
    """Return the value of a JSON document (RFC 8259).

    Raises:
        Unreadable: it is no JSON, has a key twice, or does not keep the bounds.
    """
    text = _decoded(data, bounds)
    require_few_members(data, bounds.members)
    return _read("JSON", _parse_json, text, bounds, lambda _, most: is_shallow_json(data, most))


def read_toml(data: bytes, bounds: Bounds) -> dict[str, Any]:
    """Return the tables of a TOML document.

    Raises:
        Unreadable: it is no TOML 1.0, or does not keep the bounds.
    """
    text = _decoded(data, bounds)
    _require_short_keys(text, bounds)
    found: dict[str, Any] = _read("TOML", tomllib.loads, text, bounds, _is_shallow)
    return found


def _require_short_keys(text: str, bounds: Bounds) -> None:
    """Refuse keys of more parts (`a.b.c`) than tables may be inside each other.

    The parser takes the square of their number: half a minute for a line of 40 kB.

    Raises:
        Unreadable: there is one.
    """
    for found in _TOML_PART.finditer(text):
        key = found["key"]
        if key and key.count(".") >= bounds.depth:
            parts = sum(1 for _ in _KEY_PART.finditer(key))
            if parts > bounds.depth:
                raise Unreadable(_too_deep(bounds))


def _too_deep(bounds: Bounds) -> str:
    return f"it is nested too deeply: expected at most {bounds.depth} levels"


def read_yaml(data: bytes, bounds: Bounds) -> Any:
    """Return the value of a YAML document, every scalar as the text that was written.

    Raises:
        Unreadable: it is no single YAML document, has an alias, a key twice or one that is no
            text, or does not keep the bounds.
    """
    return _read("YAML", _parse_yaml, _decoded(data, bounds), bounds, _is_shallow)


def parse_json(data: bytes, bounds: Bounds, fail: Callable[[str, str], NoReturn]) -> Table:
    """Return the object of a JSON document; `fail` is told of any other, with an empty key."""
    return _table(read_json, data, bounds, fail)


def parse_toml(data: bytes, bounds: Bounds, fail: Callable[[str, str], NoReturn]) -> Table:
    """Return the tables of a TOML document; `fail` is told of any other, with an empty key."""
    return _table(read_toml, data, bounds, fail)


def parse_yaml(data: bytes, bounds: Bounds, fail: Callable[[str, str], NoReturn]) -> Table:
    """Return the mapping of a YAML document; `fail` is told of any other, with an empty key."""
    return _table(read_yaml, data, bounds, fail)


def require_few_members(data: bytes, most: int) -> None:
    """Refuse a text of JSON with more members than a reader of it can need.

    A parser makes hundreds of bytes of each, so that a small text of `{"":{}}` over and over takes
    gigabytes. Marks inside of strings count only while there are few of them altogether.

    Raises:
        Unreadable: it has more.
    """
    if _has_more(data, _MARKS, most):
        raise Unreadable(f"it has too many members: expected at most {most}")


def require_few_keys(data: bytes, most: int) -> None:
    """Refuse a text of JSON with more keys, in all of its objects, than a reader of it can need.

    Raises:
        Unreadable: it has more.
    """
    if _has_more(data, (b":",), most):
        raise Unreadable(f"it has too many keys: expected at most {most}")


def _has_more(data: bytes, marks: tuple[bytes, ...], most: int) -> bool:
    """Return whether a text of JSON has more of some marks outside of its strings."""
    if sum(map(data.count, marks)) <= most:
        return False
    found = 0
    for part in _PART.finditer(data):
        if not part[0].startswith(b'"'):
            found += sum(map(part[0].count, marks))
        if found > most:
            return True
    return False


def described(key: str, why: str) -> str:
    """Return what `fail` was told as one text; an empty key stands for the whole document."""
    return f"`{clean(key, limit=_SHOWN)}`: {why}" if key else why


def _table(
    read: Callable[[bytes, Bounds], Any],
    data: bytes,
    bounds: Bounds,
    fail: Callable[[str, str], NoReturn],
) -> Table:
    try:
        document = read(data, bounds)
    except Unreadable as error:
        fail("", str(error))
    if not isinstance(document, dict):
        fail("", "it is not a mapping of keys to values")
    return Table(document, fail)


def text_of(data: bytes) -> str:
    """Return UTF-8 text without the byte order mark that editors may put before it.

    Raises:
        Unreadable: it is other text, or none; or two such marks begin it.
    """
    if data.startswith(_UTF_16) or (b"\0" in data[:2] and len(data) > 1):
        raise Unreadable("it is not UTF-8 text from byte 0: it looks like UTF-16; save it as UTF-8")
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise Unreadable(f"it is not UTF-8 text from byte {error.start}") from error
    if text.startswith("\ufeff"):  # YAML would skip this one, too
        raise Unreadable("it begins with two byte order marks")
    return text


def _decoded(data: bytes, bounds: Bounds) -> str:
    if len(data) > bounds.size_bytes:
        raise Unreadable(
            "it is too large"
            f"\nexpected at most {bounds.size_bytes} bytes\nreceived {len(data)} bytes"
        )
    if len(data) > _MOST_WIDE_BYTES and _WIDE.search(data):
        raise Unreadable(
            "it is too large for a text with characters beyond U+FFFF"
            f"\nexpected at most {_MOST_WIDE_BYTES} bytes\nreceived {len(data)} bytes"
        )
    return text_of(data)


def _read(
    format_: str,
    parse: Callable[[str], Any],
    text: str,
    bounds: Bounds,
    is_shallow: Callable[[Any, int], bool],
) -> Any:
    too_deep = _too_deep(bounds)
    try:
        document = parse(text)
    except Unreadable:
        raise
    except RecursionError as error:
        raise Unreadable(too_deep) from error
    except (ValueError, OverflowError) as error:  # OverflowError: an escape beyond Unicode in YAML
        raise Unreadable(f"it is not {format_}: {error}", place=_place(format_, error)) from error
    if not is_shallow(document, bounds.depth):
        raise Unreadable(too_deep)
    return document


def _place(format_: str, error: Exception) -> str:
    """Return where the text stops to be of a format; the parser's own message may quote it."""
    found = re.search(r"line (\d+),? column (\d+)", str(error))
    return (
        f"it is not {format_} from {f'line {found[1]}, column {found[2]}' if found else 'its end'}"
    )


def is_shallow_json(data: bytes, most: int) -> bool:
    """Return whether a text that is JSON keeps its depth.

    Nothing is kept but quotes and brackets, then the brackets outside of strings; each pass takes
    the innermost pairs away. A walk through the document would cost as much as parsing it.
    """
    unescaped = data.replace(rb"\\", b"").replace(rb"\"", b"")
    marks = unescaped.translate(_ONE_KIND, _NO_MARKS).replace(b'""', b"")
    brackets = b"".join(marks.split(b'"')[::2])
    for _ in range(most):
        brackets = brackets.replace(b"[]", b"")
    return not brackets


def _is_shallow(document: Any, most: int) -> bool:
    """Return whether a document keeps its depth.

    Level by level, so that no depth exhausts the stack.

    Raises:
        Unreadable: a value is none that every reader would take.
    """
    level: list[Any] = [document]
    for _ in range(most + 1):
        holders = []
        for value in level:
            if isinstance(value, dict | list):
                holders.append(value)
            else:
                _check_scalar(value)
        if not holders:
            return True
        level = [
            inner
            for holder in holders
            for inner in ([*holder, *holder.values()] if isinstance(holder, dict) else holder)
        ]
    return False


def _check_scalar(value: object) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise Unreadable("it has a number that is not finite")
    if isinstance(value, int) and not -_LARGEST < value < _LARGEST:
        raise Unreadable(_TOO_LONG)
    if isinstance(value, str) and _SURROGATE.search(value):
        raise Unreadable(_HALF)


def _parse_json(text: str) -> Any:
    document = json.loads(
        text,
        object_pairs_hook=_unique,
        parse_constant=_refuse_constant,
        parse_int=_integer,
        parse_float=_finite,
    )
    if _has_half(text):
        raise Unreadable(_HALF)
    return document


def _has_half(text: str) -> bool:
    """Return whether a text of JSON has half of a surrogate pair, which only an escape can write.

    Of the text, and not of what was read: another copy of a hundred megabytes for one letter.
    """
    if not _HALF_ESCAPE.search(text):
        return False
    due = -1  # where the second half has to begin
    for found in _ESCAPE.finditer(text):
        code = int(found[1], 16) if found[1] else 0
        is_second = code & _KIND == _SECOND
        if (due >= 0) != is_second or (is_second and found.start() != due):
            return True
        due = found.end() if code & _KIND == _FIRST else -1
    return due >= 0


def _integer(text: str) -> int:
    if len(text.lstrip("-")) > _MOST_DIGITS:
        raise Unreadable(_TOO_LONG)
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    _check_scalar(number)
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object unless a key stands in it twice: readers differ in which one they take."""
    found = dict(pairs)
    if len(found) != len(pairs):
        counted = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counted.items() if count > 1)
        raise Unreadable(f"the key {clean(twice, limit=_SHOWN)!r} stands twice in one object")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise Unreadable(f"it is not JSON: {name} is no number")


def _parse_yaml(text: str) -> Any:
    import yaml

    try:
        node = yaml.BaseLoader(text).get_single_node()
    except yaml.YAMLError as error:
        # PyYAML's word for a text that has no name: the file's stands above.
        raise ValueError(str(error).replace('in "<unicode string>", ', "in ")) from error
    return None if node is None else _plain(node, set())


def _plain(node: yaml.Node, seen: set[int]) -> Any:
    """Return a YAML node as dicts, lists and texts."""
    import yaml

    if id(node) in seen:
        raise Unreadable(f"line {_line(node)} has an alias; write the value out where it is used")
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, seen) for child in node.value]
    if not isinstance(node, yaml.MappingNode):
        return node.value
    found: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key.value, str):
            raise Unreadable(f"line {_line(key)} has a key that is no text; put it in quotes")
        if key.value in found:
            name = clean(key.value, limit=_SHOWN)
            raise Unreadable(f"line {_line(key)} has the key {name!r} a second time: twice in one")
        found[key.value] = _plain(value, seen)
    return found


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────


class Table:
    """The keys and values of one table, which knows its place in the document.

    Args:
        values: what the parser of JSON, TOML or YAML gave.
        fail: raises the error of the file: a key with its path, and what is wrong with it.
        path: what stands before each key in messages, such as `publishers[2].`.
        is_record: whether our own releases wrote it: keys that `check_keys` does not know are
            then of a later one, and ignored.
    """

    __slots__ = ("_fail", "_is_record", "path", "values")

    def __init__(
        self,
        values: Mapping[str, Any],
        fail: Callable[[str, str], NoReturn],
        path: str = "",
        *,
        is_record: bool = False,
    ) -> None:
        self.values = values
        self.path = path
        self._fail = fail
        self._is_record = is_record

    def __contains__(self, key: str) -> bool:
        return key in self.values

    @property
    def is_record(self) -> bool:
        """Whether a release of ours wrote it, perhaps one of before something was refused."""
        return self._is_record

    def fail(self, key: str, why: str) -> NoReturn:
        """Raise the error of the file for one of this table's keys."""
        self._fail(self.path + key, why)

    def with_values(self, values: Mapping[str, Any]) -> Table:
        """Return a table at the same place of the same document with other keys and values."""
        return Table(values, self._fail, self.path, is_record=self._is_record)

    def check_keys(self, known: Sequence[str], *, required: Sequence[str] = ()) -> None:
        """Fail on a required key that is missing, then on one that is none of the known ones."""
        for key in required:
            if key not in self.values and not self._is_record:
                stated = itertools.islice(self.values, _MOST_NAMES)
                hint = _misspelt(key, [name for name in stated if name not in known])
                self.fail(key, f"`{key}` is missing{hint}")
            self.value(key)
        for key in () if self._is_record else self.values:
            if key not in known:
                self.fail(key, unknown(key, known))

    def value(self, key: str) -> Any:
        """Return what has to be there, of whatever type."""
        if key not in self.values:
            self.fail(key, f"`{key}` is missing")
        return self.values[key]

    def text(self, key: str, *, limit: int | None = None) -> str:
        """Return text that has to be there, printable and not blank, within its limit."""
        value = self.values.get(key)
        if not isinstance(value, str) or not value.strip():
            self.value(key)  # it may be missing
            self.fail(key, "expected text that is not blank")
        if not value.isprintable():
            self.fail(key, "expected printable characters on one line")
        if limit is not None and len(value) > limit:
            self.fail(key, f"expected at most {limit} characters")
        return value

    def optional_text(self, key: str, *, limit: int | None = None) -> str:
        """Return text as `text` does; empty when it is missing, null or empty."""
        return "" if self.values.get(key) in (None, "") else self.text(key, limit=limit)

    def prose(self, key: str, *, limit: int) -> str:
        """Return text that has to be there, of several lines perhaps, not blank."""
        value = self.value(key)
        if not isinstance(value, str) or not value.strip() or len(value) > limit:
            self.fail(key, f"expected text of 1 to {limit} characters")
        return value

    def recorded(self, key: str, default: str | None = None) -> str:
        """Return text as a record keeps it: it may be blank, or have several lines.

        Args:
            key: its name.
            default: stands for a key that is not there; with None the key has to be there.
        """
        value = self.values.get(key, default)
        if not isinstance(value, str):
            self.value(key)  # it may be missing
            self.fail(key, "expected text")
        return value

    def display(self, key: str, *, limit: int) -> str:
        """Return text made safe to show; empty when there is none, because it decides nothing."""
        value = self.values.get(key)
        return clean(value, limit=limit) if isinstance(value, str) else ""

    def matching(self, key: str, pattern: re.Pattern[str], expected: str) -> str:
        """Return text that the whole of a pattern matches."""
        value = self.value(key)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            self.fail(key, f"expected {expected}\nreceived {clean(value, limit=_SHOWN)}")
        return value

    def converted(self, key: str, convert: Callable[[str], _Converted]) -> _Converted:
        """Return what text stands for; an AperioError or ValueError of `convert` fails the key."""
        value = self.recorded(key)
        try:
            return convert(value)
        except AperioError as error:
            self.fail(key, f"{error.what}\n{error.why}".strip())
        except ValueError as error:
            self.fail(key, str(error))

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts, none of them blank; empty when the key is not there."""
        value = self.values.get(key, [])
        if not isinstance(value, list) or any(
            not isinstance(text, str) or not text.strip() for text in value
        ):
            self.fail(key, "expected a list of texts that are not blank")
        return tuple(value)

    def flag(self, key: str) -> bool:
        """Return true or false; false when the key is not there."""
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            self.fail(key, "expected true or false")
        return value

    def integer(self, key: str, *, least: int = 0, most: int = MAX_SAFE_INTEGER) -> int:
        """Return a whole number that has to be there, within its range."""
        value = self.values.get(key)
        if value.__class__ is not int or not least <= value <= most:
            self.value(key)
            self.fail(key, f"expected a whole number from {least} to {most}")
        return value

    def choice(self, key: str, known: Sequence[str]) -> str:
        """Return one of a few words."""
        value = self.text(key)
        if value not in known:
            self.fail(key, unknown(value, known))
        return value

    def table(self, key: str) -> Table:
        """Return a table that has to be there."""
        value = self.value(key)
        if not isinstance(value, dict):
            self.fail(key, "expected an object, keys with values")
        return self._below(value, f"{key}.")

    def optional_table(self, key: str) -> Table | None:
        """Return a table; None when the key is not there, or null."""
        return None if self.values.get(key) is None else self.table(key)

    def inner(self, *keys: str) -> Table:
        """Return the table at a path of keys; empty when one on the way is missing or no table."""
        found: Any = self.values
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        place = "".join(f"{key}." for key in keys)
        return self._below(found if isinstance(found, dict) else {}, place)

    def tables(self, key: str, *, most: int | None = None) -> Iterator[Table]:
        """Return the tables of a list that has to be there, of at most so many entries."""
        value = self.value(key)
        if not isinstance(value, list) or not set(map(type, value)) <= {dict}:
            self.fail(key, "expected a list of objects")
        if most is not None and len(value) > most:
            self.fail(key, f"more than {most}")
        return (self._below(each, f"{key}[{number}].") for number, each in enumerate(value))

    def optional_tables(self, key: str) -> Iterator[Table]:
        """Return the tables of a list; none when the key is not there."""
        return self.tables(key) if key in self.values else iter(())

    def _below(self, values: Mapping[str, Any], place: str) -> Table:
        return Table(values, self._fail, self.path + place, is_record=self._is_record)

    def number_text(self, key: str) -> str:
        """Return the digits of a number above 0, however it was written: as a number or as text."""
        value = self.value(key)
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if not isinstance(text, str) or not _NUMBER.fullmatch(text):
            self.fail(key, "expected a number above 0, as digits")
        return text

    def url(self, key: str) -> str:
        """Return an https address, or http on this machine, without user, query and fragment."""
        value = self.text(key)
        problem = _url_problem(value)
        if problem:
            self.fail(key, problem)
        return value

    def moment(self, key: str, *, is_end: bool = False) -> str:
        """Return a moment, RFC 3339 in UTC; a date means its first second, or its last one."""
        found = _moment(self.values.get(key), is_end=is_end)
        if found is None:
            self.fail(
                key, "expected a date, or date and time with its offset: 2026-01-31T12:00:00Z"
            )
        return found

    def day(self, key: str) -> str:
        """Return a date, `YYYY-MM-DD`."""
        value = self.values.get(key)
        is_date = isinstance(value, date) and not isinstance(value, datetime)
        found = _moment(value, is_end=False) if is_date or _is_date_text(value) else None
        if found is None:
            self.fail(key, "expected a date such as 2026-12-31")
        return found[: len("YYYY-MM-DD")]


def _misspelt(key: str, strange: Sequence[str]) -> str:
    """Return the hint at an unknown key that was meant to be a missing one; empty for none."""
    import difflib

    close = difflib.get_close_matches(key, [name[:_SHOWN] for name in strange], n=1)
    return f"; `{clean(close[0], limit=_SHOWN)}` is unknown, and near to it" if close else ""


def unknown(name: str, known: Sequence[str]) -> str:
    """Return the sentence about a name that is none of the known ones, with the nearest of them."""
    import difflib  # here and below: few configurations need it, every start reads one

    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean `{close[0]}`?" if close else f"; known: {', '.join(known)}"
    return f"unknown: {clean(name, limit=80)}{hint}"


def _url_problem(value: str) -> str:
    """Return the fault of an address; empty when it has none."""
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
