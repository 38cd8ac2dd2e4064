"""What `aperio trust refresh` leaves behind: the copy of a trusted root, and what was seen.

`trust/roots/NAME.json`, schema `aperio.refreshed_root/v1`, holds both documents, so that one rename
replaces them together:

    {"schema": …, "repository": …, "as_of": …, "versions": {"root": 16, …},
     "trusted_root": {"sha256": …, "text": …}, "signing_config": the same or null}

`trust/roots/NAME.seen.json`, schema `aperio.seen_root/v1`, stands beside it, so that damage to the
copy does not bring back what it had ended:

    {"schema": …, "repository": …, "as_of": …, "versions": …, "ended": ["log …", …]}
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aperio_cli.errors import AperioError
from aperio_cli.files import reading, writing
from aperio_cli.models.digest import Digest
from aperio_cli.text import one_line

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.paths import Paths

MAX_DOCUMENT_BYTES = 1024 * 1024
"""The longest trusted root, signing config or trust config that is read."""

_MAX_COPY_BYTES = 5 * MAX_DOCUMENT_BYTES  # two documents, as strings of JSON
_COPY_SCHEMA = "aperio.refreshed_root/v1"
_SEEN_SCHEMA = "aperio.seen_root/v1"
_DAMAGE = (LookupError, TypeError, ValueError, AttributeError)


class Damaged(Exception):
    """A file of ours cannot be used; the text names it. Never leaves the package `verifying`."""


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions of the TUF metadata that named a trusted root."""

    root: int
    timestamp: int
    snapshot: int
    targets: int

    def to_json(self) -> dict[str, int]:
        """The versions by role."""
        return {
            "root": self.root,
            "timestamp": self.timestamp,
            "snapshot": self.snapshot,
            "targets": self.targets,
        }

    def __str__(self) -> str:
        return ", ".join(f"{role} {version}" for role, version in self.to_json().items())

    def is_rollback_of(self, seen: Versions) -> bool:
        """Whether who has seen the other versions must not go on with these.

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
        """Greater for the newer of two: the version of the TUF root counts before our clock."""
        return self.versions.root, self.as_of

    def to_json(self) -> dict[str, object]:
        """The sighting as both files carry it."""
        return {
            "repository": self.repository,
            "as_of": self.as_of,
            "versions": self.versions.to_json(),
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Sighting:
        """The sighting that a file of ours carries.

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
        """The copy in a file; None when there is none.

        Raises:
            Damaged: it cannot be read, or is not what was written.
        """
        document = _read(path, _COPY_SCHEMA)
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


@dataclass(frozen=True, slots=True)
class SeenRoot:
    """What was seen of a trust domain, whatever became of the copy.

    Attributes:
        sighting: the newest one.
        ended: authorities and logs that the root shipped with aperio trusts for longer, by name.
    """

    sighting: Sighting
    ended: tuple[str, ...] = ()

    def write(self, path: Path) -> None:
        """Replace the file at once.

        Raises:
            DiskFull: there is no space; the old file is untouched.
            OSError: the folder cannot be written.
        """
        document = {"schema": _SEEN_SCHEMA, **self.sighting.to_json(), "ended": list(self.ended)}
        writing.write_atomic(path, json.dumps(document).encode(), mode=0o600)

    @classmethod
    def read(cls, path: Path) -> SeenRoot | None:
        """What a file says was seen; None when there is none.

        Raises:
            Damaged: it cannot be read, or is not what was written.
        """
        document = _read(path, _SEEN_SCHEMA)
        if document is None:
            return None
        try:
            ended = tuple(str(name) for name in document["ended"])
            return cls(Sighting.from_json(document), ended)
        except _DAMAGE as error:
            raise _damaged(path, error) from error


@dataclass(frozen=True, slots=True)
class Memory:
    """What this machine still knows of a trust domain that it once refreshed.

    Attributes:
        copy: the trusted root; None when there is none that may be used.
        seen: the newest sighting; None when there is none, or it is damaged.
        problems: what is wrong with the files, one text each; empty: nothing.
        is_whole: False when what was ended can no longer be told.
    """

    copy: RefreshedRoot | None = None
    seen: SeenRoot | None = None
    problems: tuple[str, ...] = ()
    is_whole: bool = True


def remember(paths: Paths, domain: str, repository: str) -> Memory:
    """What is known of a trust domain from one repository; another repository's copy is none.

    Args:
        paths: where the files are.
        domain: the trust domain's name.
        repository: key of the repository that is asked for it now.
    """
    problems: list[str] = []
    copy: RefreshedRoot | None = None
    seen: SeenRoot | None = None
    is_whole = True
    try:
        seen = SeenRoot.read(paths.seen_root(domain))
    except Damaged as damage:
        problems.append(str(damage))
        is_whole = False
    try:
        copy = RefreshedRoot.read(paths.refreshed_root(domain))
    except Damaged as damage:
        problems.append(str(damage))
    if seen and seen.sighting.repository != repository:
        seen = None
    if copy and copy.sighting.repository != repository:
        copy = None
    if copy and seen and copy.sighting.versions.is_rollback_of(seen.sighting.versions):
        problems.append(f"{paths.refreshed_root(domain)} is older than what was seen before")
        copy = None
    elif seen and not copy and not problems:
        problems.append(f"{paths.refreshed_root(domain)} is missing")
    return Memory(copy, seen, tuple(problems), is_whole or copy is not None)


def _read(path: Path, schema: str) -> dict[str, Any] | None:
    try:
        document = json.loads(reading.read_capped(path, _MAX_COPY_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (AperioError, OSError, ValueError, RecursionError) as error:
        raise _damaged(path, error) from error
    if not isinstance(document, dict) or document.get("schema") != schema:
        raise _damaged(path, f"expected the schema {schema}")
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
