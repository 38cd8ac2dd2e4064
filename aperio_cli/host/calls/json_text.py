"""Texts of JSON that are passed on: checked and cut by position, no value of them is interpreted.

A number stays the digits that were written, however many they are, a key that stands twice stands
there twice, and half of a surrogate pair stays the escape that it was: all of that is JSON
(RFC 8259), and no two readers need agree about it. So nothing is parsed and written again.

With msgspec (`aperio-cli[fast]`) a text is checked without making any value of it, in a tenth of
the time. It refuses some JSON, such as half of a surrogate pair: what it refuses is read once more
by Python's own reader, which alone decides and says why. That reader accepts all that msgspec
accepts: `tests/unit/test_json_text.py` holds both to one table.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from aperio_plugin.wire import limits

from aperio_cli.models.reading import is_shallow_json
from aperio_cli.text import escape_controls

if TYPE_CHECKING:
    from collections.abc import Callable

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_LF, _CR = 0x0A, 0x0D  # as numbers: bytes find one of them in a third of the time
_LEAST_DEEP: Final = 2 * limits.MAX_RECORD_DEPTH  # a level takes two bytes


def _refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python reads and JSON does not have.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"{name} is not JSON")


# `str`: the digits as they are, which takes no time and has no limit.
_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=str, parse_float=str)
_SCAN: Final = _DECODER.scan_once  # type: ignore[attr-defined] # what raw_decode calls


@dataclass(frozen=True, slots=True)
class Member:
    """One key of an object, and its value.

    Attributes:
        key: the key.
        value: the value; numbers as the text that was written.
        text: the value as it stands there.
    """

    key: str
    value: Any
    text: str


def one_line_object(data: bytes) -> bytes:
    """Return the text of one JSON object, checked, and on one line.

    It is the same text, except that line ends between tokens become spaces, inside of strings JSON
    has none, and that control characters which a terminal would obey are escaped: nothing of the
    contents changes.

    Raises:
        ValueError: not UTF-8, not JSON (RFC 8259), not an object, or nested too deeply.
    """
    is_ascii = data.isascii()
    text = "" if is_ascii else data.decode()  # msgspec would not see what is no UTF-8
    if not _is_plain_object(data) and not _is_object(text or data.decode()):
        raise ValueError("JSON that is no object")
    if len(data) >= _LEAST_DEEP:
        require_shallow(data, limits.MAX_RECORD_DEPTH)
    if not is_ascii:
        data = escape_controls(text).encode()
    if _LF in data or _CR in data:
        return data.replace(b"\n", b" ").replace(b"\r", b" ")
    return data


def require_shallow(data: bytes, most: int) -> None:
    """Refuse a text of JSON that is nested too deeply.

    Raises:
        ValueError: it is.
    """
    if len(data) <= 2 * most:  # a level takes two bytes
        return
    if data.count(b"{") + data.count(b"[") > most and not is_shallow_json(data, most):
        raise _too_deep(most)


def members(text: str) -> list[Member]:
    """Return the members of an object in their order, each with its value as it stands there.

    Raises:
        ValueError: not JSON, not an object, or nested too deeply for Python's own reader.
    """
    at = _after(text, 0, "{")
    found: list[Member] = []
    if _is_at(text, at, "}"):
        return _ended(text, at + 1, found)
    while True:
        key, end = _value(text, at)
        if not isinstance(key, str) or text[at] != '"':  # numbers are texts here
            raise ValueError(f"expected a key at character {at}")
        begin = _after(text, end, ":")
        value, end = _value(text, begin)
        found.append(Member(key, value, text[begin:end]))
        at = _SPACE.match(text, end).end()  # type: ignore[union-attr] # it matches anywhere
        if _is_at(text, at, "}"):
            return _ended(text, at + 1, found)
        at = _after(text, at, ",")


@functools.cache
def _skimmer() -> Callable[[bytes], object] | None:
    """Return what goes over a text of JSON and raises where it is none; None: not installed."""
    try:
        import msgspec
    except ImportError:
        return None
    return msgspec.json.Decoder(msgspec.Raw).decode


def _is_plain_object(data: bytes) -> bool:
    """Return whether a text is an object beyond doubt; if not, it may be one all the same."""
    skim = _skimmer()
    if skim is None or not data.startswith(b"{"):
        return False
    try:
        skim(data)
    except Exception:  # noqa: BLE001 - whatever it is, Python's own reader decides
        return False
    return True


def _is_object(text: str) -> bool:
    """Return whether a text of JSON is an object.

    Raises:
        ValueError: it is no JSON, or nested too deeply for Python's own reader.
    """
    try:
        # The usual case, by the scanner itself: no white space around it, and nothing wrong in it.
        if text[:1] == "{" and _SCAN(text, 0)[1] == len(text):
            return True
    except (StopIteration, ValueError, RecursionError):
        pass  # once more, for words that say where
    try:
        return isinstance(_DECODER.decode(text), dict)
    except RecursionError as error:
        raise _too_deep(limits.MAX_RECORD_DEPTH) from error


def _value(text: str, at: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except RecursionError as error:
        raise _too_deep(limits.MAX_RECORD_DEPTH) from error


def _after(text: str, at: int, mark: str) -> int:
    """Return where the next token begins, behind a mark."""
    at = _SPACE.match(text, at).end()  # type: ignore[union-attr] # it matches anywhere
    if not _is_at(text, at, mark):
        raise ValueError(f"expected `{mark}` at character {at}")
    return _SPACE.match(text, at + 1).end()  # type: ignore[union-attr] # it matches anywhere


def _is_at(text: str, at: int, mark: str) -> bool:
    return text.startswith(mark, at)


def _ended(text: str, at: int, found: list[Member]) -> list[Member]:
    if text[at:].strip(" \t\n\r"):
        raise ValueError(f"expected the end at character {at}")
    return found


def _too_deep(most: int) -> ValueError:
    return ValueError(f"JSON that is nested too deeply: {most} levels are the most")
