"""JSON objects, encoded and read."""

from __future__ import annotations

import json
import json.encoder
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from aperio_plugin import errors

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


def _fast_encoder() -> Callable[[Any], str]:
    """Return `_UTF8.encode`, where possible without the set-up that it repeats for each value."""
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return _UTF8.encode
    quote = json.encoder.encode_basestring
    encode = make(None, _plain, quote, None, ":", ",", False, False, False)  # noqa: FBT003 - it takes no keywords
    join = "".join
    return lambda value: join(encode(value, 0))


_encode_fast = _fast_encoder()


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
    text = _encode_fast(value)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()


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
