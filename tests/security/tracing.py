"""System calls of a command and of its children, as strace writes them down."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_DEADLINE_S = 60


def tracing(log: Path, calls: str, tried_on: Sequence[str], *options: str) -> list[str]:
    """Give what runs a command and writes down its calls; skip the test where nothing is traced.

    Args:
        log: the file that is written, anew by each command.
        calls: names of system calls, separated by commas.
        tried_on: a command that makes such a call, which is run once; its trace is in the log.
        options: more of strace.
    """
    command = ["strace", "-f", "-qq", *options, "-e", f"trace={calls}", "-o", str(log)]
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    tried = subprocess.run(
        [*command, *tried_on], capture_output=True, text=True, timeout=_DEADLINE_S, check=False
    )
    if tried.returncode != 0:
        pytest.skip(f"nothing may be traced here: {tried.stderr.strip()}")
    return command
