"""Records: one JSON object in UTF-8 each, checked without interpreting a number of it."""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

from aperio_plugin.limits import MAX_RECORD_BYTES, MAX_RECORD_DEPTH

# What opens, what closes, and strings, in which neither counts. It never fails at a quote, so that
# no input is scanned twice.
_BRACKETS: Final = re.compile(rb'[{\[]|[}\]]|"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)

LEAST_DEEP: Final = 2 * MAX_RECORD_DEPTH
"""No shorter JSON is too deep, or too long: each level has two brackets."""


class Json(bytes):
    """The text of one JSON object that has been checked, so that nobody checks it again."""

    __slots__ = ()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"JSON has no {name}")


# `str`: the digits as they stand there, which takes no time and has no limit.
DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=str, parse_float=str)


def checked(data: bytes) -> Json:
    """Return a record that may pass.

    Raises:
        ValueError: it is too long, too deep, not UTF-8, not JSON (RFC 8259), or not an object.
    """
    require_size(data)
    try:
        value: Any = DECODER.decode(data.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"record is not UTF-8: byte {error.start}") from error
    except ValueError as error:
        raise ValueError(f"record is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError("record is not a JSON object")  # noqa: TRY004 - a wrong value
    return Json(data)


def require_size(data: bytes) -> None:
    """Refuse a record that is too long or too deep, whatever else it is.

    Raises:
        ValueError: it is.
    """
    if len(data) > MAX_RECORD_BYTES:
        raise ValueError(f"record has {len(data)} bytes, {MAX_RECORD_BYTES} are the most")
    if data.count(b"{") + data.count(b"[") > MAX_RECORD_DEPTH and _is_too_deep(data):
        raise ValueError(f"record has more than {MAX_RECORD_DEPTH} levels")


def _is_too_deep(data: bytes) -> bool:
    depth = 0
    for found in _BRACKETS.finditer(data):
        if found[0] in b"{[":
            depth += 1
            if depth > MAX_RECORD_DEPTH:
                return True
        elif found[0] in b"}]":
            depth -= 1
    return False
