"""The life of a plugin's process, from the handshake to its end."""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import functools
import os
import select
import signal
import stat
import threading
import time
from typing import TYPE_CHECKING, Final, NoReturn

from aperio_plugin import _launch

if TYPE_CHECKING:
    from collections.abc import Callable

    from aperio_plugin._launch import Launch
    from aperio_plugin._mtls import PluginSide
    from aperio_plugin._services import Service

STOP_S: Final = 1.5
"""An ending process is gone after this, whatever its code does; go-plugin kills after 2."""

_CALLS_S = 0.7  # of it, for calls to notice that they were cancelled
_ENDING_S = 1.1  # of it, for these and for the host to read what was printed
_HOST_CHECK_S = 0.5
_GROUP_MODE = 0o660


class Lifetime:
    """Knows when the process has to end: it was told to, or its host is gone."""

    def __init__(self, launch: Launch) -> None:
        self._parent_pid = launch.parent_pid
        self._lifeline = _lifeline(launch.environment.get(_launch.LIFELINE, ""))
        self._told, self._teller = os.pipe()
        os.set_blocking(self._teller, False)

    def end(self) -> None:
        """Say that the process has to end; from any thread."""
        with contextlib.suppress(BlockingIOError):  # then it has been told often enough
            os.write(self._teller, b"e")

    def on_signals(self) -> None:
        """End on SIGTERM; leave Ctrl-C, which a terminal sends to the whole group, to the host."""
        # The byte comes from the interpreter's own C handler. A Python handler that took a lock
        # might find it held by the code that it interrupts.
        signal.set_wakeup_fd(self._teller, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda _number, _frame: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # A fork is not the plugin: it ends by a signal as any process does, and tells nobody.
        masks = threading.local()
        os.register_at_fork(
            before=lambda: _hold_signals(masks),
            after_in_parent=lambda: _let_signals_go(masks),
            after_in_child=lambda: _be_ordinary(masks),
        )

    def wait(self) -> None:
        """Wait until the process has to end."""
        watched = select.poll()  # the host's number of the lifeline may be beyond select(2)
        for descriptor in (self._told, self._lifeline):
            if descriptor is not None:
                watched.register(descriptor, select.POLLIN)
        while os.getppid() == self._parent_pid:
            if watched.poll(_HOST_CHECK_S * 1000):
                return


def _hold_signals(masks: threading.local) -> None:
    """Let no signal reach the fork before it has handlers of its own."""
    masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})


def _let_signals_go(masks: threading.local) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, masks.before)


def _be_ordinary(masks: threading.local) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _let_signals_go(masks)


def _lifeline(text: str) -> int | None:
    """Give the descriptor that the host named, if it is a pipe."""
    try:
        descriptor = int(text)
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return None
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - it takes no keywords
    except (OSError, OverflowError, ValueError):
        return None
    return descriptor


def run(plugin: object, kind: type, service: Callable[[], Service]) -> NoReturn:
    """Serve a plugin until its process has to end, and end it.

    Args:
        plugin: what the author hands over.
        kind: what it must be an instance of.
        service: imports and makes the service of its kind; called once the launch is accepted.

    Raises:
        TypeError: it is something else.
        SystemExit: with status 1, before the handshake, when it cannot be served.
    """
    if not isinstance(plugin, kind):
        raise TypeError(f"serve takes an instance of a {kind.__name__}, not {plugin!r}")
    try:
        launch = _launch.claimed()
        _launch.require_threads()
        path = _launch.socket_path(launch.environment, os.environ.get("TMPDIR"))
        mtls = _launch.secured(launch.environment)
    except _launch.LaunchRefused as reason:
        _launch.refuse(reason)
    _serve(service, launch, path, mtls)


def _serve(
    service: Callable[[], Service], launch: Launch, path: str, mtls: PluginSide | None
) -> NoReturn:
    # Here, after what may refuse the launch: these imports take most of the time to the handshake.
    from aperio_plugin import _logging, _output
    from aperio_plugin._server import Server

    lifetime = Lifetime(launch)
    printed = _output.Printed()
    server = Server(service(), printed, lifetime.end)
    start = functools.partial(mtls.start, server) if mtls else server.start
    _listen(start, path, launch.environment.get("PLUGIN_UNIX_SOCKET_GROUP", ""))
    _logging.set_up()
    _output.redirect(printed)
    faulthandler.enable(2)
    lifetime.on_signals()
    launch.serve_from_now_on()
    certificate = mtls.handshake_field if mtls else ""
    os.write(launch.handshake_fd, _launch.handshake_line(path, launch.environment, certificate))
    lifetime.wait()
    threading.Thread(target=_exit_later, name="exit", daemon=True).start()
    server.stop(_CALLS_S, _ENDING_S)
    if mtls:
        mtls.remove()
    _exit(path)


def _listen(start: Callable[[str], None], path: str, group: str) -> None:
    """Listen where only this user, and the host's group if it names one, can connect.

    Raises:
        SystemExit: with status 1, saying why, when that is not possible.
    """
    mask = os.umask(0o177)
    try:
        start(path)
        if group:
            os.chown(path, -1, _group_id(group))
            os.chmod(path, _GROUP_MODE)  # noqa: PTH101 - see _launch.socket_path
    except (KeyError, OSError, RuntimeError) as error:
        _launch.refuse(_launch.LaunchRefused(f"cannot listen on {path}: {error}\n"))
    finally:
        os.umask(mask)


def _group_id(group: str) -> int:
    if group.isdigit():
        return int(group)
    import grp

    return grp.getgrnam(group).gr_gid


def _exit_later() -> None:
    time.sleep(STOP_S)
    os._exit(0)


def _exit(path: str) -> NoReturn:
    """End the process without waiting for threads that may never end."""
    try:
        # What the author registered runs; the interpreter's own ending would join all threads.
        atexit._run_exitfuncs()  # noqa: SLF001 - it has no other name
    finally:
        try:
            os.unlink(path)  # noqa: PTH108 - see _launch.socket_path
        finally:
            os._exit(0)
