"""Checks that a Sigstore bundle signs a file, and says who signed: the only importer of sigstore.

A bundle is believed only after sigstore's verifier accepted it. Its gaps are closed around it: it
ignores when a trusted certificate authority or log ended and tries the keys of all
logs (`trusted_root`), it accepts leaves of any lifetime (`certificate`), it leaves to others what
an envelope contains (`statement`), it compares neither the tree size of a log entry nor the name
of its log (`_log_entry`), and it raises errors of many unrelated types, and panics (`refusing`).

Nothing of a bundle is used as a fact that no signature covers: not the log index and time beside
the proof, not the name of the log. Whose signature it *should* be is decided afterwards, by the
pure rules of `verifying.decide`.
"""

from __future__ import annotations

import base64
import json
import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from aperio_cli import clock
from aperio_cli.errors.trust import TrustDomainUnknown, TrustRootInvalid, VerifierCrashed
from aperio_cli.models.artifact import MAX_BUNDLE_BYTES
from aperio_cli.models.digest import Digest
from aperio_cli.models.proof import PROVENANCE_TYPE, RELEASE_TYPES, LogEntry, Proof
from aperio_cli.models.reading import Bounds, Unreadable, read_json, require_few_members
from aperio_cli.proving import moments
from aperio_cli.proving.certificate import check_leaf, signer_of
from aperio_cli.proving.refusals import (
    Fault,
    another_file,
    broken_root,
    faulting,
    invalid,
    malformed,
    no_root,
    refusing,
    said_by,
)
from aperio_cli.proving.statement import Statement
from aperio_cli.proving.trusted_root import (
    TrustedRootSource,
    may_have_issued,
    narrowed,
    trusted_at,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cryptography import x509
    from sigstore.models import Bundle, TrustedRoot


__all__ = [
    "TrustedRootSource",
    "check_bundle",
    "load",
    "verify_signature",
    "verify_statement",
]

SIGNING_TYPES: Final = (PROVENANCE_TYPE, *RELEASE_TYPES)
"""Types of statements by which a publisher stands behind an artifact as a signature does.

No others: a bill of materials, a test result or a scan is made by whoever looked at the artifact,
before anybody decided to release it and without a word about whether it should be installed.
"""

_TRUST_CONFIG = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
_SIGNING_CONFIG = "application/vnd.dev.sigstore.signingconfig.v0.2+json"
_REKOR_V2 = "0.0.2"  # version of the entries that rekor-tiles makes
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00Z")
_MAX_MEMBERS = 4096  # a genuine bundle has one or two hundred, most of them hashes of its proof

_SILENT = logging.NullHandler()


def load() -> None:
    """Import Sigstore's verifier, which takes longer than all that it does to one bundle.

    Raises:
        ImportError: it is not installed, or damaged.
    """
    import sigstore.verify  # noqa: F401 - only to have it loaded


def verify_signature(
    digest: Digest,
    bundle_json: bytes,
    roots: Sequence[TrustedRootSource],
    *,
    subject: str = "the artifact",
) -> Proof:
    """Return who signed the file of this digest, as one of the trusted roots proves.

    The bundle holds a signature over the file, or a statement of one of `SIGNING_TYPES` that names
    it among its subjects. Needs no network and writes nothing. Roots are tried in order; the proof
    names the first that verified, and its signer the domains of the others that do.

    Args:
        digest: the digest that was computed from the file itself.
        bundle_json: a Sigstore bundle, sigstore_bundle.proto as JSON.
        roots: the trusted roots to try.
        subject: what refusals call the file.

    Raises:
        BundleMalformed: when the bundle is longer than 1 MiB or not a bundle.
        SignatureDigestMismatch: when it is a valid signature of another file.
        SignatureInvalid: when no root proves it, or it is a statement of another type.
        ClockSuspect: when it was made at a time that is yet to come.
        AttestationMalformed: when it is a valid signature over no statement of version 1.
        ProvenanceMismatch: when it is provenance that contradicts its maker's certificate.
        TrustDomainUnknown: when no root has the authority that issued its certificate.
        TrustRootMissing: when there is no root to try.
        TrustRootInvalid: when the only root that may be meant cannot be read.
        VerifierCrashed: when anything unforeseen happens; it counts as a refusal.
    """
    with refusing(subject):
        material = _read_bundle(bundle_json, limit_bytes=MAX_BUNDLE_BYTES)
        if material.is_statement:
            return _statement_proof(digest, *_verified_statement(material, roots))
        # A bundle that says it is for another file is checked for that one, to tell a bundle that
        # was mixed up from one that proves nothing.
        signed = material.claimed_digest or digest
        proof, _ = _verify_over(roots, material, signed)
        if signed != digest:
            raise another_file(digest, str(signed))
        return proof


def check_bundle(digest: Digest, bundle_json: bytes, *, subject: str) -> None:
    """Refuse what is not a Sigstore bundle of the file of this digest; prove nothing beyond that.

    For whoever passes bundles on. A bundle that states no digest is not held against it.

    Args:
        digest: the digest that was computed from the file itself.
        bundle_json: a Sigstore bundle, sigstore_bundle.proto as JSON.
        subject: what messages say was refused.

    Raises:
        BundleMalformed: it is longer than 1 MiB or not a bundle.
        SignatureDigestMismatch: it is for another file.
        AttestationMalformed: its envelope holds no statement of version 1.
        VerifierCrashed: anything unforeseen happened.
    """
    with refusing(subject):
        material = _read_bundle(bundle_json, limit_bytes=MAX_BUNDLE_BYTES)
        if material.is_statement:
            envelope = material.document["dsseEnvelope"]
            payload = base64.b64decode(envelope["payload"])
            Statement.parse(envelope["payloadType"], payload).check_subject(digest)
        elif material.claimed_digest not in {None, digest}:
            raise another_file(digest, str(material.claimed_digest))


def verify_statement(
    bundle_json: bytes, roots: Sequence[TrustedRootSource], *, limit_bytes: int
) -> tuple[Statement, Proof]:
    """Return the in-toto statement in a bundle and who signed it, as one of the roots proves.

    What the statement is about is not judged here.

    Args:
        bundle_json: a Sigstore bundle with a DSSE envelope.
        roots: the trusted roots to try.
        limit_bytes: the longest bundle to read.

    Raises:
        Fault: it is longer than that, no bundle, signs a file or no statement of version 1, or
            there is one of the causes of `verify_signature`, but for what the statement is about.
    """
    material = _read_bundle(bundle_json, limit_bytes=limit_bytes)
    if not material.is_statement:
        raise malformed("expected a signed statement (dsseEnvelope)")
    return _verified_statement(material, roots)


def _verified_statement(
    material: _Material, roots: Sequence[TrustedRootSource]
) -> tuple[Statement, Proof]:
    proof, (payload_type, payload) = _verify_over(roots, material, None)
    return Statement.parse(payload_type, payload), proof


def _statement_proof(digest: Digest, statement: Statement, proof: Proof) -> Proof:
    if statement.predicate_type not in SIGNING_TYPES:
        expected = " or ".join(SIGNING_TYPES)
        raise invalid(f"expected a statement of {expected}\nfound    {statement.predicate_type}")
    statement.check_subject(digest)
    attestation = statement.attestation(proof.signer)
    return replace(proof, form="statement", attestations=(attestation,))


# ── a bundle, before anything in it is believed ───────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Material:
    """A bundle that parsed.

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

    @property
    def is_statement(self) -> bool:
        """Whether it signs an envelope, not a file."""
        return "dsseEnvelope" in self.document

    @property
    def entry(self) -> Mapping[str, Any]:
        """Its only log entry, a TransparencyLogEntry of sigstore_rekor.proto."""
        entry: Mapping[str, Any] = self.document["verificationMaterial"]["tlogEntries"][0]
        return entry


def _read_bundle(bundle_json: bytes, *, limit_bytes: int) -> _Material:
    if len(bundle_json) > limit_bytes:
        raise malformed(f"expected at most {limit_bytes} bytes\nfound    {len(bundle_json)}")
    try:  # sigstore's models keep several errors for each wrong member
        require_few_members(bundle_json, _MAX_MEMBERS)
    except Unreadable as error:
        raise malformed(str(error)) from error
    from sigstore.models import Bundle

    logging.getLogger("sigstore").addHandler(_SILENT)  # its warnings are for its own command line
    try:
        bundle = Bundle.from_json(bundle_json)
        document = json.loads(bundle.to_json())
        certificate = bundle.signing_certificate
    except Exception as error:
        raise malformed(said_by(error)) from error
    signed = document.get("messageSignature")
    if isinstance(signed, dict) == ("dsseEnvelope" in document):
        raise malformed("expected a signature over a file or an envelope, one of the two")
    check_leaf(certificate)
    return _Material(bundle, document, certificate, _claimed_digest(signed or {}))


def _claimed_digest(signed: Mapping[str, Any]) -> Digest | None:
    stated = signed.get("messageDigest")
    if stated is None:
        return None
    try:
        return Digest(base64.b64decode(stated["digest"]).hex())
    except (LookupError, TypeError, ValueError) as error:
        raise malformed("its messageDigest is not a SHA-256 digest") from error


# ── one root after the other ──────────────────────────────────────────────────────────────────────


def _verify_over(
    roots: Sequence[TrustedRootSource], material: _Material, digest: Digest | None
) -> tuple[Proof, tuple[str, bytes]]:
    """Return what the first root proves that proves it, as `_verify_against`."""
    if not roots:
        raise no_root("no trust domain is configured")
    # Before any root is asked: with a clock that is behind none of them trusts anybody yet.
    moments.require_past(material.certificate.not_valid_before_utc, roots)
    faults: list[Fault] = []
    found: list[tuple[Proof, tuple[str, bytes]]] = []
    for root in roots:
        if found and not may_have_issued(root, material.certificate):
            continue
        try:
            with faulting():
                found.append(_verify_against(root, material, digest))
        except Fault as fault:
            faults.append(fault)
    if not found:
        raise _most_telling(roots, faults, material.certificate) from faults[0]
    # Several domains may trust one authority, and a rule may name any of them.
    proof, content = found[0]
    further = tuple(other.signer.domain for other, _ in found[1:])
    return replace(proof, signer=replace(proof.signer, further_domains=further)), content


def _most_telling(
    roots: Sequence[TrustedRootSource], faults: Sequence[Fault], certificate: x509.Certificate
) -> Fault:
    """Return what to say when no root proved it: the word of those that may have issued it."""
    telling = [
        (root, fault)
        for root, fault in zip(roots, faults, strict=True)
        if fault.error is VerifierCrashed or may_have_issued(root, certificate)
    ]
    if not telling:
        return _unknown_domain(roots)
    if len(telling) == 1:
        return telling[0][1]
    why = "\n".join(f"{root.name}: {fault.why}" for root, fault in telling)
    if all(fault.error is TrustRootInvalid for _, fault in telling):
        return broken_root("`, `".join(root.name for root, _ in telling), why)
    return invalid(why)


def _unknown_domain(roots: Sequence[TrustedRootSource]) -> Fault:
    return Fault(
        TrustDomainUnknown,
        "it was signed in a trust domain that this machine does not know",
        why=f"known here: {', '.join(root.name for root in roots)}",
        next=[
            "get the artifact from a publisher who signs in a trust domain known here",
            "if you know which one it is: `aperio trust domain add NAME --file FILE`",
            "build it yourself and sign it: `aperio plugin sign --trust local`",
        ],
    )


def _verify_against(
    root: TrustedRootSource, material: _Material, digest: Digest | None
) -> tuple[Proof, tuple[str, bytes]]:
    """Return what one root proves, and payload type and payload of the envelope that it verified.

    It is about the file of a digest, or without one about the envelope.
    """
    moment = material.certificate.not_valid_before_utc
    document = narrowed(root, moment, material.entry["logId"])
    content = _verify_bundle(material, digest, _trusted_root(root.name, document))
    log_entry = _log_entry(material.entry, document["tlogs"][0])
    signed_at = _verified_time(material)
    moments.require_past(datetime.fromisoformat(signed_at), [root])
    signer = signer_of(root.name, material.certificate, signed_at)
    return Proof(signer, root.facts, log_entry), content


def _trusted_root(name: str, document: Mapping[str, Any]) -> TrustedRoot:
    """Return a root in memory as sigstore takes it.

    Its public API reads such only from trust configs.
    """
    from sigstore.models import ClientTrustConfig

    config = {
        "mediaType": _TRUST_CONFIG,
        "trustedRoot": document,
        "signingConfig": {"mediaType": _SIGNING_CONFIG},
    }
    try:
        return ClientTrustConfig.from_json(json.dumps(config)).trusted_root
    except Exception as error:
        raise broken_root(name, said_by(error)) from error


def require_usable(
    root: TrustedRootSource, moment: datetime, *, signing_config: bytes = b""
) -> None:
    """Check that sigstore reads the root, and that it trusts authorities and logs at a moment.

    Args:
        root: a root that is not in use yet.
        moment: an aware moment.
        signing_config: the SigningConfig that came with it, as JSON; empty when none did.

    Raises:
        TrustRootInvalid: one of them cannot be read.
        SignatureInvalid: it trusts no authority, or no log of one kind, at that moment.
        VerifierCrashed: anything unforeseen happens.
    """
    with refusing(f"a root that is not in use yet, for `{root.name}`,"):
        document = trusted_at(root, moment)
        _trusted_root(root.name, document)
        if signing_config:
            _check_signing_config(root.name, document, signing_config)


def _check_signing_config(
    name: str, trusted_root: Mapping[str, Any], signing_config: bytes
) -> None:
    from sigstore.models import ClientTrustConfig

    config = {"mediaType": _TRUST_CONFIG, "trustedRoot": trusted_root}
    try:
        config["signingConfig"] = read_json(signing_config, Bounds(len(signing_config)))
        _ = ClientTrustConfig.from_json(json.dumps(config)).signing_config  # it is parsed there
    except Exception as error:
        raise broken_root(name, f"its signing config: {said_by(error)}") from error


# ── the verifier ──────────────────────────────────────────────────────────────────────────────────


class _CertificateCapture:
    """A sigstore policy that accepts and remembers the certificate it is shown."""

    def __init__(self) -> None:
        self.certificate: x509.Certificate | None = None

    def verify(self, cert: x509.Certificate) -> None:
        self.certificate = cert


def _verify_bundle(
    material: _Material, digest: Digest | None, trusted_root: TrustedRoot
) -> tuple[str, bytes]:
    """Payload type and payload of the envelope that verified; two blanks when a file's did."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from sigstore.errors import Error
    from sigstore.hashes import HashAlgorithm, Hashed  # type: ignore[attr-defined]  # documented there
    from sigstore.verify import Verifier

    capture = _CertificateCapture()
    content = ("", b"")
    try:
        verifier = Verifier(trusted_root=trusted_root)
        if digest is None:
            content = verifier.verify_dsse(material.bundle, capture)
        else:
            hashed = Hashed(algorithm=HashAlgorithm.SHA2_256, digest=digest.raw)
            verifier.verify_artifact(hashed, material.bundle, capture)
    except (
        Error,
        ValueError,  # of pydantic, base64, certificate parsers
        ArithmeticError,  # a moment that no calendar has
        OSError,  # the same, as some systems say it
        x509.ExtensionNotFound,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
        UnsupportedAlgorithm,
    ) as error:
        raise invalid(said_by(error)) from error
    if capture.certificate != material.certificate:
        raise invalid("the verifier did not look at its certificate")
    return content


def _verified_time(material: _Material) -> str:
    """Return the moment that the verifier proved, RFC 3339 in UTC.

    With a signed entry timestamp the log's time was proved. Otherwise a timestamp was, and with
    several of them nobody could say which.
    """
    entry = material.entry
    if entry.get("inclusionPromise") and int(entry.get("integratedTime") or 0):
        logged = timedelta(seconds=int(entry["integratedTime"]))
        return clock.format_timestamp(_EPOCH + logged)
    data = material.bundle.verification_material.timestamp_verification_data
    timestamps = data.rfc3161_timestamps if data else []
    if len(timestamps) != 1:
        raise invalid(f"expected one timestamp\nfound    {len(timestamps)}")
    return clock.format_timestamp(timestamps[0].tst_info.gen_time)


def _log_entry(entry: Mapping[str, Any], log: Mapping[str, Any]) -> LogEntry:
    """Return where the entry stands; the verifier proved the path to a signed root hash only.

    A path fits several pairs of index and tree size; the size that the log signed (C2SP
    tlog-checkpoint) leaves one. The checkpoint's first line names the log: for Rekor v2 it is the
    host of the log's URL, as sigstore-go demands too. A Rekor v1 calls itself what its
    `rekor_server.hostname` says, on private instances any machine's name, followed by the number
    of one of its trees, which all have one key: there is nothing to compare it with.
    """
    proof = entry["inclusionProof"]
    checkpoint: str = proof["checkpoint"]["envelope"]
    origin, signed_size = checkpoint.split("\n")[:2]
    index, tree_size = int(proof["logIndex"]), int(proof["treeSize"])
    if signed_size != str(tree_size) or not 0 <= index < tree_size:
        raise invalid("its log entry stands in a tree of another size than the log signed")
    url = log.get("baseUrl") or ""
    host = urlsplit(url).hostname
    if entry["kindVersion"]["version"] == _REKOR_V2 and host and origin.lower() != host:
        raise invalid(f"its checkpoint is of another log\nexpected {host}\nfound    {origin}")
    return LogEntry(url or log["logId"]["keyId"], index, tree_size)
