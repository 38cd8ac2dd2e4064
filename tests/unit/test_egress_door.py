"""The door with real sockets: what comes through it, and what does not."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import queue
import socket
import ssl
import struct
import threading
import time
from typing import TYPE_CHECKING

import pytest

from aperio_cli import clock
from aperio_cli.host.egress import Verdict
from aperio_cli.host.egress import door as door_module
from aperio_cli.host.egress.decisions import Reason
from aperio_cli.host.egress.reaching import MOST_RESOLVING, Network
from tests.certificates import make_certificate
from tests.egress import (
    OWN,
    PUBLIC,
    WAIT_S,
    Elsewhere,
    Server,
    answer_http,
    opened,
    read_all,
    read_head,
    rule,
)
from tests.rows import each_row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.egress import Opened

BOX, WEB = "api.box.com:443", "api.box.com:80"
RULES = (rule(BOX), rule(WEB), rule("*.boxcloud.com:443"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    return make_certificate(path, "api.box.com", "evil.io", "eu.boxcloud.com")


@pytest.fixture(scope="module")
def server(certificate: Path) -> Iterator[Server]:
    with Server(answer_http, certificate) as made:
        yield made


@pytest.fixture(scope="module")
def plain() -> Iterator[Server]:
    with Server(answer_http) as made:
        yield made


@pytest.fixture
def outside(server: Server, plain: Server) -> Elsewhere:
    made = Elsewhere()
    made.serve("api.box.com", 443, server.port)
    made.serve("eu.boxcloud.com", 443, server.port)
    made.serve("evil.io", 443, server.port)
    made.ports[PUBLIC, 80] = plain.port
    return made


def over_tls(made: socket.socket, certificate: Path, name: str | None) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = name is not None
    return context.wrap_socket(made, server_hostname=name)


def ask(made: socket.socket, host: str = "api.box.com") -> bytes:
    made.sendall(f"GET /a HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    return read_all(made)


# ── through it ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["api.box.com", "eu.boxcloud.com"])
def test_connect_leads_to_a_granted_host(outside: Elsewhere, certificate: Path, name: str) -> None:
    with opened(RULES, outside) as door:
        made, head = door.tunnel(f"{name.upper()}:443")
        assert head.startswith(b"HTTP/1.1 200 ")
        with over_tls(made, certificate, name) as secure:
            assert ask(secure, name).endswith(f"GET /a HTTP/1.1|Host: {name}|".encode())
        decision = door.decision()
    assert decision.verdict is Verdict.ALLOWED
    assert (decision.host, decision.port, decision.address) == (name, 443, PUBLIC)
    assert decision.rule in {"api.box.com:443 (manifest)", "*.boxcloud.com:443 (manifest)"}
    assert 200 < decision.sent_bytes < 5_000
    assert 200 < decision.received_bytes < 5_000
    record = json.loads(json.dumps(decision.to_json()))
    assert record["plugin"] == "acme/box"
    assert record["organization"] == "acme"
    assert (record["by"], record["verdict"], record["reason"]) == ("proxy", "allowed", "")


def test_the_door_leads_whoever_connects_to_it(outside: Elsewhere, certificate: Path) -> None:
    with opened(RULES, outside) as door:
        with over_tls(door.connect(BOX), certificate, "api.box.com") as secure:
            assert b"200 OK" in ask(secure)
        with door.connect(WEB) as made:
            assert b"200 OK" in ask(made)
        assert [each.by for each in door.decisions(2)] == ["door", "door"]
        assert [each.port for each in door.decisions(2)] == [443, 80]


def test_a_request_is_made_for_a_client_of_the_proxy(outside: Elsewhere) -> None:
    with opened(RULES, outside) as door, door.connect() as made:
        made.sendall(
            b"POST http://api.box.com/a?b HTTP/1.1\r\nHost: evil.io\r\nProxy-Connection: keep-alive"
            b"\r\nProxy-Authorization: Basic eDp5\r\nContent-Length: 5\r\n\r\nhello"
            b"GET http://evil.io/ HTTP/1.1\r\nHost: evil.io\r\n\r\n"
        )
        answer = read_all(made)
        assert answer.endswith(b"POST /a?b HTTP/1.1|Host: api.box.com|hello")
        assert answer.count(b"HTTP/1.1 200") == 1
        assert door.decision().verdict is Verdict.ALLOWED


def test_what_ends_one_way_goes_on_the_other() -> None:
    def late(made: socket.socket) -> None:
        made.sendall(b"got " + read_all(made))

    outside = Elsewhere()
    with Server(late) as server:
        outside.serve("api.box.com", 443, server.port)
        with opened([rule(BOX, is_any_protocol=True)], outside) as door:
            made, _ = door.tunnel(BOX)
            with made:
                made.sendall(b"all of it")
                made.shutdown(socket.SHUT_WR)
                assert read_all(made) == b"got all of it"


def test_a_server_that_speaks_first_needs_a_rule_for_it() -> None:
    def greet(made: socket.socket) -> None:
        made.sendall(b"220 hello\r\n")
        made.recv(99)

    outside = Elsewhere()
    with Server(greet) as server:
        outside.serve("mail.box.com", 25, server.port)
        any_protocol = rule("mail.box.com:25", is_any_protocol=True)
        with opened([any_protocol], outside) as door, door.connect("mail.box.com:25") as made:
            assert made.recv(99) == b"220 hello\r\n"
            made.sendall(b"QUIT\r\n")
            assert read_all(made) == b""
        only_named = [rule("mail.box.com:25")]
        with opened(only_named, outside, opening_s=1.0) as door:
            with door.connect("mail.box.com:25") as made:
                assert read_all(made) == b""
            assert door.decision().reason is Reason.LATE


# ── not through it ────────────────────────────────────────────────────────────────────────────────

REFUSED = [
    ("api.box.com:80443", Reason.NOT_A_HOST, 403),
    ("api.box.com:8443", Reason.NOT_GRANTED, 403),
    ("evil.io:443", Reason.NOT_GRANTED, 403),
    ("boxcloud.com:443", Reason.NOT_GRANTED, 403),
    ("93.184.216.34:443", Reason.ADDRESS_AS_HOST, 403),
    ("169.254.169.254:80", Reason.ADDRESS_AS_HOST, 403),
    ("0x7f.1:443", Reason.NOT_A_HOST, 403),
    ("2130706433:443", Reason.NOT_A_HOST, 403),
    ("[::ffff:127.0.0.1]:443", Reason.NOT_A_HOST, 403),
    ("ada@api.box.com:443", Reason.NOT_A_HOST, 403),
    ("api.box.com%00:443", Reason.NOT_A_HOST, 403),
    ("home.boxcloud.com:443", Reason.ADDRESS_NOT_PUBLIC, 403),
    ("metadata.boxcloud.com:443", Reason.ADDRESS_NOT_PUBLIC, 403),
    ("corp.boxcloud.com:443", Reason.ADDRESS_NOT_PUBLIC, 403),
    ("mixed.boxcloud.com:443", Reason.ADDRESS_NOT_PUBLIC, 403),
    ("own.boxcloud.com:443", Reason.ADDRESS_NOT_PUBLIC, 403),
    ("six.boxcloud.com:443", Reason.ADDRESS_NOT_PUBLIC, 403),
    ("nat.boxcloud.com:443", Reason.ADDRESS_NOT_PUBLIC, 403),
    ("no.boxcloud.com:443", Reason.UNRESOLVED, 502),
    ("down.boxcloud.com:443", Reason.UNREACHABLE, 502),
]


@pytest.fixture(scope="module")
def hostile(server: Server) -> Iterator[Opened]:
    outside = Elsewhere()
    outside.serve("api.box.com", 443, server.port)
    for name, answer in {
        "home": ["127.0.0.1"],
        "metadata": ["169.254.169.254"],
        "corp": ["10.0.0.1"],
        "mixed": [PUBLIC, "127.0.0.1"],
        "own": [OWN],
        "six": ["::1"],
        "nat": ["64:ff9b::7f00:1"],
        "down": ["93.184.216.77"],
    }.items():
        outside.names[f"{name}.boxcloud.com"] = [answer]
        for address in answer:
            outside.ports[address, 443] = server.port
    del outside.ports["93.184.216.77", 443]
    with opened(RULES, outside) as door:
        yield door


@each_row(("place", "reason", "status"), REFUSED)
def test_connect_is_refused_and_the_plugin_reads_why(
    hostile: Opened, place: str, reason: Reason, status: int
) -> None:
    before = len(hostile.decided)
    made, head = hostile.tunnel(place)
    with made:
        assert head.startswith(f"HTTP/1.1 {status} Refused by aperio: {reason.code}\r\n".encode())
        assert reason.words in read_all(made).decode()
    decision = hostile.decisions(before + 1)[before]
    assert decision.reason is reason
    assert decision.verdict is (Verdict.FAILED if status == 502 else Verdict.REFUSED)
    assert (decision.sent_bytes, decision.received_bytes) == (0, 0)
    assert place.partition(":")[0] in decision.place


def test_the_same_door_leads_where_it_may(hostile: Opened, certificate: Path) -> None:
    made, head = hostile.tunnel(BOX)
    assert head.startswith(b"HTTP/1.1 200 ")
    with over_tls(made, certificate, "api.box.com") as secure:
        assert b"200 OK" in ask(secure)


@each_row(
    ("sent", "reason"),
    [
        ("GET http://evil.io/ HTTP/1.1\r\nHost: api.box.com\r\n\r\n", Reason.NOT_GRANTED),
        ("GET https://api.box.com/ HTTP/1.1\r\nHost: api.box.com\r\n\r\n", Reason.MALFORMED),
        ("GET / HTTP/1.1\r\nHost: api.box.com\r\n\r\n", Reason.MALFORMED),
        ("GET http://api.box.com/ HTTP/1.1\r\nA : b\r\n\r\n", Reason.MALFORMED),
        ("\x05\x01\x00\r\n\r\n", Reason.MALFORMED),  # SOCKS
        (f"GET http://api.box.com/{'a' * 20_000} HTTP/1.1\r\n\r\n", Reason.TOO_LONG),
    ],
)
def test_a_request_to_the_proxy_is_refused(hostile: Opened, sent: str, reason: Reason) -> None:
    with hostile.connect() as made:
        made.sendall(sent.encode())
        assert f"Aperio-Refused: {reason.code}\r\n".encode() in read_all(made)


def test_the_owner_of_a_name_cannot_answer_twice(
    outside: Elsewhere, server: Server, certificate: Path
) -> None:
    """What was checked is what is dialled; another answer counts for another connection."""
    outside.names["api.box.com"] = [[PUBLIC], ["127.0.0.1"]]
    outside.ports["127.0.0.1", 443] = server.port
    with opened(RULES, outside) as door:
        made, _ = door.tunnel(BOX)
        with over_tls(made, certificate, "api.box.com") as secure:
            assert b"200 OK" in ask(secure)
        assert (outside.asked, outside.dialled) == (["api.box.com"], [(PUBLIC, 443)])
        made, head = door.tunnel(BOX)
        made.close()
        assert b"address-not-public" in head
        assert outside.dialled == [(PUBLIC, 443)]


def test_the_next_address_is_tried(outside: Elsewhere, certificate: Path) -> None:
    outside.names["api.box.com"] = [["93.184.216.77", PUBLIC]]
    with opened(RULES, outside) as door:
        made, _ = door.tunnel(BOX)
        with over_tls(made, certificate, "api.box.com") as secure:
            assert b"200 OK" in ask(secure)
        assert door.decision().address == PUBLIC


@pytest.mark.parametrize("way", ["proxy", "door"])
@pytest.mark.parametrize(
    ("name", "reason"), [("evil.io", Reason.SNI_DIFFERS), (None, Reason.SNI_MISSING)]
)
def test_tls_for_another_host_is_refused_with_an_alert(
    outside: Elsewhere, certificate: Path, way: str, name: str | None, reason: Reason
) -> None:
    with opened(RULES, outside) as door:
        made = door.tunnel(BOX)[0] if way == "proxy" else door.connect(BOX)
        with made, pytest.raises(ssl.SSLError, match=r"(?i)access.denied"):
            over_tls(made, certificate, name)
        assert door.decision().reason is reason
        assert door.decision().sent_bytes == 0


def test_a_second_request_on_the_doors_connection_goes_nowhere(outside: Elsewhere) -> None:
    with opened(RULES, outside) as door, door.connect(WEB) as made:
        made.sendall(b"GET /1 HTTP/1.1\r\nHost: api.box.com\r\n\r\n")
        made.sendall(b"GET /2 HTTP/1.1\r\nHost: evil.io\r\n\r\n")
        answer = read_all(made)
        assert b"GET /1" in answer
        assert b"evil" not in answer


def test_plain_http_for_another_host_is_refused_in_words(outside: Elsewhere) -> None:
    with opened(RULES, outside) as door, door.connect(WEB) as made:
        assert b"403 Refused by aperio: host-differs" in ask(made, "evil.io")


# ── bounds ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("sent", "reason"),
    [(b"", Reason.LATE), (b"CONNECT api.box.com:443 HTTP/1.1\r\n", Reason.LATE)],
)
def test_who_does_not_say_what_it_wants_is_not_waited_for(
    outside: Elsewhere, sent: bytes, reason: Reason
) -> None:
    with opened(RULES, outside, opening_s=0.2) as door:
        with door.connect() as made:
            made.sendall(sent)
            assert b"HTTP/1.1 408 " in read_all(made)
        assert door.decision().reason is reason


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00"])
def test_a_tunnel_without_a_hello_is_not_waited_for(outside: Elsewhere, sent: bytes) -> None:
    with opened(RULES, outside, opening_s=1.0) as door:
        made, _ = door.tunnel(BOX)
        with made:
            made.sendall(sent)
            read_all(made)
        assert door.decision().reason is Reason.LATE


def test_a_silent_connection_ends(outside: Elsewhere, certificate: Path) -> None:
    with opened(RULES, outside, idle_s=1.0) as door:
        with over_tls(door.connect(BOX), certificate, "api.box.com") as secure:
            read_all(secure)
        assert door.decision().verdict is Verdict.ALLOWED


def test_what_nobody_takes_is_not_kept() -> None:
    release = threading.Event()
    outside = Elsewhere()

    def wait(_made: socket.socket) -> None:
        release.wait(WAIT_S)

    with Server(wait) as server:
        outside.serve("api.box.com", 443, server.port)
        any_protocol = [rule(BOX, is_any_protocol=True)]
        with opened(any_protocol, outside, idle_s=1.0) as door:
            made, _ = door.tunnel(BOX)
            with made, contextlib.suppress(ConnectionError):
                while True:
                    made.sendall(bytes(1024 * 1024))
            release.set()
            assert 100_000 < door.decision().sent_bytes < 64 * 1024 * 1024


def test_only_so_many_connections_at_once(
    outside: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door_module, "MOST_CONNECTIONS", 1)
    with opened([rule(WEB)], outside) as door:
        first = door.connect()
        second = door.connect()
        second.settimeout(0.3)
        second.sendall(b"GET http://api.box.com/ HTTP/1.1\r\n\r\n")
        with pytest.raises(TimeoutError):
            second.recv(1)
        first.close()
        second.settimeout(WAIT_S)
        assert b"200 OK" in read_all(second)
        second.close()


def test_a_plugin_that_connects_on_and_on_is_served_at_a_pace(
    outside: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal costs the host more than the plugin, and other plugins are served by the same."""
    monkeypatch.setattr(door_module, "AT_ONCE", 3)
    monkeypatch.setattr(door_module, "A_SECOND", 20)
    with opened([rule(WEB)], outside) as door:
        began_s = time.monotonic()
        for _ in range(9):
            assert b"200 OK" in ask_proxy(door.connect())
        assert time.monotonic() - began_s >= 5 / 20  # the first three at once, and one in the end


def ask_proxy(made: socket.socket) -> bytes:
    with made:
        made.sendall(b"GET http://api.box.com/ HTTP/1.1\r\n\r\n")
        return read_all(made)


def test_a_pace_is_forgotten_by_who_was_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_module, "AT_ONCE", 2)
    monkeypatch.setattr(door_module, "A_SECOND", 10)
    now_s = [100.0]
    monkeypatch.setattr(clock, "monotonic_s", lambda: now_s[0])
    pace = door_module.Pace()
    assert [pace.wait_s() for _ in range(4)] == [0.0, 0.0, 0.1, 0.2]
    now_s[0] += 0.2  # for as long as the last had to wait
    assert pace.wait_s() == pytest.approx(0.1)
    now_s[0] += 60
    assert [pace.wait_s() for _ in range(3)] == [0.0, 0.0, 0.1]


def test_what_breaks_off_leaves_nothing(outside: Elsewhere, certificate: Path) -> None:
    with opened(RULES, outside) as door:
        for number in range(20):
            made, _ = door.tunnel(BOX)
            if number % 2:
                made = over_tls(made, certificate, "api.box.com")
            linger = struct.pack("ii", 1, 0)  # a reset instead of an end (socket(7))
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            made.close()
        door.decisions(20)
        until_s = time.monotonic() + WAIT_S
        while len(door.door._tasks) > 3 and time.monotonic() < until_s:
            door.run(asyncio.sleep(0))  # a connection's is there for a moment after its end
        assert len(door.door._tasks) == 3  # of the listeners


def test_a_listener_that_is_gone_is_told(outside: Elsewhere) -> None:
    with opened(RULES, outside) as door:
        assert not door.door.failed.done()
        door.door._listening[0].shutdown(socket.SHUT_RDWR)

        async def failed() -> None:
            await door.door.failed

        with pytest.raises(OSError, match="Invalid argument"):
            door.run(failed())


def test_a_fault_of_the_door_refuses(outside: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_self: object, _address: object) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(Elsewhere, "is_own", broken)
    with opened(RULES, outside) as door:
        made, head = door.tunnel(BOX)
        made.close()
        assert head.startswith(b"HTTP/1.1 502 Refused by aperio: broken\r\n")
        assert door.decision().detail == "ZeroDivisionError"
        assert outside.dialled == []


# ── what is told ──────────────────────────────────────────────────────────────────────────────────


def test_the_first_refusal_of_each_place_is_marked(outside: Elsewhere) -> None:
    with opened(RULES, outside) as door:
        for place in ("evil.io:443", "evil.io:443", "evil.io:80"):
            door.tunnel(place)[0].close()
            door.decisions(len(door.decided))
        door.decisions(3)
        assert sorted(is_first for _, is_first in door.decided) == [False, True, True]
        assert door.door.tally.refused == {"evil.io:443": 2, "evil.io:80": 1}
        assert door.door.tally.reasons[Reason.NOT_GRANTED] == 3


@pytest.mark.parametrize(
    ("place", "name", "reason"),
    [
        ("evil.io:443", "evil.io", Reason.NOT_GRANTED),
        ("api.box.com:443", "evil.io", Reason.SNI_DIFFERS),
        (f"{PUBLIC}:443", None, Reason.ADDRESS_AS_HOST),
    ],
)
def test_a_plugin_that_is_learned_from_is_let_through(
    outside: Elsewhere, certificate: Path, place: str, name: str | None, reason: Reason
) -> None:
    with opened(RULES, outside, learning=True) as door:
        made, head = door.tunnel(place)
        assert head.startswith(b"HTTP/1.1 200 ")
        with over_tls(made, certificate, name) as secure:
            assert b"200 OK" in ask(secure)
        decision = door.decision()
    assert (decision.verdict, decision.reason) == (Verdict.REPORTED, reason)
    assert decision.sent_bytes > 0


@pytest.mark.parametrize("place", ["home.io:443", "127.0.0.1:443", "169.254.169.254:80"])
def test_learning_leads_to_nothing_that_is_not_public(
    outside: Elsewhere, server: Server, place: str
) -> None:
    outside.serve("home.io", 443, server.port, "127.0.0.1")
    with opened(RULES, outside, learning=True) as door:
        made, head = door.tunnel(place)
        made.close()
        assert b"403 Refused by aperio: address-not-public" in head
        assert outside.dialled == []


@pytest.mark.parametrize("place", ["siem.corp.example:8088", "10.0.0.7:8088"])
def test_the_operator_can_open_what_is_private(
    outside: Elsewhere, server: Server, place: str
) -> None:
    outside.serve("siem.corp.example", 8088, server.port, "10.0.0.7")
    granted = rule(place, may_be_private=True)
    with opened([granted], outside) as door:
        made, head = door.tunnel(place)
        assert head.startswith(b"HTTP/1.1 200 ")
        made.close()
    with opened([rule(place)], outside) as door:
        made, head = door.tunnel(place)
        made.close()
        assert b" 403 Refused by aperio: address-" in head


# ── this machine's own proxy ──────────────────────────────────────────────────────────────────────


class Corporate:
    """A proxy that notes what it is asked."""

    def __init__(self, answer: bytes, places: dict[str, int]) -> None:
        self.heads: list[bytes] = []
        self._answer = answer
        self._places = places
        self.server = Server(self._serve)

    def _serve(self, made: socket.socket) -> None:
        head = read_head(made)
        self.heads.append(head)
        method, target, _ = head.decode().split(" ", 2)
        if method != "CONNECT":
            made.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            return
        made.sendall(self._answer)
        if b" 200 " not in self._answer:
            return
        with socket.create_connection(("127.0.0.1", self._places.get(target, 1)), WAIT_S) as far:
            back = threading.Thread(target=_copy, args=(far, made), daemon=True)
            back.start()
            _copy(made, far)
            back.join(WAIT_S)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    while came := source.recv(65536):
        sink.sendall(came)
    sink.shutdown(socket.SHUT_WR)


def test_connections_go_by_the_proxy_of_this_machine(
    outside: Elsewhere, certificate: Path, server: Server
) -> None:
    corporate = Corporate(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n", {BOX: server.port})
    outside.proxy = f"http://ada:s%40crt@127.0.0.1:{corporate.server.port}"
    outside.names = {}  # such a machine may know no names
    with corporate.server, opened(RULES, outside) as door:
        made, _ = door.tunnel(BOX)
        with over_tls(made, certificate, "api.box.com") as secure:
            assert b"200 OK" in ask(secure)
        decision = door.decision()
        with door.connect() as made:
            made.sendall(b"GET http://api.box.com/a HTTP/1.1\r\nHost: x\r\n\r\n")
            assert read_all(made).endswith(b"ok")
    assert decision.via == f"http://127.0.0.1:{corporate.server.port}"
    assert (decision.address, decision.detail) == ("", "")
    assert corporate.heads[0].startswith(b"CONNECT api.box.com:443 HTTP/1.1\r\n")
    assert corporate.heads[1].startswith(
        b"GET http://api.box.com/a HTTP/1.1\r\nHost: api.box.com\r"
    )
    for head in corporate.heads:
        assert b"\r\nProxy-Authorization: Basic YWRhOnNAY3J0\r\n" in head
    assert outside.dialled == []


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "it answered 407"),
        (b"HTTP/1.1 20", "an answer that cannot be read"),
        (b"SSH-2.0-x\r\n\r\n", "an answer that cannot be read"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 20_000, "an answer that cannot be read"),
    ],
)
def test_a_proxy_that_does_not_lead_there_refuses(
    outside: Elsewhere, answer: bytes, detail: str
) -> None:
    corporate = Corporate(answer, {})
    outside.proxy = f"http://127.0.0.1:{corporate.server.port}"
    with corporate.server, opened(RULES, outside) as door:
        made, head = door.tunnel(BOX)
        made.close()
        assert b"502 Refused by aperio: upstream-refused" in head
        assert door.decision().detail == detail


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "socks5://127.0.0.1:1080", "http://:0"])
def test_a_proxy_that_cannot_be_used_refuses(outside: Elsewhere, proxy: str) -> None:
    outside.proxy = proxy
    with opened(RULES, outside) as door:
        made, head = door.tunnel(BOX)
        made.close()
        assert b"502 Refused by aperio: upstream-refused" in head


def test_a_name_that_is_known_to_be_private_is_not_given_to_the_proxy(outside: Elsewhere) -> None:
    outside.proxy = "http://127.0.0.1:1"
    outside.names["api.box.com"] = [["10.0.0.1"]]
    with opened(RULES, outside) as door:
        made, head = door.tunnel(BOX)
        made.close()
        assert b"403 Refused by aperio: address-not-public" in head


# ── the real outside ──────────────────────────────────────────────────────────────────────────────


def test_a_plugin_has_so_many_names_resolved_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes a thread of the host for as long as a name server likes."""
    begun: queue.SimpleQueue[str] = queue.SimpleQueue()
    may_answer = threading.Event()

    def resolve(host: str, *_more: object, **_options: object) -> list[object]:
        begun.put(host)
        assert may_answer.wait(WAIT_S)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (PUBLIC, 443))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)

    async def scene() -> None:
        network = Network()
        asking = [asyncio.ensure_future(network.resolve(f"{n}.evil.io", 443)) for n in range(50)]
        for _ in range(MOST_RESOLVING):
            await asyncio.to_thread(begun.get, timeout=WAIT_S)
        assert begun.empty()
        may_answer.set()
        answers = await asyncio.gather(*asking)
        assert {str(address) for answer in answers for address in answer} == {PUBLIC}

    asyncio.run(scene())


def test_the_network_knows_its_own_addresses_and_the_environments_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = Network()
    assert network.is_own(ipaddress.ip_address("127.0.0.1"))
    assert network.is_own(ipaddress.ip_address("::1"))
    assert not network.is_own(ipaddress.ip_address("93.184.216.34"))
    assert not network.is_own(ipaddress.ip_address("2606:2800:220:1::1"))
    monkeypatch.setenv("https_proxy", "http://proxy.corp.example:3128")
    monkeypatch.setenv("no_proxy", "siem.corp.example")
    found = network.proxy_for("https://api.box.com:443")
    assert found
    assert found.url == "http://proxy.corp.example:3128"
    assert network.proxy_for("https://siem.corp.example:8088") is None
