"""Names of plugins: `namespace/name`, and with a version."""

from __future__ import annotations

import re
from dataclasses import dataclass

from aperio_cli.errors.usage import PluginIdInvalid, VersionInvalid
from aperio_cli.text import clean

# facts: a namespace follows a code host's organization names, a name is at most 63 characters;
# lower case and ASCII only, so that no file system and no reader can confuse two ids.
_ID = re.compile(
    r"(?P<namespace>[a-z0-9](?:[a-z0-9-]{0,38}))/(?P<name>[a-z0-9][a-z0-9-]{1,62})", re.ASCII
)
_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38})", re.ASCII)
EXPECTED_ID = (
    "expected namespace/name of lower-case letters, digits and hyphens, beginning with a letter or"
    " digit; 1 to 39 and 2 to 63 of them"
)
# Semantic Versioning 2.0.0, item 2, 9 and 11; build metadata is left out: OCI tags have no `+`.
_VERSION = re.compile(
    r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})"
    r"(?:-(?P<pre>(?:0|[1-9]\d{0,15}|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
    r"(?:\.(?:0|[1-9]\d{0,15}|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?",
    re.ASCII,
)
_MAX_VERSION_LENGTH = 64
_NEWEST = "latest"
# How a version is put to a name elsewhere: `name==1.2.3`, `name:1.2.3`.
_OTHER_SEPARATOR = re.compile(r"==?|:", re.ASCII)
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,62}", re.ASCII)


def _meant_version(text: str) -> list[str]:
    """Return the version that was probably meant by a text that is none, as a step."""
    plain = text.strip().lower().removeprefix("v")
    found = next((t for t in (plain, f"{plain}.0", f"{plain}.0.0") if _VERSION.fullmatch(t)), "")
    return [f"did you mean `{found}`?"] if found else ["name it like `1.2.3`"]


def check_version(text: str) -> str:
    """Return the text, when it is a version of semantic versioning 2.0 without build metadata.

    Raises:
        VersionInvalid: when it is not, or is longer than 64 characters.
    """
    if len(text) > _MAX_VERSION_LENGTH or not _VERSION.fullmatch(text):
        raise VersionInvalid(
            f"`{clean(text, limit=80)}` is not a version",
            why="expected semantic versioning without build metadata, such as 1.2.3 or 2.0.0-rc.1",
            next=_meant_version(text),
        )
    return text


def version_key(text: str) -> tuple[tuple[int, int, int], int, tuple[tuple[int, int, str], ...]]:
    """Return a key that sorts valid versions by precedence (Semantic Versioning 2.0.0, item 11)."""
    core, _, pre = text.partition("-")
    major, minor, patch = (int(part) for part in core.split("."))
    identifiers = tuple(
        (0, int(part), "") if part.isdigit() else (1, 0, part) for part in pre.split(".") if part
    )
    return (major, minor, patch), 0 if identifiers else 1, identifiers


def is_prerelease(text: str) -> bool:
    """Return whether a valid version is a pre-release."""
    return "-" in text


@dataclass(frozen=True, slots=True, order=True)
class PluginId:
    """The id of a plugin; as text `acme/box-connector`."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> PluginId:
        """Return the id written as `namespace/name`.

        Raises:
            PluginIdInvalid: when it is not an id.
        """
        match = _ID.fullmatch(text)
        if not match:
            raise PluginIdInvalid(
                f"`{clean(text, limit=120)}` is not a plugin id",
                why=EXPECTED_ID,
                next=meant_id(text),
            )
        return cls(match["namespace"], match["name"])


@dataclass(frozen=True, slots=True)
class PluginRef:
    """What a person names: an id and, optionally, one version; as text `acme/box@1.2.3`."""

    id: PluginId
    version: str | None = None

    def __str__(self) -> str:
        return f"{self.id}@{self.version}" if self.version else str(self.id)

    @classmethod
    def parse(cls, text: str) -> PluginRef:
        """Return the reference written as `namespace/name[@VERSION]`.

        Raises:
            PluginIdInvalid: when the part before `@` is not an id.
            VersionInvalid: when the part after `@` is not a version.
        """
        name, separator, version = text.partition("@")
        plugin = PluginId.parse(name)
        if version.lower() == _NEWEST:
            raise VersionInvalid(
                f"`{version}` is not a version",
                why="without one, the newest that may be used is meant",
                next=[f"leave it out: `{plugin}`"],
            )
        return cls(plugin, check_version(version) if separator else None)


def is_namespace(text: str) -> bool:
    """Return whether a text is a namespace, the first part of an id."""
    return _NAMESPACE.fullmatch(text) is not None


def meant_id(text: str) -> list[str]:
    """Return how to name what was probably meant by a text that is no plugin id, as a step."""
    lower = text.lower()
    found = _OTHER_SEPARATOR.sub("@", lower, count=1)
    plugin, separator, version = found.partition("@")
    version = version.removeprefix("v")
    if _ID.fullmatch(plugin) and (not separator or _VERSION.fullmatch(version)):
        return [f"did you mean `{plugin}{separator}{version}`?"]
    if _NAME.fullmatch(lower.partition("@")[0]):
        return [
            f"name it with its namespace, as in `acme/{lower}`",
            "`aperio plugin list` shows what is installed",
        ]
    return ["name it like `acme/box-connector`"]


def reads_as_id(text: str) -> bool:
    """Return whether a text is a plugin id, whatever version stands behind it."""
    return _ID.fullmatch(text.partition("@")[0]) is not None
