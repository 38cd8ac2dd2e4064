"""A door on this machine, and what is beyond it: a resolver and a network that a test makes up."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from aperio_cli.host.egress import Door, Listener, Policy, Rule, Terms
from aperio_cli.net.diagnosis import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence
    from pathlib import Path

    from aperio_cli.host.egress import Decision
    from aperio_cli.host.egress.addresses import Address

WAIT_S = 30.0
PUBLIC = "93.184.216.34"
OWN = "93.184.216.99"


@dataclass
class Elsewhere:
    """The `Outside` of a test.

    Attributes:
        names: answers for each name, one after the other; the last stays.
        ports: where a server of the test is, by address and port.
        asked: names that were resolved.
        dialled: addresses and ports that were dialled.
        proxy: of this machine.
    """

    names: dict[str, list[list[str]]] = field(default_factory=dict)
    ports: dict[tuple[str, int], int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    dialled: list[tuple[str, int]] = field(default_factory=list)
    proxy: str = ""

    async def resolve(self, host: str, port: int) -> Sequence[Address]:
        del port
        self.asked.append(host)
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        answers = self.names[host]
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [ipaddress.ip_address(text) for text in found]

    async def dial(self, address: Address, port: int) -> socket.socket:
        self.dialled.append((str(address), port))
        place = self.ports.get((str(address), port))
        if place is None:
            raise ConnectionRefusedError(111, "Connection refused")
        made = socket.create_connection(("127.0.0.1", place), WAIT_S)
        made.settimeout(0)
        return made

    def is_own(self, address: Address) -> bool:
        return str(address) == OWN

    def proxy_for(self, url: str) -> Proxy | None:
        del url
        return Proxy("HTTPS_PROXY", self.proxy) if self.proxy else None

    def serve(self, host: str, port: int, place: int, address: str = PUBLIC) -> None:
        """Have a name lead to an address, and an address to a server of the test."""
        self.names[host] = [[address]]
        self.ports[address, port] = place


@dataclass
class Opened:
    """A door that is open.

    Attributes:
        port: of the proxy, on 127.0.0.1.
        ports: of the listeners by their target.
    """

    door: Door
    port: int
    ports: dict[str, int]
    decided: list[tuple[Decision, bool]]
    run: Callable[[Coroutine[Any, Any, Any]], Any]
    happened: threading.Condition

    def decisions(self, count: int) -> list[Decision]:
        """Return the decisions, once there are so many."""
        with self.happened:
            assert self.happened.wait_for(lambda: len(self.decided) >= count, WAIT_S)
            return [each for each, _ in self.decided]

    def decision(self) -> Decision:
        (only,) = self.decisions(1)
        return only

    def connect(self, target: str = "") -> socket.socket:
        """Return a connection to the proxy, or to the door of a target."""
        return socket.create_connection(
            ("127.0.0.1", self.ports[target] if target else self.port), WAIT_S
        )

    def tunnel(self, place: str) -> tuple[socket.socket, bytes]:
        """Return a connection on which CONNECT was asked, and the head of the answer."""
        made = self.connect()
        made.sendall(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode("latin-1"))
        return made, read_head(made)


def read_head(made: socket.socket) -> bytes:
    """Return the head of an answer; not a byte behind it is taken."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        came = made.recv(1)
        if not came:
            break
        head += came
    return head


def read_all(made: socket.socket) -> bytes:
    """Return everything until the end of the connection, however it ends."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while came := made.recv(65536):
            found += came
    return found


@contextlib.contextmanager
def opened(
    rules: Sequence[Rule], outside: Elsewhere, *, learning: bool = False, **terms: float
) -> Iterator[Opened]:
    """Open a door on 127.0.0.1, on a loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(WAIT_S)

    decided: list[tuple[Decision, bool]] = []
    happened = threading.Condition()

    def record(decision: Decision, is_first: bool) -> None:  # noqa: FBT001 - as the door gives it
        with happened:
            decided.append((decision, is_first))
            happened.notify_all()

    targets = [rule.target for rule in rules if not rule.is_wildcard]
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(len(targets) + 1)]
    ports = [each.getsockname()[1] for each in sockets]

    async def begin() -> Door:
        policy = Policy(tuple(rules), is_learning=learning)
        door = Door("acme/box", "acme", Terms(policy, outside, **terms), record)
        listeners = [Listener("127.0.0.1", 0, target) for target in (None, *targets)]
        door.open(zip(listeners, sockets, strict=True))
        return door

    door = run(begin())
    named = {str(target): port for target, port in zip(targets, ports[1:], strict=True)}
    try:
        yield Opened(door, ports[0], named, decided, run, happened)
    finally:
        run(door.close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(WAIT_S)
        loop.close()


class Server:
    """Takes connections, each in a thread of its own, and hands them to a function.

    Attributes:
        port: on 127.0.0.1.
        seen: how many connections came.
    """

    def __init__(
        self, serve: Callable[[socket.socket], None], certificate: Path | None = None
    ) -> None:
        self._serve = serve
        self._tls = None
        if certificate:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.seen = 0
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                made, _ = self._socket.accept()
                self.seen += 1
                threading.Thread(target=self._one, args=(made,), daemon=True).start()

    def _one(self, made: socket.socket) -> None:
        made.settimeout(WAIT_S)
        with contextlib.suppress(OSError), made:
            if self._tls:
                made = self._tls.wrap_socket(made, server_side=True)
            with made:
                self._serve(made)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(WAIT_S)


def answer_http(made: socket.socket) -> None:
    """Answer requests with what was asked, each on the same connection as long as it may."""
    while head := read_head(made):
        lines = head.decode("latin-1").split("\r\n")
        lowered = [line.lower() for line in lines]
        sizes = [line[16:] for line in lowered if line.startswith("content-length: ")]
        body = made.recv(int(sizes[0]), socket.MSG_WAITALL) if sizes and int(sizes[0]) else b""
        text = f"{lines[0]}|{next((x for x in lines if x.lower().startswith('host:')), '')}|"
        said = text.encode() + body
        made.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said))
        if "connection: close" in lowered:
            return


def rule(text: str, **more: bool) -> Rule:
    """Return the rule of a manifest, or with more the operator's."""
    host, _, port = text.rpartition(":")
    return Rule(host, int(port), "operator" if more else "manifest", **more)
