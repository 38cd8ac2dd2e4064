"""Certificates that nobody trusts until a test says so."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec


def make_certificate(path: Path, *names: str) -> Path:
    """Write a self-signed certificate with its key, for these names, localhost and 127.0.0.1."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    alternatives = [address, *(x509.DNSName(text) for text in ("localhost", *names))]
    now = datetime.now(tz=UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(_pem(signed) + _key_pem(key))
    return path


def make_authority(folder: Path, *names: str) -> tuple[Path, Path]:
    """Write the certificate of an authority of one's own, and one of a server by it, with its key.

    Args:
        folder: where to.
        names: how the server is called.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    own, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _builder("Acme's own authority", own, own)
    constraints = x509.BasicConstraints(ca=True, path_length=0)
    root = authority.add_extension(constraints, critical=True)
    alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    server = _builder("Acme's own authority", key, own, subject=names[0])
    files = folder / "authority.pem", folder / "server.pem"
    files[0].write_bytes(_pem(_signed(root, own)))
    leaf = _signed(server.add_extension(alternatives, critical=False), own)
    files[1].write_bytes(_pem(leaf) + _key_pem(key))
    return files


def _builder(
    issuer: str,
    key: ec.EllipticCurvePrivateKey,
    by: ec.EllipticCurvePrivateKey,
    *,
    subject: str = "",
) -> x509.CertificateBuilder:
    from cryptography import x509

    def name_of(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    now = datetime.now(tz=UTC)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key())
    return (
        x509.CertificateBuilder()
        .issuer_name(name_of(issuer))
        .subject_name(name_of(subject or issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(authority, critical=False)
    )


def _signed(builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    from cryptography.hazmat.primitives import hashes

    return builder.sign(key, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
