"""Trusted roots as documents: what in them was to be trusted at a moment, and who is in them.

Format: sigstore/protobuf-specs, protos/sigstore_trustroot.proto, TrustedRoot as JSON. Nothing here
verifies anything: this module takes away what must not count before the verifier sees the rest.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from aperio_cli import clock
from aperio_cli.models.digest import Digest
from aperio_cli.models.proof import RootFacts
from aperio_cli.models.publisher import LOCAL_DOMAIN
from aperio_cli.models.reading import Bounds, read_json
from aperio_cli.proving.refusals import broken_root, invalid, said_by

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography import x509

# Parts of a trusted root that narrow it by time; a log's period stands with its public key.
_BOUNDS = Bounds(1024 * 1024)
_LIMITED_KINDS = ("certificateAuthorities", "ctlogs", "tlogs")


@dataclass(frozen=True, slots=True)
class TrustedRootSource:
    """A trusted root that the operator configured.

    Attributes:
        name: the trust domain's name, such as `local`.
        document: sigstore_trustroot.proto's TrustedRoot as JSON.
        origin: where the document came from: `vendored`, `refreshed`, `file` or `local`.
        as_of: when it was known to be current, RFC 3339 in UTC; empty when unknown.
        problem: why it cannot be used; empty when nothing is known to be wrong with it.
        remedies: what to do about the problem, easiest first.
    """

    name: str
    document: bytes
    origin: str = LOCAL_DOMAIN
    as_of: str = ""
    problem: str = ""
    remedies: tuple[str, ...] = ()

    @property
    def facts(self) -> RootFacts:
        """What receipts and reports say about the root."""
        return RootFacts(self.name, Digest.of(self.document).hex, self.origin, self.as_of)


def narrowed(root: TrustedRootSource, moment: datetime, log_id: object) -> dict[str, Any]:
    """Return the root's document with only what was trusted at `moment`, and only one log.

    sigstore-python ignores the end of `validFor` for all but timestamp authorities, so without
    this a compromised authority could not be retired. And it takes an entry's log id for a hint
    and tries the keys of all logs, so without this nobody could say which log proved the entry.

    Args:
        root: the operator's root.
        moment: when the leaf certificate was issued; it lives for an hour at most.
        log_id: the `logId` that the entry states, as JSON.

    Raises:
        Fault: TrustRootInvalid, when the document is no trusted root; SignatureInvalid, when
            nothing of a kind remains.
    """
    document = trusted_at(root, moment)
    own_log = [log for log in document["tlogs"] if log.get("logId") == log_id]
    if not own_log:
        raise invalid(f"its log entry is of a log that the trusted root `{root.name}` has not")
    return {**document, "tlogs": own_log}


def trusted_at(root: TrustedRootSource, moment: datetime) -> dict[str, Any]:
    """Return the root's document with only what was to be trusted at `moment`.

    Raises:
        Fault: TrustRootInvalid, when it has a problem, or the document is no trusted root;
            SignatureInvalid, when nothing of a kind remains.
    """
    if root.problem:
        raise broken_root(root.name, root.problem, root.remedies)
    try:
        document: dict[str, Any] = read_json(root.document, _BOUNDS)
        for kind in _LIMITED_KINDS:
            document[kind] = [entry for entry in document[kind] if _was_trusted(entry, moment)]
    except Exception as error:  # a parser's errors for a damaged document are of many types
        raise broken_root(root.name, said_by(error)) from error
    for kind in _LIMITED_KINDS:
        if not document[kind]:
            when = clock.format_timestamp(moment)
            raise invalid(f"the trusted root `{root.name}` trusts no {kind} on {when}")
    return document


def _was_trusted(entry: Mapping[str, Any], moment: datetime) -> bool:
    period = _period(entry)
    return period is None or _covers(period, moment)


def _period(entry: Mapping[str, Any]) -> Any:
    return entry.get("publicKey", entry).get("validFor")


def _covers(period: Mapping[str, str], moment: datetime) -> bool:
    """Return whether a closed TimeRange, whose end may be open, covers an aware moment."""
    start, end = period.get("start"), period.get("end")
    if start is None:
        message = "a validFor without start"
        raise ValueError(message)
    has_begun = datetime.fromisoformat(start) <= moment
    return has_begun and (end is None or moment <= datetime.fromisoformat(end))


def begins_at(document: Mapping[str, Any]) -> datetime | None:
    """Return since when a root, as JSON, has one of each kind of key; None when that is unknown."""
    try:
        return max(
            min(datetime.fromisoformat(_period(entry)["start"]) for entry in document[kind])
            for kind in _LIMITED_KINDS
        )
    except (AttributeError, KeyError, TypeError, ValueError):  # a part is missing, or no time
        return None


def may_have_issued(root: TrustedRootSource, certificate: x509.Certificate) -> bool:
    """Return whether a root has the key that the certificate names as its issuer's (RFC 5280).

    It proves nothing; it tells a signature from elsewhere from one that is wrong. What cannot be
    read counts, so that the verification says what is wrong with it.
    """
    from cryptography import x509

    try:
        extension = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
        authorities = read_json(root.document, _BOUNDS)["certificateAuthorities"]
        keys = {
            identifier
            for authority in authorities
            for entry in authority["certChain"]["certificates"]
            for identifier in _key_ids(x509.load_der_x509_certificate(_bytes_of(entry)))
        }
    except Exception:  # noqa: BLE001 - whatever it is, the verification refuses and names it
        return True
    return not keys or extension.value.key_identifier in keys


def _bytes_of(entry: Mapping[str, str]) -> bytes:
    return base64.b64decode(entry["rawBytes"])


def _key_ids(certificate: x509.Certificate) -> set[bytes]:
    """Name the certificate's key as it does and as most authorities do (RFC 5280, 4.2.1.2)."""
    from cryptography import x509

    usual = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())
    try:
        stated = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        stated = usual
    return {usual.digest, stated.digest}
