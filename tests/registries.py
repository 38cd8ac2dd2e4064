"""Registries for tests: real documents from a root down, signed when a trust domain is given."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aperio_cli.models.artifact import BUNDLE_SUFFIX
from aperio_cli.models.digest import Digest
from aperio_cli.models.registry import log_entry
from aperio_cli.models.registry.documents import (
    ADVISORIES_FILE,
    CATALOGUE_FILE,
    FEED_FILE,
    PUBLISHERS_FILE,
    ROOT_FILE,
    SHARDS,
    FileRef,
    shard_number,
    shard_path,
)
from aperio_cli.models.registry.plugin_file import parse_plugin_file
from aperio_cli.models.registry.rule import RegistryRule
from aperio_cli.models.registry_index import FILE_NAME
from aperio_cli.publishing.recording import RegistryLog, Statements, log_files
from tests.builders import PLUGIN, VERSION, rule
from tests.trust import Forge

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from aperio_cli.signing.local import LocalDomain

MOMENT = "2026-06-06T00:00:00Z"
END = "2999-01-01T00:00:00Z"


def signed_rule(url: str, **changes: Any) -> RegistryRule:
    """What an operator states of a registry that tests sign."""
    return RegistryRule(url, rule(namespace="*"), **changes)


def artifact_entry(**changes: Any) -> dict[str, Any]:
    """One artifact of a version."""
    stated: dict[str, Any] = {
        "os": "linux",
        "arch": "amd64",
        "url": "artifacts/box.tar.gz",
        "sha256": "a" * 64,
        "size": 100,
    }
    return stated | changes


def artifact_of(path: Path, **changes: Any) -> dict[str, Any]:
    """What a registry says of an artifact in its folder, with the bundle beside it."""
    data = path.read_bytes()
    bundle = path.with_name(path.name + BUNDLE_SUFFIX)
    stated = {"url": path.name, "sha256": Digest.of(data).hex, "size": len(data)}
    if bundle.exists():
        stated |= {
            "sigstore_bundle": bundle.name,
            "bundle_sha256": Digest.of(bundle.read_bytes()).hex,
        }
    return artifact_entry(**stated | changes)


def version_entry(version: str = VERSION, **changes: Any) -> dict[str, Any]:
    """One version in a plugin's file."""
    stated: dict[str, Any] = {
        "version": version,
        "published_at": MOMENT,
        "protocols": ["1.0"],
        "publisher": {"name": "acme", "verified": False},
        "artifacts": [artifact_entry()],
    }
    return stated | changes


def withdrawn(state: str, version: str = VERSION, **changes: Any) -> dict[str, Any]:
    """One version that was yanked or revoked."""
    status = {"state": state, "reason": f"it was {state} for a reason", "at": MOMENT} | changes
    return version_entry(version, status=status)


def plugin_entry(*versions: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A plugin's file; versions that are withdrawn go where they belong."""
    stated = list(versions) or [version_entry()]
    gone = [v for v in stated if v.get("status", {}).get("state") in {"yanked", "revoked"}]
    entry: dict[str, Any] = {
        "version": 1,
        "id": PLUGIN,
        "kind": "connector",
        "description": "Audit events from Box",
        "license": "Apache-2.0",
        "versions": [v for v in stated if v not in gone],
        "withdrawn": gone,
        "permissions": {"oauth_scopes": [], "egress": ["api.box.com:443"], "needs_kv": False},
    }
    return entry | changes


def _empty_shard(number: int) -> dict[str, Any]:
    return {"version": 1, "shard": f"{number:02x}", "plugins": {}, "namespaces": []}


@functools.cache
def _empty_shard_data(number: int) -> tuple[bytes, dict[str, object]]:
    """Its bytes, and what others state of them."""
    data = json.dumps(_empty_shard(number)).encode()
    return data, FileRef.of(data).to_json()


@dataclass(frozen=True)
class Site:
    """A registry's folder, and who signs its root.

    Attributes:
        folder: what is served.
        domain: the local trust domain that signs; None for nobody.
    """

    folder: Path
    domain: LocalDomain | None = None

    def publish(
        self,
        *plugins: dict[str, Any],
        namespaces: Iterable[str] = (),
        advisories: Iterable[dict[str, Any]] = (),
        publishers: Iterable[dict[str, Any]] = (),
        log: RegistryLog | None = None,
        **root: Any,
    ) -> Path:
        """Write an edition, and give the folder; with a log, what is new goes into it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if log is not None:
            root = {"log": self.write_log(log, plugins)} | root
        shards: dict[int, dict[str, Any]] = {}  # that hold something
        for plugin in plugins:
            ref = self.write(f"plugins/{plugin['id']}.json", plugin)
            number = shard_number(plugin["id"])
            shards.setdefault(number, _empty_shard(number))["plugins"][plugin["id"]] = ref
        for namespace in namespaces:
            number = shard_number(namespace)
            shards.setdefault(number, _empty_shard(number))["namespaces"].append(namespace)
        rows = [row(plugin) for plugin in plugins]
        files = {
            FILE_NAME: self.write(FILE_NAME, {"version": 1, "updated_at": MOMENT, "plugins": []}),
            CATALOGUE_FILE: self.write(CATALOGUE_FILE, {"version": 1, "plugins": rows}),
            PUBLISHERS_FILE: self.write(
                PUBLISHERS_FILE, {"version": 1, "publishers": list(publishers)}
            ),
            ADVISORIES_FILE: self.write(
                ADVISORIES_FILE, {"version": 1, "advisories": list(advisories)}
            ),
            FEED_FILE: self.write(FEED_FILE, {}),
        }
        stated: dict[str, Any] = {
            "version": 1,
            "updated_at": MOMENT,
            "epoch": 1,
            "serial": 1,
            "expires_at": END,
            "files": files,
            "shards": [
                self.write(shard_path(n), shards[n]) if n in shards else self._write_empty(n)
                for n in range(SHARDS)
            ],
        }
        self.write(ROOT_FILE, stated | root)
        self.sign()
        return self.folder

    def write(self, path: str, document: dict[str, Any]) -> dict[str, object]:
        """Write a document, and give what others state of it."""
        data = json.dumps(document).encode()
        file = self.folder / path
        # An edition has hundreds of files: a folder is made only where one is missing.
        try:
            file.write_bytes(data)
        except FileNotFoundError:
            file.parent.mkdir(parents=True)
            file.write_bytes(data)
        return FileRef.of(data).to_json()

    def _write_empty(self, number: int) -> dict[str, object]:
        """Write a shard that holds nothing, where it does not stand as it is: most do."""
        data, ref = _empty_shard_data(number)
        path = f"{self.folder}/{shard_path(number)}"
        try:
            with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - 256 in each edition
                if file.read() == data:
                    return dict(ref)
        except FileNotFoundError:
            os.makedirs(f"{self.folder}/shards", exist_ok=True)  # noqa: PTH103 - as above
        with open(path, "wb", buffering=0) as file:  # noqa: PTH123 - as above
            file.write(data)
        return dict(ref)

    def write_log(self, log: RegistryLog, plugins: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """Log what the plugins' files state, say in them where, and give what the root states."""
        entries, statuses = [], []
        for plugin in plugins:
            read = parse_plugin_file(json.dumps(plugin).encode(), where="the file")
            for version in read.versions:
                if version.status:
                    status = log_entry.status_entry(read.id, version.version, version.status)
                    statuses.append(status)
                entries += [
                    log_entry.artifact_entry(read.id, version, each) for each in version.artifacts
                ]
        log.extend(Statements(tuple(entries), tuple(statuses)))
        stated = (
            (plugin["id"], version["version"], artifact)
            for plugin in plugins
            for version in [*plugin["versions"], *plugin["withdrawn"]]
            for artifact in version["artifacts"]
        )
        places = {each.subject[1:]: log.index_of(each) for each in entries}
        for name, version, artifact in stated:
            artifact["log_index"] = places[name, version, f"{artifact['os']}/{artifact['arch']}"]
        for path, data in log_files(log):
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_bytes(data)
        assert log.checkpoint
        return log.checkpoint.to_json()

    def sign(self, domain: LocalDomain | None = None) -> None:
        """Sign the root as it is."""
        signer = domain or self.domain
        if signer:
            digest = Digest.of((self.folder / ROOT_FILE).read_bytes())
            bundle = Forge.of(signer).bundle_json(digest)
            (self.folder / (ROOT_FILE + BUNDLE_SUFFIX)).write_bytes(bundle)


def row(plugin: dict[str, Any]) -> dict[str, Any]:
    """A plugin's row in the catalogue."""
    versions = plugin["versions"]
    return {
        "id": plugin["id"],
        "kind": plugin["kind"],
        "description": plugin["description"],
        "license": plugin["license"],
        "latest": versions[0]["version"] if versions else "",
        "platforms": ["linux/amd64"],
        "publisher": {"name": plugin["id"].partition("/")[0], "verified": False},
        "published_at": MOMENT,
        "status": "active",
    }


def tree_digest(folder: Path) -> str:
    """A digest of every file in a folder, to see that nothing changed."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found.update(str(path).encode() + path.read_bytes())
    return found.hexdigest()
