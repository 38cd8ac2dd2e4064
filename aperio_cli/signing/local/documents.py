"""What Sigstore clients read about a local trust domain: its trusted root and its services.

Formats: sigstore/protobuf-specs, protos/sigstore_trustroot.proto, as JSON.

This module loads `cryptography`: import it inside functions only.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from aperio_cli import clock
from aperio_cli.signing.local import server
from aperio_cli.signing.local.authority import ORGANIZATION, key_id, spki

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from aperio_cli.signing.local.authority import Authorities
    from aperio_cli.signing.local.log import TransparencyLog

_TRUSTED_ROOT = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
_SIGNING_CONFIG = "application/vnd.dev.sigstore.signingconfig.v0.2+json"
_TRUST_CONFIG = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"


def trusted_root(authorities: Authorities, log: TransparencyLog) -> dict[str, Any]:
    """Return the public halves of a domain: all that verification needs, and nothing else."""
    certificates = authorities.certificates
    start = certificates.root.not_valid_before_utc
    certificate_log = certificates.timestamp_log_key.public_key()
    return {
        "mediaType": _TRUSTED_ROOT,
        "tlogs": [
            _log(log.origin, (spki(log.key.public_key()), "PKIX_ED25519"), log.log_id, start)
        ],
        "certificateAuthorities": [
            _authority((certificates.certificate, certificates.root), start)
        ],
        "ctlogs": [
            _log(
                f"certificates.{log.origin}",
                (spki(certificate_log), "PKIX_ECDSA_P256_SHA_256"),
                key_id(certificate_log),
                start,
            )
        ],
        "timestampAuthorities": [
            _authority((authorities.timestamps.certificate, certificates.root), start)
        ],
    }


def authority_chain(root: dict[str, Any], kind: str) -> list[x509.Certificate]:
    """Return the certificates, leaf first, of the only authority of a kind in a trusted root.

    Args:
        root: a trusted root that `trusted_root` made.
        kind: `certificateAuthorities` or `timestampAuthorities`.

    Raises:
        LookupError, TypeError, ValueError: when the document is not one of ours.
    """
    links = root[kind][0]["certChain"]["certificates"]
    return [x509.load_der_x509_certificate(base64.b64decode(link["rawBytes"])) for link in links]


def public_keys(root: dict[str, Any]) -> list[bytes]:
    """Return the keys that a trusted root of ours names, as DER SubjectPublicKeyInfo.

    In this order: transparency log, certificate log, certificate authority, timestamp authority.

    Raises:
        LookupError, TypeError, ValueError: when the document is not one of ours.
    """
    logs = (root[kind][0]["publicKey"]["rawBytes"] for kind in ("tlogs", "ctlogs"))
    chains = (
        authority_chain(root, kind) for kind in ("certificateAuthorities", "timestampAuthorities")
    )
    return [
        *(base64.b64decode(raw) for raw in logs),
        *(spki(chain[0].public_key()) for chain in chains),
    ]


def client_trust_config(root: dict[str, Any], url: str) -> str:
    """Return a ClientTrustConfig for the services at a base URL (http, no trailing slash)."""
    start = clock.format_timestamp(clock.now())
    signing = {
        "mediaType": _SIGNING_CONFIG,
        "caUrls": [_service(url, 1, start)],
        "rekorTlogUrls": [_service(url, 2, start)],
        "rekorTlogConfig": {"selector": "ANY"},
        "tsaUrls": [_service(url + server.TIMESTAMPS_PATH, 1, start)],
        "tsaConfig": {"selector": "ANY"},
    }
    return json.dumps({"mediaType": _TRUST_CONFIG, "trustedRoot": root, "signingConfig": signing})


def _service(url: str, version: int, start: str) -> dict[str, Any]:
    valid_for = {"start": start}
    return {"url": url, "majorApiVersion": version, "validFor": valid_for, "operator": ORGANIZATION}


def _log(origin: str, key: tuple[bytes, str], log_id: bytes, start: datetime) -> dict[str, Any]:
    raw, details = key
    return {
        # Go clients compare a checkpoint's origin with this host; nothing listens there.
        "baseUrl": f"https://{origin}",
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": base64.b64encode(raw).decode(),
            "keyDetails": details,
            "validFor": {"start": clock.format_timestamp(start)},
        },
        "logId": {"keyId": base64.b64encode(log_id).decode()},
    }


def _authority(chain: Sequence[x509.Certificate], start: datetime) -> dict[str, Any]:
    encoded = [link.public_bytes(serialization.Encoding.DER) for link in chain]
    return {
        "subject": {"organization": ORGANIZATION, "commonName": ORGANIZATION},
        "uri": f"https://{ORGANIZATION}",
        "certChain": {
            "certificates": [{"rawBytes": base64.b64encode(der).decode()} for der in encoded]
        },
        "validFor": {"start": clock.format_timestamp(start)},
    }
