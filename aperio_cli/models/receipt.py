"""The record of one installed version; written last, read before every launch."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn

from aperio_cli.errors.installing import ReceiptInvalid, ReceiptNewer
from aperio_cli.models.artifact import Interpreter
from aperio_cli.models.digest import Digest
from aperio_cli.models.evidence import Evidence, evidence_from_json, evidence_to_json
from aperio_cli.models.grant import Grant
from aperio_cli.models.manifest import Manifest
from aperio_cli.models.newer import NEXT, evidence, is_newer
from aperio_cli.models.origin import Build, Origin
from aperio_cli.models.ownership import is_owner_of, owner_in_0_1_0
from aperio_cli.models.plugin_id import PluginId, check_version
from aperio_cli.models.policy import PolicyException
from aperio_cli.models.protocol import format_protocol
from aperio_cli.models.reading import Bounds, Table, described, parse_json
from aperio_cli.models.tlog.proof import LogProof
from aperio_cli.text import clean

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA: Final = "aperio.receipt/v1"
FILE_NAME = "receipt.json"
TREE_FILE_NAME = "files.sha256"
BUNDLE_FILE_NAME = "artifact.sigstore.json"
ATTESTATIONS_FILE_NAME = "artifact.intoto.jsonl"
FILES_FOLDER = "files"
MAX_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Precedent:
    """The part of a record that a later installation is held against, however damaged the rest is.

    Attributes:
        id: the plugin.
        version: the version.
        artifact_digest: digest of the artifact that was unpacked.
        evidence: why it was admitted.
        state_owner: whose stored state it uses.
    """

    id: PluginId
    version: str
    artifact_digest: Digest
    evidence: Evidence
    state_owner: str

    @classmethod
    def parse(cls, data: bytes, folder: Path) -> Precedent:
        """Return what the receipt in these bytes says of itself.

        Raises:
            ReceiptInvalid: not JSON, another schema, or one of these keys is missing or malformed.
            ReceiptNewer: a newer aperio made it.
        """
        table = _load(data, folder)
        plugin = table.converted("id", PluginId.parse)
        return cls(
            id=plugin,
            version=table.converted("version", check_version),
            artifact_digest=table.converted("artifact_sha256", Digest),
            evidence=evidence_from_json(table),
            state_owner=_state_owner(table, plugin),
        )


@dataclass(frozen=True, slots=True)
class Receipt:
    """One installed version.

    Attributes:
        manifest: the manifest as it was declared.
        platform: `linux/amd64`.
        artifact_digest: digest of the artifact that was unpacked.
        tree_digest: `t1:<hex>`, the digest of files.sha256.
        installed_at: RFC 3339, UTC.
        badge: `unsigned`, `local`, `community`, `verified` or `official`.
        evidence: why it was admitted: the proof and the operator's rule, or the exception.
        source: where the artifact came from.
        interpreter: what executes a Python plugin; None for a binary.
        folder: where the version stands; not part of the file.
        state_owner: whose stored state it uses, as `models.ownership` names owners.
        grant: what the operator has granted of what the manifest asks for, and beyond.
        exceptions: further exceptions that it took.
        index_serial: the edition of the index that offered it; None when it did not say.
        origin: where the version came from; None in records of before origins.
        builds: the artifacts of the version, of every platform that its origin offered; empty in
            records of before.
        log_proof: that the log of the registry had it; None where there was no log.
        record_digest: digest of the very bytes that it was read from, which another host compares
            with those that it has read; None when it was not read. Not part of the file.
    """

    manifest: Manifest
    platform: str
    artifact_digest: Digest
    tree_digest: str
    installed_at: str
    badge: str
    evidence: Evidence
    source: str
    interpreter: Interpreter | None
    folder: Path
    state_owner: str
    grant: Grant
    exceptions: tuple[PolicyException, ...] = ()
    index_serial: int | None = None
    origin: Origin | None = None
    builds: tuple[Build, ...] = ()
    log_proof: LogProof | None = None
    record_digest: Digest | None = field(default=None, compare=False)

    @property
    def id(self) -> PluginId:
        """The plugin."""
        return self.manifest.id

    @property
    def version(self) -> str:
        """The version."""
        return self.manifest.version

    @property
    def kind(self) -> str:
        """Connector, remediation or destination."""
        return self.manifest.kind

    @property
    def entrypoint(self) -> str:
        """File name in `files/bin/`, without suffix."""
        return self.manifest.entrypoint

    @property
    def protocol(self) -> tuple[int, int]:
        """Version of the plugin interface, (major, minor)."""
        return self.manifest.protocol

    @property
    def files(self) -> Path:
        """The unpacked tree."""
        return self.folder / FILES_FOLDER

    @property
    def precedent(self) -> Precedent:
        """What a later installation is held against."""
        return Precedent(
            self.id, self.version, self.artifact_digest, self.evidence, self.state_owner
        )

    def to_bytes(self) -> bytes:
        """Return the contents of receipt.json."""
        document = {
            "schema": SCHEMA,
            **_declared(self.manifest),
            "platform": self.platform,
            "artifact_sha256": self.artifact_digest.hex,
            "tree_digest": self.tree_digest,
            "installed_at": self.installed_at,
            "badge": self.badge,
            **evidence_to_json(self.evidence),
            "exceptions": [exception.to_json() for exception in self.exceptions],
            "index_serial": self.index_serial,
            "source": self.source,
            "origin": self.origin.to_json() if self.origin else None,
            "builds": [build.to_json() for build in self.builds],
            "log_proof": self.log_proof.to_bytes().decode() if self.log_proof else None,
            "state_owner": self.state_owner,
            "interpreter": self.interpreter.to_json() if self.interpreter else None,
            "manifest": self.manifest.to_json(),
            "grant": self.grant.to_json(),
        }
        return json.dumps(document, indent=2, sort_keys=True).encode() + b"\n"

    @classmethod
    def parse(cls, data: bytes, folder: Path) -> Receipt:
        """Return the receipt in these bytes.

        Keys of a later release are ignored; those that an earlier one did not write have defaults.

        Raises:
            ReceiptInvalid: not JSON, another schema, or a missing or malformed key.
            ReceiptNewer: a newer aperio made it.
        """
        table = _load(data, folder)
        interpreter, origin = table.optional_table("interpreter"), table.optional_table("origin")
        manifest = _manifest(table)
        return cls(
            manifest=manifest,
            platform=table.recorded("platform"),
            artifact_digest=table.converted("artifact_sha256", Digest),
            tree_digest=table.recorded("tree_digest"),
            installed_at=table.recorded("installed_at"),
            badge=table.recorded("badge"),
            evidence=evidence_from_json(table),
            source=table.recorded("source"),
            interpreter=Interpreter.from_json(interpreter) if interpreter else None,
            folder=folder,
            state_owner=_state_owner(table, manifest.id),
            grant=Grant.from_record(table.optional_table("grant"), manifest),
            exceptions=tuple(map(PolicyException.from_json, table.optional_tables("exceptions"))),
            index_serial=_serial(table),
            origin=Origin.of_record(origin) if origin else None,
            builds=tuple(map(Build.from_json, table.optional_tables("builds"))),
            log_proof=_log_proof(table),
            record_digest=Digest.of(data),
        )


def _declared(manifest: Manifest) -> dict[str, str]:
    """Return what stands in the record beside the manifest, too, for those who do not read that."""
    return {
        "id": str(manifest.id),
        "version": manifest.version,
        "kind": manifest.kind,
        "entrypoint": manifest.entrypoint,
        "protocol": format_protocol(manifest.protocol),
        "provider": manifest.provider,
    }


def _manifest(table: Table) -> Manifest:
    manifest = Manifest.from_record(table)
    for key, stated in _declared(manifest).items():
        if table.recorded(key) != stated:
            table.fail(key, f"expected {stated}, as the manifest says")
    return manifest


def _state_owner(table: Table, plugin: PluginId) -> str:
    owner = table.recorded("state_owner", owner_in_0_1_0(plugin))
    if not is_owner_of(plugin, owner):
        table.fail("state_owner", f"expected an owner of the state of `{plugin}`")
    return owner


def _serial(table: Table) -> int | None:
    return None if table.values.get("index_serial") is None else table.integer("index_serial")


def _log_proof(table: Table) -> LogProof | None:
    if table.values.get("log_proof") is None:
        return None
    return table.converted("log_proof", lambda text: LogProof.parse(text.encode()))


def _load(data: bytes, folder: Path) -> Table:
    table = parse_json(data, Bounds(MAX_BYTES), functools.partial(_fail, folder))
    schema = table.recorded("schema")
    if is_newer(schema, SCHEMA):
        raise ReceiptNewer(
            f"the record of an installed version was left as it is: `{folder / FILE_NAME}`",
            why=evidence(schema, SCHEMA),
            next=list(NEXT),
        )
    if schema != SCHEMA:
        table.fail("schema", f"expected {SCHEMA}, found {clean(schema, limit=80)}")
    return table


def _fail(folder: Path, key: str, why: str) -> NoReturn:
    raise damaged(folder / FILE_NAME, described(key, why))


def damaged(path: Path, why: str) -> ReceiptInvalid:
    """Return the refusal of a file that belongs to the record of an installed version."""
    return ReceiptInvalid(
        f"the record of an installed version is damaged: `{path}`",
        why=why,
        next=["remove the plugin and install it again"],
    )
