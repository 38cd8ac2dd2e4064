"""Tools as child processes: bounded, their output kept, nothing of them left behind."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from aperio_cli.files.temporary import temporary_folder
from aperio_cli.machine import kernel
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

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
    *,
    errors: Path | None = None,
) -> int | None:
    """Run a tool to its end, in a session of its own, with nothing on its standard input.

    Args:
        command: the argument vector.
        folder: where it runs.
        environment: all of its environment.
        output: file that takes its standard output, and its standard error where that has none
            of its own.
        deadline_s: after so many seconds it is killed.
        errors: file that takes its standard error.

    Returns:
        Its exit status; None when it was killed at the deadline.

    Raises:
        OSError: it cannot be started.
    """
    process: subprocess.Popen[bytes] | None = None
    try:
        with contextlib.ExitStack() as opened:
            log = opened.enter_context(output.open("wb"))
            complaints = opened.enter_context(errors.open("wb")) if errors else subprocess.STDOUT
            opened.enter_context(_interrupts_deferred())
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=complaints,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )
        return _status(process, deadline_s)
    finally:
        if process:
            _end_group(process)


def _status(process: subprocess.Popen[bytes], deadline_s: float) -> int | None:
    """Return its exit status once it has ended; None at the deadline.

    `Popen.wait` with a deadline sleeps between its looks, up to 50 ms; a descriptor of the process
    wakes us when it ends. Other systems and older kernels have none.
    """
    try:
        descriptor = kernel.pidfd_open(process.pid)
    except OSError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(deadline_s)
        return None
    try:
        ended = select.poll()
        ended.register(descriptor, select.POLLIN)
        return process.wait() if ended.poll(deadline_s * 1000) else None
    finally:
        os.close(descriptor)


class ChildFailed(Exception):
    """A child gave no answer.

    Attributes:
        complaint: the end of its standard error, safe to show; may be empty.
    """

    def __init__(self, why: str, complaint: str = "") -> None:
        super().__init__(why)
        self.complaint = complaint


def ask_child(command: Sequence[str], deadline_s: float, limit_bytes: int = 64 * 1024) -> bytes:
    """Return what a short-lived child prints; it gets nothing of our environment or folder.

    Args:
        command: the argument vector.
        deadline_s: after so many seconds it is killed.
        limit_bytes: the longest answer; of a longer one the end is left out.

    Raises:
        ChildFailed: it took longer, or ended with another status than 0.
        OSError: it cannot be started, or there is no space for its answer.
    """
    with temporary_folder("aperio-child-") as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        status = run_child(
            command, Path("/"), {"LC_ALL": "C.UTF-8"}, output, deadline_s, errors=errors
        )
        if status is None:
            raise ChildFailed(f"it was not done after {deadline_s:g} s")
        if status:
            ended = f"exit status {status}" if status > 0 else f"killed by signal {-status}"
            raise ChildFailed(ended, clean(read_end(errors)))
        with output.open("rb") as file:
            return file.read(limit_bytes)


@contextlib.contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Hold Ctrl-C back for a moment, so that no child is started that nobody knows of."""
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
    """Return the end of what a tool printed, at most so many bytes of it."""
    with output.open("rb") as file:
        file.seek(max(0, output.stat().st_size - limit_bytes))
        return file.read().decode("utf-8", "replace")


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End whatever is left of the process group, as after Ctrl-C."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
