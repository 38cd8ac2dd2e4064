"""manifest.yaml: what the author declares about a plugin (`aperio.plugin.manifest/v1`).

The format is described by `docs/reference/manifest.schema.json`. It is read with PyYAML's
BaseLoader, so every scalar is a string and nothing is guessed; aliases and duplicate keys are
refused, because two readers may resolve them differently.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from aperio_cli.errors import AperioError
from aperio_cli.errors.building import ManifestInvalid, ManifestKindUnknown
from aperio_cli.models.limits import Limits, parse_size
from aperio_cli.models.plugin_id import PluginId, check_version
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aperio_cli.models.table import Table

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
_HOST_PORT = re.compile(
    r"(?:\*\.)?[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)+"
    r":(?P<port>[1-9]\d{0,4})",
    re.ASCII,
)
_SUFFIX = re.compile(r"(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?){2,}", re.ASCII)
_FIELD = re.compile(r"[a-z][a-z0-9_]{0,62}", re.ASCII)
_TAG = re.compile(r"cp3(\d{1,2})", re.ASCII)
_URL = re.compile(r"https?://[^\s<>\"']{1,500}", re.ASCII)
_LICENSE = re.compile(r"[A-Za-z0-9.+() -]{1,120}", re.ASCII)
_SCOPE = re.compile(r"[\x21-\x7e]{1,200}", re.ASCII)
_MAX_PORT = 65535
_MAX_TEXT = 500

_Parsed = TypeVar("_Parsed")


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
    limits: Limits = field(default_factory=Limits)
    state: bool = False

    @classmethod
    def parse(cls, data: bytes, *, where: str = FILE_NAME) -> Manifest:
        """The manifest in these bytes.

        Args:
            data: contents of manifest.yaml, UTF-8.
            where: what to call the file in messages.

        Raises:
            ManifestInvalid: too large, not YAML, or a key that is missing, unknown or malformed.
            ManifestKindUnknown: the kind is none of the three.
        """
        return _Reader(_load(data, where), where).manifest()

    @classmethod
    def from_record(cls, table: Table) -> Manifest:
        """Return the manifest that a record carries under `manifest`, as `to_json` gave it.

        Keys that this release does not know are ignored, and those it knows have defaults unless
        every manifest so far had to have them: a record outlives the release that made it.
        """
        declared = table.table("manifest").values
        try:
            return _Reader(declared, "manifest", is_record=True).manifest()
        except (ManifestInvalid, ManifestKindUnknown) as error:
            table.fail("manifest", f"{error.what}\n{error.why}".strip())

    def to_json(self) -> dict[str, object]:
        """The manifest with the keys of its file and typed values, as receipts carry it."""
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
            },
            "limits": self.limits.to_json(),
            "state": self.state,
        }


def _load(data: bytes, where: str) -> dict[str, Any]:
    """The YAML mapping in the bytes, scalars as strings."""
    import yaml

    if len(data) > MAX_BYTES:
        raise ManifestInvalid(
            f"`{where}` was not read: it is too large",
            why=f"expected at most {MAX_BYTES} bytes\nreceived {len(data)}",
            next=[_SEE_REFERENCE],
        )
    try:
        loader = yaml.BaseLoader(data.decode("utf-8"))
        node = loader.get_single_node()
        loader.dispose()
        document = _plain(node, where) if node is not None else None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ManifestInvalid(
            f"`{where}` was not read: it is not YAML", why=str(error), next=[_SEE_REFERENCE]
        ) from error
    if not isinstance(document, dict):
        raise ManifestInvalid(
            f"`{where}` was not read: it is not a mapping of keys", next=[_SEE_REFERENCE]
        )
    return document


_SEE_REFERENCE = "compare it with docs/reference/manifest.md"
_MAX_DEPTH = 8


def _plain(node: Any, where: str, depth: int = 0, seen: set[int] | None = None) -> Any:
    """A YAML node as dicts, lists and strings; refuses aliases, duplicate keys and deep nesting."""
    import yaml

    seen = set() if seen is None else seen
    line = node.start_mark.line + 1
    if id(node) in seen:
        raise ManifestInvalid(
            f"`{where}` was not read: aliases are not allowed",
            why=f"line {line}",
            next=["write the value out where it is used"],
        )
    seen.add(id(node))
    if depth > _MAX_DEPTH:
        raise ManifestInvalid(
            f"`{where}` was not read: it is nested too deeply",
            why=f"line {line}",
            next=[_SEE_REFERENCE],
        )
    if isinstance(node, yaml.ScalarNode):
        return node.value
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, where, depth + 1, seen) for child in node.value]
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = key_node.value
        if not isinstance(key, str) or key in mapping:
            raise ManifestInvalid(
                f"`{where}` was not read: the key {clean(key)!r} appears twice or is not text",
                why=f"line {key_node.start_mark.line + 1}",
                next=["remove one of the two, or put the key in quotes"],
            )
        mapping[key] = _plain(value_node, where, depth + 1, seen)
    return mapping


class _Reader:
    """Turns the mapping into a Manifest, naming the key when something is wrong."""

    def __init__(self, document: Mapping[str, Any], where: str, *, is_record: bool = False) -> None:
        self._document = document
        self._where = where
        self._is_record = is_record

    def manifest(self) -> Manifest:
        self._check_keys(self._document, (*_REQUIRED, *_REQUIRED_TOO), _OPTIONAL, "")
        if self._text("schema") != SCHEMA:
            self._fail("schema", f"expected {SCHEMA}")
        kind = self._kind()
        permissions = self._mapping("permissions")
        self._check_keys(permissions, (), ("egress", "egress_from_config"), "permissions.")
        major, minor = self._matching("protocol", _PROTOCOL, '"1.0"').split(".")
        return Manifest(
            id=self._converted("id", PluginId.parse),
            version=self._converted("version", check_version),
            kind=kind,
            provider=self._matching("provider", _PROVIDER, "upper-case letters, such as BOX"),
            name=self._text("name"),
            description=self._text("description"),
            license=self._matching("license", _LICENSE, "an SPDX expression, such as MIT"),
            protocol=(int(major), int(minor)),
            runtime=self._runtime(),
            entrypoint=self._matching("entrypoint", _ENTRYPOINT, "lower-case letters and hyphens"),
            homepage=self._url("homepage"),
            source=self._url("source"),
            scopes=self._scopes(),
            egress=self._egress(permissions),
            egress_from_config=self._egress_from_config(permissions),
            limits=self._limits(),
            state=self._boolean("state"),
        )

    def _fail(self, key: str, why: str, *, problem: str = "wrong") -> NoReturn:
        raise ManifestInvalid(
            f"`{self._where}` was not accepted: `{clean(key, limit=80)}` is {problem}",
            why=why,
            next=[_SEE_REFERENCE],
        )

    def _check_keys(
        self,
        mapping: Mapping[str, Any],
        required: tuple[str, ...],
        optional: tuple[str, ...],
        prefix: str,
    ) -> None:
        for key in required:
            if key not in mapping:
                self._fail(prefix + key, "", problem="missing")
        for key in () if self._is_record else mapping:
            if key not in required and key not in optional:
                close = difflib.get_close_matches(key, required + optional, n=1)
                hint = f"did you mean `{close[0]}`?" if close else ""
                self._fail(prefix + key, hint, problem="unknown")

    def _kind(self) -> str:
        kind = self._text("kind")
        if kind in KINDS:
            return kind
        close = difflib.get_close_matches(kind, KINDS, n=1)
        raise ManifestKindUnknown(
            f"`{self._where}` was not accepted: it names no known plugin kind",
            why=f"kind: {clean(kind, limit=80)}; expected connector, remediation or destination",
            next=[f"did you mean `{close[0]}`?"] if close else [_SEE_REFERENCE],
        )

    def _text(self, key: str, mapping: Mapping[str, Any] | None = None, prefix: str = "") -> str:
        value = (self._document if mapping is None else mapping).get(key)
        if not isinstance(value, str) or not value.strip() or len(value) > _MAX_TEXT:
            self._fail(prefix + key, f"expected text of 1 to {_MAX_TEXT} characters")
        return value

    def _matching(self, key: str, pattern: re.Pattern[str], expected: str) -> str:
        value = self._text(key)
        if not pattern.fullmatch(value):
            self._fail(key, f"expected {expected}\nreceived {clean(value, limit=80)}")
        return value

    def _converted(self, key: str, convert: Callable[[str], _Parsed]) -> _Parsed:
        value = self._text(key)
        try:
            return convert(value)
        except AperioError as error:
            self._fail(key, f"{error.what}\n{error.why}".strip())

    def _mapping(self, key: str) -> Mapping[str, Any]:
        value = self._document.get(key, {})
        if not isinstance(value, dict):
            self._fail(key, "expected a mapping of keys")
        return value

    def _list(self, value: object, key: str) -> list[Any]:
        if not isinstance(value, list) or len(value) > 64:  # noqa: PLR2004 - a bound, said in the message
            self._fail(key, "expected a list of at most 64 entries")
        return value

    def _url(self, key: str) -> str:
        # A record states the blank that an author leaves out.
        is_stated = key in self._document and not (self._is_record and self._document[key] == "")
        return self._matching(key, _URL, "a web address") if is_stated else ""

    def _boolean(self, key: str) -> bool:
        value = self._document.get(key, "false")
        words = (False, True) if isinstance(value, bool) and self._is_record else ("false", "true")
        if value not in words:
            self._fail(key, "expected true or false")
        return bool(value == words[1])

    def _scopes(self) -> tuple[str, ...]:
        scopes = self._list(self._document.get("scopes", []), "scopes")
        for scope in scopes:
            if not isinstance(scope, str) or not _SCOPE.fullmatch(scope):
                self._fail("scopes", "expected a list of scope names without spaces")
        return tuple(scopes)

    def _runtime(self) -> Runtime:
        runtime = self._document["runtime"]
        if not isinstance(runtime, dict):
            self._fail("runtime", "expected `language: python` with `tags`, or `language: go`")
        self._check_keys(runtime, ("language",), ("tags",), "runtime.")
        language = runtime["language"]
        if language not in ("go", "python"):  # not a set: a list may stand there
            self._fail("runtime.language", "expected go or python")
        tags = self._list(runtime.get("tags", []), "runtime.tags")
        if any(not isinstance(tag, str) or not _TAG.fullmatch(tag) for tag in tags):
            self._fail("runtime.tags", "expected interpreter tags such as cp311")
        if (language == "python") != bool(tags):
            self._fail("runtime.tags", "python needs at least one tag; go has none")
        return Runtime(language, tuple(tags))

    def _egress(self, permissions: Mapping[str, Any]) -> tuple[str, ...]:
        rules = self._list(permissions.get("egress", []), "permissions.egress")
        for rule in rules:
            match = _HOST_PORT.fullmatch(rule) if isinstance(rule, str) else None
            if not match or int(match["port"]) > _MAX_PORT:
                self._fail(
                    "permissions.egress",
                    "expected host:port, exact or with one leading `*.`, such as api.box.com:443"
                    f"\nreceived {clean(rule, limit=80)}",
                )
        return tuple(rules)

    def _egress_from_config(self, permissions: Mapping[str, Any]) -> tuple[EgressFromConfig, ...]:
        key = "permissions.egress_from_config"
        found = []
        for entry in self._list(permissions.get("egress_from_config", []), key):
            if not isinstance(entry, dict):
                self._fail(key, "expected entries of field, suffix and port")
            self._check_keys(entry, ("field", "suffix", "port"), (), key + ".")
            field, suffix, port = (str(entry[name]) for name in ("field", "suffix", "port"))
            if not (_FIELD.fullmatch(field) and _SUFFIX.fullmatch(suffix)):
                self._fail(key, "expected a configuration key and a suffix such as .okta.com")
            if not re.fullmatch(r"[1-9][0-9]{0,4}", port) or int(port) > _MAX_PORT:
                self._fail(key + ".port", "expected a TCP port")
            found.append(EgressFromConfig(field, suffix, int(port)))
        return tuple(found)

    def _limits(self) -> Limits:
        mapping = self._mapping("limits")
        self._check_keys(
            mapping, (), ("memory", "cpu", "processes", "open_files", "tmp"), "limits."
        )
        default = Limits()
        try:
            return Limits(
                memory_bytes=_size(mapping, "memory", default.memory_bytes),
                cpu=_cores(mapping, default.cpu),
                processes=_count(mapping, "processes", default.processes),
                open_files=_count(mapping, "open_files", default.open_files),
                tmp_bytes=_size(mapping, "tmp", default.tmp_bytes),
            )
        except ValueError as error:
            self._fail("limits", str(error))


def _size(mapping: Mapping[str, Any], key: str, default: int) -> int:
    return parse_size(str(mapping[key])) if key in mapping else default


def _count(mapping: Mapping[str, Any], key: str, default: int) -> int:
    text = str(mapping.get(key, default))
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text):
        message = f"{key}: expected a whole number from 1 to 999999"
        raise ValueError(message)
    return int(text)


def _cores(mapping: Mapping[str, Any], default: float) -> float:
    text = str(mapping.get("cpu", default))
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3})?", text) or float(text) <= 0:
        message = "cpu: expected a number of cores, such as 0.5"
        raise ValueError(message)
    return float(text)
