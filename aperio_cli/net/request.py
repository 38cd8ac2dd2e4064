"""One HTTP request, answered by a deadline whatever the server does.

httpx limits each single read: a server that sends one byte of a header now and then stays within
that for hours. Here every operation on the socket gets no more than what is left of the request's
time (`net.transport`).

Nothing is decompressed, because limits and digests are about the bytes that arrive, and no
redirect is followed: whoever asks decides where it may lead. Proxies are those of the environment,
which never see this machine's own traffic.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from aperio_cli import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import httpx

    from aperio_cli.net.diagnosis import Cause

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 20.0

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Request:
    """One request to one address.

    Attributes:
        url: where; the caller has checked that it may be asked.
        deadline_s: when the whole answer has to be there, on `clock.monotonic_s`.
        headers: beside those that every request has.
        form: parameters of a POST's body, which may hold secrets; None for a GET.
        is_local: whether it goes to this machine, and so past every proxy.
        is_outward: whether it may only go to what everybody reaches, whatever the host's name
            resolves to; where a proxy resolves it, that is the proxy's to see to.
    """

    url: str
    deadline_s: float
    headers: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] | None = field(default=None, repr=False)
    is_local: bool = False
    is_outward: bool = False


class Unanswered(Exception):
    """No whole answer came.

    Attributes:
        kind: the sort of failure, such as `ConnectError`; holds nothing of what was sent.
        is_late: whether the deadline was the reason.
        cause: why another try would fail too; None when it may not. Holds nothing of what was sent.
    """

    def __init__(
        self, kind: str, detail: str, *, is_late: bool, cause: Cause | None = None
    ) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.is_late = is_late
        self.cause = cause


@contextlib.contextmanager
def answered(request: Request) -> Iterator[httpx.Response]:
    """Send a request; the block reads the answer's status, headers and raw body.

    Raises:
        Inward: it may only go to what everybody reaches, and its host leads elsewhere.
        Unanswered: from the block too, when the body breaks off or is late.
        CertificatesUnusable: what names the certificates that count cannot be read.
    """
    from aperio_cli.net import diagnosis, transport
    from aperio_cli.net.lean import httpx

    headers = {"Accept-Encoding": "identity", "User-Agent": "aperio", **request.headers}
    method = "GET" if request.form is None else "POST"
    timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    try:
        way = transport.DeadlineTransport(request)
        with (
            httpx.Client(transport=way, timeout=timeout, trust_env=False) as client,
            client.stream(method, request.url, headers=headers, data=request.form) as response,
        ):
            yield response
    except transport.FAILURES as error:
        is_late = clock.monotonic_s() >= request.deadline_s
        cause = diagnosis.find_cause(error, request.url, is_local=request.is_local)
        raise Unanswered(type(error).__name__, str(error), is_late=is_late, cause=cause) from error


async def off_loop(work: Callable[[], _Result]) -> _Result:
    """Await blocking work of bounded length, in a thread that nobody waits for once cancelled.

    The loop's own threads are joined when it closes: an interrupt would wait for the deadline.
    """
    import asyncio  # few commands have a loop

    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[_Result] = loop.create_future()

    def settle(deed: Callable[[Any], None], value: object) -> None:
        if not outcome.done():
            deed(value)

    def run() -> None:
        try:
            done, value = outcome.set_result, work()
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            done, value = outcome.set_exception, error  # type: ignore[assignment] # settled alike
        with contextlib.suppress(RuntimeError):  # the loop is gone
            loop.call_soon_threadsafe(settle, done, value)

    threading.Thread(target=run, name="aperio-request", daemon=True).start()
    return await outcome
