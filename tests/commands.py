"""A command of ours, typed in the process of the tests: to start Python costs as much again."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

from aperio_cli.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def typed(
    words: Sequence[str],
    environment: Mapping[str, str],
    *,
    given: str = "",
    folder: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Do a command in this process, as a shell with this environment, in a folder, would."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryFile("w+") as stdin,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        contextlib.chdir(folder) if folder else contextlib.nullcontext(),
    ):
        stdin.write(given)
        stdin.seek(0)
        for name in set(os.environ) - environment.keys():
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(sys, "stdin", stdin)
        status = _in_its_own_time(list(words))
    said = [stream.buffer.getvalue().decode() for stream in (out, err)]
    return subprocess.CompletedProcess(list(words), status, *said)


def _in_its_own_time(words: list[str]) -> int:
    """Do a command, and leave the signals as they were."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        return main(words)
    finally:
        signal.signal(signal.SIGTERM, before)
        sys.stdout.flush()
        sys.stderr.flush()
