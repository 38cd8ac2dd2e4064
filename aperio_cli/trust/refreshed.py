"""The copy of a trusted root that `aperio trust refresh` leaves behind.

`trust/roots/NAME.json`, schema `aperio.refreshed_root/v1`, holds both documents, so that one rename
replaces them together:

    {"schema": …, "repository": …, "as_of": …, "versions": {"root": 16, …},
     "trusted_root": {"sha256": …, "text": …}, "signing_config": the same or null}
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aperio_cli.errors import AperioError
from aperio_cli.files import reading, writing
from aperio_cli.models.digest import Digest
from aperio_cli.models.newer import refuse_newer
from aperio_cli.models.reading import Bounds, Unreadable, read_json
from aperio_cli.text import one_line

if TYPE_CHECKING:
    from pathlib import Path

MAX_DOCUMENT_BYTES = 1024 * 1024
"""The longest trusted root, signing config or trust config that is read."""

_COPY_BOUNDS = Bounds(5 * MAX_DOCUMENT_BYTES)  # two documents, as strings of JSON
_COPY_SCHEMA = "aperio.refreshed_root/v1"
_DAMAGE = (LookupError, TypeError, ValueError, AttributeError)


class Damaged(Exception):
    """A file of ours cannot be used; the text names it. Never leaves the package `trust`."""


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions of the TUF metadata that named a trusted root."""

    root: int
    timestamp: int
    snapshot: int
    targets: int

    def to_json(self) -> dict[str, int]:
        """Return the versions by role."""
        return {
            "root": self.root,
            "timestamp": self.timestamp,
            "snapshot": self.snapshot,
            "targets": self.targets,
        }

    def __str__(self) -> str:
        return ", ".join(f"{role} {version}" for role, version in self.to_json().items())

    def is_rollback_of(self, seen: Versions) -> bool:
        """Tell whether somebody who has seen the other versions must not go on with these.

        A new TUF root may start the other roles' versions again, which is how a repository
        recovers from a version that was set far too high (TUF specification, 5.3.11).
        """
        if self.root != seen.root:
            return self.root < seen.root
        pairs = (
            (self.timestamp, seen.timestamp),
            (self.snapshot, seen.snapshot),
            (self.targets, seen.targets),
        )
        return any(ours < theirs for ours, theirs in pairs)


@dataclass(frozen=True, slots=True)
class Sighting:
    """Where and when a trusted root was current.

    Attributes:
        repository: key of the TUF repository (`RootRepository.key`).
        as_of: when the repository vouched for it, RFC 3339 in UTC.
        versions: of the TUF metadata that named it.
    """

    repository: str
    as_of: str
    versions: Versions

    @property
    def rank(self) -> tuple[int, str]:
        """Rank the newer of two higher: the version of the TUF root counts before our clock."""
        return self.versions.root, self.as_of

    def to_json(self) -> dict[str, object]:
        """Return the sighting as the copy carries it."""
        return {
            "repository": self.repository,
            "as_of": self.as_of,
            "versions": self.versions.to_json(),
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Sighting:
        """Return the sighting that a copy carries.

        Raises:
            LookupError, TypeError, ValueError: the document is damaged.
        """
        versions = document["versions"]
        roles = ("root", "timestamp", "snapshot", "targets")
        return cls(
            repository=str(document["repository"]),
            as_of=str(document["as_of"]),
            versions=Versions(*(int(versions[role]) for role in roles)),
        )


@dataclass(frozen=True, slots=True)
class RefreshedRoot:
    """The copy of a trusted root that was got over TUF.

    Attributes:
        sighting: where it came from, and when.
        trusted_root: sigstore_trustroot.proto's TrustedRoot as JSON, as it was served.
        signing_config: its SigningConfig as JSON; empty when the repository has none.
    """

    sighting: Sighting
    trusted_root: bytes
    signing_config: bytes = b""

    def write(self, path: Path) -> None:
        """Replace the file at once.

        Raises:
            DiskFull: there is no space; the old file is untouched.
            OSError: the folder cannot be written.
        """
        document = {
            "schema": _COPY_SCHEMA,
            **self.sighting.to_json(),
            "trusted_root": _sealed(self.trusted_root),
            "signing_config": _sealed(self.signing_config) if self.signing_config else None,
        }
        writing.write_atomic(path, json.dumps(document).encode(), mode=0o600)

    @classmethod
    def read(cls, path: Path) -> RefreshedRoot | None:
        """Return the copy in a file; None when there is none.

        Raises:
            Damaged: it cannot be read, or is not what was written.
            RecordNewer: a newer aperio got it.
        """
        document = _read(path)
        if document is None:
            return None
        try:
            config = document["signing_config"]
            return cls(
                sighting=Sighting.from_json(document),
                trusted_root=_unsealed(document["trusted_root"]),
                signing_config=b"" if config is None else _unsealed(config),
            )
        except _DAMAGE as error:
            raise _damaged(path, error) from error


def _read(path: Path) -> dict[str, Any] | None:
    try:
        document = read_json(reading.read_capped(path, _COPY_BOUNDS.size_bytes), _COPY_BOUNDS)
    except (FileNotFoundError, NotADirectoryError) as error:
        if path.is_symlink():
            raise _damaged(path, error) from error
        return None
    except (AperioError, OSError, Unreadable) as error:
        raise _damaged(path, error) from error
    if isinstance(document, dict):
        refuse_newer(path, document.get("schema"), _COPY_SCHEMA)
    if not isinstance(document, dict) or document.get("schema") != _COPY_SCHEMA:
        raise _damaged(path, f"expected the schema {_COPY_SCHEMA}")
    return document


def _damaged(path: Path, why: object) -> Damaged:
    return Damaged(f"{path} is damaged: {one_line(why)}")


def _sealed(contents: bytes) -> dict[str, str]:
    return {"sha256": Digest.of(contents).hex, "text": contents.decode("utf-8")}


def _unsealed(document: dict[str, Any]) -> bytes:
    contents = str(document["text"]).encode()
    if Digest.of(contents).hex != document["sha256"]:
        raise ValueError("a document is not the one that its sha256 names")
    return contents
