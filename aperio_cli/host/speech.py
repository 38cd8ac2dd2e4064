"""Where goes what a plugin says, and what its host says about it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperio_cli.host.process.logs import LogRecord

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Speech:
    """A sink for records that cannot fail whoever writes to it."""

    sink: Callable[[LogRecord], None]

    def take(self, record: LogRecord) -> None:
        """Pass a record on.

        A sink that fails, a closed terminal say, must not stop the draining of pipes.
        """
        with contextlib.suppress(OSError, ValueError):
            self.sink(record)

    def say(self, level: str, message: str) -> None:
        """Pass on what the host itself has to say."""
        self.take(LogRecord(level, message, "host"))
