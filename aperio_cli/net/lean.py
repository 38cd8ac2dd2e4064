"""httpx without its command line.

Importing httpx imports its own command line, and with it rich and pygments wherever they are
installed: two thirds of the time that httpx takes to import, for what nobody here uses.
"""

from __future__ import annotations

import sys
from typing import Final

_COMMAND_LINE: Final = "httpx._main"

# What is None here cannot be imported (importlib's documentation), and httpx does without it.
_is_there = _COMMAND_LINE in sys.modules
if not _is_there:
    sys.modules[_COMMAND_LINE] = None  # type: ignore[assignment] # typeshed knows modules only
try:
    import httpx
finally:
    if not _is_there:
        del sys.modules[_COMMAND_LINE]

__all__ = ["httpx"]
