"""Signing with sigstore-python's public interface; everything it raises becomes one error."""

from __future__ import annotations

import contextlib
import json
import logging
from typing import TYPE_CHECKING

from aperio_cli import files
from aperio_cli.errors import AperioError, SigningFailed, clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aperio_cli.models.digest import Digest
    from aperio_cli.signing.domain import SigningDomain

_EVIDENCE_CHARACTERS = 300


def sign_digests(digests: Sequence[Digest], domain: SigningDomain) -> list[bytes]:
    """Sigstore bundles for files of these digests, in the same order, as JSON.

    One certificate serves them all; it lives for ten minutes.

    Raises:
        SigningFailed: when a service refuses, does not answer, or answers something else.
        AperioError: when the domain itself cannot be used.
    """
    if not digests:
        return []
    with _captured_warnings() as warnings, files.disk_full_guard("nothing was signed"):
        try:
            return _sign(digests, domain)
        except AperioError:
            raise
        except Exception as error:
            raise _failed(domain, error, warnings) from error


def _sign(digests: Sequence[Digest], domain: SigningDomain) -> list[bytes]:
    from sigstore.hashes import HashAlgorithm, Hashed  # type: ignore[attr-defined]  # documented
    from sigstore.models import ClientTrustConfig
    from sigstore.oidc import IdentityToken
    from sigstore.sign import SigningContext

    with domain.serving() as trust_config:
        context = SigningContext.from_trust_config(ClientTrustConfig.from_json(trust_config))
        with context.signer(IdentityToken(domain.identity_token()), cache=True) as signer:
            hashed = (Hashed(algorithm=HashAlgorithm.SHA2_256, digest=d.raw) for d in digests)
            return [signer.sign_artifact(one).to_json().encode() for one in hashed]


@contextlib.contextmanager
def _captured_warnings() -> Iterator[list[str]]:
    """What sigstore logs while the block runs, kept off stderr: it explains failures."""
    captured: list[str] = []
    handler = _Capture(captured)
    logger = logging.getLogger("sigstore")
    logger.addHandler(handler)
    try:
        yield captured
    finally:
        logger.removeHandler(handler)


class _Capture(logging.Handler):
    def __init__(self, captured: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._captured = captured

    def emit(self, record: logging.LogRecord) -> None:
        self._captured.append(record.getMessage())


def _failed(domain: SigningDomain, error: Exception, warnings: Sequence[str]) -> SigningFailed:
    evidence = [_server_text(error) or f"{type(error).__name__}: {error}", *warnings]
    return SigningFailed(
        f"nothing was signed: the services of the trust domain `{domain.name}` did not do it",
        why="\n".join(clean(text, limit=_EVIDENCE_CHARACTERS) for text in evidence),
        next=["run the same command again"],
    )


def _server_text(error: BaseException | None) -> str:
    """What the server said: sigstore's own errors often lose it, their causes keep it."""
    while error is not None:
        response = getattr(error, "response", None)
        if response is not None:
            return _message(response.text)
        error = error.__cause__ or error.__context__
    return ""


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (LookupError, TypeError, ValueError):
        return text
