"""Hostile documents at every door that reads JSON, YAML or TOML: each answers with its own error.

A door is a function that takes the bytes of a document from outside. Every hostile text goes
through every door of its format, beside a benign twin; and every value of the twin is replaced by
values of other types. Whatever comes, a door gives its own error or its own "nothing there", never
another exception, and never takes much more memory than the text.
"""

from __future__ import annotations

import base64
import copy
import functools
import json
import random
import tempfile
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tomlkit
import yaml
from aperio_plugin._generated.aperio.plugin.v1 import common_pb2, connector_pb2

from aperio_cli import clock
from aperio_cli.commands.plugin.settings import read_settings
from aperio_cli.config import Config, ConfigFile, DomainRule
from aperio_cli.config.reading import read_site
from aperio_cli.errors import AperioError
from aperio_cli.errors.building import ManifestInvalid, ManifestKindUnknown
from aperio_cli.errors.files import RecordNewer
from aperio_cli.errors.installing import LockFileInvalid, ReceiptInvalid, ReceiptNewer
from aperio_cli.errors.registries import (
    IndexUnreadable,
    IndexVersionUnknown,
    KnownVersionsUnreadable,
    RegistrySourceInvalid,
)
from aperio_cli.errors.running import PluginConfigInvalid, PluginContractBroken
from aperio_cli.errors.trust import (
    IdentityTokenInvalid,
    PublisherFileInvalid,
    TrustDomainBroken,
)
from aperio_cli.errors.usage import ConfigurationInvalid, NotFound
from aperio_cli.files import reading
from aperio_cli.files.beneath import Beneath
from aperio_cli.host.calls.configuration import check_config
from aperio_cli.host.calls.declaration import settle
from aperio_cli.host.wire.channel import Calls
from aperio_cli.models import known
from aperio_cli.models.digest import Digest
from aperio_cli.models.lock_file import LockFile
from aperio_cli.models.manifest import Manifest
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.publisher_file import parse_publisher_file
from aperio_cli.models.receipt import Receipt
from aperio_cli.models.registry.advisories import parse_advisories
from aperio_cli.models.registry.catalogue import parse_catalogue
from aperio_cli.models.registry.documents import (
    ADVISORIES_BOUNDS,
    CATALOGUE_BOUNDS,
    PLUGIN_FILE_BOUNDS,
    PUBLISHERS_BOUNDS,
    ROOT_BOUNDS,
    SHARD_BOUNDS,
)
from aperio_cli.models.registry.log_entry import EntryUnreadable, PublisherEntry, parse_entry
from aperio_cli.models.registry.plugin_file import parse_plugin_file
from aperio_cli.models.registry.publishers import parse_publishers
from aperio_cli.models.registry.root import parse_root
from aperio_cli.models.registry.shard import parse_shard
from aperio_cli.models.registry_index import RegistryIndex, parse_detail
from aperio_cli.models.tlog.merkle import HASH_BYTES, ProofInvalid, Tree, check_inclusion, leaf_hash
from aperio_cli.models.tlog.note import (
    MAX_NOTE_BYTES,
    Checkpoint,
    Note,
    NoteInvalid,
    NoteSignature,
)
from aperio_cli.models.tlog.proof import MAX_PROOF_BYTES, LogProof
from aperio_cli.models.tlog.tiles import (
    MAX_BUNDLE_BYTES,
    MAX_ENTRY_BYTES,
    MAX_TILE_BYTES,
    Tile,
    TiledTree,
    bundle_data,
    entries_in,
    tile_data,
)
from aperio_cli.net.cache import AnswerCache
from aperio_cli.paths import Paths, bundled
from aperio_cli.proving.refusals import Fault
from aperio_cli.proving.statement import PAYLOAD_TYPE, Statement, parse_provenance
from aperio_cli.proving.trusted_root import trusted_at
from aperio_cli.publishing import recording
from aperio_cli.publishing.record import PublishedArtifact, PublishedVersion, Record
from aperio_cli.publishing.source import open_source
from aperio_cli.scaffolding.wheel import sdk_wheel
from aperio_cli.signing.credential import read_credential
from aperio_cli.signing.local import state
from aperio_cli.signing.local.log import EntryInvalid, EntryRequest
from aperio_cli.store.checks import read_checks
from aperio_cli.store.installed import Store
from aperio_cli.trust import signed_document
from aperio_cli.trust.known_versions import load_known
from aperio_cli.trust.refreshed import (
    MAX_DOCUMENT_BYTES,
    Damaged,
    RefreshedRoot,
    Sighting,
    Versions,
)
from aperio_cli.trust.roots import trusted_roots
from aperio_cli.trust.signed_document import DocumentRequest, Schema
from tests import mutations
from tests.builders import LINUX, index_entry, index_version, manifest, receipt, rule, signer
from tests.projects import MANIFEST
from tests.rows import each_row
from tests.simulators.ci import claims
from tests.trust import statement
from tests.unit import test_registry_documents as documents

Read = Callable[[bytes, "Path"], object]
BOX = PluginId("acme", "box")


@dataclass(frozen=True)
class Door:
    """Where documents come in.

    Attributes:
        read: reads one; may write it into a folder first.
        benign: makes one that is taken.
        errors: what it answers to others.
        nothing: what it answers in place of an error; None when it raises one.
        limit_bytes: the longest document it reads.
    """

    read: Read
    benign: Callable[[], dict[str, Any]]
    errors: tuple[type[Exception], ...]
    limit_bytes: int
    nothing: object = ...


def _written(name: str, read: Callable[[Path], object]) -> Read:
    """Reads what is in a file of the folder."""

    def read_file(data: bytes, folder: Path) -> object:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return read(folder)

    return read_file


def _token(payload: bytes, _folder: Path) -> object:
    parts = (b'{"alg":"none","typ":"JWT"}', payload, b"signature")
    return read_credential(
        ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
    )


def _claims() -> dict[str, Any]:
    moment = int(clock.now().timestamp())
    return {**claims.github(), "aud": "sigstore", "iat": moment, "exp": moment + 600}


def _statement(payload: bytes, _folder: Path) -> object:
    return parse_provenance(Statement.parse(PAYLOAD_TYPE, payload).predicate)


def _default(data: bytes, _folder: Path) -> object:
    field = common_pb2.ConfigField(key="k", type="TYPE_TEXT", default_json=data.decode())
    calls: Any = Calls(None, "x", None)  # type: ignore[arg-type] # unused
    settle(calls, "Schema", connector_pb2.SchemaResponse(provider="BOX", fields=[field]), "BOX")
    return check_config([field], {}, subject="x").values["k"]


def _current(folder: Path) -> object:
    return Store(Paths(folder, folder / "config.toml", folder / "cache")).current_version(BOX)


def _sdk(folder: Path) -> object:
    source = bundled("sdk/python")
    package = folder / "aperio_plugin" / "__init__.py"
    package.parent.mkdir(exist_ok=True)
    package.write_bytes(reading.read_capped(source / "aperio_plugin" / "__init__.py", 1024 * 1024))
    return sdk_wheel(folder).version


def _edition(folder: Path) -> object:
    with open_source(folder) as source:
        return source.edition()


def _record(folder: Path) -> object:
    (folder / "aperio-registry.json").write_text(json.dumps(_source()))
    with open_source(folder) as source:
        return source.record(BOX)


def _source() -> dict[str, Any]:
    return {
        "schema": "aperio.registry.source/v1",
        "serial": 3,
        "updated_at": "2026-01-02T03:04:05Z",
    }


def _published() -> dict[str, Any]:
    version = PublishedVersion(
        version="1.2.3",
        added_at="2026-01-02T03:04:05Z",
        signer=signer(),
        manifest=manifest(id="acme/box"),
        artifacts=(PublishedArtifact(LINUX, "box_1.2.3_linux_amd64.tar.gz", Digest("a" * 64), 7),),
    )
    return dict(json.loads(Record(BOX, "connector", (version,)).to_bytes()))


def _memory_of(memory: Path) -> DocumentRequest[Any]:
    schema: Schema[Any] = Schema("index", "the root", json.loads, _Remembering.of)
    return DocumentRequest(schema, b"{}", b"{}", rule(), "acme", (), memory)


class _Remembering(PublisherFileInvalid):
    @classmethod
    def of(cls, why: str, steps: Sequence[str]) -> _Remembering:
        return cls("the root was refused", why=why, next=steps)


def _recalled(folder: Path) -> object:
    return signed_document._recall(_memory_of(folder / "memory.json"))


def _remembered() -> dict[str, Any]:
    key = signed_document._key(_memory_of(Path()))
    newest = signed_document._Remembered(1, 7, "a" * 64, "b" * 64, "2026-01-02T03:04:05Z", signer())
    return {"schema": 1, "documents": {key: newest.to_json()}}


def _stated_root(folder: Path) -> object:
    """What a trust domain's file holds, put to use as a verification does."""
    config = Config(domains=(DomainRule("acme", folder / "root.json", "", None, "config.toml"),))
    paths = Paths(folder, folder / "config.toml", folder / "cache")
    (root,) = (each for each in trusted_roots(config, paths) if each.name == "acme")
    return trusted_at(root, clock.now())


def _root() -> dict[str, Any]:
    period = {"validFor": {"start": "2026-01-01T00:00:00Z"}}
    kinds = ("certificateAuthorities", "ctlogs", "tlogs")
    return {"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"} | {
        kind: [dict(period)] for kind in kinds
    }


def _copy() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "copy.json")
        seen = Sighting("https://tuf.example", "2026-01-02T03:04:05Z", Versions(1, 2, 3, 4))
        RefreshedRoot(seen, b"{}").write(path)
        return dict(json.loads(path.read_bytes()))


def _entry_request() -> dict[str, Any]:
    signature = {"content": "AAAA", "verifier": {"x509Certificate": {"rawBytes": CERTIFICATE}}}
    return {"hashedRekordRequestV002": {"digest": "AAAA", "signature": signature}}


# A certificate of the kind that the log reads; any will do, it is parsed and not verified.
CERTIFICATE = (
    "MIIBAzCBq6ADAgECAgEBMAoGCCqGSM49BAMCMAwxCjAIBgNVBAMMAWEwHhcNMjYwMTAxMDAwMDAwWhcNMzYwMTAx"
    "MDAwMDAwWjAMMQowCAYDVQQDDAFhMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE9nbobQUtVF7T1JNt3iXyFa/L"
    "oB1hVYTnH5J9Ymtf7XW6Wafu0/T/J+SfBm7hHqVPyfrJrqdofemsVehkBE0l1zAKBggqhkjOPQQDAgNHADBEAiBo"
    "icebhlMO6Bs+9gh7CCWXLBYC/tr7GeaU8mFc2axuQwIgIPqOMsy4kg4NWSgwYub594K8VkYOQZcm7X1hAnzRKT8="
)


def _publishers() -> dict[str, Any]:
    person = {
        "namespace": "acme",
        "domain": "public",
        "identity": "alice@acme.example",
        "issuer": "https://accounts.acme.example",
    }
    return {
        "schema": "aperio.publishers/v1",
        "serial": 7,
        "expires": "2031-01-01T00:00:00Z",
        "publishers": [person],
    }


def _index() -> dict[str, Any]:
    artifact = {"os": "linux", "arch": "arm64", "url": "a.tar.gz", "sha256": "b" * 64, "size": 7}
    detail = {"url": "d.json", "sha256": "a" * 64, "size": 9}
    version = index_version(artifacts=[artifact], protocols=["1.0"])
    return {"version": 1, "serial": 3, "plugins": [index_entry(version, detail=detail)]}


def _known(folder: Path) -> object:
    return load_known(Paths(folder, folder / "config.toml", folder / "cache"))


def _known_versions() -> dict[str, Any]:
    status = {"state": "revoked", "reason": "leaks", "at": "2026-01-02T03:04:05Z"}
    said = {
        "epoch": 1,
        "serial": 7,
        "read_at": "2026-01-02T03:04:05Z",
        "versions": {"1.0.0": status},
    }
    return {"schema": 1, "plugins": {"acme/box": {"https://registry.example/": said}}}


ADDRESS = "https://registry.example/registry.json"


def _kept_answer(data: bytes, folder: Path) -> object:
    """A kept answer, whose first line is the document."""
    cache = AnswerCache(folder)
    cache._file(ADDRESS).write_bytes(data + b"\nbody")
    return cache.find(ADDRESS, MIB)


def _answer() -> dict[str, Any]:
    marks = {"etag": '"x"', "last_modified": "Fri, 02 Jan 2026 03:04:05 GMT"}
    return {"schema": 1, "url": ADDRESS, **marks, "sha256": Digest.of(b"body").hex}


def _publisher_file(folder: Path) -> object:
    (folder / "aperio-registry.json").write_text(json.dumps(_source()))
    with open_source(folder) as source:
        return source.publisher(("publishers", "acme.json"))


def _advisory_file(folder: Path) -> object:
    (folder / "aperio-registry.json").write_text(json.dumps(_source()))
    with open_source(folder) as source:
        return source.advisories()


def _log_state(folder: Path) -> object:
    with Beneath(folder) as root:
        return recording._read_state(root).values


def _lock() -> dict[str, Any]:
    person = {"domain": "acme", "identity": "a@b.example", "issuer": "https://i.example"}
    entry = {
        "id": "acme/box",
        "version": "1.2.3",
        "kind": "connector",
        "registry": "https://registry.example/",
        "index_serial": 7,
        "signer": person,
        "artifacts": [{"platform": "linux/amd64", "sha256": "a" * 64, "size": 7}],
    }
    return {"schema": 1, "plugins": [entry]}


def _plugin() -> dict[str, Any]:
    gone = documents.version(version="0.9.0", status=documents.STATUS)
    return documents.plugin(withdrawn=[gone])


MIB = 1024 * 1024
SERVED = (IndexUnreadable, IndexVersionUnknown)
REGISTRY_DOORS: dict[str, Door] = {
    "root": Door(
        lambda data, _: parse_root(data, where="registry.json"),
        documents.root,
        SERVED,
        ROOT_BOUNDS.size_bytes,
    ),
    "shard": Door(
        lambda data, _: parse_shard(data, number=documents.NUMBER, where="shard"),
        documents.shard,
        SERVED,
        SHARD_BOUNDS.size_bytes,
    ),
    "plugin's file": Door(
        lambda data, _: parse_plugin_file(data, where="box.json"),
        lambda: documents.plugin(
            withdrawn=[documents.version(version="0.9.0", status=documents.STATUS)]
        ),
        SERVED,
        PLUGIN_FILE_BOUNDS.size_bytes,
    ),
    "catalogue": Door(
        lambda data, _: parse_catalogue(data, where="catalogue.json"),
        documents.catalogue,
        SERVED,
        CATALOGUE_BOUNDS.size_bytes,
    ),
    "publishers of a registry": Door(
        lambda data, _: parse_publishers(data, where="publishers.json"),
        documents.publishers,
        SERVED,
        PUBLISHERS_BOUNDS.size_bytes,
    ),
    "advisories": Door(
        lambda data, _: parse_advisories(data, where="advisories.json"),
        documents.advisories,
        SERVED,
        ADVISORIES_BOUNDS.size_bytes,
    ),
    "state of a registry's log": Door(
        _written("log/log.json", _log_state),
        lambda: {"schema": recording._SCHEMA, "origin": "o", "checkpoints": []},
        (RegistrySourceInvalid,),
        recording._STATE_BOUNDS.size_bytes,
    ),
    "publisher in a registry's source": Door(
        _written("publishers/acme.json", _publisher_file),
        lambda: {"schema": "aperio.registry.publisher/v1", **documents.publisher()},
        (RegistrySourceInvalid,),
        256 * 1024,
    ),
    "advisory in a registry's source": Door(
        _written("advisories/APERIO-2026-0001.json", _advisory_file),
        documents.advisory,
        (RegistrySourceInvalid,),
        MIB,
    ),
    "what registries said against versions": Door(
        _written("trust/known-versions.json", _known),
        _known_versions,
        (KnownVersionsUnreadable, RecordNewer),
        known.BOUNDS.size_bytes,
    ),
    "kept answer": Door(_kept_answer, _answer, (), 8192, nothing=None),
}
JSON_DOORS: dict[str, Door] = {
    "registry index": Door(
        lambda data, _: RegistryIndex.parse(data, where="plugins.json"),
        _index,
        (IndexUnreadable, IndexVersionUnknown),
        32 * MIB,
    ),
    "detail file": Door(
        lambda data, _: parse_detail(data, where="box.json"),
        lambda: dict(_index()["plugins"][0]),
        (IndexUnreadable,),
        32 * MIB,
    ),
    "publisher file": Door(
        lambda data, _: parse_publisher_file(data, domains=("public",), source="acme.json"),
        _publishers,
        (PublisherFileInvalid,),
        MIB,
    ),
    "statement": Door(_statement, lambda: statement(Digest("a" * 64)), (Fault,), 16 * MIB),
    "identity token": Door(_token, _claims, (IdentityTokenInvalid,), 12 * 1024),
    "document of the local domain": Door(
        _written("domain.json", lambda folder: state.read_document(folder, "domain.json")),
        lambda: {"schema": 1, "identity": "alice@local"},
        (TrustDomainBroken,),
        256 * 1024,
    ),
    "log entry": Door(
        lambda data, _: EntryRequest.parse(data), _entry_request, (EntryInvalid,), 16 * 1024
    ),
    "receipt": Door(
        Receipt.parse,
        lambda: dict(json.loads(receipt().to_bytes())),
        (ReceiptInvalid, ReceiptNewer),
        256 * 1024,
    ),
    "source of a registry": Door(
        _written("aperio-registry.json", _edition),
        _source,
        (RegistrySourceInvalid,),
        64 * 1024,
    ),
    "record of a registry": Door(
        _written("records/acme/box.json", _record), _published, (RegistrySourceInvalid,), 16 * MIB
    ),
    "memory of signed documents": Door(
        _written("memory.json", _recalled), _remembered, (_Remembering,), 4 * MIB
    ),
    "stated root": Door(_written("root.json", _stated_root), _root, (Fault,), MAX_DOCUMENT_BYTES),
    "root in a stated configuration": Door(
        _written("root.json", _stated_root),
        lambda: {
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": _root(),
            "signingConfig": {},
        },
        (Fault,),
        MAX_DOCUMENT_BYTES,
    ),
    "refreshed root": Door(
        _written("copy.json", lambda folder: RefreshedRoot.read(folder / "copy.json")),
        _copy,
        (Damaged,),
        5 * MAX_DOCUMENT_BYTES,
    ),
    "current.json": Door(
        _written("plugins/acme/box/current.json", _current),
        lambda: {"schema": 1, "version": "1.2.3"},
        (RecordNewer,),
        4096,
        nothing=None,
    ),
    "noted checks": Door(
        _written("checks.json", lambda folder: read_checks(folder / "checks.json")),
        lambda: {"schema": 1, "checks": {"1.2.3": {"at": "2026-01-02T03:04:05Z", "ok": True}}},
        (RecordNewer,),
        256 * 1024,
        nothing={},
    ),
    "noted checks of 0.1.0": Door(
        _written("checks.json", lambda folder: read_checks(folder / "checks.json")),
        lambda: {"1.2.3": {"at": "2026-01-02T03:04:05Z", "ok": True}},
        (RecordNewer,),
        256 * 1024,
        nothing={},
    ),
    "settings in JSON": Door(
        _written("a.json", lambda folder: read_settings([], str(folder / "a.json"))),
        lambda: {"base_url": "https://a.example", "days": 7},
        (PluginConfigInvalid, AperioError),
        MIB,
    ),
}
JSON_DOORS |= REGISTRY_DOORS
LARGE = {"catalogue", "state of a registry's log"}
"""Documents that may have millions of members; a signed root vouches for one, git for the other."""
TOML_DOORS: dict[str, Door] = {
    "lock file": Door(
        lambda data, folder: LockFile.parse(data, folder / "aperio.lock"),
        _lock,
        (LockFileInvalid, RecordNewer),
        4 * MIB,
    ),
    "config.toml": Door(
        _written("config.toml", lambda folder: read_site(folder / "config.toml")),
        lambda: {"policy": {"require": "verified"}},
        (ConfigurationInvalid,),
        MIB,
        nothing=ConfigFile(),  # an empty file states nothing
    ),
    "settings in TOML": Door(
        _written("a.toml", lambda folder: read_settings([], str(folder / "a.toml"))),
        lambda: {"base_url": "https://a.example", "days": 7},
        (PluginConfigInvalid, AperioError),
        MIB,
    ),
    "SDK's pyproject.toml": Door(
        _written("pyproject.toml", _sdk),
        lambda: {"project": {"name": "a", "version": "1", "requires-python": ">=3.11"}},
        (NotFound, AperioError),
        4 * MIB,
    ),
}
YAML_DOORS: dict[str, Door] = {
    "manifest": Door(
        lambda data, _: Manifest.parse(data),
        lambda: dict(yaml.safe_load(MANIFEST.replace("TAGS", "cp311"))) | {"protocol": "1.0"},
        (ManifestInvalid, ManifestKindUnknown),
        64 * 1024,
    ),
}
DOORS = JSON_DOORS | TOML_DOORS | YAML_DOORS

DEEP = 100_000
# Put in front of the members of the benign twin, which stays whole.
JSON_MEMBERS: dict[str, bytes] = {
    "key twice": b'"x": 1, "x": 1, ',
    "key twice inside": b'"x": [{"a": 1, "\\u0061": 2}], ',
    "half a pair": b'"x": "\\ud800", ',
    "half a pair as key": b'"\\udfff": 1, ',
    "NaN": b'"x": NaN, ',
    "infinity": b'"x": -Infinity, ',
    "beyond a float": b'"x": [1e400], ',
    "5000 digits": b'"x": %s, ' % (b"9" * 5000),
    "301 digits": b'"x": -%s, ' % (b"9" * 301),
    "NUL": b'"x": "\0", ',
    "not UTF-8": b'"x": "\xff", ',
    "surrogate in UTF-8": b'"x": "\xed\xa0\x80", ',
    "comment": b"/* x */ ",
    "65 levels": b'"x": %s1%s, ' % (b"[" * 65, b"]" * 65),
}
WHOLE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "NUL": lambda _: b"\0",
    "byte order mark alone": lambda _: b"\xef\xbb\xbf",
    "two byte order marks": lambda text: b"\xef\xbb\xbf" * 2 + text,
    "UTF-16": lambda text: text.decode().encode("utf-16"),
    "not UTF-8": lambda text: text + b"\n\xff",
    "deep lists": lambda _: b"[" * DEEP,
    "deep objects": lambda _: b'{"a":' * DEEP,
    "deep and closed": lambda _: b"[" * DEEP + b"]" * DEEP,
    "a list": lambda _: b"[]",
    "a text": lambda _: b'"text"',
    "a number": lambda _: b"7",
    "nothing": lambda _: b"null",
    "a page": lambda _: b"<!DOCTYPE html><html></html>",
}
TOML_MEMBERS: dict[str, bytes] = {
    "key twice": b"x = 1\nx = 1\n",
    "nan": b"x = nan\n",
    "infinity": b"x = [-inf]\n",
    "beyond a float": b"x = 1e400\n",
    "5000 digits": b"x = " + b"9" * 5000 + b"\n",
    "half a pair": b'x = "\\ud800"\n',
    "NUL": b'x = "\0"\n',
    "deep": b"x = " + b"[" * DEEP + b"\n",
    "dotted deep": b".".join([b"x"] * 200) + b" = 1\n",
}
YAML_MEMBERS: dict[str, bytes] = {
    "key twice": b"x: 1\nx: 1\n",
    "key is a list": b"? [x]\n: 1\n",
    "alias": b"x: &a 1\ny: *a\n",
    "aliases that grow": b"x: &a [1, 1]\ny: &b [*a, *a]\nz: [*b, *b]\n",
    "half a pair": b'x: "\\ud800"\n',
    "beyond Unicode": b'x: "\\UFFFFFFFF"\n',
    "deep": b"x: " + b"[" * 2_000 + b"\n",
    "tag of Python": b"x: !!python/object/apply:os.system [id]\n",
}


def dumped(name: str, document: dict[str, Any]) -> bytes:
    if name in TOML_DOORS:
        return tomlkit.dumps(document).encode()
    return json.dumps(document).encode()  # which is YAML as well


def refused(door: Door, data: bytes, folder: Path) -> bool:
    """Whether the door answers as it may; any other exception goes on."""
    try:
        found = door.read(data, folder)
    except door.errors:
        return True
    return door.nothing is not ... and found == door.nothing


@each_row("name", DOORS)
@each_row("mark", [b"", b"\xef\xbb\xbf"], ids=["", "byte order mark"])
def test_benign_twin_is_read(name: str, mark: bytes, tmp_path: Path) -> None:
    door = DOORS[name]
    assert not refused(door, mark + dumped(name, door.benign()), tmp_path)


@each_row("case", JSON_MEMBERS)
@each_row("name", JSON_DOORS)
def test_hostile_member_of_json_is_refused(name: str, case: str, tmp_path: Path) -> None:
    door = JSON_DOORS[name]
    benign = json.dumps(door.benign()).encode()
    assert refused(door, b"{" + JSON_MEMBERS[case] + benign[1:], tmp_path)


@each_row("case", TOML_MEMBERS)
@each_row("name", TOML_DOORS)
def test_hostile_member_of_toml_is_refused(name: str, case: str, tmp_path: Path) -> None:
    door = TOML_DOORS[name]
    assert refused(door, TOML_MEMBERS[case] + dumped(name, door.benign()), tmp_path)


@each_row("case", YAML_MEMBERS)
def test_hostile_member_of_yaml_is_refused(case: str, tmp_path: Path) -> None:
    benign = yaml.safe_dump(YAML_DOORS["manifest"].benign()).encode()
    assert not refused(YAML_DOORS["manifest"], benign, tmp_path)
    assert refused(YAML_DOORS["manifest"], YAML_MEMBERS[case] + benign, tmp_path)


@each_row(
    "name",
    # Of the local domain, whoever opens it asks; test_newer has it.
    [each for each in DOORS if "schema" in DOORS[each].benign() and "local domain" not in each],
)
def test_schema_that_no_aperio_writes_is_refused(name: str, tmp_path: Path) -> None:
    """`true` and `1.0` are 1 to Python; what a later aperio writes is in test_newer."""
    door = DOORS[name]
    known = door.benign()["schema"]
    of_a_name = [f"{known}.0", f"{known}x", f" {known}", str(known).upper()]
    of_a_number = [str(known), "2", True, False, 1.0, 2.0, 0, -1]
    for schema in (None, [], {}, "", *(of_a_number if known == 1 else of_a_name)):
        if schema is None and name in TOML_DOORS:
            continue  # TOML has no null
        document = door.benign() | {"schema": schema}
        assert refused(door, dumped(name, document), tmp_path), schema


@each_row("case", WHOLE)
@each_row("name", DOORS)
def test_hostile_document_is_refused(name: str, case: str, tmp_path: Path) -> None:
    door = DOORS[name]
    data = WHOLE[case](dumped(name, door.benign()))
    if name == "settings in TOML" and case.endswith("alone"):
        assert not refused(door, data, tmp_path)  # which states nothing, as an empty file does
    elif not (name == "settings in TOML" and case == "empty"):
        assert refused(door, data, tmp_path)


@each_row("name", DOORS)
def test_too_large_a_document_is_refused(name: str, tmp_path: Path) -> None:
    door = DOORS[name]
    benign = dumped(name, door.benign())
    assert refused(door, benign + b"\n" * (door.limit_bytes + 1 - len(benign)), tmp_path)


@each_row(
    ("name", "unit"),
    [
        (name, unit)
        for name in JSON_DOORS
        for unit in (b'{"":{}},', b"[],", b"1,")
        # Only slow there while memory is traced; test_registry_index has it.
        if name not in LARGE and (JSON_DOORS[name].limit_bytes <= MIB or b'"' not in unit)
    ],
)
def test_memory_stays_near_the_size_of_the_text(name: str, unit: bytes, tmp_path: Path) -> None:
    door = JSON_DOORS[name]
    benign = json.dumps(door.benign()).encode()
    count = min(door.limit_bytes, 3 * MIB) // len(unit) - len(benign)
    data = b'{"x": [' + unit * max(count, 1) + b"1], " + benign[1:]
    refused(door, benign, tmp_path)  # what it imports is no part of what it needs
    tracemalloc.start()
    try:
        refused(door, data, tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * len(data) + 8 * MIB


STRANGE: tuple[Any, ...] = (
    None, True, -1, 0, 2**63, 10**299, 1.5, "", " ", "x", "\0", "\x1b[2J", "x" * 5000, [], [[]],
    [None], [{}], ["x"], {}, {"": {}}, {"x": []},
)  # fmt: skip


def replacements(document: Any) -> list[Any]:
    """The document, once for each of its values and each strange one in the value's place."""
    found: list[Any] = []
    # Of a list with entries that are read alike, such as 256 shards, the first ones: one inside.
    keys = document.keys() if isinstance(document, dict) else range(min(len(document), 2))
    for key in keys:
        is_looked_into = isinstance(document[key], dict | list) and key != 1
        inner = replacements(document[key]) if is_looked_into else []
        for value in (*STRANGE, *inner):
            changed = copy.copy(document)
            changed[key] = value
            found.append(changed)
    return found


@each_row("name", DOORS)
def test_values_of_other_types_never_end_in_another_exception(name: str, tmp_path: Path) -> None:
    door = DOORS[name]
    answers = set()
    for document in replacements(door.benign()):
        try:
            data = dumped(name, document)
        except (tomlkit.exceptions.TOMLKitError, ValueError):
            continue  # TOML has no null
        answers.add(refused(door, data, tmp_path))
    assert answers <= {True, False}
    assert answers


@each_row("case", JSON_MEMBERS)
def test_hostile_default_of_a_plugin_is_refused(case: str, tmp_path: Path) -> None:
    assert _default(b'"text"', tmp_path) == "text"
    try:
        text = (b"{" + JSON_MEMBERS[case] + b'"a": 1}').decode()
    except UnicodeDecodeError:
        return  # protobuf carries UTF-8 only
    with pytest.raises(PluginContractBroken, match="answered Schema") as caught:
        _default(text.encode(), tmp_path)
    assert "`k`: the plugin's own default is not JSON" in caught.value.why


# ── what is no JSON ───────────────────────────────────────────────────────────────────────────────


CHECKPOINT = Checkpoint("registry.example/log", 3, bytes(range(32)))


def _note(data: bytes, _folder: Path) -> object:
    return Checkpoint.parse(Note.parse(data).text)


def _checkpoint() -> bytes:
    return CHECKPOINT.to_bytes([NoteSignature("registry.example/log", b"abcd", bytes(64))])


def _proof() -> bytes:
    path = (bytes(32), bytes(range(32)))
    return LogProof(1, path, Note(CHECKPOINT.text)).to_bytes()


@functools.cache
def _logged() -> Tree:
    return Tree(leaf_hash(b"entry %d" % number) for number in range(300))


def _tile(data: bytes, _folder: Path) -> object:
    """A proof of what stands in a log, all of whose tiles but one are as they are."""
    tree = _logged()
    changed = Tile(0, 1, 44)
    tiles = TiledTree(300, lambda tile: data if tile == changed else tile_data(tree, tile))
    path = tiles.inclusion_proof(299)
    check_inclusion(leaf_hash(b"entry 299"), 299, (300, tree.root()), path)
    return path


ENTRIES = [b"one", b"", b"three"]


@dataclass(frozen=True)
class Plain:
    """A door for bytes that are no JSON, TOML or YAML; as `Door`."""

    read: Read
    benign: Callable[[], bytes]
    errors: tuple[type[Exception], ...]
    limit_bytes: int


PLAIN: dict[str, Plain] = {
    "checkpoint": Plain(_note, _checkpoint, (NoteInvalid,), MAX_NOTE_BYTES),
    "proof": Plain(
        lambda data, _: LogProof.parse(data).checkpoint, _proof, (NoteInvalid,), MAX_PROOF_BYTES
    ),
    "tile": Plain(
        _tile, lambda: tile_data(_logged(), Tile(0, 1, 44)), (ProofInvalid,), MAX_TILE_BYTES
    ),
    "entry": Plain(
        lambda data, _: parse_entry(data),
        lambda: PublisherEntry("acme", Digest("a" * 64)).to_bytes(),
        (EntryUnreadable,),
        MAX_ENTRY_BYTES,
    ),
    "entries": Plain(
        lambda data, _: entries_in(data, 3),
        lambda: bundle_data(ENTRIES),
        (ValueError,),
        MAX_BUNDLE_BYTES,
    ),
}
BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "NUL": lambda _: b"\0",
    "NUL in front": lambda data: b"\0" + data,
    "a page": lambda _: b"<!DOCTYPE html><html></html>",
    "JSON": lambda _: b'{"version": 1}',
    "cut": lambda data: data[:-1],
    "half": lambda data: data[: len(data) // 2],
    "twice": lambda data: data * 2,
    "UTF-16": lambda data: data.decode("latin-1").encode("utf-16"),
    "carriage returns": lambda data: b"\r\n" + data.replace(b"\n", b"\r\n"),
    "a byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "not UTF-8": lambda data: b"\xff" + data,
    "without end": lambda data: data + b"A" * MIB,
}
TAKEN = {("checkpoint", "a byte order mark"), ("entry", "JSON"), ("entry", "a byte order mark")}
"""The origin of another log is as good a name; entries of other kinds are passed over."""


@each_row("name", PLAIN)
def test_benign_bytes_are_read(name: str, tmp_path: Path) -> None:
    assert PLAIN[name].read(PLAIN[name].benign(), tmp_path)


@each_row("case", BROKEN)
@each_row("name", PLAIN)
def test_broken_bytes_are_refused(name: str, case: str, tmp_path: Path) -> None:
    door = PLAIN[name]
    if (name, case) not in TAKEN:
        with pytest.raises(door.errors):
            door.read(BROKEN[case](door.benign()), tmp_path)


@each_row("name", PLAIN)
def test_changed_bytes_never_end_in_another_exception(name: str, tmp_path: Path) -> None:
    door, chooser = PLAIN[name], random.Random(5)  # noqa: S311 - repeatable
    benign = door.benign()
    answers: set[str] = set()
    for _ in range(400):
        mutant = mutations.of_bytes(benign, chooser)
        if mutant.data == benign:
            continue
        try:
            door.read(mutant.data, tmp_path)
        except door.errors:
            answers.add("refused")
        else:
            answers.add("read")
            if name == "tile":  # its hashes are held to the checkpoint, but for that of the entry
                assert mutant.data[:-HASH_BYTES] == benign[:-HASH_BYTES], mutant.changes
    assert "refused" in answers
