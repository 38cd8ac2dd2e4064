"""httpx's way to the network, over sockets that know when the time is up.

The parts are documented ones: a transport of one's own (httpx, "Custom transports") on a pool with
a network backend of one's own (httpcore, "Network Backends"). httpx's own transport takes none.

This module loads httpx and httpcore; import it where a request is made.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import httpcore

from aperio_cli import clock
from aperio_cli.models.address import is_everybodys
from aperio_cli.net import certificates
from aperio_cli.net.diagnosis import find_proxy
from aperio_cli.net.lean import httpx
from aperio_cli.net.model import Inward

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aperio_cli.net.request import Request

FAILURES = (
    httpx.HTTPError,
    httpx.InvalidURL,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
    UnicodeError,  # httpx reads where a redirect leads, and a host may be an escape of nothing
)
"""All that a request, or the reading of its answer, may end in."""


class DeadlineTransport(httpx.BaseTransport):
    """The connection of one request, past the environment's proxy or through it."""

    def __init__(self, request: Request) -> None:
        self._pool = _pool(request)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, for httpx."""
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        answer = self._pool.handle_request(
            httpcore.Request(
                request.method,
                url,
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=_Body(answer),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        """Close the connection."""
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        return self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


def _pool(request: Request) -> httpcore.ConnectionPool:
    backend: httpcore.NetworkBackend = _Backend(request.deadline_s)
    url = httpx.URL(request.url)
    tls = certificates.system_context() if url.scheme == "https" else None
    stated = None if request.is_local else find_proxy(request.url)
    if stated and stated.fault:
        raise httpcore.UnsupportedProtocol(stated.fault)
    proxy = httpx.Proxy(stated.url) if stated else None
    if proxy is None and request.is_outward:
        backend = _OutwardBackend(request.deadline_s)
    if proxy is None:
        return httpcore.ConnectionPool(ssl_context=tls, network_backend=backend)
    return httpcore.HTTPProxy(
        str(proxy.url),
        proxy_auth=proxy.raw_auth,
        ssl_context=tls,
        proxy_ssl_context=certificates.system_context() if proxy.url.scheme == "https" else None,
        network_backend=backend,
    )


# ── keeping the deadline ──────────────────────────────────────────────────────────────────────────


class _Backend(httpcore.NetworkBackend):
    """Connections whose operations end at the deadline, each and all together."""

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        left_s = _left_s(self._deadline_s, timeout, httpcore.ConnectTimeout)
        stream = self._inner.connect_tcp(host, port, left_s, local_address, socket_options)
        return _Stream(stream, self._deadline_s)


class _OutwardBackend(_Backend):
    """The same to what everybody reaches alone.

    The address that was looked at is the one that is connected to: a name that resolves to another
    one a moment later changes nothing.
    """

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception | None = None
        for address in outward_addresses(host, port):
            try:
                return super().connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError(f"{host} has no address")


def outward_addresses(host: str, port: int) -> tuple[str, ...]:
    """Return the addresses of a host that everybody reaches, in the order of the system.

    Raises:
        Inward: it has others only.
        httpcore.ConnectError: it has none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from error
    addresses = tuple(dict.fromkeys(str(each[4][0]) for each in found))
    outward = tuple(filter(is_everybodys, addresses))
    if addresses and not outward:
        raise Inward(host, addresses)
    return outward


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, deadline_s: float) -> None:
        self._inner = inner
        self._deadline_s = deadline_s

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left_s(self._deadline_s, timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _left_s(self._deadline_s, timeout, httpcore.WriteTimeout))

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left_s = _left_s(self._deadline_s, timeout, httpcore.ConnectTimeout)
        stream = self._inner.start_tls(ssl_context, server_hostname, left_s)
        return _Stream(stream, self._deadline_s)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

    def close(self) -> None:
        self._inner.close()


def _left_s(deadline_s: float, timeout_s: float | None, late: type[Exception]) -> float:
    """Return how long one operation may take, in seconds.

    Raises:
        Exception: the time is up; it is of the class given.
    """
    left_s = deadline_s - clock.monotonic_s()
    if left_s <= 0:
        raise late("the time is up")
    return left_s if timeout_s is None else min(timeout_s, left_s)
