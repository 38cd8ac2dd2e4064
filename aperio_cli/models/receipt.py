"""The record of one installed version; written last, read before every launch."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aperio_cli.errors import AperioError
from aperio_cli.errors.installing import ReceiptInvalid
from aperio_cli.models.artifact import Interpreter
from aperio_cli.models.digest import Digest
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.proof import Attestation, Proof, Provenance, RootFacts
from aperio_cli.models.publisher import Signer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA = "aperio.receipt/v1"
FILE_NAME = "receipt.json"
TREE_FILE_NAME = "files.sha256"
BUNDLE_FILE_NAME = "artifact.sigstore.json"
ATTESTATIONS_FILE_NAME = "artifact.intoto.jsonl"
FILES_FOLDER = "files"
MAX_BYTES = 256 * 1024

_DAMAGES = (AperioError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


@contextlib.contextmanager
def _refusing_damage(folder: Path) -> Iterator[None]:
    """Turn whatever is wrong with a record into one refusal."""
    try:
        yield
    except _DAMAGES as error:
        raise ReceiptInvalid(
            f"the record of an installed version is damaged: `{folder / FILE_NAME}`",
            why=f"{type(error).__name__}: {error}",
            next=["remove the plugin and install it again"],
        ) from error


def _attestation(document: dict[str, Any]) -> Attestation:
    provenance = document["provenance"]
    return Attestation(
        predicate_type=str(document["predicate_type"]),
        signer=Signer.from_json(document["signer"]),
        provenance=Provenance.from_json(provenance) if provenance else None,
    )


def _mapping_or_none(value: object) -> dict[str, Any] | None:
    if value is None or isinstance(value, dict):
        return value
    raise TypeError(type(value).__name__)


@dataclass(frozen=True, slots=True)
class Receipt:
    """One installed version.

    Attributes:
        id: the plugin.
        version: the version.
        kind: connector, remediation or destination.
        entrypoint: file name in `files/bin/`, without suffix.
        protocol: version of the plugin interface, (major, minor).
        provider: upper-case name of the service.
        platform: `linux/amd64`.
        artifact_digest: digest of the artifact that was unpacked.
        tree_digest: `t1:<hex>`, the digest of files.sha256.
        installed_at: RFC 3339, UTC.
        badge: `unsigned`, `local`, `community`, `verified` or `official`.
        signer: who signed, as `Signer.to_json` gives it; None for an exception.
        rule: the operator's rule that admitted it, as `PublisherRule.to_json` gives it.
        exception: the operator's exception that admitted it unsigned: rule, until, reason, and
            source when the configuration states it.
        source: where the artifact came from.
        interpreter: what executes a Python plugin; None for a binary.
        manifest: the manifest as it was declared, for permissions and limits.
        folder: where the version stands; not part of the file.
        proof: what the bundle proved besides the signer, as `Proof.to_json` gives it; None for an
            exception, and in records of versions that did not keep it.
        exceptions: further exceptions that it took, as `PolicyException.to_json` gives them.
        index_serial: the edition of the index that offered it; None when it did not say.
    """

    id: PluginId
    version: str
    kind: str
    entrypoint: str
    protocol: tuple[int, int]
    provider: str
    platform: str
    artifact_digest: Digest
    tree_digest: str
    installed_at: str
    badge: str
    signer: dict[str, Any] | None
    rule: dict[str, Any] | None
    exception: dict[str, str] | None
    source: str
    interpreter: Interpreter | None
    manifest: dict[str, Any]
    folder: Path
    proof: dict[str, Any] | None = None
    exceptions: tuple[dict[str, str], ...] = ()
    index_serial: int | None = None

    @property
    def files(self) -> Path:
        """The unpacked tree."""
        return self.folder / FILES_FOLDER

    def recorded_proof(self) -> Proof | None:
        """Who signed it, and what was attested, as found out when it was installed.

        None when it was admitted unsigned. A record that kept the signer only has no attestations
        in it, and facts of the trusted root are blank.

        Raises:
            ReceiptInvalid: the record is damaged.
        """
        if self.signer is None:
            return None
        with _refusing_damage(self.folder):
            document = self.proof or {}
            signer = Signer.from_json(self.signer)
            root = document.get("root", {})
            return Proof(
                signer=signer,
                root=RootFacts(
                    signer.domain,
                    str(root.get("sha256", "")),
                    str(root.get("origin", "")),
                    str(root.get("as_of", "")),
                ),
                attestations=tuple(map(_attestation, document.get("attestations", ()))),
            )

    def to_bytes(self) -> bytes:
        """The contents of receipt.json."""
        document = {
            "schema": SCHEMA,
            "id": str(self.id),
            "version": self.version,
            "kind": self.kind,
            "entrypoint": self.entrypoint,
            "protocol": f"{self.protocol[0]}.{self.protocol[1]}",
            "provider": self.provider,
            "platform": self.platform,
            "artifact_sha256": self.artifact_digest.hex,
            "tree_digest": self.tree_digest,
            "installed_at": self.installed_at,
            "badge": self.badge,
            "signer": self.signer,
            "rule": self.rule,
            "exception": self.exception,
            "proof": self.proof,
            "exceptions": list(self.exceptions),
            "index_serial": self.index_serial,
            "source": self.source,
            "interpreter": self.interpreter.to_json() if self.interpreter else None,
            "manifest": self.manifest,
        }
        return json.dumps(document, indent=2, sort_keys=True).encode() + b"\n"

    @classmethod
    def parse(cls, data: bytes, folder: Path) -> Receipt:
        """The receipt in these bytes.

        Raises:
            ReceiptInvalid: not JSON, another schema, or a missing or malformed key.
        """
        with _refusing_damage(folder):
            document = json.loads(data)
            if document["schema"] != SCHEMA:
                raise ValueError(document["schema"])
            return cls._from_document(document, folder)

    @classmethod
    def _from_document(cls, document: dict[str, Any], folder: Path) -> Receipt:
        interpreter = document["interpreter"]
        major, minor = document["protocol"].split(".")
        return cls(
            id=PluginId.parse(document["id"]),
            version=document["version"],
            kind=document["kind"],
            entrypoint=document["entrypoint"],
            protocol=(int(major), int(minor)),
            provider=document["provider"],
            platform=document["platform"],
            artifact_digest=Digest(document["artifact_sha256"]),
            tree_digest=document["tree_digest"],
            installed_at=document["installed_at"],
            badge=document["badge"],
            signer=_mapping_or_none(document["signer"]),
            rule=_mapping_or_none(document["rule"]),
            exception=_mapping_or_none(document["exception"]),
            source=document["source"],
            interpreter=Interpreter(**interpreter) if interpreter else None,
            manifest=document["manifest"],
            folder=folder,
            proof=_mapping_or_none(document.get("proof")),
            exceptions=tuple(document.get("exceptions", ())),
            index_serial=document.get("index_serial"),
        )
