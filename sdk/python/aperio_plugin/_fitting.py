"""What a setting has to be, by the field that declares it: one rule for hosts and for tests.

A value is never in a message: any of them may be a secret that was given for the wrong key.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from aperio_plugin._generated.aperio.plugin.v1 import common_pb2

__all__ = [
    "Checked",
    "check",
    "default_of",
    "fit",
    "fit_default",
    "is_given",
    "kind_of",
    "read_json",
]

LONGEST_TEXT: Final = 64 * 1024
_LARGEST: Final = sys.float_info.max
_BOOLEANS: Final = {"true": True, "false": False}
# A setting is one line. In an HTTP header each of these makes a library refuse it, and quote it.
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9})?", re.ASCII)
_MOST_DIGITS: Final = 300  # whatever has no more is a finite number
_TEXTS: Final = {"TEXT", "PASSWORD", "URL", "SELECT", "UNSPECIFIED"}


@dataclass(frozen=True, slots=True)
class Checked:
    """Settings held against fields.

    Attributes:
        values: by key, converted, defaults filled in; those without a problem.
        problems: what is wrong, by key: a value is missing or does not fit.
        unknown: keys that no field declares, in their order.
    """

    values: Mapping[str, Any]
    problems: Mapping[str, str]
    unknown: Sequence[str]


def check(
    fields: Iterable[common_pb2.ConfigField],
    given: Mapping[str, object],
    read: Callable[[bytes], Any] | None = None,
) -> Checked:
    """Return settings, converted and completed with defaults, and what is wrong with them.

    Args:
        fields: what the plugin declares, every key once.
        given: values by key; text, or what JSON has. None and empty text are no value.
        read: reads the JSON of a default; raises ValueError.
    """
    declared = {field.key: field for field in fields}
    values, problems = {}, {}
    for key, field in declared.items():
        try:
            found = _value(field, given.get(key), read or read_json)
        except ValueError as error:
            problems[key] = str(error)
            continue
        if found is not None:
            values[key] = found
    return Checked(values, problems, [key for key in given if key not in declared])


def is_given(value: object) -> bool:
    """Return whether a setting states a value, rather than leaving it to the plugin's default."""
    return value is not None and value != ""


def _value(field: common_pb2.ConfigField, given: object, read: Callable[[bytes], Any]) -> Any:
    """Return the value of one field; None when there is none and none is needed.

    Raises:
        ValueError: it is missing or of a wrong type; the text says what was expected.
    """
    if is_given(given):
        kind = kind_of(field)
        return fit(kind, field.options, _meant(kind, given))
    found = default_of(field, read)
    if field.required and not is_given(found):
        raise ValueError("missing, and the plugin needs it")
    return found


def kind_of(field: common_pb2.ConfigField) -> str:
    """Return the name of a field's type, such as `NUMBER`; empty for one of a newer version."""
    value = field.DESCRIPTOR.enum_types_by_name["Type"].values_by_number.get(field.type)
    return value.name.removeprefix("TYPE_") if value else ""


def default_of(field: common_pb2.ConfigField, read: Callable[[bytes], Any] | None = None) -> Any:
    """Return a field's default; None when it has none.

    Raises:
        ValueError: it is not JSON, or not of the field's type.
    """
    if not field.default_json:
        return None
    try:
        value = (read or read_json)(field.default_json.encode())
    except ValueError as error:
        raise ValueError(f"the plugin's own default is not JSON: {error}") from error
    if value is None:
        raise ValueError("the plugin's own default does not fit: null is no value")
    try:
        return fit_default(kind_of(field), field.options, value)
    except ValueError as error:
        raise ValueError(f"the plugin's own default does not fit: {error}") from error


def fit_default(kind: str, options: Sequence[str], value: object) -> Any:
    """Return a default that is what a field's type says, as `fit`; None, and empty text, may be.

    Raises:
        ValueError: it is not; the text says what was expected.
    """
    if value is None or (value == "" and kind in _TEXTS - {"SELECT"}):
        return value
    return fit(kind, options, value)


def fit(kind: str, options: Sequence[str], value: object) -> Any:
    """Return a value that is what a field's type says.

    Args:
        kind: name of the type, such as `NUMBER`; any JSON fits one that is not known here, as
            a newer minor version may have it.
        options: what a `SELECT` may be.
        value: of JSON.

    Raises:
        ValueError: it is not; the text says what was expected.
    """
    if kind == "NUMBER":
        return _number(value)
    if kind == "BOOLEAN":
        return _boolean(value)
    if kind not in _TEXTS:
        return _text(value) if isinstance(value, str) else value
    text = _text(value)
    if kind == "URL" and not _is_web_address(text):
        raise ValueError("expected a web address that begins with https://")
    if kind == "SELECT" and text not in options:
        raise ValueError(f"expected one of {', '.join(options)}")
    return text


def read_json(data: bytes) -> Any:
    """Return a JSON value.

    Raises:
        ValueError: it is not JSON (RFC 8259), or nested too deeply to read.
    """
    try:
        return json.loads(data.decode(), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _meant(kind: str, given: object) -> object:
    """Return what a text means for a type: a number, true or false; else what was given."""
    if not isinstance(given, str):
        return given
    if kind == "BOOLEAN":
        return _BOOLEANS.get(given, given)
    if kind == "NUMBER" and _NUMBER.fullmatch(given):
        is_whole = len(given) <= _MOST_DIGITS and given.lstrip("+-").isdecimal()
        return int(given) if is_whole else float(given)
    return given


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, received {_noun(value)}")  # noqa: TRY004 - said as a wrong value
    return value


def _number(value: object) -> float:
    """Return a finite number; a whole one stays an int."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"expected a number, received {_noun(value)}")  # noqa: TRY004 - said as a wrong value
    if not -_LARGEST <= value <= _LARGEST:
        raise ValueError("expected a number that is finite")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected text, received {_noun(value)}")  # noqa: TRY004 - said as a wrong value
    if len(value) > LONGEST_TEXT:
        raise ValueError(f"expected at most {LONGEST_TEXT} characters")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("expected text, received bytes that are not UTF-8")
    if found := _CONTROLS.search(value):
        raise ValueError(f"holds {_control(found[0])} at position {found.start() + 1}")
    return str(value)


def _control(character: str) -> str:
    """Return what to call a character that has no place in one line of text."""
    if character in "\n\r\u0085\u2028\u2029":
        return "a line end"
    if character == "\ufeff":
        return "a byte order mark"
    return f"the control character U+{ord(character):04X}"


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _noun(value: object) -> str:
    """Return a word for the type of a value that must not be shown."""
    words = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list"}
    return words.get(type(value), "nothing" if value is None else "an object")
