"""The header `traceparent` (https://www.w3.org/TR/trace-context/): which span a call belongs to.

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
