"""Reading lines for `deliver`: the envelope in each is cut out by its place, and stays as it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from aperio_plugin.wire import limits

from aperio_cli.host.calls.envelopes import KINDS, MAX_ENVELOPE_BYTES, Outbound
from aperio_cli.host.calls.json_text import Member, members, require_shallow
from aperio_cli.models.reading import text_of


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line of the input that is no envelope.

    Attributes:
        number: from 1.
        reason: why it is none.
        data: the line without its end; of one that is too long the beginning.
        code: stable name of the cause.
    """

    number: int
    reason: str
    data: bytes = field(repr=False)
    code: ClassVar[str] = "envelope-invalid"


def read_line(line: bytes, *, number: int) -> Outbound | BadLine | None:
    """Return the envelope in a line for `deliver`; None for a blank line or a line of another type.

    Args:
        line: an `event` line as `run … sync` writes it, whatever its spaces, its order of keys and
            further keys, or a bare envelope: the host's own, or the product's, which has no id. A
            byte order mark may begin it, as it does where a file of other editors is appended.
        number: the line's number, from 1.
    """
    try:
        text = text_of(line).strip(" \t\r\n")
        return _outbound(text, number) if text else None
    except ValueError as error:
        return BadLine(number, str(error), line)


def read_envelope(data: bytes) -> Outbound:
    """Return a bare envelope: the host's own, or the product's, which has no id.

    Raises:
        ValueError: it is none.
    """
    text = data.decode()
    return _envelope(text, members(text), 0)


def _outbound(text: str, number: int) -> Outbound | None:
    """Return the envelope in a text; None for a line of another type.

    Raises:
        ValueError: it is neither.
    """
    found = members(text)
    keys = {member.key for member in found}
    if "type" in keys and "schema_version" not in keys:
        if _only(found, "type").value != "event":
            return None
        text = _only(found, "envelope").text
        found = members(text)
    return _envelope(text, found, number)


def _envelope(text: str, found: list[Member], number: int) -> Outbound:
    """Return the envelope that a text with these members is.

    Raises:
        ValueError: it is none.
    """
    kind = _only(found, "kind").value
    if kind not in KINDS:
        raise ValueError(f"expected a `kind` that is one of {', '.join(KINDS)}")
    identity = _id_of(_only(found, "id")) if any(each.key == "id" for each in found) else ""
    organization_id = _only(found, "organization_id")
    if sum(each.key.lower() == organization_id.key for each in found) != 1:
        # There are readers, Go's among them, to whom these are one key.
        raise ValueError("expected `organization_id` once, in small letters and capitals")
    if not organization_id.text.startswith('"') or not organization_id.value:
        raise ValueError("expected an `organization_id` that is text")
    if not _only(found, "record").text.startswith("{"):  # the delivery key is made of it
        raise ValueError("expected a `record` that is an object")
    data = text.encode()
    if len(data) > MAX_ENVELOPE_BYTES:
        raise ValueError(f"expected an envelope of at most {MAX_ENVELOPE_BYTES} bytes")
    require_shallow(data, limits.MAX_RECORD_DEPTH + 2)  # evidence stands in a finding's record
    return Outbound(identity, kind, data, organization_id.value, number)


def _only(found: list[Member], key: str) -> Member:
    """Return the member with a key.

    Raises:
        ValueError: there is none, or there are several, of which readers take different ones.
    """
    those = [member for member in found if member.key == key]
    if len(those) != 1:
        raise ValueError(f"expected `{key}` once, received it {len(those)} times")
    return those[0]


def _id_of(identity: Member) -> str:
    """Return the id of an envelope.

    Raises:
        ValueError: it is no text that can be sent, or too long.
    """
    expected = f"expected an `id` of 1 to {limits.MAX_ID_BYTES} bytes of text"
    if not identity.text.startswith('"'):
        raise ValueError(expected)
    found: str = identity.value
    try:
        size = len(found.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"{expected}, received half of a surrogate pair") from error
    if not 0 < size <= limits.MAX_ID_BYTES:
        raise ValueError(expected)
    return found
