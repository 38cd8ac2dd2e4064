"""The private keys of a local trust domain: made once, read when something is signed.

Each is PKCS#8 in PEM without a passphrase, mode 0600, in the domain's `keys` folder.

This module loads `cryptography`: import it inside functions only.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from aperio_cli import clock
from aperio_cli.errors import AperioError
from aperio_cli.files import owning, reading, writing
from aperio_cli.signing.local import authority, documents, state
from aperio_cli.signing.local.log import TransparencyLog
from aperio_cli.signing.local.server import Services
from aperio_cli.signing.local.timestamp import TimestampAuthority

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

LOG_ORIGIN = "log.local.aperio.invalid"
_MAX_KEY_BYTES = 8 * 1024
_OTHERS = 0o077


def make(directory: Path) -> None:
    """Make a domain's keys, empty log and trusted root in a folder that does not exist yet.

    Raises:
        DiskFull: when there is no space.
        OSError: when the folder above cannot be written.
    """
    authorities = authority.new_authorities(clock.now())
    log = TransparencyLog(directory / "log", ed25519.Ed25519PrivateKey.generate(), LOG_ORIGIN)
    for folder in (directory, directory / "keys", log.directory):
        folder.mkdir(mode=0o700)
    keys: dict[str, PrivateKeyTypes] = {
        "certificates": authorities.certificates.key,
        "certificate_log": authorities.certificates.timestamp_log_key,
        "timestamps": authorities.timestamps.key,
        "log": log.key,
        "tokens": ec.generate_private_key(ec.SECP256R1()),
    }
    for name, key in keys.items():
        _write_key(_key_file(directory, name), key)
    state.write_document(directory, state.ROOT_FILE, documents.trusted_root(authorities, log))


def load(directory: Path) -> Services:
    """Return the services of a domain with their keys.

    Raises:
        TrustDomainBroken: when a key is missing, damaged, of another domain or not private.
    """
    root = state.read_document(directory, state.ROOT_FILE)
    try:
        services = _assemble(directory, root)
        matching = _public_keys(services) == documents.public_keys(root)
    except (LookupError, TypeError, ValueError) as error:
        raise state.broken(directory, f"{directory / state.ROOT_FILE}: {error}") from error
    if not matching:
        raise state.broken(directory, f"the keys are not those of {directory / state.ROOT_FILE}")
    return services


def _assemble(directory: Path, root: dict[str, Any]) -> Services:
    certificate, anchor = documents.authority_chain(root, "certificateAuthorities")
    timestamp_certificate, _ = documents.authority_chain(root, "timestampAuthorities")
    log_key = _read_key(directory, "log")
    if not isinstance(log_key, ed25519.Ed25519PrivateKey):
        raise state.broken(directory, "keys/log.pem is not an Ed25519 key")
    return Services(
        certificates=authority.CertificateAuthority(
            key=_read_p256(directory, "certificates"),
            certificate=certificate,
            root=anchor,
            timestamp_log_key=_read_p256(directory, "certificate_log"),
        ),
        log=TransparencyLog(directory / "log", log_key, LOG_ORIGIN),
        timestamps=TimestampAuthority(_read_p256(directory, "timestamps"), timestamp_certificate),
        token_key=_read_p256(directory, "tokens"),
    )


def _public_keys(services: Services) -> list[bytes]:
    """Return the public halves, in the order of `documents.public_keys`."""
    certificates = services.certificates
    keys = (
        services.log.key,
        certificates.timestamp_log_key,
        certificates.key,
        services.timestamps.key,
    )
    return [authority.spki(key.public_key()) for key in keys]


def _key_file(directory: Path, name: str) -> Path:
    return directory / "keys" / f"{name}.pem"


def _write_key(path: Path, key: PrivateKeyTypes) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    writing.write_atomic(path, pem, mode=0o600)


def _read_p256(directory: Path, name: str) -> ec.EllipticCurvePrivateKey:
    key = _read_key(directory, name)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise state.broken(directory, f"keys/{name}.pem is not a P-256 key")
    return key


def _read_key(directory: Path, name: str) -> PrivateKeyTypes:
    path = _key_file(directory, name)
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        pem = reading.read_capped(path, _MAX_KEY_BYTES)
        key = serialization.load_pem_private_key(pem, password=None)
    except (OSError, TypeError, ValueError, AperioError) as error:
        raise state.broken(directory, f"{path}: {error}") from error
    if mode & _OTHERS:
        reason = (
            f"{path}: other users may read or replace it\nexpected mode 0600\nfound    {mode:04o}"
        )
        raise state.broken(directory, reason)
    owning.require_own(path)
    return key
