"""Which trust domain a bundle's certificate names as its issuer: a guess, which proves nothing."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from aperio_cli.models.artifact import MAX_BUNDLE_BYTES
from aperio_cli.proving.trusted_root import may_have_issued

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aperio_cli.proving.trusted_root import TrustedRootSource


def probable_domain(bundle_json: bytes, roots: Sequence[TrustedRootSource]) -> str:
    """Return the name of the first domain that may have certified a bundle; empty: none known.

    For what people are shown, such as how they would sign again. Nothing is verified, and Sigstore
    is not loaded.

    Args:
        bundle_json: sigstore_bundle.proto as JSON, of any version.
        roots: the trusted roots of this machine; one that cannot be used is passed over.
    """
    if len(bundle_json) > MAX_BUNDLE_BYTES:
        return ""
    try:
        certificate = _leaf(json.loads(bundle_json)["verificationMaterial"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    usable = (root for root in roots if not root.problem)
    return next((root.name for root in usable if may_have_issued(root, certificate)), "")


def _leaf(material: dict[str, Any]) -> Any:
    """Return the certificate: alone since version 0.3 of bundles, the first of a chain before."""
    from cryptography import x509

    entry = material.get("certificate") or material["x509CertificateChain"]["certificates"][0]
    return x509.load_der_x509_certificate(base64.b64decode(entry["rawBytes"]))
