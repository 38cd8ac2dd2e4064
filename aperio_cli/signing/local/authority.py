"""The certificate authority of a local trust domain: root, intermediate, short-lived leaves.

Leaves have Fulcio's profile (sigstore/fulcio, docs/certificate-specification.md and
docs/oid-info.md), with a signed certificate timestamp embedded as RFC 6962 describes.

This module loads `cryptography`: import it inside functions only.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from aperio_cli.signing.local.timestamp import TimestampAuthority

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

ORGANIZATION = "local.aperio.invalid"
LEAF_LIFETIME = timedelta(minutes=10)

# Twenty years: a bundle stays verifiable for as long as the domain that made it is kept.
_AUTHORITY_LIFETIME = timedelta(days=365 * 20)
# Starting early lets a clock that is set back a little still sign with a domain made just now.
_EARLIER = timedelta(hours=1)
_FULCIO_ARC = "1.3.6.1.4.1.57264.1"
_ISSUER_V1, _ISSUER_V2 = 1, 8
_LAST_RAW = 6  # up to this number a value is the text itself, from 8 on a DER UTF8String
_SCT_LIST = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")  # RFC 6962 section 3.3
_SHA256_ECDSA = b"\x04\x03"  # RFC 5246 section 7.4.1.4.1


class CertificateRequestInvalid(ValueError):
    """The body is not a certificate request that this authority answers."""


@dataclass(frozen=True, slots=True)
class LeafIdentity:
    """Whom a leaf certificate speaks for.

    Attributes:
        subject: an e-mail address, or a URI when it contains `://`.
        issuer: URL of the OIDC issuer that vouched for it.
        claims: further values by their number under Fulcio's arc 1.3.6.1.4.1.57264.1.
    """

    subject: str
    issuer: str
    claims: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """Issues leaves below its own certificate, each with a signed certificate timestamp.

    Attributes:
        key: P-256 private key of `certificate`.
        certificate: the intermediate that signs leaves.
        root: what signed the intermediate; its private key was thrown away.
        timestamp_log_key: P-256 key that signs certificate timestamps, RFC 6962.
    """

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    root: x509.Certificate
    timestamp_log_key: ec.EllipticCurvePrivateKey

    def issue(
        self, public_key: ec.EllipticCurvePublicKey, identity: LeafIdentity, now: datetime
    ) -> x509.Certificate:
        """Return a code-signing certificate for a key, valid for ten minutes from `now` (aware)."""
        builder = self._leaf_builder(public_key, identity, now)
        # RFC 6962 section 3.2 signs the certificate as it would be without the timestamp.
        bare = builder.sign(self.key, hashes.SHA256())
        timestamps = self._certificate_timestamps(bare.tbs_certificate_bytes, now)
        extension = x509.UnrecognizedExtension(_SCT_LIST, asn1.encode_der(timestamps))
        return builder.add_extension(extension, critical=False).sign(self.key, hashes.SHA256())

    def _leaf_builder(
        self, public_key: ec.EllipticCurvePublicKey, identity: LeafIdentity, now: datetime
    ) -> x509.CertificateBuilder:
        builder = _builder(x509.Name([]), self.certificate.subject, public_key)
        builder = _between(builder, now, now + LEAF_LIFETIME)
        builder = _with_usage(builder, ExtendedKeyUsageOID.CODE_SIGNING, critical=False)
        subject = x509.SubjectAlternativeName([_general_name(identity.subject)])
        builder = builder.add_extension(
            _authority_key_id(self.certificate), critical=False
        ).add_extension(subject, critical=True)
        issuers = {_ISSUER_V1: identity.issuer, _ISSUER_V2: identity.issuer}
        for number, value in sorted({**issuers, **identity.claims}.items()):
            builder = builder.add_extension(_claim(number, value), critical=False)
        return builder

    def _certificate_timestamps(self, tbs_certificate: bytes, now: datetime) -> bytes:
        """Return a SignedCertificateTimestampList with one entry, RFC 6962 sections 3.2 and 3.3."""
        milliseconds = int(now.timestamp() * 1000)
        header = struct.pack("!BBQH", 0, 0, milliseconds, 1)  # v1, timestamp, when, precert
        entry = key_id(self.key.public_key()) + len(tbs_certificate).to_bytes(3, "big")
        signed = header + entry + tbs_certificate + b"\0\0"  # no extensions
        signature = self.timestamp_log_key.sign(signed, ec.ECDSA(hashes.SHA256()))
        log_id = key_id(self.timestamp_log_key.public_key())
        timestamp = struct.pack("!B32sQH", 0, log_id, milliseconds, 0) + _SHA256_ECDSA
        timestamp += _opaque(signature)
        return _opaque(_opaque(timestamp))


@dataclass(frozen=True, slots=True)
class Authorities:
    """What a new domain needs that hangs below one root."""

    certificates: CertificateAuthority
    timestamps: TimestampAuthority


def new_authorities(now: datetime) -> Authorities:
    """Return a fresh root and everything below it; the root's private key is not kept."""
    root_key, key, timestamp_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    root_name = _name("root")
    root = _authority_certificate(
        _builder(root_name, root_name, root_key.public_key()), root_key, now, path_length=1
    )
    below = (
        _builder(_name("intermediate"), root_name, key.public_key())
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        .add_extension(_authority_key_id(root), critical=False)
    )
    certificate = _authority_certificate(below, root_key, now, path_length=0)
    log_key = ec.generate_private_key(ec.SECP256R1())
    return Authorities(
        CertificateAuthority(key, certificate, root, log_key),
        TimestampAuthority(timestamp_key, _timestamp_certificate(timestamp_key, root_key, root)),
    )


def read_certificate_request(pem: bytes) -> ec.EllipticCurvePublicKey:
    """Return the P-256 key of a PEM certificate request that proves possession of it.

    Raises:
        CertificateRequestInvalid: when it is anything else.
    """
    try:
        request = x509.load_pem_x509_csr(pem)
        key = request.public_key()
        proved = request.is_signature_valid
    except Exception as error:  # a parser's errors for hostile bytes are of many types
        raise CertificateRequestInvalid("not a certificate request") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CertificateRequestInvalid("only P-256 keys are certified")
    if not proved:
        raise CertificateRequestInvalid("the request is not signed by the key it names")
    return key


def key_id(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return the SHA-256 of a key's SubjectPublicKeyInfo: RFC 6962's log id and issuer key hash."""
    return hashlib.sha256(spki(key)).digest()


def spki(key: CertificatePublicKeyTypes) -> bytes:
    """Return a public key as DER SubjectPublicKeyInfo (RFC 5280)."""
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _timestamp_certificate(
    key: ec.EllipticCurvePrivateKey, root_key: ec.EllipticCurvePrivateKey, root: x509.Certificate
) -> x509.Certificate:
    builder = _builder(_name("timestamps"), root.subject, key.public_key())
    builder = _between(builder, root.not_valid_before_utc, root.not_valid_after_utc)
    return (
        _with_usage(builder, ExtendedKeyUsageOID.TIME_STAMPING, critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_authority_key_id(root), critical=False)
        .sign(root_key, hashes.SHA256())
    )


def _authority_certificate(
    builder: x509.CertificateBuilder,
    signing_key: ec.EllipticCurvePrivateKey,
    now: datetime,
    *,
    path_length: int,
) -> x509.Certificate:
    builder = _between(builder, now - _EARLIER, now + _AUTHORITY_LIFETIME)
    constraints = x509.BasicConstraints(ca=True, path_length=path_length)
    return (
        builder.add_extension(constraints, critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(signing_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _between(
    builder: x509.CertificateBuilder, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    return builder.not_valid_before(start).not_valid_after(end)


def _with_usage(
    builder: x509.CertificateBuilder, purpose: x509.ObjectIdentifier, *, critical: bool
) -> x509.CertificateBuilder:
    """Return what an end entity may do: sign, for one purpose."""
    return builder.add_extension(_key_usage(signs_certificates=False), critical=True).add_extension(
        x509.ExtendedKeyUsage([purpose]), critical=critical
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_key_id(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier.value)


def _claim(number: int, value: str) -> x509.UnrecognizedExtension:
    raw = value.encode() if number <= _LAST_RAW else asn1.encode_der(value)
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(f"{_FULCIO_ARC}.{number}"), raw)


def _general_name(subject: str) -> x509.GeneralName:
    if "://" in subject:
        return x509.UniformResourceIdentifier(subject)
    return x509.RFC822Name(subject)


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{ORGANIZATION} {common_name}"),
        ]
    )


def _opaque(data: bytes) -> bytes:
    """Return a TLS vector with a two-byte length, RFC 5246 section 4.3."""
    return struct.pack("!H", len(data)) + data
