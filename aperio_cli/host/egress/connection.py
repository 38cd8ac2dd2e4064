"""One connection of a plugin, from its first byte to the record of what was decided."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from aperio_cli.host.egress.decisions import Denied, Reason, Verdict
from aperio_cli.host.egress.hello import ALERT
from aperio_cli.host.egress.opening import Anything, OneRequest, Opening
from aperio_cli.host.egress.reaching import reach
from aperio_cli.host.egress.requests import END_OF_HEAD, LONGEST_HEAD_BYTES, parse_request
from aperio_cli.host.egress.sides import Side, relay
from aperio_cli.host.egress.targets import parse_authority, parse_url

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from aperio_cli.host.egress.decisions import Decision
    from aperio_cli.host.egress.door import Terms
    from aperio_cli.host.egress.reaching import Way
    from aperio_cli.host.egress.requests import Request
    from aperio_cli.host.egress.rules import Rule
    from aperio_cli.host.egress.targets import Target

_ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
_STATUSES: Final = {Reason.MALFORMED: 400, Reason.TOO_LONG: 431, Reason.LATE: 408}
_REFUSED, _FAILED = 403, 502
_LINGER_S: Final = 1.0


class Connection:
    """What is done with one connection.

    Args:
        terms: of the door.
        decision: the record; filled in here.
        target: where it leads; None: the plugin says so itself, as to a proxy.
    """

    def __init__(self, terms: Terms, decision: Decision, target: Target | None) -> None:
        self._terms = terms
        self._decision = decision
        self._target = target
        self._near = Side()
        self._way: Way | None = None
        self._opening: Opening | None = None
        self._awaits_http = target is None  # whether the plugin reads an answer in HTTP

    async def serve(self, accepted: socket.socket) -> None:
        """Judge it, let it through or not, and leave nothing of it open.

        Any failure in here refuses.
        """
        near = self._near
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: near, accepted)
        except OSError:
            accepted.close()
            return
        try:
            await self._serve()
        except Denied as denied:
            await self._refuse(denied)
        except Exception as error:  # noqa: BLE001 - a door that fails stays shut
            await self._refuse(Denied(Reason.BROKEN, type(error).__name__))
        finally:
            near.transport.abort()
            if self._way:
                self._way.side.transport.abort()
                self._decision.received_bytes = self._way.side.received_bytes
                self._decision.sent_bytes = near.received_bytes

    # ── the two ways in ───────────────────────────────────────────────────────────────────────────

    async def _serve(self) -> None:
        if self._target:
            await self._connect(self._target)
            return
        request = await self._request()
        if request.method == "CONNECT":
            target = self._asked(request.target)
            way, rule = await self._reach(target, asks_http=False)
            self._near.write(_ESTABLISHED)
            self._awaits_http = False
            await self._let_through(target, rule, way)
        else:
            await self._pass_request(request)

    async def _connect(self, target: Target) -> None:
        """Lead a plugin that connected to the address of a name, and knows of no proxy."""
        way, rule = await self._reach(target, asks_http=False)
        await self._let_through(target, rule, way)

    async def _request(self) -> Request:
        """Return the head of what the plugin asks the proxy."""
        begun = b""
        with _deadline(self._terms.opening_s):
            async with asyncio.timeout(self._terms.opening_s):
                while END_OF_HEAD not in begun:
                    came = await self._near.more()
                    begun += came
                    if not came:
                        raise Denied(Reason.MALFORMED, "it ended within a request")
                    if len(begun.partition(END_OF_HEAD)[0]) > LONGEST_HEAD_BYTES:
                        raise Denied(Reason.TOO_LONG, "the head of a request")
        head, _, rest = begun.partition(END_OF_HEAD)
        self._near.put_back(rest)
        return parse_request(head)

    def _asked(self, text: str) -> Target:
        """Return the target of a CONNECT; the record shows it even when it is none."""
        self._decision.host = Denied(Reason.NOT_A_HOST, text).detail
        return parse_authority(text)

    # ── what both do ──────────────────────────────────────────────────────────────────────────────

    async def _reach(self, target: Target, *, asks_http: bool) -> tuple[Way, Rule | None]:
        decision = self._decision
        decision.host, decision.port = target.host, target.port
        rule = None
        try:
            rule = self._terms.policy.rule_for(target)
            decision.rule = f"{rule} ({rule.stated_by})"
        except Denied as denied:
            self._judge(denied)
        self._way = way = await reach(self._terms.outside, target, rule, asks_http=asks_http)
        decision.address, decision.via = way.address, way.via
        return way, rule

    def _judge(self, denied: Denied) -> None:
        """Refuse, or only take note where that is being learned.

        Raises:
            Denied: it is refused.
        """
        if not (self._terms.policy.is_learning and denied.reason.may_be_reported):
            raise denied
        if self._decision.verdict is Verdict.ALLOWED:
            self._decision.note(denied, Verdict.REPORTED)

    async def _let_through(self, target: Target, rule: Rule | None, way: Way) -> None:
        """Look at what the plugin says first, and pass everything on once that may be."""
        near, far = self._near, way.side
        if rule and rule.is_any_protocol:
            near.lead_to(far, Anything())
        else:
            self._opening = opening = Opening(target, self._judge)
            near.lead_to(far, opening)
            await self._settled(opening)
        far.lead_to(near)
        is_http = self._opening is not None and self._opening.is_http
        await relay(near, far, self._terms.idle_s, is_one_request=is_http)

    async def _settled(self, opening: Opening) -> None:
        """Wait until it was seen what is spoken, for which host."""
        near = self._near
        try:
            async with asyncio.timeout(self._terms.opening_s):
                while not (opening.is_settled or near.failure or near.ended):
                    near.changed.clear()
                    await near.changed.wait()
        except TimeoutError:
            self._judge_silence(opening)
        if near.failure:
            raise near.failure

    def _judge_silence(self, opening: Opening) -> None:
        if opening.has_begun or not self._terms.policy.is_learning:
            raise Denied(Reason.LATE, f"{self._terms.opening_s:g} s") from None
        self._judge(Denied(Reason.UNKNOWN_PROTOCOL, "the server speaks first"))
        opening.let_pass()

    async def _pass_request(self, request: Request) -> None:
        """Make one plain HTTP request for the plugin."""
        self._decision.host = Denied(Reason.NOT_A_HOST, request.target.partition("?")[0]).detail
        target, path = parse_url(request.target)
        way, _ = await self._reach(target, asks_http=True)
        asked = f"http://{target.authority}{path}" if way.is_asked else path
        screen = OneRequest(request, asked, target.authority, way.credential)
        way.side.write(screen.head)
        self._near.received_bytes += len(screen.head)
        self._near.lead_to(way.side, screen)
        way.side.lead_to(self._near)
        await relay(self._near, way.side, self._terms.idle_s, is_one_request=True)

    # ── a refusal ─────────────────────────────────────────────────────────────────────────────────

    async def _refuse(self, denied: Denied) -> None:
        """Record it, and tell the plugin in the protocol that it speaks."""
        is_failure = denied.reason.is_failure
        self._decision.note(denied, Verdict.FAILED if is_failure else Verdict.REFUSED)
        if self._way:
            self._way.side.transport.abort()
        near = self._near
        if self._opening and self._opening.is_tls:
            near.write(ALERT)
        elif self._awaits_http or (self._opening and self._opening.is_http):
            near.write(_answer(denied))
        near.say_no_more()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                while await near.more():  # until it has read the answer
                    pass


def _answer(denied: Denied) -> bytes:
    """Return the answer to a request that is refused, with the reason in its first line, too.

    That line is all that many clients show.
    """
    status = _STATUSES.get(denied.reason, _FAILED if denied.reason.is_failure else _REFUSED)
    text = f"aperio did not make this connection: {denied}\n".encode("ascii", "replace")
    head = (
        f"HTTP/1.1 {status} Refused by aperio: {denied.reason.code}\r\n"
        f"Content-Type: text/plain\r\nContent-Length: {len(text)}\r\n"
        f"Aperio-Refused: {denied.reason.code}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + text


@contextlib.contextmanager
def _deadline(patience_s: float) -> Iterator[None]:
    """Name what was late.

    Raises:
        Denied: the block was.
    """
    try:
        yield
    except TimeoutError:
        raise Denied(Reason.LATE, f"{patience_s:g} s") from None
