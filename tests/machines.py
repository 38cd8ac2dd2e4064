"""Two machines on one: namespaces of the kernel, and a cable between them.

Each machine is a process that holds a network namespace; the first has a mount namespace of its
own, too, so that it can know the other by a name. Nothing of the network of this machine is
touched or reached. Both end when their standard input does, which is when the test ends or dies.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


HERE_ADDRESS = "10.77.0.1"
THERE_ADDRESS = "10.77.0.2"
_WAIT_S = 20
_HOLD = ("sh", "-c", "echo ready; exec cat")


class MachinesMissing(Exception):
    """Machines cannot be made here; the text says why."""


@dataclass(frozen=True)
class Machine:
    """One machine.

    Attributes:
        process: holds its namespaces.
        namespaces: what of it is entered, as options of nsenter.
    """

    process: subprocess.Popen[str]
    namespaces: tuple[str, ...]

    def argv(self, *words: str, folder: Path) -> list[str]:
        """Return a command as it is run there, in a folder."""
        enter = ["nsenter", "--preserve-credentials", "--target", str(self.process.pid)]
        # Whoever enters a mount namespace stands at its root.
        return [*enter, *self.namespaces, f"--wd={folder}", "--", *words]

    def run(self, *words: str) -> None:
        """Run a command of the system there.

        Raises:
            MachinesMissing: it failed.
        """
        argv = self.argv(*words, folder=Path("/"))
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_WAIT_S, check=False)
        if done.returncode:
            raise MachinesMissing(f"`{' '.join(words)}`: {done.stderr.strip()}")


@contextlib.contextmanager
def two_machines(folder: Path, name: str) -> Iterator[tuple[Machine, Machine]]:
    """Give a machine, and another one that it knows by a name, for the length of the block.

    Raises:
        MachinesMissing: the kernel, or who has locked it down, lets nobody make them.
    """
    with contextlib.ExitStack() as opened:
        made = ("unshare", "--user", "--map-root-user", "--net", "--mount")
        first = opened.enter_context(_held(made))
        here = Machine(first, ("--user", "--net", "--mount"))
        inside = ("nsenter", "--preserve-credentials", "--user", "--target", str(first.pid))
        second = opened.enter_context(_held((*inside, "unshare", "--net")))
        there = Machine(second, ("--user", "--net"))
        _connect(here, there)
        hosts = folder / "hosts"
        hosts.write_text(f"127.0.0.1 localhost\n{THERE_ADDRESS} {name}\n")
        here.run("mount", "--bind", str(hosts), "/etc/hosts")
        yield here, there


def _connect(here: Machine, there: Machine) -> None:
    peer = ("peer", "name", "cable1", "netns", str(there.process.pid))
    here.run("ip", "link", "add", "cable0", "type", "veth", *peer)
    for machine, cable, address in (
        (here, "cable0", HERE_ADDRESS),
        (there, "cable1", THERE_ADDRESS),
    ):
        machine.run("ip", "link", "set", "lo", "up")
        machine.run("ip", "address", "add", f"{address}/24", "dev", cable)
        machine.run("ip", "link", "set", cable, "up")


def unplug(machine: Machine) -> None:
    """Take the cable out."""
    machine.run("ip", "link", "set", "cable0", "down")


@contextlib.contextmanager
def _held(namespaces: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Run a process in new namespaces for the length of the block.

    Raises:
        MachinesMissing: it cannot be run there.
    """
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    try:
        process = subprocess.Popen([*namespaces, *_HOLD], text=True, **pipes)  # type: ignore[call-overload]
    except FileNotFoundError as error:
        raise MachinesMissing(f"`{namespaces[0]}` (util-linux) is not installed") from error
    with process:
        try:
            if process.stdout.readline() != "ready\n":
                raise MachinesMissing(process.stderr.read().strip())
            yield process
        finally:
            process.stdin.close()
            try:
                process.wait(_WAIT_S)
            finally:
                process.kill()


@contextlib.contextmanager
def https_server(machine: Machine, folder: Path, certificate: Path, port: int) -> Iterator[Path]:
    """Serve a folder there for the length of the block; give the file with what was asked for."""
    log = certificate.with_name("requests.log")
    argv = machine.argv(
        sys.executable, "-I", "-c", _SERVER, str(folder), str(certificate), f"{port}", folder=folder
    )
    with (
        log.open("wb") as output,
        subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, env=dict(os.environ)
        ) as server,
    ):
        assert server.stdin
        assert server.stdout
        try:
            assert server.stdout.readline() == b"ready\n", log.read_text()
            yield log
        finally:
            server.stdin.close()
            try:
                server.wait(_WAIT_S)
            finally:
                server.kill()


_SERVER = f"""
import functools, ssl, sys, threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

folder, certificate, port = sys.argv[1:]
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(certificate)
handler = functools.partial(SimpleHTTPRequestHandler, directory=folder)
server = ThreadingHTTPServer(({THERE_ADDRESS!r}, int(port)), handler)
server.daemon_threads = True
server.socket = tls.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""
