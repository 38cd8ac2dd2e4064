"""A tool of the build as a child process: bounded, its output kept, nothing of it left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

WAY_OUT = (
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "https_proxy",
    "http_proxy",
    "no_proxy",
)
"""Environment variables that say how a network is reached, and change nothing that is fetched."""


def run_child(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    output: Path,
    deadline_s: float,
) -> int | None:
    """Runs a tool to its end, in a session of its own, with nothing on its standard input.

    Args:
        command: the argument vector.
        folder: where it runs.
        environment: all of its environment.
        output: file that takes its standard output and standard error, together.
        deadline_s: after so many seconds it is killed.

    Returns:
        Its exit status; None when it was killed at the deadline.

    Raises:
        OSError: it cannot be started.
    """
    process: subprocess.Popen[bytes] | None = None
    try:
        with output.open("wb") as log, _interrupts_deferred():
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )
        return process.wait(deadline_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process:
            _end_group(process)


@contextlib.contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Holds Ctrl-C back for a moment, so that no child is started that nobody knows of."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals to the main thread only
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)
        if came:
            signal.raise_signal(signal.SIGINT)


def read_end(output: Path, limit_bytes: int = 64 * 1024) -> str:
    """The end of what a tool printed, at most so many bytes of it."""
    with output.open("rb") as file:
        file.seek(max(0, output.stat().st_size - limit_bytes))
        return file.read().decode("utf-8", "replace")


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Ends whatever is left of the process group, as after Ctrl-C."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
