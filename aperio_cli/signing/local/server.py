"""The services of a local trust domain over HTTP, on 127.0.0.1, for as long as a block runs.

Paths and documents are those of Fulcio v2 (sigstore/fulcio, fulcio.proto), Rekor v2
(sigstore/rekor-tiles, docs/openapi) and RFC 3161 section 3.4, so that an unmodified Sigstore
client signs with them. Identity tokens are not served: whoever may read the keys mints them.

This module loads `cryptography`: import it inside functions only.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import functools
import json
import re
import socket
import threading
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from cryptography.hazmat.primitives import serialization

from aperio_cli import clock
from aperio_cli.errors import AperioError
from aperio_cli.errors.files import DiskFull
from aperio_cli.models.publisher import LOCAL_ISSUER
from aperio_cli.models.reading import Bounds, described, parse_json
from aperio_cli.signing import client_environment
from aperio_cli.signing.local import tokens
from aperio_cli.signing.local.authority import CertificateRequestInvalid, read_certificate_request
from aperio_cli.signing.local.log import EntryInvalid, EntryRequest
from aperio_cli.signing.local.timestamp import TimestampRequestInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from cryptography.hazmat.primitives.asymmetric import ec

    from aperio_cli.signing.local.authority import CertificateAuthority
    from aperio_cli.signing.local.log import TransparencyLog
    from aperio_cli.signing.local.timestamp import TimestampAuthority
    from aperio_cli.signing.local.tokens import Certify

CERTIFICATES_PATH = "/api/v2/signingCert"
LOG_PATH = "/api/v2/log/entries"
TIMESTAMPS_PATH = "/api/v1/timestamp"

MAX_BODY_BYTES = 64 * 1024
READ_TIMEOUT_S = 5.0
_LENGTH = re.compile(r"\d{1,6}", re.ASCII)
_POLL_S = 0.02
_ADDRESS = "127.0.0.1"

# A proxy would carry requests for 127.0.0.1 elsewhere.
_UNWRITABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_DIRECT = {"NO_PROXY": _ADDRESS, "no_proxy": _ADDRESS, **client_environment.NO_STORED_PASSWORDS}


@dataclass(frozen=True, slots=True)
class Reply:
    """What a service answers: an HTTP status, a media type and a body."""

    status: HTTPStatus
    media_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that signing needs of a domain.

    Attributes:
        certificates: issues leaves.
        log: records signatures.
        timestamps: says when.
        token_key: P-256 key that signs identity tokens.
        issuers: how certificates are made of tokens, by the tokens' issuer. A domain on disk has
            only its own issuer; tests add others and mint their tokens with the same key.
    """

    certificates: CertificateAuthority
    log: TransparencyLog
    timestamps: TimestampAuthority
    token_key: ec.EllipticCurvePrivateKey
    issuers: Mapping[str, Certify] = field(default_factory=lambda: {LOCAL_ISSUER: tokens.email})

    def answer(self, path: str, authorization: str, body: bytes) -> Reply:
        """Return the reply to a POST; every refusal is a JSON document with `code` and `message`.

        Raises:
            DiskFull: there is no space for what has to be recorded.
            OSError: what has to be recorded may not be written.
        """
        routes: dict[str, Callable[[str, bytes], Reply]] = {
            CERTIFICATES_PATH: self._certify,
            LOG_PATH: self._record,
            TIMESTAMPS_PATH: self._timestamp,
        }
        if path not in routes:
            return _refusal(HTTPStatus.NOT_FOUND, "there is no such service")
        try:
            return routes[path](authorization, body)
        except tokens.TokenInvalid as error:
            return _refusal(HTTPStatus.UNAUTHORIZED, str(error))
        except (CertificateRequestInvalid, EntryInvalid, TimestampRequestInvalid) as error:
            return _refusal(HTTPStatus.BAD_REQUEST, str(error))
        except DiskFull:
            raise
        except AperioError as error:
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"{error.what}\n{error.why}")
        except Exception as error:  # the client turns it into an error for people
            if isinstance(error, OSError) and error.errno in _UNWRITABLE and error.filename:
                raise
            reason = f"{type(error).__name__}: {error}"
            return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, reason)

    def _certify(self, authorization: str, body: bytes) -> Reply:
        token = authorization.removeprefix("Bearer ")
        identity = tokens.check(token, self.token_key.public_key(), self.issuers)
        request = parse_json(body, Bounds(MAX_BODY_BYTES), _refuse_request)
        pem = request.converted(
            "certificateSigningRequest", functools.partial(base64.b64decode, validate=True)
        )
        leaf = self.certificates.issue(read_certificate_request(pem), identity, clock.now())
        chain = (leaf, self.certificates.certificate, self.certificates.root)
        texts = [link.public_bytes(serialization.Encoding.PEM).decode() for link in chain]
        return _json(
            HTTPStatus.OK, {"signedCertificateEmbeddedSct": {"chain": {"certificates": texts}}}
        )

    def _record(self, _authorization: str, body: bytes) -> Reply:
        request = EntryRequest.parse(body)
        request.check(self.certificates.certificate)
        return _json(HTTPStatus.CREATED, self.log.append(request))

    def _timestamp(self, _authorization: str, body: bytes) -> Reply:
        reply = self.timestamps.respond(body, clock.now())
        return Reply(HTTPStatus.OK, "application/timestamp-reply", reply)


@contextlib.contextmanager
def serving(services: Services) -> Iterator[str]:
    """Serve on a free port of 127.0.0.1 while the block runs; gives the base URL.

    After the block nothing is left: the port is closed, open connections are cut, every thread
    has ended.

    Raises:
        OSError: when no port can be had.
        DiskFull, OSError: instead of what the block raised, when that is why the services refused.
    """
    with _Server(services) as server:
        accepting = threading.Thread(target=server.serve_forever, args=(_POLL_S,))
        accepting.start()
        try:
            yield f"http://{_ADDRESS}:{server.server_port}"
        except Exception as error:
            if server.unrecorded:
                raise server.unrecorded from error
            raise
        finally:
            server.shutdown()
            accepting.join()
            server.cut_connections()


@contextlib.contextmanager
def direct_connections() -> Iterator[None]:
    """Keep proxies and stored passwords away from 127.0.0.1 while the block runs."""
    with client_environment.changed(_DIRECT):
        yield


class _Server(ThreadingHTTPServer):
    """Joins its handlers when it closes: they are not daemons, and their sockets get cut."""

    daemon_threads = False

    def __init__(self, services: Services) -> None:
        self.services = services
        self.unrecorded: DiskFull | OSError | None = None
        self._open: set[socket.socket] = set()
        super().__init__((_ADDRESS, 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent when a client goes away: it is the one that reports."""

    def cut_connections(self) -> None:
        """End what is still being read from slow clients."""
        for connection in tuple(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """One request a connection (HTTP/1.0), so that no thread waits for a next one."""

    server: _Server
    timeout: ClassVar[float] = READ_TIMEOUT_S

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not _LENGTH.fullmatch(length) or int(length) > MAX_BODY_BYTES:
            reason = f"a request is at most {MAX_BODY_BYTES} bytes and says its length"
            self._send(_refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason))
            return
        body = self.rfile.read(int(length))
        authorization = self.headers.get("Authorization", "")
        try:
            reply = self.server.services.answer(self.path, authorization, body)
        except (DiskFull, OSError) as unrecorded:
            self.server.unrecorded = unrecorded
            reply = _refusal(HTTPStatus.INSUFFICIENT_STORAGE, str(unrecorded))
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.media_type)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Stay silent: what matters is in the reply."""


def _refuse_request(key: str, why: str) -> NoReturn:
    raise CertificateRequestInvalid(f"not a certificate request: {described(key, why)}")


def _json(status: HTTPStatus, document: dict[str, Any]) -> Reply:
    return Reply(status, "application/json", json.dumps(document).encode())


def _refusal(status: HTTPStatus, message: str) -> Reply:
    return _json(status, {"code": status.value, "message": message})
