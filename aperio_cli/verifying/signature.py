"""Checks that a Sigstore bundle signs a file, and says who signed: the only importer of sigstore.

What a bundle says is believed only after sigstore's verifier accepted it. Three of its gaps are
closed here: it ignores when a trusted certificate authority or log ended, it accepts leaves of any
lifetime, and it raises errors of many unrelated types. Whose signature it *should* be is decided
afterwards, by the pure rules of `verifying.decide`.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from aperio_cli import clock, files
from aperio_cli.errors import (
    BundleMalformed,
    FileTooLarge,
    Refusal,
    SignatureDigestMismatch,
    SignatureInvalid,
    TrustDomainUnknown,
    TrustRootInvalid,
    TrustRootMissing,
    VerifierCrashed,
    clean,
)
from aperio_cli.models.artifact import MAX_BUNDLE_BYTES
from aperio_cli.models.digest import Digest
from aperio_cli.models.publisher import Signer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from cryptography import x509
    from sigstore.models import Bundle, TrustedRoot

MAX_LEAF_LIFETIME = timedelta(hours=1)
_MAX_ROOT_BYTES = 1024 * 1024
_EVIDENCE_CHARACTERS = 300

_TRUST_CONFIG = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
_SIGNING_CONFIG = "application/vnd.dev.sigstore.signingconfig.v0.2+json"

# sigstore/fulcio, docs/oid-info.md: numbers below 1.3.6.1.4.1.57264.1; 1 to 6 are deprecated.
_FULCIO_ARC = "1.3.6.1.4.1.57264.1"
_ISSUER_V1, _ISSUER_V2 = 1, 8
_CLAIMS = {
    9: "build_signer_uri",
    10: "build_signer_digest",
    11: "runner_environment",
    12: "source_repository_uri",
    13: "source_repository_digest",
    14: "source_repository_ref",
    15: "source_repository_identifier",
    16: "source_repository_owner_uri",
    17: "source_repository_owner_identifier",
    18: "build_config_uri",
    19: "build_config_digest",
    20: "build_trigger",
    21: "run_invocation_uri",
    22: "source_repository_visibility",
}

# Parts of a trusted root that narrow it by time; a log's period stands with its public key.
_LIMITED_KINDS = ("certificateAuthorities", "ctlogs", "tlogs")

_SILENT = logging.NullHandler()


@dataclass(frozen=True, slots=True)
class TrustedRootSource:
    """A trusted root that the operator configured.

    Attributes:
        name: the trust domain's name, such as `local`.
        document: sigstore_trustroot.proto's TrustedRoot as JSON.
    """

    name: str
    document: bytes


def read_trusted_root(name: str, path: Path) -> TrustedRootSource:
    """The trusted root in a file; its contents are looked at when something is verified.

    Raises:
        TrustRootMissing: when there is no such file.
        TrustRootInvalid: when it is longer than 1 MiB or cannot be read.
    """
    try:
        return TrustedRootSource(name, files.read_capped(path, _MAX_ROOT_BYTES))
    except FileNotFoundError as error:
        raise _no_root(f"expected {path}") from error
    except (OSError, FileTooLarge, Refusal) as error:
        raise TrustRootInvalid(
            f"nothing was verified: the trusted root `{name}` cannot be read", why=str(error)
        ) from error


def verify_signature(
    digest: Digest, bundle_json: bytes, roots: Sequence[TrustedRootSource]
) -> Signer:
    """Who signed the file of this digest, as one of the trusted roots proves.

    Needs no network and writes nothing. Roots are tried in order; the signer names the one that
    verified.

    Args:
        digest: the digest that was computed from the file itself.
        bundle_json: a Sigstore bundle, sigstore_bundle.proto as JSON.
        roots: the trusted roots to try.

    Raises:
        BundleMalformed: when the bundle is longer than 1 MiB or not a bundle over a file.
        SignatureDigestMismatch: when it is a valid signature of another file.
        SignatureInvalid: when no root proves it.
        TrustDomainUnknown: when no root has the authority that issued its certificate.
        TrustRootMissing: when there is no root to try.
        TrustRootInvalid: when the only root cannot be read.
        VerifierCrashed: when anything unforeseen happens; it counts as a refusal.
    """
    if len(bundle_json) > MAX_BUNDLE_BYTES:
        raise _malformed(f"expected at most {MAX_BUNDLE_BYTES} bytes\nfound    {len(bundle_json)}")
    if not roots:
        raise _no_root("no trust domain is configured")
    logging.getLogger("sigstore").addHandler(_SILENT)  # its warnings are for its own command line
    with _refusing():
        evidence = _read_bundle(bundle_json)
    refusals: list[Refusal] = []
    for root in roots:
        try:
            with _refusing():
                return _verify_against(root, digest, evidence)
        except Refusal as refusal:
            refusals.append(refusal)
    if not any(_may_have_issued(root, evidence.certificate) for root in roots):
        raise _unknown_domain(roots) from refusals[0]
    raise _most_telling(refusals, roots)


@dataclass(frozen=True, slots=True)
class _Evidence:
    """A bundle that parsed; nothing in it is believed yet.

    Attributes:
        bundle: sigstore's view.
        document: the same as plain JSON.
        certificate: the leaf.
        claimed_digest: digest of the file that the bundle says it is for, or None.
    """

    bundle: Bundle
    document: Mapping[str, Any]
    certificate: x509.Certificate
    claimed_digest: Digest | None


class _CertificateCapture:
    """A sigstore policy that accepts and remembers the certificate it is shown."""

    def __init__(self) -> None:
        self.certificate: x509.Certificate | None = None

    def verify(self, cert: x509.Certificate) -> None:
        self.certificate = cert


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """Turn whatever goes wrong in the block into a refusal."""
    try:
        yield
    except (Refusal, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as crash:  # a panic of a Rust parser is no Exception
        raise VerifierCrashed(
            "the artifact was refused: its signature could not be checked",
            why=f"{type(crash).__name__}: {clean(crash, limit=_EVIDENCE_CHARACTERS)}",
            next=["get artifact and bundle again, in case they were damaged on the way"],
        ) from crash


def _read_bundle(bundle_json: bytes) -> _Evidence:
    from sigstore.models import Bundle

    try:
        bundle = Bundle.from_json(bundle_json)
        document = json.loads(bundle.to_json())
        certificate = bundle.signing_certificate
    except Exception as error:
        raise _malformed(_evidence(error)) from error
    signed = document.get("messageSignature")
    if not isinstance(signed, dict):
        raise _malformed("expected a signature over a file (messageSignature)")
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    if not timedelta(0) <= lifetime <= MAX_LEAF_LIFETIME:
        raise _invalid(f"its certificate is valid for {lifetime}, expected at most 1 hour")
    return _Evidence(bundle, document, certificate, _claimed_digest(signed))


def _may_have_issued(root: TrustedRootSource, certificate: x509.Certificate) -> bool:
    """Whether a root has the key that the certificate names as its issuer's (RFC 5280, 4.2.1.1).

    It proves nothing; it tells a signature from elsewhere from one that is wrong. What cannot be
    read counts, so that the verification says what is wrong with it.
    """
    from cryptography import x509

    try:
        extension = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
        authorities = json.loads(root.document)["certificateAuthorities"]
        keys = {
            x509.SubjectKeyIdentifier.from_public_key(
                x509.load_der_x509_certificate(base64.b64decode(entry["rawBytes"])).public_key()
            ).digest
            for authority in authorities
            for entry in authority["certChain"]["certificates"]
        }
    except Exception:  # noqa: BLE001 - whatever it is, the verification refuses and names it
        return True
    return not keys or extension.value.key_identifier in keys


def _unknown_domain(roots: Sequence[TrustedRootSource]) -> TrustDomainUnknown:
    return TrustDomainUnknown(
        "the artifact was refused: it was signed in a trust domain that this machine does not know",
        why=f"known here: {', '.join(root.name for root in roots)}",
        next=[
            "get the artifact from a publisher who signs in a trust domain known here",
            "build it yourself and sign it: `aperio plugin sign --trust local`",
        ],
    )


def _claimed_digest(signed: Mapping[str, Any]) -> Digest | None:
    stated = signed.get("messageDigest")
    if stated is None:
        return None
    try:
        return Digest(base64.b64decode(stated["digest"]).hex())
    except (LookupError, TypeError, ValueError) as error:
        raise _malformed("its messageDigest is not a SHA-256 digest") from error


def _verify_against(root: TrustedRootSource, digest: Digest, evidence: _Evidence) -> Signer:
    trusted_root = _narrowed_root(root, evidence.certificate.not_valid_before_utc)
    # A bundle that says it is for another file is checked for that one, to tell a bundle that
    # was mixed up from one that proves nothing.
    subject = evidence.claimed_digest or digest
    certificate = _verify_bundle(subject, evidence.bundle, trusted_root)
    if subject != digest:
        raise SignatureDigestMismatch(
            "the artifact was refused: its bundle is the signature of another file",
            why=f"expected {digest}\nsigned   {subject}",
            next=["get the bundle that belongs to this artifact", "sign the artifact again"],
        )
    return _signer(root.name, certificate, _verified_time(evidence))


def _verify_bundle(digest: Digest, bundle: Bundle, trusted_root: TrustedRoot) -> x509.Certificate:
    from sigstore.errors import Error
    from sigstore.hashes import HashAlgorithm, Hashed  # type: ignore[attr-defined]  # documented there
    from sigstore.verify import Verifier

    capture = _CertificateCapture()
    hashed = Hashed(algorithm=HashAlgorithm.SHA2_256, digest=digest.raw)
    try:
        Verifier(trusted_root=trusted_root).verify_artifact(hashed, bundle, capture)
    except Error as error:
        raise _invalid(_evidence(error)) from error
    if capture.certificate is None:
        raise _invalid("the verifier looked at no certificate")
    return capture.certificate


def _narrowed_root(root: TrustedRootSource, moment: datetime) -> TrustedRoot:
    """The root without the authorities and logs that were not to be trusted at `moment`."""
    from sigstore.models import ClientTrustConfig

    try:
        document = _narrow(json.loads(root.document), moment)
        config = {
            "mediaType": _TRUST_CONFIG,
            "trustedRoot": document,
            "signingConfig": {"mediaType": _SIGNING_CONFIG},
        }
        trusted_root = ClientTrustConfig.from_json(json.dumps(config)).trusted_root
    except Exception as error:
        raise TrustRootInvalid(
            f"the artifact was refused: the trusted root `{root.name}` cannot be read",
            why=_evidence(error),
            next=["bring the file back from a copy"],
        ) from error
    for kind in _LIMITED_KINDS:
        if not document[kind]:
            when = clock.format_timestamp(moment)
            raise _invalid(f"the trusted root `{root.name}` trusts no {kind} on {when}")
    return trusted_root


def _narrow(document: Mapping[str, Any], moment: datetime) -> dict[str, Any]:
    """Drop what is out of date, by kind.

    sigstore-python ignores the end of `validFor` for all but timestamp authorities, so without
    this a compromised authority could not be retired.
    """
    narrowed = dict(document)
    for kind in _LIMITED_KINDS:
        entries = ((entry, entry.get("publicKey", entry)) for entry in document[kind])
        narrowed[kind] = [
            entry for entry, dated in entries if _covers(dated.get("validFor"), moment)
        ]
    return narrowed


def _covers(period: Mapping[str, str] | None, moment: datetime) -> bool:
    """Whether a closed TimeRange, whose ends may be open, covers an aware moment."""
    if period is None:
        return True
    if moment < datetime.fromisoformat(period["start"]):
        return False
    end = period.get("end")
    return end is None or moment <= datetime.fromisoformat(end)


def _verified_time(evidence: _Evidence) -> str:
    """The moment that the verifier proved, RFC 3339 in UTC.

    With a signed entry timestamp the log's time was proved. Otherwise a timestamp was, and with
    several of them nobody could say which.
    """
    entry = evidence.document["verificationMaterial"]["tlogEntries"][0]
    if entry.get("inclusionPromise") and int(entry.get("integratedTime") or 0):
        logged = timedelta(seconds=int(entry["integratedTime"]))
        return clock.format_timestamp(datetime.fromisoformat("1970-01-01T00:00:00Z") + logged)
    data = evidence.bundle.verification_material.timestamp_verification_data
    timestamps = data.rfc3161_timestamps if data else []
    if len(timestamps) != 1:
        raise _invalid(f"expected one timestamp\nfound    {len(timestamps)}")
    return clock.format_timestamp(timestamps[0].tst_info.gen_time)


def _signer(domain: str, certificate: x509.Certificate, signed_at: str) -> Signer:
    from cryptography.hazmat.primitives import hashes

    issuer = _claim(certificate, _ISSUER_V2)
    if not issuer:
        raise _invalid("its certificate names no issuer")
    if (_legacy_issuer(certificate) or issuer) != issuer:
        raise _invalid("its certificate names two different issuers")
    claims = ((name, _claim(certificate, number)) for number, name in _CLAIMS.items())
    return Signer(
        domain=domain,
        identity=_identity(certificate),
        issuer=issuer,
        signed_at=signed_at,
        certificate_digest=certificate.fingerprint(hashes.SHA256()).hex(),
        claims=tuple((name, value) for name, value in claims if value is not None),
    )


def _identity(certificate: x509.Certificate) -> str:
    from cryptography import x509

    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    names = list(extension.value)
    if len(names) != 1 or not isinstance(
        names[0], x509.RFC822Name | x509.UniformResourceIdentifier
    ):
        raise _invalid("its certificate does not name exactly one identity")
    return _plain_text(names[0].value)


def _claim(certificate: x509.Certificate, number: int) -> str | None:
    from cryptography.hazmat import asn1

    raw = _extension(certificate, number)
    return None if raw is None else _plain_text(asn1.decode_der(str, raw))


def _legacy_issuer(certificate: x509.Certificate) -> str | None:
    raw = _extension(certificate, _ISSUER_V1)
    return None if raw is None else _plain_text(raw.decode("utf-8"))


def _extension(certificate: x509.Certificate, number: int) -> bytes | None:
    from cryptography import x509

    for extension in certificate.extensions:
        if extension.oid.dotted_string == f"{_FULCIO_ARC}.{number}":
            value = extension.value
            return value.value if isinstance(value, x509.UnrecognizedExtension) else None
    return None


def _plain_text(text: str) -> str:
    """The text, when rules can name it and a terminal can show it."""
    if not text.strip() or not text.isprintable():
        raise _invalid("its certificate has a blank or unprintable field")
    return text


def _most_telling(refusals: Sequence[Refusal], roots: Sequence[TrustedRootSource]) -> Refusal:
    if len(refusals) == 1:
        return refusals[0]
    for refusal in refusals:
        if isinstance(refusal, SignatureDigestMismatch):
            return refusal
    pairs = zip(roots, refusals, strict=True)
    return _invalid("\n".join(f"{root.name}: {refusal.why}" for root, refusal in pairs))


def _evidence(error: BaseException) -> str:
    """An error's text without what pydantic adds: pieces of the unverified bundle, and a link."""
    lines = (line.partition(" [type=")[0].strip() for line in str(error).splitlines())
    text = "\n".join(line for line in lines if line and not line.startswith("For further"))
    return clean(text, limit=_EVIDENCE_CHARACTERS) or type(error).__name__


def _invalid(why: str) -> SignatureInvalid:
    return SignatureInvalid(
        "the artifact was refused: its bundle does not prove who signed it",
        why=why,
        next=[
            "get artifact and bundle again, in case they were damaged on the way",
            "if it repeats, tell the publisher",
        ],
    )


def _malformed(why: str) -> BundleMalformed:
    return BundleMalformed(
        "the artifact was refused: what came as its bundle is not a Sigstore bundle",
        why=why,
        next=["get the bundle that belongs to this artifact", "sign the artifact again"],
    )


def _no_root(why: str) -> TrustRootMissing:
    return TrustRootMissing(
        "the artifact was refused: there is no trusted root to check its signature against",
        why=why,
        next=["for artifacts signed on this machine: `aperio trust local init`"],
    )
