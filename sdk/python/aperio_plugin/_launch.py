"""What a go-plugin host handed over, taken before anything else can print. Imports next to nothing.

Source of the rules: hashicorp/go-plugin, `server.go` (`Serve`) and `docs/internals.md`.
"""

from __future__ import annotations

import gc
import os
import sys

TYPE_CHECKING = False  # `typing` takes longer to import than all the rest
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final, NoReturn

    from aperio_plugin._mtls import PluginSide

COOKIE_KEY: Final = "APERIO_PLUGIN_MAGIC_COOKIE"
COOKIE_VALUE: Final = "aperio-plugin-v1"
PROTOCOL_VERSIONS: Final = (1,)
"""Major versions of the plugin interface that this SDK serves."""

LIFELINE: Final = "APERIO_HOST_LIFELINE"
"""Number of an inherited descriptor, the read end of a pipe whose end means: the host is gone."""

KEY_PAIR: Final = "APERIO_HOST_KEY_PAIR"
"""A certificate and its key, PEM, that aperio's host made for this run under mutual TLS."""

MAX_SOCKET_PATH_BYTES: Final = 107
"""`sun_path` of Linux (unix(7)), without the zero at its end."""

_NEW_OBJECTS_BEFORE_COLLECTION = 50_000
_CORE_PROTOCOL = 1
_HANDED_OVER = (
    COOKIE_KEY,
    KEY_PAIR,
    LIFELINE,
    "PLUGIN_CLIENT_CERT",
    "PLUGIN_MAX_PORT",
    "PLUGIN_MIN_PORT",
    "PLUGIN_MULTIPLEX_GRPC",
    "PLUGIN_PROTOCOL_VERSIONS",
    "PLUGIN_UNIX_SOCKET_DIR",
    "PLUGIN_UNIX_SOCKET_GROUP",
)
_NEEDED = ("threading", "thread", "queue")
"""Modules as gevent names them, without which nothing of gRPC and `concurrent.futures` ends."""

_NEEDED_AS_EVENTLET_SAYS = {"threading": "thread", "select": "select"}  # its `select` has no poll
_PATCHED = (
    "{0} has patched `{1}` in this process, and gRPC needs the system's threads:"
    " take {2} out of the plugin\n"
)
_BY_HAND = """\
This binary is a plugin. These are not meant to be executed directly.
Please execute the program that consumes these plugins, which will
load any plugins automatically
"""


class Launch:
    """A launch by a host.

    Args:
        handshake_fd: the real standard output.
        parent_pid: the process that started this one.
        environment: the variables of the handshake.
    """

    def __init__(self, handshake_fd: int, parent_pid: int, environment: Mapping[str, str]) -> None:
        self.handshake_fd = handshake_fd
        self.parent_pid = parent_pid
        self.environment = environment
        self._thresholds = gc.get_threshold()

    def import_freely(self) -> None:
        """Look for garbage seldom: imports make next to none, and looking takes a tenth of them."""
        gc.set_threshold(_NEW_OBJECTS_BEFORE_COLLECTION)

    def serve_from_now_on(self) -> None:
        """Look for garbage as before, but no more among what is there for good."""
        if gc.get_threshold()[0] == _NEW_OBJECTS_BEFORE_COLLECTION:  # not of the author's choice
            gc.set_threshold(*self._thresholds)
            gc.freeze()


class LaunchRefused(Exception):
    """The plugin cannot be served to this host; the text says why, for standard error."""


_claimed: list[Launch] = []


def claim() -> None:
    """Keep standard output for the handshake if a host started this process.

    From then on descriptor 1 is standard error, and the handshake's variables are out of the
    environment, so that programs which the plugin starts do not take themselves for plugins.
    gRPC, which is imported later, is told to leave forks alone: its own preparations for them crash
    some of a process pool's workers (grpc/grpc issue 31885).
    """
    if _claimed or os.environ.get(COOKIE_KEY) != COOKIE_VALUE:
        return
    environment = {name: os.environ.pop(name) for name in _HANDED_OVER if name in os.environ}
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    handshake_fd = os.dup(1)
    os.dup2(2, 1)
    launch = Launch(handshake_fd, os.getppid(), environment)
    launch.import_freely()
    _claimed.append(launch)


def claimed() -> Launch:
    """Give the launch.

    Raises:
        LaunchRefused: a person started the program.
    """
    if not _claimed:
        raise LaunchRefused(_BY_HAND)
    return _claimed[0]


def require_threads() -> None:
    """Check that threads are the system's: gRPC would wait for others for ever, and say nothing.

    Raises:
        LaunchRefused: gevent or eventlet has put its own in their place, or in that of what threads
            wait by.
    """
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    if gevent is None and eventlet is None:
        return
    for name in _NEEDED:
        if gevent is not None and gevent.is_module_patched(name):
            raise LaunchRefused(_PATCHED.format("gevent", name, "gevent.monkey.patch_all()"))
    for name, patch in _NEEDED_AS_EVENTLET_SAYS.items():
        if eventlet is not None and eventlet.is_monkey_patched(patch):
            raise LaunchRefused(_PATCHED.format("eventlet", name, "eventlet.monkey_patch()"))


def keep_threads() -> None:
    """End the process, and say why, if its threads are not the system's any more.

    An author's library may patch them when it is first imported, in the middle of a call, and
    whoever waits for that call then waits for ever. Only where a host started this process.
    """
    if not _claimed:
        return
    try:
        require_threads()
    except LaunchRefused as reason:
        os.write(2, str(reason).encode())
        os._exit(1)


def secured(environment: Mapping[str, str]) -> PluginSide | None:
    """Give how to listen for a host that asks for AutoMTLS; None: it does not.

    Raises:
        LaunchRefused: what that needs is not installed, or the host's certificate is none.
    """
    certificate = environment.get("PLUGIN_CLIENT_CERT")
    if not certificate:
        return None
    try:
        from aperio_plugin._mtls import KeyPair, PluginSide

        given = environment.get(KEY_PAIR)
        return PluginSide(certificate.encode(), KeyPair.from_pem(given) if given else None)
    except ModuleNotFoundError as error:
        raise LaunchRefused(
            f"the host asks for AutoMTLS (PLUGIN_CLIENT_CERT), which needs {error.name}:"
            " depend on aperio-plugin-sdk[mtls]\n"
        ) from error
    except ValueError as error:
        raise LaunchRefused(f"PLUGIN_CLIENT_CERT is not a certificate: {error}\n") from error


def refuse(reason: LaunchRefused) -> NoReturn:
    """Say why on standard error and end the process with status 1.

    Raises:
        SystemExit: always.
    """
    sys.stderr.write(str(reason))
    sys.stderr.flush()
    raise SystemExit(1)


def negotiate(offered: str | None) -> int:
    """Give the interface version to serve.

    Args:
        offered: the host's versions, comma separated, in any order; items that are not numbers are
            skipped. None: an old host that does not say.

    Returns:
        The highest shared version; without one our lowest, so that the host reports the difference.
    """
    items = (offered or "").split(",")
    theirs = {int(item) for item in items if item.strip().isascii() and item.strip().isdigit()}
    shared = theirs.intersection(PROTOCOL_VERSIONS)
    return max(shared) if shared else min(PROTOCOL_VERSIONS)


def socket_path(environment: Mapping[str, str], temporary: str | None) -> str:
    """Give a fresh path for the socket: in the host's folder, else TMPDIR, else /tmp.

    Args:
        environment: the variables of the handshake.
        temporary: TMPDIR.

    Raises:
        LaunchRefused: the path is too long, or cannot stand in the handshake line.
    """
    folder = os.path.abspath(environment.get("PLUGIN_UNIX_SOCKET_DIR") or temporary or "/tmp")  # noqa: PTH100, S108 - importing pathlib takes longer than the rest of this module; go-plugin's default
    path = os.path.join(folder, f"plugin{os.urandom(4).hex()}")  # noqa: PTH118 - as above
    length = len(os.fsencode(path))
    if length > MAX_SOCKET_PATH_BYTES:
        raise LaunchRefused(
            f"the socket path {path} has {length} bytes, {MAX_SOCKET_PATH_BYTES} are the most;"
            " have the host set PLUGIN_UNIX_SOCKET_DIR or TMPDIR to a shorter one\n"
        )
    if "|" in path or "\n" in path:
        raise LaunchRefused(f"the socket path {path!r} cannot stand in a handshake line\n")
    return path


def handshake_line(path: str, environment: Mapping[str, str], certificate: str = "") -> bytes:
    """Give the line that tells the host where to connect.

    The sixth field is the plugin's certificate: a host that did not ask for one may crash on it.
    The seventh, multiplexing, is `false`, and there only when the host asks: older hosts take it
    for a part of the sixth.
    """
    version = negotiate(environment.get("PLUGIN_PROTOCOL_VERSIONS"))
    multiplexing = "|false" if environment.get("PLUGIN_MULTIPLEX_GRPC") else ""
    return os.fsencode(f"{_CORE_PROTOCOL}|{version}|unix|{path}|grpc|{certificate}{multiplexing}\n")
