"""Sends this process a signal at one moment, which is named by an event of Python's audit.

    arm("SIGINT:1:os.rename:/plugins/")

The moment is the NUMBER-th event of that name whose arguments contain the TEXT
(https://docs.python.org/3/library/audit_events.html).
"""

from __future__ import annotations

import os
import signal
import sys


def arm(moment: str) -> None:
    """Send this process the signal at the moment."""
    name, number, wanted, text = moment.split(":", 3)
    left = int(number)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event == wanted and left and text in repr(arguments):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.Signals[name])

    sys.addaudithook(hook)
