"""The operator's settings for a plugin, checked against the fields that it declares.

Settings come as text (`--set key=value`) or with JSON types (a file). Text becomes what the field's
type says. Values are never shown: any of them may be a secret that was given for the wrong key.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from aperio_cli.errors.running import PluginConfigInvalid
from aperio_cli.models.reading import Bounds, Unreadable, read_json
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aperio_plugin.wire import common_pb2

_BOOLEANS: Final = {"true": True, "false": False}
_MAX_TEXT: Final = 64 * 1024
# A setting is one line. In an HTTP header each of these makes a library refuse it, and quote it.
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_LARGEST: Final = sys.float_info.max
_DEFAULT_BOUNDS: Final = Bounds(6 * _MAX_TEXT + 2)  # each character may be an escape


@dataclass(frozen=True, slots=True)
class CheckedConfig:
    """Settings that fit the plugin's fields.

    Attributes:
        values: every setting by key, defaults included; for the host only. May hold secrets.
        plugin_json: the settings that the plugin gets, as a JSON object.
        given: keys that the operator gave a value; the others have the plugin's defaults. An empty
            text is no value.
    """

    values: Mapping[str, Any] = field(repr=False)
    plugin_json: bytes = field(repr=False)
    given: frozenset[str]


def check_config(
    fields: Iterable[common_pb2.ConfigField], settings: Mapping[str, object], *, subject: str
) -> CheckedConfig:
    """Return the settings, converted and completed with defaults.

    Args:
        fields: what the plugin declares.
        settings: values by key; text, or what JSON has.
        subject: what to call the plugin in messages.

    Raises:
        PluginConfigInvalid: a key is unknown, missing, or of a wrong type; names every one.
    """
    declared = {declaration.key: declaration for declaration in fields}
    unknown = [key for key in settings if key not in declared]
    problems = []
    values: dict[str, Any] = {}
    for key, declaration in declared.items():
        try:
            found = _value(declaration, settings.get(key))
        except ValueError as error:
            problems.append(f"{clean(key, limit=80)}: {error}")
            continue
        if found is not None:
            values[key] = found
    if problems or unknown:
        raise _invalid(problems, [_unknown(key, declared) for key in unknown], subject)
    shared = {key: value for key, value in values.items() if not declared[key].host_only}
    plugin_json = json.dumps(shared, ensure_ascii=False, separators=(",", ":")).encode()
    given = frozenset(key for key, value in settings.items() if _is_given(value))
    return CheckedConfig(values, plugin_json, given)


def _invalid(problems: list[str], unknown: list[str], subject: str) -> PluginConfigInvalid:
    key = (problems + unknown)[0].partition(":")[0]
    step = f"`--set {key}=VALUE`, where VALUE may be env:NAME or file:PATH"
    return PluginConfigInvalid(
        f"`{key}` of {subject} is not configured well; nothing was done",
        why="\n".join(problems + unknown),
        next=[
            step if problems else f"leave `{key}` out, or write the key that was meant",
            "the operation `schema` shows every key with its type",
        ],
    )


def _unknown(key: str, declared: Mapping[str, common_pb2.ConfigField]) -> str:
    close = difflib.get_close_matches(key, declared, n=1)
    hint = f"did you mean {clean(close[0])}?" if close else f"known: {clean(', '.join(declared))}"
    return f"{clean(key, limit=80)}: the plugin has no such key; {hint}"


def _is_given(value: object) -> bool:
    """Return whether a setting states a value, rather than leaving it to the plugin's default."""
    return value is not None and value != ""


def _value(declaration: common_pb2.ConfigField, given: object) -> Any:
    """Return the value of one field; None when there is none and none is needed.

    Raises:
        ValueError: it is missing or of a wrong type; the text says what was expected.
    """
    if not _is_given(given):
        if declaration.default_json:
            return _default(declaration)
        if declaration.required:
            raise ValueError("missing, and the plugin needs it")
        return None
    return _typed(declaration, given)


def _typed(declaration: common_pb2.ConfigField, given: object) -> Any:
    name = declaration.Type.Name(declaration.type).removeprefix("TYPE_")
    if name == "NUMBER":
        return _number(given)
    if name == "BOOLEAN":
        return _boolean(given)
    text = _text(given)
    if name == "URL":
        _check_url(text)
    if name == "SELECT" and text not in declaration.options:
        raise ValueError(f"expected one of {clean(', '.join(declaration.options))}")
    return text


def _default(declaration: common_pb2.ConfigField) -> Any:
    try:
        value = read_json(declaration.default_json.encode(), _DEFAULT_BOUNDS)
    except Unreadable as error:
        raise ValueError("the plugin's own default is not JSON; set a value") from error
    if value is None or value == "":
        return value
    try:
        return _typed(declaration, value)
    except ValueError as error:
        raise ValueError(f"the plugin's own default does not fit: {error}; set a value") from error


def _number(given: object) -> float:
    """Return a finite number; a whole one stays an int."""
    if isinstance(given, str):
        given = _parsed(given)
    if isinstance(given, bool) or not isinstance(given, int | float) or not abs(given) <= _LARGEST:
        raise ValueError(f"expected a number, received {_kind(given)}")
    return given


def _parsed(text: str) -> object:
    """Return the number in a text, or the text."""
    for convert in (int, float):
        with contextlib.suppress(ValueError):
            return convert(text)
    return text


def _boolean(given: object) -> bool:
    value = _BOOLEANS.get(given, given) if isinstance(given, str) else given
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, received {_kind(given)}")  # noqa: TRY004 - said as a wrong value
    return value


def _text(given: object) -> str:
    if not isinstance(given, str):
        raise ValueError(f"expected text, received {_kind(given)}")  # noqa: TRY004 - said as a wrong value
    if len(given) > _MAX_TEXT:
        raise ValueError(f"expected at most {_MAX_TEXT} characters")
    if any("\ud800" <= character <= "\udfff" for character in given):
        raise ValueError("expected text, received bytes that are not UTF-8")
    if found := _CONTROLS.search(given):
        raise ValueError(f"holds {_control(found[0])} at position {found.start() + 1}")
    return str(given)


def _control(character: str) -> str:
    """Return what to call a character that has no place in one line of text."""
    if character in "\n\r\u0085\u2028\u2029":
        return "a line end"
    if character == "\ufeff":
        return "a byte order mark"
    return f"the control character U+{ord(character):04X}"


def _check_url(text: str) -> None:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("expected a web address that begins with https://")


def _kind(given: object) -> str:
    """Return a word for the type of a value that must not be shown."""
    words = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list"}
    return words.get(type(given), "an object")
