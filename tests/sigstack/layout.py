"""What stands in an instance's folder before it starts: keys, certificates, configuration, plan.

    trust_config.json     ClientTrustConfig v0.1, and its two parts as files of their own:
    trusted_root.json     TrustedRoot v0.1
    signing_config.json   SigningConfig v0.2
    plan.json             what `namespace.py` runs
    *.pem                 keys and certificate chains of the services; keys are 0600, unencrypted

Formats: sigstore/protobuf-specs, protos/sigstore_trustroot.proto, as JSON. Ports are fixed: the
instance has a network of its own. The keys and certificates have the profile of the local trust
domain's, which is Fulcio's (docs/certificate-specification.md) and that of timestamp-authority
(RFC 3161, section 2.3).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from aperio_cli import clock
from aperio_cli.signing.local import documents
from aperio_cli.signing.local.authority import Authorities, new_authorities
from aperio_cli.signing.local.log import TransparencyLog
from tests.sigstack.identities import ISSUER_PORT, PEOPLE, TokenIssuer, fulcio_configuration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

ORIGIN = "rekor.sigstack.aperio.invalid"
CERTIFICATES_ORIGIN = "certificates.sigstack.aperio.invalid"
OPERATOR = "sigstack.aperio.invalid"

TRUST_CONFIG = "trust_config.json"
TRUSTED_ROOT = "trusted_root.json"
SIGNING_CONFIG = "signing_config.json"
PLAN = "plan.json"

FULCIO = "http://127.0.0.1:5555"
REKOR = "http://127.0.0.1:3003"
TIMESTAMPS = "http://127.0.0.1:3004/api/v1/timestamp"
CERTIFICATE_LOG = "http://127.0.0.1:6962"

_TRUST_CONFIG_TYPE = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
_SIGNING_CONFIG_TYPE = "application/vnd.dev.sigstore.signingconfig.v0.2+json"


@dataclass(frozen=True, slots=True)
class Service:
    """One program of an instance.

    Attributes:
        name: of the program, and of its log file.
        arguments: without the program itself; relative paths are in the instance's folder.
        port: where it answers on 127.0.0.1.
        health: the path that answers 200 once it is ready.
    """

    name: str
    arguments: tuple[str, ...]
    port: int
    health: str

    def to_json(self, program: Path) -> dict[str, Any]:
        """The service as the plan carries it."""
        argv = [str(program), *self.arguments]
        return {"name": self.name, "argv": argv, "port": self.port, "health": self.health}


# In the order in which they start; Fulcio asks the certificate log and the issuers.
SERVICES = (
    Service(
        "tesseract",
        (
            "-address=127.0.0.1:6962",
            f"-origin={CERTIFICATES_ORIGIN}",
            "-key=certificate_log.pem",
            "-roots=root.pem",
            "-storage=certificate_log",
        ),
        port=6962,
        health="/healthz",
    ),
    Service(
        "rekor-server",
        (
            "serve",
            "--http-address=127.0.0.1",
            "--http-port=3003",
            "--grpc-address=127.0.0.1",
            "--grpc-port=3001",
            "--http-metrics-port=2114",
            f"--hostname={ORIGIN}",
            "--storage-dir=log",
            "--signer-filepath=log.pem",
            "--checkpoint-interval=200ms",
        ),
        port=3003,
        health="/healthz",
    ),
    Service(
        "timestamp-server",
        (
            "serve",
            "--host=127.0.0.1",
            "--port=3004",
            "--timestamp-signer=file",
            "--file-signer-key-path=timestamps.pem",
            "--certificate-chain-path=timestamps_chain.pem",
            "--disable-ntp-monitoring",
        ),
        port=3004,
        health="/ping",
    ),
    Service(
        "fulcio",
        (
            "serve",
            "--host=127.0.0.1",
            "--port=5555",
            "--grpc-host=127.0.0.1",
            "--grpc-port=5554",
            "--metrics-port=2113",
            "--ca=fileca",
            "--fileca-cert=certificates_chain.pem",
            "--fileca-key=certificates.pem",
            "--fileca-key-passwd=unused",  # it wants one, though the key is not encrypted
            f"--ct-log-url={CERTIFICATE_LOG}",
            f"--ct-log-origin={CERTIFICATES_ORIGIN}",
            "--ct-log-public-key-path=certificate_log_public.pem",
            "--config-path=fulcio.yaml",
        ),
        port=5555,
        health="/healthz",
    ),
)


def prepare(folder: Path, programs: Mapping[str, Path]) -> TokenIssuer:
    """Fill an empty folder; gives who issues tokens for this instance.

    Args:
        folder: exists and is private.
        programs: the program of each service, by name.

    Raises:
        OSError: the folder cannot be written.
    """
    authorities = new_authorities(clock.now())
    log = TransparencyLog(folder / "log", ed25519.Ed25519PrivateKey.generate(), ORIGIN)
    for name in ("log", "certificate_log"):
        (folder / name).mkdir(mode=0o700)
    _write_keys(folder, authorities, log)
    _write_chains(folder, authorities)
    # Not as JSON: Fulcio reads that with other key names.
    (folder / "fulcio.yaml").write_text(yaml.safe_dump(fulcio_configuration()), encoding="utf-8")
    _write_trust(folder, documents.trusted_root(authorities, log))
    issuer = TokenIssuer()
    plan = {
        "issuer_port": ISSUER_PORT,
        "documents": issuer.documents(),
        "services": [service.to_json(programs[service.name]) for service in SERVICES],
    }
    _write_json(folder / PLAN, plan)
    return issuer


def _write_trust(folder: Path, root: dict[str, Any]) -> None:
    signing = signing_config(clock.now())
    config = {"mediaType": _TRUST_CONFIG_TYPE, "trustedRoot": root, "signingConfig": signing}
    _write_json(folder / TRUSTED_ROOT, root)
    _write_json(folder / SIGNING_CONFIG, signing)
    _write_json(folder / TRUST_CONFIG, config)


def signing_config(start: datetime) -> dict[str, Any]:
    """A SigningConfig for the services, valid from an aware moment."""

    def service(url: str, version: int) -> list[dict[str, Any]]:
        valid_for = {"start": clock.format_timestamp(start)}
        return [
            {"url": url, "majorApiVersion": version, "validFor": valid_for, "operator": OPERATOR}
        ]

    return {
        "mediaType": _SIGNING_CONFIG_TYPE,
        "caUrls": service(FULCIO, 1),
        "oidcUrls": service(PEOPLE, 1),
        "rekorTlogUrls": service(REKOR, 2),
        "rekorTlogConfig": {"selector": "ANY"},
        "tsaUrls": service(TIMESTAMPS, 1),
        "tsaConfig": {"selector": "ANY"},
    }


def _write_keys(folder: Path, authorities: Authorities, log: TransparencyLog) -> None:
    certificate_log = authorities.certificates.timestamp_log_key
    pkcs8 = serialization.PrivateFormat.PKCS8
    _write_key(folder / "certificates.pem", authorities.certificates.key, pkcs8)
    _write_key(folder / "timestamps.pem", authorities.timestamps.key, pkcs8)
    _write_key(folder / "log.pem", log.key, pkcs8)
    # TesseraCT reads SEC 1 only.
    sec1 = serialization.PrivateFormat.TraditionalOpenSSL
    _write_key(folder / "certificate_log.pem", certificate_log, sec1)
    for name, key in (("certificate_log", certificate_log), ("log", log.key)):
        (folder / f"{name}_public.pem").write_bytes(_public_pem(key.public_key()))


def _write_chains(folder: Path, authorities: Authorities) -> None:
    root = authorities.certificates.root
    chains = {
        "root": [root],
        "certificates_chain": [authorities.certificates.certificate, root],
        "timestamps_chain": [authorities.timestamps.certificate, root],
    }
    for name, chain in chains.items():
        (folder / f"{name}.pem").write_bytes(_chain_pem(chain))


def _write_key(path: Path, key: PrivateKeyTypes, form: serialization.PrivateFormat) -> None:
    path.touch(mode=0o600)
    encryption = serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, encryption))


def _public_pem(key: PublicKeyTypes) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.PEM, form)


def _chain_pem(chain: Sequence[x509.Certificate]) -> bytes:
    return b"".join(link.public_bytes(serialization.Encoding.PEM) for link in chain)


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")
