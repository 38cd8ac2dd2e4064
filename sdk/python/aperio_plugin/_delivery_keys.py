"""Delivery keys: what an envelope is deduplicated by; one rule for hosts and for destinations.

Specification: the comment of `OutboundEnvelope.id` in proto/aperio/plugin/v1/destination.proto;
sdk/testdata/delivery_keys.json has its vectors. It is the key under which the product's server
keeps a delivery, so texts are written as Go's encoding/json writes them, and ids that are numbers
as Go's fmt does.
"""

from __future__ import annotations

import hashlib
import json
import re
from json.encoder import encode_basestring as quote
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

__all__ = ["DeliveryKeys", "first_text"]

_STREAMS: Final = {"finding": "FINDINGS", "event": "EVENTS", "audit_log": "AUDIT_LOGS"}
_ESCAPES: Final = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}
_SPACE: Final = (  # White_Space of Unicode; `str.strip` takes four more
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
_HALF: Final = re.compile("[\ud800-\udfff]")
_ESCAPED_HALF: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_EXACT: Final = 2.0**53
"""From here on two whole numbers may be one double: their digits are kept."""
_LEAST_PLAIN, _MOST_PLAIN = 1e-6, 1e21
_LEAST_EXPONENT, _MOST_EXPONENT = -4, 6


class _Digits(str):
    """A number as it was written."""

    __slots__ = ()

    def double(self) -> float | None:
        """Give its value as the product holds it; None: that would not be this number."""
        value = float(self)
        is_whole = self.lstrip("-").isdigit()
        if abs(value) == float("inf") or (is_whole and abs(value) >= _EXACT):
            return None
        return value


class DeliveryKeys:
    """Makes the keys of one organization's deliveries to one destination.

    Args:
        organization_id: of the call.
        destination_id: of the destination; of a call of aperio its integration id.
    """

    def __init__(self, organization_id: str, destination_id: str) -> None:
        self._begin = {
            kind: hashlib.sha256(
                f'{{"organizationId":{_text(organization_id)}'
                f',"destinationId":{_text(destination_id)}'
                f',"stream":"{stream}","kind":"{kind}","stableRecordId":'.encode()
            )
            for kind, stream in _STREAMS.items()
        }

    def of(self, envelope: bytes | Mapping[str, Any]) -> str:
        """Return the key of an envelope: 64 lower-case hex digits.

        Raises:
            ValueError: it is no JSON object in UTF-8, of another kind, or has no record.
        """
        found = _object(envelope)
        kind = found.get("kind")
        if not isinstance(kind, str) or kind not in _STREAMS:
            raise ValueError(f"expected a `kind` that is one of {', '.join(_STREAMS)}")
        if kind != "finding" and (own := first_text(found.get("id"))):
            return self.of_id(kind, own)
        record = found.get("record")
        if not isinstance(record, dict):
            raise ValueError("expected a `record` that is an object")  # noqa: TRY004 - of JSON
        names = ("findingId", "id", "dedupeKey", "sourceEventId")
        identity = first_text(*map(record.get, names)) or _json(record)
        if kind != "finding":
            return self.of_id(kind, identity)
        occurrence = first_text(
            record.get("sourceEventId"), record.get("detectedAt"), found.get("occurred_at")
        )
        return self.of_id(kind, identity, occurrence, first_text(record.get("status")))

    def of_id(self, kind: str, identity: str, occurrence: str = "", status: str = "") -> str:
        """Return the key of an envelope whose parts are known.

        Args:
            kind: event, finding or audit_log.
            identity: of the record; for the host's own events and audit log entries the envelope's.
            occurrence: of a finding.
            status: of a finding.
        """
        digest = self._begin[kind].copy()
        rest = _text(identity)
        if occurrence:
            rest += f',"findingOccurrence":{_text(occurrence)}'
        if status:
            rest += f',"findingStatus":{_text(status)}'
        digest.update(f"{rest}}}".encode())
        return digest.hexdigest()


def first_text(*values: Any) -> str:
    """Return the first value that can be an id, as text: no object, list, null or blank."""
    for value in values:
        if isinstance(value, _Digits):
            return _as_fmt(value)
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, str) and (text := value.strip(_SPACE)):
            return text
    return ""


def _object(envelope: bytes | Mapping[str, Any]) -> dict[str, Any]:
    """Read an envelope; numbers stay as they were written.

    Raises:
        ValueError: it is no JSON object in UTF-8.
    """
    if not isinstance(envelope, bytes):
        from aperio_plugin._convert.objects import encode_object

        envelope = encode_object(envelope)
    try:
        found = json.loads(
            envelope.decode(), parse_int=_Digits, parse_float=_Digits, parse_constant=_refuse,
            object_pairs_hook=_with_whole_keys if _ESCAPED_HALF.search(envelope) else None,
        )  # fmt: skip
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError("expected an object")  # noqa: TRY004 - of JSON
    return found


def _with_whole_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object as Go reads it: of keys that become one the last counts."""
    return {_whole(key): value for key, value in pairs}


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"JSON has no {name}")


def _text(value: str) -> str:
    return quote(_whole(value)).translate(_ESCAPES)


def _whole(text: str) -> str:
    """Return a text with U+FFFD for halves of surrogate pairs, as Go reads them."""
    return _HALF.sub("\ufffd", text)


def _json(value: Any) -> str:
    """Return a value as compact JSON with sorted keys; without recursion, whatever its depth."""
    parts: list[str] = []
    left: list[Any] = [value]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            left.append(_Mark("}"))
            for number, key in enumerate(sorted(item, reverse=True), start=1):
                comma = "," if number < len(item) else ""
                left += [item[key], _Mark(f"{comma}{_text(key)}:")]
            left.append(_Mark("{"))
        elif isinstance(item, list):
            left.append(_Mark("]"))
            for number, each in enumerate(reversed(item), start=1):
                left += [each, _Mark("," if number < len(item) else "")]
            left.append(_Mark("["))
        else:
            parts.append(_scalar(item))
    return "".join(parts)


class _Mark(str):
    """What stands between values."""

    __slots__ = ()


def _scalar(value: Any) -> str:
    if isinstance(value, _Mark):
        return str(value)
    if isinstance(value, _Digits):
        return _as_json(value)
    return _text(value) if isinstance(value, str) else json.dumps(value)


def _as_fmt(digits: _Digits) -> str:
    """Return a number as Go's `%v` writes a float64."""
    value = digits.double()
    if value is None:
        return str(digits)
    exponent = _decimal(value).adjusted() if value else 0
    if _LEAST_EXPONENT <= exponent < _MOST_EXPONENT:
        return repr(value).removesuffix(".0")
    return f"{_mantissa(value)}e{exponent:+03d}"


def _as_json(digits: _Digits) -> str:
    """Return a number as Go's encoding/json writes a float64."""
    value = digits.double()
    if value is None:
        return str(digits)
    if not value or _LEAST_PLAIN <= abs(value) < _MOST_PLAIN:
        return f"{_decimal(value):f}".removesuffix(".0")
    return f"{_mantissa(value)}e{_decimal(value).adjusted():+d}"


def _mantissa(value: float) -> str:
    """Return the shortest digits of a value with a point behind the first one."""
    sign, digits, _ = _decimal(value).normalize().as_tuple()
    first, *others = map(str, digits)
    point = "." if others else ""
    return f"{'-' if sign else ''}{first}{point}{''.join(others)}"


def _decimal(value: float) -> Decimal:
    from decimal import Decimal  # records without a text for an id are few

    return Decimal(repr(value))
