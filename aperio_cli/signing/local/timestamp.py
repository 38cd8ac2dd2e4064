"""RFC 3161 timestamps: the part of a local trust domain that says when a signature existed.

The token is CMS SignedData (RFC 5652) around a TSTInfo (RFC 3161, section 2.4.2), written as ASN.1
declarations so that the DER encoder of `cryptography` does all the encoding.

This module loads `cryptography`: import it inside functions only.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from datetime import datetime

GRANTED = 0  # PKIStatus, RFC 3161 section 2.4.2

_SHA256 = x509.ObjectIdentifier("2.16.840.1.101.3.4.2.1")
_ECDSA_SHA256 = x509.ObjectIdentifier("1.2.840.10045.4.3.2")
_SIGNED_DATA = x509.ObjectIdentifier("1.2.840.113549.1.7.2")  # RFC 5652 section 5.1
_TST_INFO = x509.ObjectIdentifier("1.2.840.113549.1.9.16.1.4")  # RFC 3161 section 2.4.2
_CONTENT_TYPE = x509.ObjectIdentifier("1.2.840.113549.1.9.3")  # RFC 5652 section 11.1
_MESSAGE_DIGEST = x509.ObjectIdentifier("1.2.840.113549.1.9.4")  # RFC 5652 section 11.2
_SIGNING_CERTIFICATE = x509.ObjectIdentifier("1.2.840.113549.1.9.16.2.47")  # RFC 5035 section 3
# The policy that RFC 3161 tokens must name: one of the example enterprise's (RFC 5612). Not one of
# 2.25, which would need no registration either: Go cannot read numbers beyond 31 bits.
_POLICY = x509.ObjectIdentifier("1.3.6.1.4.1.32473.1")
_SHA256_BYTES = 32


class TimestampRequestInvalid(ValueError):
    """The body is not a timestamp request that this authority answers."""


@asn1.sequence
class _Algorithm:
    algorithm: x509.ObjectIdentifier
    parameters: asn1.Null | None = None


@asn1.sequence
class _MessageImprint:
    hash_algorithm: _Algorithm
    hashed_message: bytes


@asn1.sequence
class _Request:
    version: int
    message_imprint: _MessageImprint
    policy: x509.ObjectIdentifier | None
    nonce: int | None
    certificate_wanted: Annotated[bool, asn1.Default(value=False)]


@asn1.sequence
class _TstInfo:
    version: int
    policy: x509.ObjectIdentifier
    message_imprint: _MessageImprint
    serial_number: int
    generated_at: asn1.GeneralizedTime
    nonce: int | None


@asn1.sequence
class _CertificateHash:  # ESSCertIDv2; its hash algorithm is left out: SHA-256 is the default
    certificate_hash: bytes


@asn1.sequence
class _SigningCertificate:  # SigningCertificateV2
    certificates: list[_CertificateHash]


@asn1.sequence
class _Attribute:
    kind: x509.ObjectIdentifier
    values: asn1.SetOf[asn1.TLV]


@asn1.sequence
class _IssuerAndSerial:
    issuer: x509.Name
    serial_number: int


@asn1.sequence
class _SignerInfo:
    version: int
    signer: _IssuerAndSerial
    digest_algorithm: _Algorithm
    signed_attributes: Annotated[asn1.SetOf[_Attribute], asn1.Implicit(0)]
    signature_algorithm: _Algorithm
    signature: bytes


@asn1.sequence
class _EncapsulatedContent:
    content_type: x509.ObjectIdentifier
    content: Annotated[bytes, asn1.Explicit(0)]


@asn1.sequence
class _SignedData:
    version: int
    digest_algorithms: asn1.SetOf[_Algorithm]
    content: _EncapsulatedContent
    certificates: Annotated[asn1.SetOf[x509.Certificate], asn1.Implicit(0)]
    signer_infos: asn1.SetOf[_SignerInfo]


@asn1.sequence
class _ContentInfo:
    content_type: x509.ObjectIdentifier
    content: Annotated[_SignedData, asn1.Explicit(0)]


@asn1.sequence
class _Status:
    status: int


@asn1.sequence
class _Response:
    status: _Status
    token: _ContentInfo


@dataclass(frozen=True, slots=True)
class TimestampAuthority:
    """Signs the moment at which it saw a digest.

    Attributes:
        key: P-256 private key of the certificate.
        certificate: extended key usage timeStamping, critical and alone (RFC 3161, section 2.3).
    """

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def respond(self, request_der: bytes, now: datetime) -> bytes:
        """Return the DER of a TimeStampResp that grants a DER TimeStampReq.

        Args:
            request_der: RFC 3161 section 2.4.1; only SHA-256 imprints, no extensions.
            now: aware; whole seconds are kept.

        Raises:
            TimestampRequestInvalid: when the request is not one of those.
        """
        request = _read_request(request_der)
        content = asn1.encode_der(
            _TstInfo(
                version=1,
                policy=_POLICY,
                message_imprint=request.message_imprint,
                serial_number=x509.random_serial_number(),
                generated_at=asn1.GeneralizedTime(now.replace(microsecond=0)),
                nonce=request.nonce,
            )
        )
        token = _ContentInfo(content_type=_SIGNED_DATA, content=self._signed_data(content))
        return asn1.encode_der(_Response(status=_Status(status=GRANTED), token=token))

    def _signed_data(self, content: bytes) -> _SignedData:
        return _SignedData(
            version=3,  # RFC 5652 section 5.1: a content type other than id-data
            digest_algorithms=asn1.SetOf([_Algorithm(algorithm=_SHA256)]),
            content=_EncapsulatedContent(content_type=_TST_INFO, content=content),
            certificates=asn1.SetOf([self.certificate]),
            signer_infos=asn1.SetOf([self._signer_info(content)]),
        )

    def _signer_info(self, content: bytes) -> _SignerInfo:
        attributes = asn1.SetOf(self._attributes(content))
        # RFC 5652 section 5.4: what is signed has the SET OF tag, not the implicit one.
        signature = self.key.sign(asn1.encode_der(attributes), ec.ECDSA(hashes.SHA256()))
        return _SignerInfo(
            version=1,
            signer=_IssuerAndSerial(
                issuer=self.certificate.issuer, serial_number=self.certificate.serial_number
            ),
            digest_algorithm=_Algorithm(algorithm=_SHA256),
            signed_attributes=attributes,
            signature_algorithm=_Algorithm(algorithm=_ECDSA_SHA256),
            signature=signature,
        )

    def _attributes(self, content: bytes) -> list[_Attribute]:
        certificate = self.certificate.public_bytes(serialization.Encoding.DER)
        own = _CertificateHash(certificate_hash=hashlib.sha256(certificate).digest())
        return [
            _attribute(_CONTENT_TYPE, _TST_INFO),
            _attribute(_MESSAGE_DIGEST, hashlib.sha256(content).digest()),
            _attribute(_SIGNING_CERTIFICATE, _SigningCertificate(certificates=[own])),
        ]


def _attribute(kind: x509.ObjectIdentifier, value: object) -> _Attribute:
    encoded = asn1.decode_der(asn1.TLV, asn1.encode_der(value))
    return _Attribute(kind=kind, values=asn1.SetOf([encoded]))


def _read_request(request_der: bytes) -> _Request:
    try:
        request = asn1.decode_der(_Request, request_der)
    except ValueError as error:
        raise TimestampRequestInvalid(f"not a timestamp request: {error}") from error
    imprint = request.message_imprint
    if imprint.hash_algorithm.algorithm != _SHA256 or len(imprint.hashed_message) != _SHA256_BYTES:
        raise TimestampRequestInvalid("only SHA-256 imprints are timestamped")
    return request
