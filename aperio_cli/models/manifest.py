"""manifest.yaml: what the author declares about a plugin (`aperio.plugin.manifest/v1`).

The format is described by `docs/reference/manifest.schema.json`. Every scalar of the file is read
as text, so that nothing is guessed; aliases and duplicate keys are refused, because two readers may
resolve them differently.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from typing import NoReturn

from aperio_cli.errors.building import EgressOperatorOnly, ManifestInvalid, ManifestKindUnknown
from aperio_cli.models.egress import PORT, RULE, is_for_operators
from aperio_cli.models.limits import Limits, parse_duration, parse_size
from aperio_cli.models.plugin_id import PluginId, check_version
from aperio_cli.models.protocol import parse_protocol
from aperio_cli.models.reading import Bounds, Table, parse_yaml
from aperio_cli.text import clean, nearest, page

SCHEMA = "aperio.plugin.manifest/v1"
FILE_NAME = "manifest.yaml"
MAX_BYTES = 64 * 1024
KINDS = ("connector", "remediation", "destination")

_REQUIRED = ("schema", "id", "version", "kind", "provider", "name", "description", "license")
_REQUIRED_TOO = ("protocol", "runtime", "entrypoint")
_OPTIONAL = ("homepage", "source", "scopes", "permissions", "limits", "state")
_PROVIDER = re.compile(r"[A-Z][A-Z0-9_]{0,62}", re.ASCII)
_PROTOCOL = re.compile(r"([1-9]\d{0,3})\.(0|[1-9]\d{0,3})", re.ASCII)
_ENTRYPOINT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
_HOST_PORT_WORDS = "host:port, exact or with one leading `*.`, such as api.box.com:443"
# A whole number may be written `8.0`: JSON Schema, by which editors check, knows no difference.
_PORT_NUMBER = re.compile(PORT + r"(?:\.0+)?", re.ASCII)
_COUNT = re.compile(r"[1-9]\d{0,5}(?:\.0+)?", re.ASCII)
# From 0.001 to below 1000, in any number of digits: what a float may be written as.
_CORES = re.compile(r"(?=\d*[1-9]|\d+\.\d{0,2}[1-9])\d{1,3}(?:\.\d{1,20})?", re.ASCII)
_SUFFIX = re.compile(r"(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?){2,}", re.ASCII)
_FIELD = re.compile(r"[a-z][a-z0-9_]{0,62}", re.ASCII)
_TAG = re.compile(r"cp3(\d{1,2})", re.ASCII)
_URL = re.compile(r"(?=.{1,500}\Z)https?://[^\s<>\"']+", re.ASCII)
_LICENSE = re.compile(r"(?=.*[^ ])[A-Za-z0-9.+() -]{1,120}", re.ASCII)
_SCOPE = re.compile(r"[\x21-\x7e]{1,200}", re.ASCII)
_MAX_TEXT = 500
_COMPARE = f"compare it with {page('docs/reference/manifest.md')}"
_MAX_ENTRIES = 64
_MAX_DEPTH = 8
_LEFT_OUT = (("homepage", ""), ("source", ""))  # what an author leaves out and a record states


@dataclass(frozen=True, slots=True)
class EgressFromConfig:
    """A host that comes from the operator's configuration, held to a suffix.

    Attributes:
        field: configuration key whose value is the host name.
        suffix: what the host name must end in, such as `.okta.com`.
        port: TCP port.
    """

    field: str
    suffix: str
    port: int


@dataclass(frozen=True, slots=True)
class Runtime:
    """How the plugin runs: `python` with the interpreter tags it carries, or `go`."""

    language: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest that was read and found well formed.

    Attributes:
        id: the plugin's id; a claim until something else confirms it.
        version: semantic version without build metadata.
        kind: connector, remediation or destination.
        provider: upper-case name of the service, such as `BOX`.
        protocol: version of the plugin interface, (major, minor).
        entrypoint: file name in `bin/`, without suffix.
        egress: `host:port` rules, exact or with one leading `*.`.
        folders_from_config: configuration keys whose values are folders that it writes to.
        state: whether the plugin needs the key-value store.
    """

    id: PluginId
    version: str
    kind: str
    provider: str
    name: str
    description: str
    license: str
    protocol: tuple[int, int]
    runtime: Runtime
    entrypoint: str
    homepage: str = ""
    source: str = ""
    scopes: tuple[str, ...] = ()
    egress: tuple[str, ...] = ()
    egress_from_config: tuple[EgressFromConfig, ...] = ()
    folders_from_config: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    state: bool = False

    @classmethod
    def parse(cls, data: bytes, *, where: str = FILE_NAME) -> Manifest:
        """Return the manifest in these bytes.

        Args:
            data: contents of manifest.yaml, UTF-8.
            where: what to call the file in messages.

        Raises:
            ManifestInvalid: too large, not YAML, or a key that is missing, unknown or malformed.
            ManifestKindUnknown: the kind is none of the three.
            EgressOperatorOnly: it asks for a place that only an operator may open.
        """
        bounds = Bounds(MAX_BYTES, depth=_MAX_DEPTH)
        return _manifest(parse_yaml(data, bounds, functools.partial(_fail, where)), where)

    @classmethod
    def from_record(cls, table: Table) -> Manifest:
        """Return the manifest that a record carries under `manifest`, as `to_json` gave it.

        Keys that this release does not know are ignored, and those it knows have defaults unless
        every manifest so far had to have them: a record outlives the release that made it.
        """
        found = table.table("manifest")
        found.choice("kind", KINDS)  # a record's fault, where `_kind` blames the author of a file
        declared = {k: _written(v) for k, v in found.values.items() if (k, v) not in _LEFT_OUT}
        return _manifest(Table(declared, found.fail, is_record=True), FILE_NAME)

    def to_json(self) -> dict[str, object]:
        """Return the manifest with the keys of its file and typed values, as receipts carry it."""
        return {
            "schema": SCHEMA,
            "id": str(self.id),
            "version": self.version,
            "kind": self.kind,
            "provider": self.provider,
            "name": self.name,
            "description": self.description,
            "license": self.license,
            "homepage": self.homepage,
            "source": self.source,
            "protocol": f"{self.protocol[0]}.{self.protocol[1]}",
            "runtime": {"language": self.runtime.language, "tags": list(self.runtime.tags)},
            "entrypoint": self.entrypoint,
            "scopes": list(self.scopes),
            "permissions": {
                "egress": list(self.egress),
                "egress_from_config": [
                    {"field": rule.field, "suffix": rule.suffix, "port": rule.port}
                    for rule in self.egress_from_config
                ],
                "folders_from_config": list(self.folders_from_config),
            },
            "limits": self.limits.to_json(),
            "state": self.state,
        }


def _manifest(table: Table, where: str) -> Manifest:
    required = (*_REQUIRED, *_REQUIRED_TOO)
    table.check_keys((*required, *_OPTIONAL), required=required)
    if table.value("schema") != SCHEMA:
        table.fail("schema", f"expected {SCHEMA}")
    kind = _kind(table, where)
    permissions = _optional(table, "permissions")
    permissions.check_keys(("egress", "egress_from_config", "folders_from_config"))
    if not table.is_record:  # one of before this was refused is read: the door opens none of it
        _refuse_operators_places(permissions, where)
    return Manifest(
        id=table.converted("id", PluginId.parse),
        version=table.converted("version", check_version),
        kind=kind,
        provider=table.matching("provider", _PROVIDER, "upper-case letters, such as BOX"),
        name=table.prose("name", limit=_MAX_TEXT),
        description=table.prose("description", limit=_MAX_TEXT),
        license=table.matching("license", _LICENSE, "an SPDX expression, such as MIT"),
        protocol=parse_protocol(table.matching("protocol", _PROTOCOL, '"1.0"')),
        runtime=_runtime(table.table("runtime")),
        entrypoint=table.matching("entrypoint", _ENTRYPOINT, "lower-case letters and hyphens"),
        homepage=_url(table, "homepage"),
        source=_url(table, "source"),
        scopes=_list(table, "scopes", _SCOPE, "scope names without spaces"),
        egress=_list(permissions, "egress", RULE, _HOST_PORT_WORDS),
        egress_from_config=_egress_from_config(permissions),
        folders_from_config=_list(permissions, "folders_from_config", _FIELD, "configuration keys"),
        limits=_limits(_optional(table, "limits")),
        state="state" in table and table.choice("state", ("true", "false")) == "true",
    )


def _written(value: object) -> object:
    """Return a value of `to_json` as an author writes it: numbers and truth values as text."""
    if isinstance(value, dict):
        return {key: _written(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_written(inner) for inner in value]
    return str(value).lower() if isinstance(value, int | float) else value


def _fail(where: str, key: str, why: str) -> NoReturn:
    subject = f"`{clean(key, limit=80)}` is wrong" if key else "it is no manifest"
    raise ManifestInvalid(
        f"`{where}` was not accepted: {subject}",
        why=why,
        next=[_COMPARE],
    )


def _refuse_operators_places(permissions: Table, where: str) -> None:
    """Refuse a manifest that asks for an address, or for a host of somebody's own network.

    Raises:
        EgressOperatorOnly: it does.
    """
    found = [text for text in permissions.texts("egress") if is_for_operators(text)]
    key = "egress_from_config"
    if key in permissions:
        entries = permissions.tables(key, most=_MAX_ENTRIES)
        suffixes = [str(entry.values.get("suffix")) for entry in entries]
        found += [suffix for suffix in suffixes if is_for_operators(f"x{suffix}:1")]
    if found:
        raise EgressOperatorOnly(
            f"`{where}` was not accepted: it asks for what only an operator may open",
            why=f"permissions: {clean(', '.join(found), limit=200)}"
            "\nexpected hosts that everybody reaches by name",
            next=[
                "name the service's public host, or leave it out",
                "whoever runs the plugin opens it: `aperio plugin grant PLUGIN --own HOST:PORT`",
                "while you develop, state this machine's in a setting: `--set KEY=http://127.0.0.1:8080`",
            ],
        )


def _kind(table: Table, where: str) -> str:
    kind = table.prose("kind", limit=_MAX_TEXT)
    if kind in KINDS:
        return kind
    raise ManifestKindUnknown(
        f"`{where}` was not accepted: it names no known plugin kind",
        why=f"kind: {clean(kind, limit=80)}; expected connector, remediation or destination",
        next=nearest(kind, KINDS) or [_COMPARE],
    )


def _optional(table: Table, key: str) -> Table:
    return table.table(key) if key in table else table.inner(key)


def _url(table: Table, key: str) -> str:
    return table.matching(key, _URL, "a web address") if key in table else ""


def _list(table: Table, key: str, pattern: re.Pattern[str], expected: str) -> tuple[str, ...]:
    found = table.texts(key)
    if len(found) > _MAX_ENTRIES:
        table.fail(key, f"expected a list of at most {_MAX_ENTRIES} entries")
    for text in found:
        if not pattern.fullmatch(text):
            table.fail(key, f"expected a list of {expected}\nreceived {clean(text, limit=80)}")
    return found


def _runtime(table: Table) -> Runtime:
    table.check_keys(("language", "tags"), required=("language",))
    language = table.choice("language", ("go", "python"))
    tags = _list(table, "tags", _TAG, "interpreter tags such as cp311")
    if (language == "python") != bool(tags):
        table.fail("tags", "python needs at least one tag; go has none")
    return Runtime(language, tags)


def _egress_from_config(permissions: Table) -> tuple[EgressFromConfig, ...]:
    key = "egress_from_config"
    if key not in permissions:
        return ()
    return tuple(_from_config(each) for each in permissions.tables(key, most=_MAX_ENTRIES))


def _from_config(table: Table) -> EgressFromConfig:
    keys = ("field", "suffix", "port")
    table.check_keys(keys, required=keys)
    return EgressFromConfig(
        field=table.matching("field", _FIELD, "a configuration key"),
        suffix=table.matching("suffix", _SUFFIX, "a suffix such as .okta.com"),
        port=int(float(table.matching("port", _PORT_NUMBER, "a TCP port"))),
    )


def _limits(table: Table) -> Limits:
    table.check_keys(("memory", "cpu", "processes", "open_files", "tmp", "duration"))
    default = Limits()
    return Limits(
        memory_bytes=_size(table, "memory", default.memory_bytes),
        cpu=_cores(table, default.cpu),
        processes=_count(table, "processes", default.processes),
        open_files=_count(table, "open_files", default.open_files),
        tmp_bytes=_size(table, "tmp", default.tmp_bytes),
        duration_s=table.converted("duration", parse_duration)
        if "duration" in table
        else default.duration_s,
    )


def _size(table: Table, key: str, default: int) -> int:
    return table.converted(key, parse_size) if key in table else default


def _count(table: Table, key: str, default: int) -> int:
    if key not in table:
        return default
    return int(float(table.matching(key, _COUNT, "a whole number from 1 to 999999")))


def _cores(table: Table, default: float) -> float:
    if "cpu" not in table:
        return default
    return float(table.matching("cpu", _CORES, "a number of cores from 0.001 to 999.999"))
