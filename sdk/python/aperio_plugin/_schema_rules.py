"""What a connector's schema has to be beside its settings and auth: one rule for SDK and hosts."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from aperio_plugin.limits import (
    MAX_CHECK_BYTES,
    MAX_NAME_BYTES,
    MAX_PRODUCT_TYPE_BYTES,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2

__all__ = ["is_stream_name", "key_problems", "problems"]

_STREAM: Final = re.compile(r"[a-z0-9_-]{1,64}", re.ASCII)
_KEY: Final = re.compile(r"[^\s.]+\.\S+", re.ASCII)


def problems(schema: connector_pb2.SchemaResponse) -> Iterator[str]:
    """Yield what is wrong; a host uses no schema of which anything is."""
    yield from _stream_problems(schema)
    yield from _account_problems(schema)
    yield from _mapping_problems(schema)
    yield from key_problems("check", [check.key for check in schema.checks])
    yield from key_problems("action", [action.key for action in schema.remediation_actions])


def is_stream_name(name: object) -> bool:
    """Return whether a stream may be called so."""
    return isinstance(name, str) and _STREAM.fullmatch(name) is not None


def key_problems(kind: str, keys: list[str]) -> Iterator[str]:
    """Yield what is wrong with the keys of checks or actions.

    The part before the dot is free: `ms365.` stands for MICROSOFT_365.

    Args:
        kind: what they are keys of.
        keys: of all of them.
    """
    for key in keys:
        if not _KEY.fullmatch(key) or len(key.encode()) > MAX_CHECK_BYTES:
            most = f"at most {MAX_CHECK_BYTES} bytes"
            yield f"{kind} {key!r}: a key is a prefix, a dot and a name, {most}"
    yield from _twice(kind, keys)


def _stream_problems(schema: connector_pb2.SchemaResponse) -> Iterator[str]:
    names = [stream.name for stream in schema.streams]
    for name in names:
        if not is_stream_name(name):
            yield f"stream {name!r} is not 1 to 64 lower-case letters, digits, _ and -"
    yield from _twice("stream", names)
    features = schema.interface.features
    if "streams" in features and not names:
        yield "the feature `streams` needs streams that are declared"
    if "event-types" in features and not schema.event_types:
        yield "the feature `event-types` needs event types that are declared"


def _account_problems(schema: connector_pb2.SchemaResponse) -> Iterator[str]:
    key = schema.account_id_field
    found = [field for field in schema.fields if field.key == key]
    if key and not found:
        yield f"account_id_field names {key!r}, which is not declared"
    if any(field.secret for field in found):
        yield f"account_id_field names {key!r}, which is secret"


def _mapping_problems(schema: connector_pb2.SchemaResponse) -> Iterator[str]:
    for mapping in schema.event_mappings:
        ours, theirs = mapping.event_type, mapping.product_event_type
        if not 0 < len(ours.encode()) <= MAX_NAME_BYTES:
            yield f"mapping of {ours!r}: an event type has 1 to {MAX_NAME_BYTES} bytes"
        if not 0 < len(theirs.encode()) <= MAX_PRODUCT_TYPE_BYTES:
            most = f"1 to {MAX_PRODUCT_TYPE_BYTES} bytes"
            yield f"mapping of {ours!r}: the product's event type has {most}"
    yield from _twice("mapping of", [mapping.event_type for mapping in schema.event_mappings])


def _twice(kind: str, names: Iterable[str]) -> Iterator[str]:
    yield from (f"{kind} {name!r} is declared twice" for name, n in Counter(names).items() if n > 1)
