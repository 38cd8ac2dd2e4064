"""httpx is loaded without its command line, and is whole otherwise."""

from __future__ import annotations

import subprocess
import sys

import pytest

_LEAN = """
import sys
from aperio_cli.net.lean import httpx
found = {name.partition(".")[0] for name in sys.modules}
assert not found & {"rich", "pygments", "click"}, found
assert "httpx._main" not in sys.modules
assert httpx.URL("http://127.0.0.1:9/x").port == 9
with httpx.Client() as client:
    assert client.is_closed is False
import httpx._main  # whoever asks for it gets it
"""
_LATE = """
import sys, httpx._main
kept = sys.modules["httpx._main"]
from aperio_cli.net.lean import httpx
assert sys.modules["httpx._main"] is kept
"""


@pytest.mark.parametrize("script", [_LEAN, _LATE], ids=["first", "after somebody else"])
def test_httpx_is_loaded_without_its_command_line(script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
