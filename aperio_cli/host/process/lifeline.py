"""A pipe that tells a plugin, and the kernel, that the host is gone.

The plugin inherits the read end; the other is the host's alone, and the kernel closes it however
the host ends. A plugin that watches its end sees that. For one that does not, the read end is made
to signal (F_SETOWN, F_SETSIG, O_ASYNC in fcntl(2)): the kernel then sends SIGKILL to the plugin's
whole process group, its children too. The kernel remembers the group itself, not its number.

PR_SET_PDEATHSIG is the other way to that. It means the end of a thread, not of a process, misses
the plugin's children, and can only be set by a program executed in between. A hostile plugin can
take back the one (by closing the descriptor) as well as the other.
"""

from __future__ import annotations

import fcntl
import os
import signal
from dataclasses import dataclass

_held: set[Lifeline] = set()


@dataclass(slots=True, eq=False)
class Lifeline:
    """Both ends, of which a plugin inherits the first.

    Attributes:
        plugin_end: to be inherited.
    """

    plugin_end: int
    _host_end: int

    @classmethod
    def make(cls) -> Lifeline:
        """Return a new one, not inherited by anybody yet.

        Raises:
            OSError: there are too many descriptors.
        """
        made = cls(*os.pipe2(os.O_CLOEXEC))
        _held.add(made)
        return made

    def arm(self, group: int) -> None:
        """Have the kernel kill a process group once the host's end is closed; Linux only.

        Raises:
            OSError: the kernel does not do it.
            ValueError: the lifeline was cut already.
        """
        if hasattr(fcntl, "F_SETSIG"):
            fcntl.fcntl(self.plugin_end, fcntl.F_SETOWN, -group)
            fcntl.fcntl(self.plugin_end, fcntl.F_SETSIG, signal.SIGKILL)
            self._set_async(os.O_ASYNC)

    def cut(self) -> None:
        """Close both ends, which kills the group of an armed one; harmless when repeated."""
        if self._host_end >= 0:
            _held.discard(self)
            os.close(self._host_end)
            os.close(self.plugin_end)
            self.plugin_end = self._host_end = -1

    def let_go(self) -> None:
        """Let go without killing anybody: whoever watches the plugin's end sees it."""
        if self._host_end >= 0 and hasattr(fcntl, "F_SETSIG"):
            self._set_async(0)
        self.cut()

    def _set_async(self, flag: int) -> None:
        others = fcntl.fcntl(self.plugin_end, fcntl.F_GETFL) & ~os.O_ASYNC
        fcntl.fcntl(self.plugin_end, fcntl.F_SETFL, others | flag)


def _forget() -> None:
    """In a copy of the host made by fork(2): it is not the host, and may outlive it.

    It only shares the ends, so nobody is killed.
    """
    for lifeline in tuple(_held):
        lifeline.cut()


os.register_at_fork(after_in_child=_forget)
