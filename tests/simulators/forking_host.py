"""`aperio` as it is, but for plugins in Python, which it forks (`tests/forked_plugins.py`)."""

from __future__ import annotations

from aperio_cli.__main__ import entry_point
from aperio_cli.host.sandbox import unconfined
from tests.forked_plugins import Forking

if __name__ == "__main__":
    setattr(unconfined, "subprocess", Forking)  # noqa: B010 - what it uses of the module
    entry_point()
