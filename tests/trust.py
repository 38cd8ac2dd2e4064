"""Trust domains and bundles for tests: real keys, and bundles that deviate in one thing."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import rfc8785
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
from aperio_cli.models.proof import PROVENANCE_TYPE
from aperio_cli.models.publisher import CI_SERVICES, LOCAL_ISSUER
from aperio_cli.models.tlog.merkle import leaf_hash
from aperio_cli.proving.signature import TrustedRootSource
from aperio_cli.signing.local import LocalDomain, create_domain
from aperio_cli.signing.local.authority import CertificateAuthority, LeafIdentity, key_id, spki
from aperio_cli.signing.local.log import EntryRequest, TransparencyLog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from cryptography import x509

    from aperio_cli.signing.local.timestamp import TimestampAuthority

IDENTITY = "alice@local"
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
REPOSITORY = "https://github.com/acme/aperio-plugin-box"
WORKFLOW = ".github/workflows/release.yml"
COMMIT = "5f0c1d9a" * 5
HOSTED_BUILDER = "https://github.com/actions/runner/github-hosted"
WORKFLOW_BUILD = "https://actions.github.io/buildtypes/workflow/v1"


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
class OldLog:
    """A log of one entry that answers as Rekor v1 does: `hashedrekord` 0.0.1, signed time.

    Attributes:
        logged_at: the time that the log signs.
        hostname: what it calls itself in checkpoints.
    """

    logged_at: datetime
    hostname: str = "rekor-7d9f"
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    @property
    def log_id(self) -> bytes:
        """The digest of its key, RFC 6962."""
        return key_id(self.key.public_key())

    def in_root(self, root: TrustedRootSource) -> TrustedRootSource:
        """The root, with this log too, under another name than it uses itself."""
        document = json.loads(root.document)
        log = {
            "baseUrl": "https://rekor.acme.example",
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": encoded(spki(self.key.public_key())),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": {"start": "2020-01-01T00:00:00Z"},
            },
            "logId": {"keyId": encoded(self.log_id)},
        }
        document["tlogs"].append(log)
        return TrustedRootSource(root.name, json.dumps(document).encode())

    def append(self, request: EntryRequest) -> dict[str, Any]:
        """Record an entry and prove it: a TransparencyLogEntry as JSON (sigstore_rekor.proto)."""
        body = self._body(request)
        logged = int(self.logged_at.timestamp())
        promised: dict[str, Any] = {
            "body": encoded(body),
            "integratedTime": logged,
            "logID": self.log_id.hex(),
            "logIndex": 1000,
        }
        promise = self.key.sign(rfc8785.dumps(promised), ec.ECDSA(hashes.SHA256()))
        head = encoded(leaf_hash(body))
        note = f"{self.hostname} - 42\n1\n{head}\n"
        signed = self.log_id[:4] + self.key.sign(note.encode(), ec.ECDSA(hashes.SHA256()))
        checkpoint = f"{note}\n\N{EM DASH} {self.hostname} {encoded(signed)}\n"
        return {
            "logIndex": "1000",
            "logId": {"keyId": encoded(self.log_id)},
            "kindVersion": {"kind": "hashedrekord", "version": "0.0.1"},
            "integratedTime": str(logged),
            "inclusionPromise": {"signedEntryTimestamp": encoded(promise)},
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": head,
                "treeSize": "1",
                "hashes": [],
                "checkpoint": {"envelope": checkpoint},
            },
            "canonicalizedBody": encoded(body),
        }

    def _body(self, request: EntryRequest) -> bytes:
        certificate = request.certificate.public_bytes(serialization.Encoding.PEM)
        spec: dict[str, Any] = {
            "data": {"hash": {"algorithm": "sha256", "value": request.digest.hex()}},
            "signature": {
                "content": encoded(request.signature),
                "publicKey": {"content": encoded(certificate)},
            },
        }
        return rfc8785.dumps({"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": spec})


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
    log: TransparencyLog  # or what appends as it does
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
        document, signature = self._signed(digest)
        document["messageSignature"] = {
            "messageDigest": {"algorithm": "SHA2_256", "digest": encoded(digest.raw)},
            "signature": encoded(signature),
        }
        return document

    def bundle_json(self, digest: Digest) -> bytes:
        """The same, as the bytes of a file."""
        return json.dumps(self.bundle(digest)).encode()

    def envelope(self, payload: bytes, payload_type: str = PAYLOAD_TYPE) -> dict[str, Any]:
        """A bundle over a DSSE envelope, as the JSON document."""
        # DSSE's pre-authentication encoding, secure-systems-lab/dsse, protocol.md.
        kind = payload_type.encode()
        signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
        document, signature = self._signed(Digest.of(signed))
        document["dsseEnvelope"] = {
            "payload": encoded(payload),
            "payloadType": payload_type,
            "signatures": [{"sig": encoded(signature)}],
        }
        return document

    def statement(self, *digests: Digest, **changes: Any) -> bytes:
        """A bundle over an in-toto statement about files, as the bytes of a file.

        It is provenance unless `changes` say otherwise: members of the statement.
        """
        return json.dumps(
            self.envelope(json.dumps(statement(*digests, **changes)).encode())
        ).encode()

    def _signed(self, digest: Digest) -> tuple[dict[str, Any], bytes]:
        """A bundle without its content, and the signature over the digest."""
        leaf = self.certificate()
        signature = self.key.sign(digest.raw, ec.ECDSA(Prehashed(hashes.SHA256())))
        raw = leaf.public_bytes(serialization.Encoding.DER)
        entry = self.log.append(EntryRequest(digest.raw, signature, leaf))
        stamps = [{"signedTimestamp": self.timestamp(signature)}]
        document = {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {
                "certificate": {"rawBytes": encoded(raw)},
                "tlogEntries": [entry],
                "timestampVerificationData": {"rfc3161Timestamps": stamps},
            },
        }
        return document, signature


def github_identity(ref: str = "refs/tags/v1.2.3", **changes: str) -> LeafIdentity:
    """Whom a leaf names when GitHub Actions built a release; numbers of Fulcio's claims.

    Args:
        ref: the git ref that was built.
        changes: claims to state differently, by name: `owner_id`, `repository_id`, `runner`,
            `repository`, `workflow`, `commit`, `signer` (a reusable workflow's identity).
    """
    repository = changes.get("repository", REPOSITORY)
    config = f"{repository}/{changes.get('workflow', WORKFLOW)}@{ref}"
    commit = changes.get("commit", COMMIT)
    signer = changes.get("signer", config)
    claims = {
        9: signer,
        10: commit,
        11: changes.get("runner", "github-hosted"),
        12: repository,
        13: commit,
        14: ref,
        15: changes.get("repository_id", "123456"),
        16: repository.rpartition("/")[0],
        17: changes.get("owner_id", "789"),
        18: config,
        19: commit,
        20: "push",
        21: f"{repository}/actions/runs/42/attempts/1",
        22: "public",
    }
    return LeafIdentity(signer, CI_SERVICES["github"].issuer, claims)


def statement(*digests: Digest, **changes: Any) -> dict[str, Any]:
    """An in-toto statement about files; provenance unless `changes` say otherwise."""
    subjects = [{"name": f"file-{i}", "digest": {"sha256": d.hex}} for i, d in enumerate(digests)]
    return {
        "_type": STATEMENT_TYPE,
        "subject": subjects,
        "predicateType": PROVENANCE_TYPE,
        "predicate": provenance(),
        **changes,
    }


def provenance(
    *, repository: str = REPOSITORY, commit: str = COMMIT, builder: str = HOSTED_BUILDER
) -> dict[str, Any]:
    """SLSA provenance v1 as GitHub's attestation action writes it."""
    ref = "refs/tags/v1.2.3"
    workflow = {"ref": ref, "repository": repository, "path": WORKFLOW}
    source = {"uri": f"git+{repository}@{ref}", "digest": {"gitCommit": commit}}
    return {
        "buildDefinition": {
            "buildType": WORKFLOW_BUILD,
            "externalParameters": {"workflow": workflow},
            "resolvedDependencies": [source],
        },
        "runDetails": {
            "builder": {"id": builder},
            "metadata": {"invocationId": f"{repository}/actions/runs/42/attempts/1"},
        },
    }


def attestations(bundles: Sequence[bytes]) -> bytes:
    """The contents of an `.intoto.jsonl` file."""
    return b"".join(bundle + b"\n" for bundle in bundles)


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
