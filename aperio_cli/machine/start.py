"""What the program was started with, made fit before anything else happens.

A service manager, a cron job or another program may start it with streams closed, a umask that
closes nothing or everything, a HOME that is empty, or a plugin's cookie. Python and what it starts
would take each of these as it is: the next file that is opened becomes stdout, records are written
for all to change, a home is made below `/`, and stdout belongs to the handshake of a plugin.
"""

# Imports nothing that takes time: every command begins with it.
from __future__ import annotations

import io
import os
import sys

_STDIN, _STDOUT, _STDERR = range(3)
_NAMES = ("stdin", "stdout", "stderr")
_OTHERS_MAY_NOT_WRITE = 0o022
_MOST_THAT_IS_CLOSED = 0o077
_COOKIE = "APERIO_PLUGIN_MAGIC_COOKIE"


def make_fit() -> bool:
    """Make streams, umask and environment fit to work with; return whether stdout can be written.

    Repeating it changes nothing.
    """
    fit = [_fit_stream(number) for number in (_STDIN, _STDOUT, _STDERR)]
    # Never for others to change, and always for this user to read: tools that are started, and
    # what a plugin writes, are held to it too.
    os.umask((os.umask(_MOST_THAT_IS_CLOSED) | _OTHERS_MAY_NOT_WRITE) & _MOST_THAT_IS_CLOSED)
    _fit_home()
    os.environ.pop(_COOKIE, None)  # of a plugin that starts us; we import the SDK, and are none
    return fit[_STDOUT]


def _fit_stream(number: int) -> bool:
    """Put the null device in the place of a stream that is closed; return whether it was open.

    Reading stdin and writing to stdout then fail still, as they have to: what is not there is no
    empty input, and what was not written was not delivered. Words on stderr go nowhere.
    """
    wanted = os.O_RDONLY if number == _STDIN else os.O_WRONLY
    if _is_open(number, wanted):
        if number != _STDIN:
            _have_buffered(number)
        return True
    refusing = os.O_WRONLY if number == _STDIN else os.O_RDONLY
    null = os.open(os.devnull, os.O_WRONLY if number == _STDERR else refusing)
    if null != number:
        os.dup2(null, number)
        os.close(null)
    os.set_inheritable(number, True)  # noqa: FBT003 - positional only
    mode = "r" if number == _STDIN else "w"
    stream = open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115 - a descriptor, for as long as the process lives
    setattr(sys, _NAMES[number], stream)
    return False


def _have_buffered(number: int) -> None:
    """Write to a stream by way of a buffer, in spite of PYTHONUNBUFFERED.

    What is there without one asks the system once and takes a part for the whole: on a disk that
    is all but full the rest is lost, and nobody says so. Ours is flushed with every answer.
    """
    stream = getattr(sys, _NAMES[number])
    if not isinstance(getattr(stream, "buffer", None), io.RawIOBase):
        return
    lines = 1 if number == _STDERR else -1
    buffered = open(  # noqa: SIM115 - as above
        number, "w", lines, encoding=stream.encoding, errors=stream.errors, closefd=False
    )
    setattr(sys, _NAMES[number], buffered)


def _is_open(number: int, wanted: int) -> bool:
    """Return whether a descriptor is open in a direction; make it wait, as everybody expects."""
    try:
        import fcntl
    except ImportError:  # on Windows, where a process has its streams or Python has none
        return getattr(sys, _NAMES[number]) is not None
    try:
        flags = fcntl.fcntl(number, fcntl.F_GETFL)
    except OSError:
        return False
    if flags & os.O_NONBLOCK:  # as whoever started us left its end of a pipe
        fcntl.fcntl(number, fcntl.F_SETFL, flags & ~os.O_NONBLOCK)
    return flags & os.O_ACCMODE in {wanted, os.O_RDWR}


def _fit_home() -> None:
    """Let HOME be where the system says that this user is at home, where it is no folder at all.

    What expands `~` would take an empty one for `/`, and a relative one for a place in whatever
    folder the command is typed in.
    """
    if os.path.isabs(os.environ.get("HOME", "")):  # noqa: PTH117 - a text
        return
    os.environ.pop("HOME", None)
    try:
        import pwd

        os.environ["HOME"] = pwd.getpwuid(os.getuid()).pw_dir
    except (ImportError, KeyError):  # on Windows; a user without an entry
        pass
