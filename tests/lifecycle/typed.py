"""An `aperio` that a shell finds, and whose processes are forked (`tests/forking.py`).

    with typed_aperio(folder / "aperio"):
        subprocess.run(["bash", "-c", "aperio plugin list"], env={"PATH": folder, **environment})

What a shell starts is a small program: it hands its words, folder, environment and streams over,
passes on the signals that it gets, and ends as the process ends that was forked for it. That this
is what a start from nothing does is shown by `test_tutorial.py`, whose shell starts them all.
"""

from __future__ import annotations

import ast
import contextlib
import os
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

from tests.forking import Forked, is_forking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEADLINE_S: Final = 60
_MOST_BYTES: Final = 128 * 1024
# To the shell its first line executes Python, to which it is a text: paths may have spaces.
_PROGRAM: Final = """\
#!/bin/sh
'''exec' "{python}" -IS "$0" "$@"
'''
import os, signal, socket, sys

passed_on = signal.SIGHUP, signal.SIGINT, signal.SIGTERM
signal.pthread_sigmask(signal.SIG_BLOCK, passed_on)  # until there is whom to pass them to
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asked:
    asked.connect({address!r})
    order = sys.argv[1:], os.getcwd(), dict(os.environ)
    socket.send_fds(asked, [repr(order).encode()], [0, 1, 2])
    pid = int(asked.recv(20))
    for number in passed_on:
        signal.signal(number, lambda number, _: os.kill(pid, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, passed_on)
    sys.exit(int(asked.recv(20)))
"""


@contextlib.contextmanager
def typed_aperio(program: Path) -> Iterator[None]:
    """Have a program fork commands of aperio while the block runs; none of them outlives it.

    Args:
        program: where it is put; what stands there is replaced.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind("")  # a name that nobody else has: unix(7), autobind
    listening.listen()
    text = _PROGRAM.format(python=sys.executable, address=listening.getsockname())
    program.write_text(text, encoding="utf-8")
    program.chmod(0o755)
    forked: list[subprocess.Popen[bytes]] = []
    accepting = threading.Thread(target=_accept, args=(listening, forked))
    accepting.start()
    try:
        yield
    finally:
        listening.shutdown(socket.SHUT_RDWR)  # it accepts no more
        accepting.join(DEADLINE_S)
        listening.close()


def _accept(listening: socket.socket, forked: list[subprocess.Popen[bytes]]) -> None:
    """Carry out each order in a thread of its own, until there can be no more; end what is left."""
    carrying = []
    with contextlib.suppress(OSError):
        while True:
            asked, _ = listening.accept()
            carrying.append(threading.Thread(target=_carry_out, args=(asked, forked)))
            carrying[-1].start()
    for process in forked:
        process.kill()
    for thread in carrying:
        thread.join(DEADLINE_S)


def _started(words: list[str], **options: Any) -> subprocess.Popen[bytes]:
    if is_forking():
        return Forked(words, **options)
    command = [sys.executable, "-m", "aperio_cli", *words]
    return subprocess.Popen(command, start_new_session=True, **options)


def _carry_out(asked: socket.socket, forked: list[subprocess.Popen[bytes]]) -> None:
    with asked:
        order, streams, _, _ = socket.recv_fds(asked, _MOST_BYTES, 3)
        if not order:
            return  # whoever asked was killed
        words, folder, environment = ast.literal_eval(order.decode())
        stdin, stdout, stderr = streams
        process = _started(
            words, cwd=folder, env=environment, stdin=stdin, stdout=stdout, stderr=stderr
        )
        forked.append(process)
        for stream in streams:
            os.close(stream)
        with contextlib.suppress(BrokenPipeError):
            asked.send(b"%d" % process.pid)
            status = process.wait()
            asked.send(b"%d" % (128 - status if status < 0 else status))
