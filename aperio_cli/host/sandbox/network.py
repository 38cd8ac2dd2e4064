"""Sockets that listen inside of a plugin's network namespace, opened from outside.

Nothing of ours runs in the sandbox for that. Root enters the namespace with one thread. An ordinary
user owns the user namespace that the network belongs to, and can enter it only with a process that
has one thread: a small helper does that, and hands the sockets back (SCM_RIGHTS in unix(7)).
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Final

from aperio_cli.errors.running import SandboxFailed
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

_NEW_NETWORK: Final = 0x40000000  # linux/sched.h
_OWNING_USER_NAMESPACE: Final = 0xB701  # NS_GET_USERNS in ioctl_ns(2)
_IP_FREEBIND: Final = 15  # linux/in.h: the loopback may not be up yet
_BACKLOG: Final = 128
_HELPER_TIMEOUT_S: Final = 10.0
_MOST_SOCKETS: Final = 250  # SCM_MAX_FD is 253

_HELPER: Final = """
import ctypes, json, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
user, network, back, addresses = (*map(int, sys.argv[1:4]), json.loads(sys.argv[4]))
for descriptor, kind in ((user, 0x10000000), (network, 0x40000000)):
    if libc.setns(descriptor, kind):
        number = ctypes.get_errno()
        sys.exit(f"setns: {os.strerror(number)}")
found = []
for address, port in addresses:
    listener = socket.socket()
    listener.setsockopt(socket.IPPROTO_IP, 15, 1)
    listener.bind((address, port))
    listener.listen(128)
    found.append(listener)
with socket.socket(fileno=back) as channel:
    socket.send_fds(channel, [b"."], [listener.fileno() for listener in found])
"""


def open_in_namespace(pid: int, addresses: Sequence[tuple[str, int]]) -> list[socket.socket]:
    """Return TCP sockets that listen in the network namespace of a process. Blocks briefly.

    Args:
        pid: the process, which must not run anything of a plugin yet.
        addresses: IPv4 addresses and ports there; every address of 127.0.0.0/8 will do.

    Raises:
        SandboxFailed: the namespace cannot be entered, or an address is taken.
    """
    if len(addresses) > _MOST_SOCKETS:
        raise _failed(f"{len(addresses)} listeners are too many")
    if not addresses:
        return []
    try:
        return _by_thread(pid, addresses) if os.geteuid() == 0 else _by_helper(pid, addresses)
    except OSError as error:
        raise _failed(error.strerror or str(error)) from error


def _failed(why: str) -> SandboxFailed:
    return SandboxFailed(
        "the door of the plugin's network could not be opened; nothing was executed",
        why=clean(why, limit=400),
    )


def _by_thread(pid: int, addresses: Sequence[tuple[str, int]]) -> list[socket.socket]:
    """Open them in a thread that ends with it: it cannot be trusted with another network."""
    found: list[socket.socket] = []
    problems: list[OSError] = []

    def enter() -> None:
        try:
            _enter_network(pid)
            found.extend(_listeners(addresses))
        except OSError as error:
            problems.append(error)

    thread = threading.Thread(target=enter, name="aperio-namespace")
    thread.start()
    thread.join()
    if problems:
        raise problems[0]
    return found


def _enter_network(pid: int) -> None:
    import ctypes

    descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, _NEW_NETWORK):
            number = ctypes.get_errno()
            raise OSError(number, f"setns: {os.strerror(number)}")
    finally:
        os.close(descriptor)


def _listeners(addresses: Sequence[tuple[str, int]]) -> list[socket.socket]:
    with contextlib.ExitStack() as opened:
        found = []
        for address in addresses:
            listener = opened.enter_context(socket.socket())
            listener.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
            found.append(listener)
        opened.pop_all()
    return found


def _by_helper(pid: int, addresses: Sequence[tuple[str, int]]) -> list[socket.socket]:
    import fcntl
    import json

    with contextlib.ExitStack() as opened:
        network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        opened.callback(os.close, network)
        # Not the process's own: bubblewrap goes on into a second one, which has no say over it.
        owner = fcntl.ioctl(network, _OWNING_USER_NAMESPACE)
        opened.callback(os.close, owner)
        passed = [owner, network]
        ours, theirs = socket.socketpair()
        opened.enter_context(ours)
        opened.enter_context(theirs)
        ours.settimeout(_HELPER_TIMEOUT_S)
        passed.append(theirs.fileno())
        words = (*map(str, passed), json.dumps(list(addresses)))
        helper = subprocess.Popen(
            (sys.executable, "-I", "-S", "-c", _HELPER, *words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={},
            pass_fds=passed,
        )
        with helper:
            theirs.close()
            try:
                _, descriptors, _, _ = socket.recv_fds(ours, 1, len(addresses))
            except BaseException:  # it hangs, say: the block would wait for its end
                helper.kill()
                raise
            if len(descriptors) == len(addresses):
                return [socket.socket(fileno=descriptor) for descriptor in descriptors]
            assert helper.stderr  # noqa: S101 - it is a pipe
            last = helper.stderr.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
            raise OSError(0, last or "the helper failed")
