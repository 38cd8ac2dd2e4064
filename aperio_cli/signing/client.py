"""Signing with sigstore-python's public interface; everything it raises becomes one error."""

from __future__ import annotations

import errno
import functools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from aperio_cli.errors import AperioError
from aperio_cli.errors.trust import SigningTimeout
from aperio_cli.files import writing
from aperio_cli.proving import moments
from aperio_cli.signing import deadline, failures

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sigstore.sign import Signer as SigstoreSigner

    from aperio_cli.models.digest import Digest
    from aperio_cli.signing.credential import Credential
    from aperio_cli.signing.domain import SigningDomain

_Result = TypeVar("_Result")

DEADLINE_S = 60.0
"""What one certificate and a few signatures may take, in seconds."""
ENTRY_S = 10.0
"""What each further signature may take: a log answers when its next checkpoint is out."""
_NOT_OURS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"


@dataclass(frozen=True, slots=True)
class SigningSession:
    """One certificate with its key, in memory only; it lives for ten minutes."""

    signer: SigstoreSigner

    def sign_digest(self, digest: Digest) -> bytes:
        """Return a Sigstore bundle for the file of this digest, as JSON."""
        from sigstore.hashes import HashAlgorithm, Hashed  # type: ignore[attr-defined]  # documented

        hashed = Hashed(algorithm=HashAlgorithm.SHA2_256, digest=digest.raw)
        return self.signer.sign_artifact(hashed).to_json().encode()

    def sign_statement(
        self, subject: tuple[str, Digest], predicate_type: str, predicate: Mapping[str, Any]
    ) -> bytes:
        """Return a Sigstore bundle around an in-toto statement about one file, as one line of JSON.

        Args:
            subject: the file's name and digest.
            predicate_type: URI of the kind of statement.
            predicate: the statement itself.
        """
        from sigstore.dsse import Statement

        name, digest = subject
        document = {
            "_type": _STATEMENT_TYPE,
            "subject": [{"name": name, "digest": {"sha256": digest.hex}}],
            "predicateType": predicate_type,
            "predicate": predicate,
        }
        statement = Statement(json.dumps(document).encode())
        return self.signer.sign_dsse(statement).to_json().encode()


@dataclass(slots=True)
class _Progress:
    """How far an attempt came, for whoever has to say what it left behind."""

    certified: bool = False
    warnings: Sequence[str] = field(default_factory=list)


def with_session(
    domain: SigningDomain,
    credential: Credential,
    work: Callable[[SigningSession], _Result],
    *,
    entries: int,
) -> _Result:
    """Return what `work` makes with one certificate of the domain.

    Args:
        domain: who certifies.
        credential: who signs.
        work: signs with the session; runs in a thread of its own.
        entries: how many signatures it makes, which sets the time that all may take.

    Raises:
        NetworkUnavailable: when a service cannot be reached.
        SigningTimeout: when they take too long together.
        ClockSuspect: when the domain begins at a time that is yet to come.
        SigningFailed: when a service refuses, or answers something that cannot be used.
        AperioError: what `work` raises, and when the domain itself cannot be used.
        PermissionError, OSError: a file of a domain on this machine cannot be written.
    """
    limit_s = DEADLINE_S + ENTRY_S * entries
    progress = _Progress()
    attempt = functools.partial(_attempt, credential, work, progress)
    with failures.captured_warnings() as warnings, writing.disk_full_guard("nothing was signed"):
        progress.warnings = warnings
        try:
            with domain.serving() as trust_config:
                _require_begun(domain, trust_config)
                return deadline.within(
                    limit_s,
                    functools.partial(attempt, trust_config),
                    late=functools.partial(_late, domain, limit_s, progress),
                )
        except AperioError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _NOT_OURS and error.filename:
                raise  # a file of this machine, and no service
            raise _failed(domain, error, progress, credential) from error


def _require_begun(domain: SigningDomain, trust_config: str) -> None:
    root = json.loads(trust_config).get("trustedRoot", {})
    moments.require_begun("nothing was signed", f"the trust domain `{domain.name}`", root)


def _attempt(
    credential: Credential,
    work: Callable[[SigningSession], _Result],
    progress: _Progress,
    trust_config: str,
) -> _Result:
    from sigstore.models import ClientTrustConfig
    from sigstore.oidc import IdentityToken
    from sigstore.sign import SigningContext

    context = SigningContext.from_trust_config(ClientTrustConfig.from_json(trust_config))
    with context.signer(IdentityToken(credential.token), cache=True) as signer:
        progress.certified = True
        return work(SigningSession(signer))


def _failed(
    domain: SigningDomain, error: Exception, progress: _Progress, credential: Credential
) -> AperioError:
    subject = f"a service of the trust domain `{domain.name}`"
    return failures.of_service(subject, error, _evidence(progress), secret=credential.token)


def _late(domain: SigningDomain, limit_s: float, progress: _Progress) -> SigningTimeout:
    return SigningTimeout(
        f"nothing was signed: the trust domain `{domain.name}` does not answer",
        why="\n".join([f"waited {limit_s:g} seconds", *_evidence(progress)]),
        next=["run the same command again"],
    )


def _evidence(progress: _Progress) -> list[str]:
    """Return what explains a failure, and what is in the logs all the same.

    A Rekor v2 log has the entry before it turns out that the timestamp is missing, and nothing
    takes an entry out of a log.
    """
    if not progress.certified:
        return list(progress.warnings)
    left = "a certificate was issued and logged, and a signature may have been logged as well"
    return [*progress.warnings, left]
