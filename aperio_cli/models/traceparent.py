"""The headers `traceparent` and `tracestate` (https://www.w3.org/TR/trace-context/) of a call.

The first says to which span it belongs, the second what systems above add to that.

A host's span has an id that follows from its run's, so that a plugin can be told of it before it
has ended, and nobody has to keep it.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

_FORM: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-(?P<flags>[0-9a-f]{2})"
    r"(?P<more>-.*)?",
    re.ASCII,
)
_LONGEST: Final = 512
_SAMPLED: Final = 1
_MEMBER: Final = re.compile(
    r"[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]",
    re.ASCII,
)
_MOST_MEMBERS: Final = 32
_LONGEST_STATE: Final = 512  # which everybody passes on (3.3.1.5 of the standard)
_LARGE_MEMBER: Final = 128  # such are left out first, says the standard
_MOST_READ: Final = 32 * 1024


def read_traceparent(text: str) -> str:
    """Return a traceparent as version 00 has it; empty for a text that is none.

    The standard has whoever receives such a text go on as if there was none. Of a later version
    what version 00 has is read.
    """
    found = _FORM.fullmatch(text) if len(text) <= _LONGEST else None
    if found is None or (found["more"] and text.startswith("00")):
        return ""
    flags = int(found["flags"], 16) & _SAMPLED
    return f"00-{text[3:52]}-{flags:02x}"


def read_tracestate(text: str) -> str:
    """Return a tracestate as it is; empty for a text that is none.

    Of one that is longer than 512 characters whole entries are left out: the large ones first, then
    the last ones.
    """
    if len(text) > _MOST_READ:
        return ""
    members = [member for each in text.split(",") if (member := each.strip(" \t"))]
    keys = {member.partition("=")[0] for member in members}
    if len(members) > _MOST_MEMBERS or len(keys) < len(members):
        return ""
    if not members or not all(map(_MEMBER.fullmatch, members)):
        return ""
    return text if len(text) <= _LONGEST_STATE else _shortened(members)


def _shortened(members: list[str]) -> str:
    for member in members[::-1]:
        if len(",".join(members)) > _LONGEST_STATE and len(member) > _LARGE_MEMBER:
            members.remove(member)
    while len(",".join(members)) > _LONGEST_STATE:
        members.pop()
    return ",".join(members)


def trace_id(traceparent: str) -> str:
    """Return the trace's id; empty where there is none."""
    return traceparent[3:35]


def span_id(run_id: str) -> int:
    """Return the id of a run's span: 64 bits, never 0."""
    return int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:8]) or 1


def below(traceparent: str, run_id: str) -> str:
    """Return what is passed on within a run: its own span, in its caller's trace."""
    if not traceparent:
        return ""
    return f"{traceparent[:36]}{span_id(run_id):016x}{traceparent[52:]}"
