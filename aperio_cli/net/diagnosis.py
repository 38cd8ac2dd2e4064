"""Why no connection was made: the host, the proxy or the certificate that it failed at.

What another try cannot heal has a cause here. httpx, httpcore and requests wrap what the system and
OpenSSL say in errors of their own; the chain of them is looked through.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import ssl
import urllib.request
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from aperio_cli import clock
from aperio_cli.errors.files import CertificateUntrusted, NetworkUnavailable, ProxyUnavailable
from aperio_cli.net import certificates
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from urllib.parse import SplitResult

    from cryptography import x509

_LOOK_TIMEOUT_S: Final = 5.0
_PORTS: Final = {"https": 443, "http": 80}
_STATUS: Final = re.compile(r"\b([1-5]\d\d)\b")
_NO_PLACE: Final = "it is not the address of a host"
_MAY_PASS: Final = (502, 503, 504)  # a proxy's word about the server behind it
_EXPIRED, _NOT_YET_VALID = 10, 9  # X509_V_ERR_CERT_…, openssl/x509_vfy.h


@dataclass(frozen=True, slots=True)
class Cause:
    """Why it failed, which another try does not change.

    Attributes:
        error: class of the error that people meet.
        what: the end of a sentence about what was not done.
        why: evidence; may have several lines.
        next: what to do, easiest first.
    """

    error: type[NetworkUnavailable]
    what: str
    why: str
    next: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Proxy:
    """The proxy that the environment states for an address.

    Attributes:
        variable: that states it.
        url: its address, which may hold a password.
    """

    variable: str
    url: str

    @property
    def shown(self) -> str:
        """The address without its user, also where it is none."""
        scheme, _, rest = self.url.partition("://")
        host = re.split(r"[/?#]", rest.rpartition("@")[2], maxsplit=1)[0]
        return clean(f"{scheme}://{host}", limit=200)

    @property
    def fault(self) -> str:
        """What is wrong with the address itself; empty for nothing."""
        try:
            parts = urlsplit(self.url)
            has_place = bool(parts.hostname) and parts.port != 0  # reading the port may fail
        except ValueError:
            return _NO_PLACE
        if not has_place:
            return _NO_PLACE
        is_spoken = parts.scheme.lower() in {"http", "https"}
        return "" if is_spoken else "expected a proxy that begins with http or https"


def find_proxy(url: str) -> Proxy | None:
    """Return the environment's proxy for an address, as every Python program understands it."""
    parts = urlsplit(url)
    stated = urllib.request.getproxies()
    kind = next((kind for kind in (parts.scheme, "all") if stated.get(kind)), "")
    if not kind or urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    names = (f"{kind}_proxy", f"{kind}_proxy".upper())
    variable = next((name for name in names if os.environ.get(name)), "the system's settings")
    address = stated[kind] if "://" in stated[kind] else f"http://{stated[kind]}"
    return Proxy(variable, address)


def find_cause(error: BaseException, url: str, *, is_local: bool = False) -> Cause | None:
    """Return why a request failed, when another try would fail too; None when it may not.

    Args:
        error: what a client raised.
        url: what was asked for.
        is_local: whether it went past every proxy.
    """
    chain = list(_chain(error))
    proxy = None if is_local else find_proxy(url)
    if proxy is not None and proxy.fault:
        return _at_proxy(proxy, url, proxy.fault)
    for link in chain:
        if isinstance(link, ssl.SSLCertVerificationError):
            return _untrusted(link, url, proxy)
    if proxy is not None and (cause := _proxy_failed(chain, proxy, url)):
        return cause
    for link in chain:
        if isinstance(link, socket.gaierror) and link.errno == socket.EAI_NONAME:
            host = clean(urlsplit(url).hostname, limit=200)
            return Cause(
                NetworkUnavailable,
                f"no host is known as {host}",
                clean(link.strerror or link, limit=200),
                ("check the address for a typing error", "check the connection, then try again"),
            )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, what it came of, and what it holds: urllib3 keeps reasons as arguments."""
    seen: set[int] = set()
    pending = [error]
    while pending:
        current = pending.pop(0)
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        held = (*current.args, getattr(current, "reason", None))
        pending += [current.__cause__, current.__context__]
        pending += [each for each in held if isinstance(each, BaseException)]


# ── proxies ───────────────────────────────────────────────────────────────────────────────────────


def _proxy_failed(chain: list[BaseException], proxy: Proxy, url: str) -> Cause | None:
    """Return what is wrong with the proxy; None when it, or what is behind it, may come back."""
    for link in chain:
        said = _STATUS.search(str(link)) if type(link).__name__ == "ProxyError" else None
        if said and int(said[1]) not in _MAY_PASS:
            return _at_proxy(proxy, url, f"it answered {clean(link, limit=200)}")
    for link in chain:
        # With a proxy no other host is connected to.
        if isinstance(link, ConnectionRefusedError | socket.gaierror):
            return _at_proxy(proxy, url, clean(link.strerror or link, limit=200))
    return None


def _at_proxy(proxy: Proxy, url: str, why: str) -> Cause:
    host = clean(urlsplit(url).hostname, limit=200)
    return Cause(
        ProxyUnavailable,
        f"the proxy {proxy.shown} did not lead to it",
        f"{why}\nstated by {proxy.variable}",
        (
            f"correct or unset {proxy.variable}",
            f"where no proxy is needed: `NO_PROXY={host}`",
        ),
    )


# ── certificates ──────────────────────────────────────────────────────────────────────────────────


def _untrusted(error: ssl.SSLCertVerificationError, url: str, proxy: Proxy | None) -> Cause:
    parts = urlsplit(url)
    place = f"{clean(parts.hostname, limit=200)}:{parts.port or _PORTS.get(parts.scheme, 0)}"
    lines = [clean(error.verify_message or error, limit=300), f"server    {place}"]
    if proxy is not None:
        lines.append(f"proxy     {proxy.shown}, stated by {proxy.variable}")
    presented = _presented(parts, proxy)
    if presented is not None:
        lines += _described(presented)
    named = [f"{name}={os.environ[name]}" for name in certificates.READ if os.environ.get(name)]
    lines.append(f"trusted   {' '.join(named) or 'what this system trusts'}")
    return Cause(
        CertificateUntrusted,
        f"the certificate of {place} is not trusted",
        "\n".join(lines),
        tuple(_remedies(error)),
    )


def _remedies(error: ssl.SSLCertVerificationError) -> Iterator[str]:
    if error.verify_code in {_EXPIRED, _NOT_YET_VALID}:
        yield f"see that this machine's clock is right: it says {clock.timestamp()}"
    for name in certificates.UNREAD:
        if os.environ.get(name) and not os.environ.get(certificates.FILE_VARIABLE):
            yield f"{name} is not read here: state that file as {certificates.FILE_VARIABLE}"
    yield (
        f"state a file with the certificate of its authority: `{certificates.FILE_VARIABLE}=FILE`"
    )
    yield "have this system trust that authority"


def _described(presented: x509.Certificate) -> list[str]:
    begin, end = (
        clock.format_timestamp(moment)
        for moment in (presented.not_valid_before_utc, presented.not_valid_after_utc)
    )
    subject = clean(presented.subject.rfc4514_string(), limit=200) or "no name"
    issuer = clean(presented.issuer.rfc4514_string(), limit=200) or "nobody named"
    return [f"presented {subject}, valid {begin} to {end}", f"issued by {issuer}"]


def _presented(parts: SplitResult, proxy: Proxy | None) -> x509.Certificate | None:
    """Return the certificate that the server shows; None when it cannot be looked at.

    A connection of its own, on which nothing is sent: Python does not tell what it refused.
    """
    from cryptography import x509

    if parts.hostname is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
        connection = _connection(parts, proxy, context)
        try:
            connection.connect()
            shown = connection.sock.getpeercert(binary_form=True)
            return x509.load_der_x509_certificate(shown) if shown else None
        finally:
            connection.close()
    return None


def _connection(
    parts: SplitResult, proxy: Proxy | None, context: ssl.SSLContext
) -> http.client.HTTPSConnection:
    """Return a connection to a server, or through a proxy that is spoken to in clear."""
    host, port = parts.hostname or "", parts.port or _PORTS["https"]
    if proxy is None:
        return http.client.HTTPSConnection(host, port, timeout=_LOOK_TIMEOUT_S, context=context)
    way = urlsplit(proxy.url)
    if way.scheme != "http":
        raise ValueError("a proxy behind TLS")
    connection = http.client.HTTPSConnection(
        way.hostname or "", way.port or _PORTS["http"], timeout=_LOOK_TIMEOUT_S, context=context
    )
    user = f"{unquote(way.username or '')}:{unquote(way.password or '')}"
    credential = {"Proxy-Authorization": f"Basic {b64encode(user.encode()).decode()}"}
    connection.set_tunnel(host, port, credential if way.username else {})
    return connection
