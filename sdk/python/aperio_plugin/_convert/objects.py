"""JSON objects, encoded and read.

With python-rapidjson (`aperio-plugin-sdk[fast]`) an object is encoded in half of the time. In the
strictest of its modes it refuses all that the standard encoder refuses, and more, such as a tuple
or half of a surrogate pair: what it refuses, the standard encoder encodes, or says why not. The one
exception is a `rapidjson.RawJSON`, which a host checks as it checks all. Quicker encoders were
tried and not taken, because they encode what JSON does not have: a date, a UUID, bytes or a member
of an enumeration as text, and NaN as null.
"""

from __future__ import annotations

import functools
import json
import json.encoder
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn

from aperio_plugin import errors
from aperio_plugin.limits import MAX_RECORD_DEPTH

if TYPE_CHECKING:
    from collections.abc import Callable


_SURROGATE = re.compile("[\ud800-\udfff]")


def _plain(value: Any) -> dict[str, Any]:
    """Return what the encoder does not know as something that it knows.

    Raises:
        TypeError: it has no JSON form.
    """
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} has no JSON form")


_UTF8 = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain)
_ASCII = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def _standard_encoder() -> Callable[[Any], str]:
    """Return `_UTF8.encode`, where possible without the set-up that it repeats for each value."""
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return _UTF8.encode
    quote = json.encoder.encode_basestring
    encode = make(None, _plain, quote, None, ":", ",", False, False, False)  # noqa: FBT003 - it takes no keywords
    join = "".join
    return lambda value: join(encode(value, 0))


_encode_standard: Final = _standard_encoder()


@functools.cache  # here and not above: a launch does not need it
def _strict_encoder() -> Callable[[Any], str] | None:
    """Return an encoder that is quick and takes only what JSON has; None: it is not installed."""
    try:
        import rapidjson
    except ImportError:
        return None
    encode: Callable[[Any], Any] = rapidjson.Encoder(
        ensure_ascii=False,
        number_mode=rapidjson.NM_NONE,  # no NaN
        datetime_mode=rapidjson.DM_NONE,
        uuid_mode=rapidjson.UM_NONE,
        bytes_mode=rapidjson.BM_NONE,
        iterable_mode=rapidjson.IM_ONLY_LISTS,
        mapping_mode=rapidjson.MM_ONLY_DICTS,  # and no keys but texts
    )
    return encode


def encode_object(value: Mapping[str, Any]) -> bytes:
    """Return a JSON object, compact, in UTF-8.

    Half of a surrogate pair, which UTF-8 does not have, stands there as JSON's escape.

    Raises:
        TypeError, ValueError, RecursionError: a part of it has no JSON form.
    """
    # First what nearly all are: to ask for `Mapping` takes as long as to encode a small object.
    if type(value) is not dict:
        if not isinstance(value, Mapping):
            raise TypeError(f"record: expected an object, received {type(value).__name__}")
        value = dict(value)
    if (encode_quickly := _strict_encoder()) is not None:
        try:
            return encode_quickly(value).encode()
        except Exception:  # noqa: BLE001, S110 - whatever it is, the standard encoder decides
            pass
    try:
        text = _encode_standard(value)
    except RecursionError:  # mappings that are no dictionaries take several calls for a level
        text = _encode_standard(_unfolded(value))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()


def _unfolded(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object whose mappings are dictionaries, without recursion.

    Raises:
        RecursionError: it has more levels than a record may have, or contains itself.
    """
    whole: dict[str, Any] = {}
    left: list[tuple[Any, Any, int]] = [(value, whole, 1)]
    while left:
        found, made, level = left.pop()
        if level > MAX_RECORD_DEPTH:
            raise RecursionError(f"more than {MAX_RECORD_DEPTH} levels")
        is_list = isinstance(found, list | tuple)
        plain = found if is_list or isinstance(found, dict) else dict(found)
        for key, item in enumerate(plain) if is_list else plain.items():
            inner: Any = item
            if isinstance(item, Mapping | list | tuple):
                inner = {} if isinstance(item, Mapping) else [None] * len(item)
                left.append((item, inner, level + 1))
            made[key] = inner
    return whole


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"JSON has no {name}")


def decode_object(data: bytes, what: str) -> dict[str, Any]:
    """Read a JSON object that the host sent; nothing stands for an empty one.

    Raises:
        errors.InvalidArgument: it is not one.
    """
    try:
        # As text: json.loads would take bytes for UTF-16, too, where they look like it.
        value = json.loads((data or b"{}").decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise errors.InvalidArgument(f"{what} is not JSON") from error
    if not isinstance(value, dict):
        raise errors.InvalidArgument(f"{what} is not a JSON object")
    return value


def encode_value(value: Any) -> bytes:
    """Return any JSON value, compact, in ASCII; nothing for None.

    Raises:
        TypeError, ValueError, RecursionError: it has no JSON form.
    """
    return b"" if value is None else _ASCII.encode(value).encode()
