"""Whatever sigstore's clients raise, as one of our errors with the server's own words."""

from __future__ import annotations

import contextlib
import logging
import warnings
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from aperio_cli.errors.files import NetworkUnavailable
from aperio_cli.errors.trust import SigningFailed
from aperio_cli.models.reading import Bounds, read_json
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aperio_cli.errors import AperioError
    from aperio_cli.net.diagnosis import Cause

_EVIDENCE_CHARACTERS = 300
_MAX_WARNINGS = 8
_ANSWER_BOUNDS = Bounds(64 * 1024)
_SOMEWHERE = "the network"
# requests' and sigstore's own types, by name: neither package is imported to say what went wrong.
_UNREACHABLE: Final = {
    "ConnectTimeout",
    "ConnectionError",
    "NetworkError",
    "ProxyError",
    "ReadTimeout",
    "SSLError",
}


def of_service(
    subject: str, error: Exception, details: Sequence[str] = (), *, secret: str = ""
) -> AperioError:
    """Return the error for a service that did not do its part.

    Args:
        subject: who it was, for people.
        error: what sigstore, or a package below it, raised.
        details: further lines that explain it.
        secret: what none of them may show: some servers send back what they were sent.
    """
    said = _server_text(error) or f"{type(error).__name__}: {error}".removesuffix(": ")
    lines = [text.replace(secret, "***") if secret else text for text in (said, *details)]
    why = "\n".join(clean(text, limit=_EVIDENCE_CHARACTERS) for text in lines)
    if cause := find_cause(error):
        return of_cause(subject, cause)
    if unreachable := _unreachable(error):
        return NetworkUnavailable(
            f"nothing was signed: {subject} cannot be reached",
            why=why if unreachable in why or unreachable == _SOMEWHERE else f"{unreachable}\n{why}",
            next=[
                "run the same command again",
                "behind a proxy: set HTTPS_PROXY, and SSL_CERT_FILE when it opens TLS",
                "sign for this machine only: the same command with `--trust local`",
            ],
        )
    return SigningFailed(
        f"nothing was signed: {subject} did not do it",
        why=why,
        next=_steps(error),
    )


def find_cause(error: Exception) -> Cause | None:
    """Return why a client reached nobody, when another try would not either; else None."""
    from aperio_cli.net import diagnosis

    address = next(filter(None, map(_address, _chain(error))), "")
    return diagnosis.find_cause(error, address) if address else None


def of_cause(subject: str, cause: Cause) -> AperioError:
    """Return the error for a service that was not reached, for a reason that stays.

    Args:
        subject: who it was, for people.
        cause: the reason.
    """
    return cause.error(
        f"nothing was signed: {subject} cannot be reached: {cause.what}",
        why=cause.why,
        next=cause.next,
    )


def _address(link: BaseException) -> str:
    """Return the address that an error of requests or urllib3 is about; empty when of none."""
    asked = getattr(getattr(link, "request", None), "url", None)
    if isinstance(asked, str):
        return asked
    pool = getattr(link, "pool", None)
    host, scheme = getattr(pool, "host", None), getattr(pool, "scheme", None)
    return f"{scheme}://{host}:{getattr(pool, 'port', None) or 443}" if host and scheme else ""


@contextlib.contextmanager
def captured_warnings() -> Iterator[list[str]]:
    """Give what sigstore and its HTTP client log while the block runs, kept off stderr.

    It explains failures; the first lines of it are kept.
    """
    captured: list[str] = []
    handler = _Capture(captured)
    # The root logger's: without any handler there, Python writes every warning to stderr.
    logger = logging.getLogger()
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what packages say to programmers
            yield captured
    finally:
        logger.removeHandler(handler)


class _Capture(logging.Handler):
    def __init__(self, captured: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._captured = captured

    def emit(self, record: logging.LogRecord) -> None:
        if len(self._captured) < _MAX_WARNINGS:
            self._captured.append(record.getMessage())


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _unreachable(error: Exception) -> str:
    """Return the host that did not answer at all, or broke off; empty when one did answer."""
    for link in _chain(error):
        if type(link).__name__ in _UNREACHABLE and getattr(link, "response", None) is None:
            netloc = urlsplit(str(getattr(getattr(link, "request", None), "url", ""))).netloc
            return netloc.rpartition("@")[2] or _SOMEWHERE
    return ""


def _steps(error: Exception) -> list[str]:
    again = "run the same command again"
    if _status(error) in {400, 401, 403}:
        return [
            "the instance did not accept the identity: its issuer has to be one that it knows",
            f"get a new token, then {again}",
        ]
    return [again]


def _status(error: Exception) -> int:
    for link in _chain(error):
        status = getattr(getattr(link, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
    return 0


def _server_text(error: Exception) -> str:
    """Return what the server said: sigstore's own errors often lose it, their causes keep it."""
    for link in _chain(error):
        response = getattr(link, "response", None)
        if response is not None:
            return _message(response.text) or f"the server answered {response.status_code}"
    return ""


def _message(text: str) -> str:
    try:
        document = read_json(text.encode(), _ANSWER_BOUNDS)
    except ValueError:  # text that is no UTF-8 is no document either
        return text
    said = document.get("message") if isinstance(document, dict) else None
    return said if isinstance(said, str) else text
