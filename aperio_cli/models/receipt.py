"""The record of one installed version; written last, read before every launch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aperio_cli.errors import AperioError, ReceiptInvalid
from aperio_cli.models.artifact import Interpreter
from aperio_cli.models.digest import Digest
from aperio_cli.models.plugin_id import PluginId

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = "aperio.receipt/v1"
FILE_NAME = "receipt.json"
TREE_FILE_NAME = "files.sha256"
BUNDLE_FILE_NAME = "artifact.sigstore.json"
FILES_FOLDER = "files"
MAX_BYTES = 256 * 1024

_DAMAGES = (AperioError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


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
        badge: `local` or `unsigned` here; later also official, verified, community.
        signer: who signed, as `Signer.to_json` gives it; None for an exception.
        rule: the operator's rule that admitted it, as `PublisherRule.to_json` gives it.
        exception: the operator's exception that admitted it: rule, until, reason.
        source: where the artifact came from.
        interpreter: what executes a Python plugin; None for a binary.
        manifest: the manifest as it was declared, for permissions and limits.
        folder: where the version stands; not part of the file.
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

    @property
    def files(self) -> Path:
        """The unpacked tree."""
        return self.folder / FILES_FOLDER

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
        try:
            document = json.loads(data)
            if document["schema"] != SCHEMA:
                raise ValueError(document["schema"])
            return cls._from_document(document, folder)
        except _DAMAGES as error:
            raise ReceiptInvalid(
                f"the record of an installed version is damaged: `{folder / FILE_NAME}`",
                why=f"{type(error).__name__}: {error}",
                next=["remove the plugin and install it again"],
            ) from error

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
            signer=document["signer"],
            rule=document["rule"],
            exception=document["exception"],
            source=document["source"],
            interpreter=Interpreter(**interpreter) if interpreter else None,
            manifest=document["manifest"],
            folder=folder,
        )
