"""A second process that copies files into what is built while the first one reads records.

It is a help and nothing else: it says what it has copied, and whoever asked copies the rest, and
so is the one that refuses what is missing or is not what was added. A helper that was killed, or
that a machine has no room for, costs time only; what is built is the same, and so are the errors.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Final

from aperio_cli.publishing.rendering import Copied

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

WORTH: Final = 500
"""For how many files a second process is started."""

_MOST_MESSAGE_BYTES: Final = 4096  # PIPE_BUF: what a pipe takes whole or not at all
_MOST_REPORT_BYTES: Final = 64 * 1024 * 1024
_END: Final = b"\n"


class Helper:
    """A process that copies what it is asked to; `close` ends it.

    Args:
        copy: copies one file; what it raises is left for whoever asked.
    """

    def __init__(self, copy: Callable[[Copied], None]) -> None:
        self._copy = copy
        self._waiting: list[Copied] = []
        self._asked: list[Copied] = []
        self._pid = 0
        self._tasks = -1
        self._report = -1

    def ask(self, copied: Copied) -> None:
        """Have a file copied, unless the helper has its hands full; never wait for it."""
        if self._pid:
            self._send(copied)
            return
        self._waiting.append(copied)
        if len(self._waiting) == WORTH and _is_possible():
            self._start()
            for each in self._waiting:
                self._send(each)

    def finish(self) -> set[Copied]:
        """Wait until it has copied what it took; return that."""
        if not self._pid:
            return set()
        with contextlib.suppress(OSError):
            os.set_blocking(self._tasks, True)
            os.write(self._tasks, _END)
        # It ends: it reads no more than it was sent, and when it dies the pipe has an end, too.
        with open(self._report, "rb", closefd=False) as file:
            report = file.read(_MOST_REPORT_BYTES)
        self.close()
        try:
            failed = set(json.loads(report))
        except ValueError:  # it was killed
            return set()
        return {each for number, each in enumerate(self._asked) if number not in failed}

    @property
    def was_asked(self) -> bool:
        """Whether there may be files of its making, whole or not."""
        return bool(self._asked)

    def close(self) -> None:
        """End the process, at once; what it was copying is not whole."""
        if not self._pid:
            return
        os.close(self._tasks)
        os.close(self._report)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._pid = 0

    def _start(self) -> None:
        tasks, self._tasks = os.pipe()
        self._report, report = os.pipe()
        parent = os.getpid()
        try:
            self._pid = os.fork()
        except OSError:  # no process, or no memory, is left
            for descriptor in (tasks, self._tasks, self._report, report):
                os.close(descriptor)
            return
        if not self._pid:
            os.close(self._tasks)
            os.close(self._report)
            _work(self._copy, tasks, report, parent)
        os.close(tasks)
        os.close(report)
        os.set_blocking(self._tasks, False)

    def _send(self, copied: Copied) -> None:
        fields = (copied.path, copied.source, copied.sha256, copied.size_bytes, copied.is_exact)
        message = json.dumps(fields).encode() + _END
        if not self._pid or len(message) > _MOST_MESSAGE_BYTES:
            return
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._tasks, message)
            self._asked.append(copied)


def _is_possible() -> bool:
    """Return whether a process can be split in two here, and there is a processor for each."""
    if sys.platform != "linux" or len(os.sched_getaffinity(0)) == 1:
        return False
    return threading.active_count() == 1  # what other threads hold would be held for ever


def _work(copy: Callable[[Copied], None], tasks: int, report: int, parent: int) -> NoReturn:
    """Copy what is asked for, then say what failed; end when nobody waits for it any more.

    Nothing of the first process may run here when it is left, nor be written a second time.
    """
    status = 1
    try:
        failed: list[int] = []
        with open(tasks, "rb") as file:
            for number, line in enumerate(file):
                if line == _END:
                    data = json.dumps(failed).encode()
                    while data:
                        data = data[os.write(report, data) :]
                    status = 0
                    break
                if os.getppid() != parent:
                    break
                try:
                    copy(Copied(*json.loads(line)))
                except Exception:  # noqa: BLE001 - whoever asked finds it once more, and tells it
                    failed.append(number)
    finally:
        os._exit(status)
