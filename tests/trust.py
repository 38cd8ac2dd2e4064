"""Trust domains and bundles for tests: real keys, and bundles that deviate in one thing."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

from aperio_cli import clock
from aperio_cli.models.artifact import Artifact
from aperio_cli.models.digest import Digest
from aperio_cli.models.manifest import Manifest, Runtime
from aperio_cli.models.platform import Platform
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.publisher import LOCAL_ISSUER
from aperio_cli.signing.local import LocalDomain, create_domain
from aperio_cli.signing.local.authority import CertificateAuthority, LeafIdentity
from aperio_cli.signing.local.log import EntryRequest, TransparencyLog
from aperio_cli.verifying.signature import TrustedRootSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cryptography import x509

    from aperio_cli.signing.local.timestamp import TimestampAuthority

IDENTITY = "alice@local"
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"


def new_domain(folder: Path) -> LocalDomain:
    """A fresh local trust domain in `folder/trust/local`."""
    return create_domain(folder / "trust" / "local", IDENTITY)


def root_of(domain: LocalDomain) -> TrustedRootSource:
    """The domain's trusted root as the verifier takes it."""
    return TrustedRootSource(domain.name, domain.trusted_root_json().encode())


def artifact_at(path: Path, contents: bytes = b"the artifact") -> Artifact:
    """A file with an artifact's description; the contents are not a real archive."""
    path.write_bytes(contents)
    manifest = Manifest(
        id=PluginId("acme", "box-connector"),
        version="1.2.3",
        kind="connector",
        provider="BOX",
        name="Box",
        description="Box",
        license="MIT",
        protocol=(1, 0),
        runtime=Runtime("python", ("cp311",)),
        entrypoint="box-connector",
    )
    return Artifact(path, Digest.of(contents), len(contents), manifest, Platform("linux", "amd64"))


@dataclass(frozen=True)
class Forge:
    """Makes bundles without a client in between; replace one part to make a hostile one.

    Attributes:
        certificates, log, timestamps: the services; those of the domain, unless replaced.
        key: signs the artifact.
        identity: whom the leaf names.
        issued_at: when the leaf was issued.
        stamped_at: the moment in the timestamp.
        leaf: makes the certificate, instead of the authority.
    """

    certificates: CertificateAuthority
    log: TransparencyLog
    timestamps: TimestampAuthority
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    identity: LeafIdentity = field(default_factory=lambda: LeafIdentity(IDENTITY, LOCAL_ISSUER))
    issued_at: datetime = field(default_factory=clock.now)
    stamped_at: datetime | None = None
    leaf: Callable[[Forge], x509.Certificate] | None = None

    @classmethod
    def of(cls, domain: LocalDomain) -> Forge:
        """The forge that makes what the domain would sign."""
        services = domain.services()
        return cls(services.certificates, services.log, services.timestamps)

    def but(self, **changes: Any) -> Forge:
        """The same forge, with one thing different."""
        return replace(self, **changes)

    def certificate(self) -> x509.Certificate:
        """The leaf."""
        if self.leaf:
            return self.leaf(self)
        return self.certificates.issue(self.key.public_key(), self.identity, self.issued_at)

    def timestamp(self, signature: bytes) -> str:
        """A timestamp over a signature, base64."""
        builder = TimestampRequestBuilder().data(signature).hash_algorithm(HashAlgorithm.SHA256)
        moment = self.stamped_at or self.issued_at + timedelta(seconds=1)
        request = builder.nonce(nonce=True).build().as_bytes()
        return encoded(self.timestamps.respond(request, moment))

    def bundle(self, digest: Digest) -> dict[str, Any]:
        """A bundle over a digest, as the JSON document."""
        leaf = self.certificate()
        signature = self.key.sign(digest.raw, ec.ECDSA(Prehashed(hashes.SHA256())))
        raw = leaf.public_bytes(serialization.Encoding.DER)
        entry = self.log.append(EntryRequest(digest.raw, signature, leaf))
        stamps = [{"signedTimestamp": self.timestamp(signature)}]
        return {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {
                "certificate": {"rawBytes": encoded(raw)},
                "tlogEntries": [entry],
                "timestampVerificationData": {"rfc3161Timestamps": stamps},
            },
            "messageSignature": {
                "messageDigest": {"algorithm": "SHA2_256", "digest": encoded(digest.raw)},
                "signature": encoded(signature),
            },
        }

    def bundle_json(self, digest: Digest) -> bytes:
        """The same, as the bytes of a file."""
        return json.dumps(self.bundle(digest)).encode()


def encoded(data: bytes) -> str:
    """Base64 as text."""
    return base64.b64encode(data).decode("ascii")


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and contents of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mode, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
