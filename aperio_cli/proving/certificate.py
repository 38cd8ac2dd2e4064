"""The leaf certificate of a bundle: whom it names, and what disqualifies it.

Fields: sigstore/fulcio, docs/oid-info.md. sigstore-python accepts leaves of any lifetime and any
kind of key, and only this module looks at those two before it verifies. A signer is made from a
certificate only after the verifier accepted it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from aperio_cli.models.publisher import Signer
from aperio_cli.proving.refusals import invalid, said_by

if TYPE_CHECKING:
    from cryptography import x509

MAX_LEAF_LIFETIME = timedelta(hours=1)
_MAX_FIELD_CHARACTERS = 2048

# Numbers below 1.3.6.1.4.1.57264.1; 1 to 6 are deprecated.
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


def check_leaf(certificate: x509.Certificate) -> None:
    """Check that a leaf is one that short-lived keys get, whoever it names.

    An old `notBefore` could otherwise reach back to when a retired authority was trusted. And
    sigstore-python ends in a TypeError for keys that are not ECDSA.

    Raises:
        Fault: SignatureInvalid, when it lives longer than an hour, or its key is not for ECDSA.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec

    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    if not timedelta(0) <= lifetime <= MAX_LEAF_LIFETIME:
        raise invalid(f"its certificate is valid for {lifetime}, expected at most 1 hour")
    try:
        key = certificate.public_key()
    except (UnsupportedAlgorithm, ValueError) as error:
        raise invalid(f"the key in its certificate cannot be read: {said_by(error)}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise invalid(f"its certificate is for a {type(key).__name__}, expected an ECDSA key")


def signer_of(domain: str, certificate: x509.Certificate, signed_at: str) -> Signer:
    """Return who signed, from a certificate that was verified.

    Args:
        domain: name of the trusted root that verified it.
        certificate: the leaf.
        signed_at: the verified moment, RFC 3339 in UTC.

    Raises:
        Fault: SignatureInvalid, when it does not name exactly one identity and one issuer, or a
            field is blank, not printable, too long or no text.
    """
    from cryptography.hazmat.primitives import hashes

    issuer = _claim(certificate, _ISSUER_V2)
    if not issuer:
        raise invalid("its certificate names no issuer")
    if (_legacy_issuer(certificate) or issuer) != issuer:
        raise invalid("its certificate names two different issuers")
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

    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound as error:
        raise invalid("its certificate names no identity") from error
    names = list(extension.value)
    if len(names) != 1 or not isinstance(
        names[0], x509.RFC822Name | x509.UniformResourceIdentifier
    ):
        raise invalid("its certificate does not name exactly one identity")
    return _plain_text(names[0].value)


def _claim(certificate: x509.Certificate, number: int) -> str | None:
    from cryptography.hazmat import asn1

    raw = _extension(certificate, number)
    if raw is None:
        return None
    try:
        return _plain_text(asn1.decode_der(str, raw))
    except ValueError as error:
        raise invalid(f"field {_FULCIO_ARC}.{number} of its certificate is no text") from error


def _legacy_issuer(certificate: x509.Certificate) -> str | None:
    raw = _extension(certificate, _ISSUER_V1)
    # An issuer that is not UTF-8 differs from every other.
    return None if raw is None else _plain_text(raw.decode("utf-8", "replace"))


def _extension(certificate: x509.Certificate, number: int) -> bytes | None:
    from cryptography import x509

    for extension in certificate.extensions:
        if extension.oid.dotted_string == f"{_FULCIO_ARC}.{number}":
            value = extension.value
            return value.value if isinstance(value, x509.UnrecognizedExtension) else None
    return None


def _plain_text(text: str) -> str:
    """Return the text, when rules can name it and a terminal can show it."""
    if not text.strip() or not text.isprintable() or len(text) > _MAX_FIELD_CHARACTERS:
        raise invalid("its certificate has a blank, unprintable or overlong field")
    return text
