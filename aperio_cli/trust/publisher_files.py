"""Publisher files: verified against whom the operator named, and never an older one than before.

The bytes are read, their signature is verified (`FILE.sigstore.json` beside the file), and only
then are they parsed. What was verified is remembered by digest, so that as long as file, bundle,
configuration and trusted root stay the same, a command reads the file without importing sigstore;
the rules always come from the file itself. The serial is remembered with it.

Format of `$APERIO_HOME/trust/publisher-files.json`: `{"schema": 1, "files": {ENTRY: {...}}}`, where
ENTRY is the sha256 of the `[[publisher_files]]` entry as JSON, and each has `serial`, `sha256` (of
the file), `evidence` (sha256 of everything that the verification depended on), `verified_at` and
`signer`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aperio_cli import clock
from aperio_cli.errors import AperioError, Refusal
from aperio_cli.errors.files import DiskFull, LockHeld
from aperio_cli.errors.trust import PublisherFileInvalid
from aperio_cli.files import locking, reading, writing
from aperio_cli.models.artifact import BUNDLE_SUFFIX, MAX_BUNDLE_BYTES
from aperio_cli.models.digest import Digest
from aperio_cli.models.publisher import Signer
from aperio_cli.models.publisher_file import (
    MAX_PUBLISHER_FILE_BYTES,
    PublisherList,
    parse_publisher_file,
)
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from aperio_cli.config import PublisherFile
    from aperio_cli.proving.signature import TrustedRootSource

_SCHEMA = 1
_MAX_MEMORY_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PublisherFileRequest:
    """What to hold a publisher file against.

    Attributes:
        file: the entry that names the file and its signer.
        domains: names of the trust domains that its rules may name.
        roots: the trusted roots of this machine.
        memory: what is remembered of publisher files; made when missing.
        now: the current moment, aware.
    """

    file: PublisherFile
    domains: Sequence[str]
    roots: Sequence[TrustedRootSource]
    memory: Path
    now: datetime = field(default_factory=clock.now)


@dataclass(frozen=True, slots=True)
class VerifiedPublishers:
    """A publisher file that counts.

    Attributes:
        file: the entry that names it.
        stated: what it states.
        signer: who signed it.
        verified_at: when its signature was verified here, RFC 3339 in UTC.
    """

    file: PublisherFile
    stated: PublisherList
    signer: Signer
    verified_at: str


@dataclass(frozen=True, slots=True)
class _Remembered:
    """What is remembered of one entry.

    Attributes:
        serial: the highest serial seen.
        sha256: digest of the file that had it.
        evidence: digest of what the verification depended on.
        verified_at: when that was.
        signer: who signed it.
    """

    serial: int
    sha256: str
    evidence: str
    verified_at: str
    signer: Signer

    def to_json(self) -> dict[str, object]:
        return {
            "serial": self.serial,
            "sha256": self.sha256,
            "evidence": self.evidence,
            "verified_at": self.verified_at,
            "signer": self.signer.to_json(),
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> _Remembered:
        """What a memory holds; KeyError, TypeError or ValueError when it is damaged."""
        return cls(
            serial=int(document["serial"]),
            sha256=Digest(str(document["sha256"])).hex,
            evidence=str(document["evidence"]),
            verified_at=str(document["verified_at"]),
            signer=Signer.from_json(document["signer"]),
        )


def verify_publisher_file(request: PublisherFileRequest) -> VerifiedPublishers:
    """What a publisher file states, as the one whom its entry names has signed it.

    Raises:
        PublisherFileInvalid: file or bundle cannot be read, the signature is none, or is somebody
            else's, the contents are not as they have to be, it has ended, or it is older than one
            seen before.
        DiskFull: there is no space to remember it.
        LockHeld: another process is remembering one.
    """
    file = request.file
    data = _read(file, file.path, MAX_PUBLISHER_FILE_BYTES)
    bundle = _read(file, file.path.with_name(file.path.name + BUNDLE_SUFFIX), MAX_BUNDLE_BYTES)
    root = _root(request)
    evidence = _digest_of(file.to_json(), data, bundle, root.document)
    known = _recall(request)
    if known is None or known.evidence != evidence:
        signer = _verified_signer(file, data, bundle, root)
        known = _Remembered(
            0, Digest.of(data).hex, evidence, clock.format_timestamp(request.now), signer
        )
    stated = parse_publisher_file(data, domains=request.domains, source=str(file.path))
    if clock.format_timestamp(request.now) > stated.expires:
        raise _invalid(file, f"it ended on {stated.expires}", "get a newer one from its signer")
    if known.serial != stated.serial:
        _remember(request, known, stated.serial)
    return VerifiedPublishers(file, stated, known.signer, known.verified_at)


def _read(file: PublisherFile, path: Path, limit_bytes: int) -> bytes:
    try:
        return reading.read_capped(path, limit_bytes)
    except FileNotFoundError as error:
        raise _invalid(
            file, f"`{path}` is not there", "bring file and bundle back, or take the entry out"
        ) from error
    except (AperioError, OSError) as error:
        raise _invalid(file, str(error), "look at the file and its mode") from error


def _root(request: PublisherFileRequest) -> TrustedRootSource:
    wanted = request.file.rule.domain
    root = next((root for root in request.roots if root.name == wanted), None)
    if root is None or root.problem:
        why = root.problem if root else "there is none"
        raise _invalid(
            request.file,
            f"the trusted root `{wanted}` cannot be used: {why}",
            "`aperio trust show` says what is known of each trust domain",
        )
    return root


def _verified_signer(
    file: PublisherFile, data: bytes, bundle: bytes, root: TrustedRootSource
) -> Signer:
    """Who signed the file, when that is whom the entry names.

    Raises:
        PublisherFileInvalid: nobody did, or somebody else.
    """
    from aperio_cli.proving.signature import verify_signature

    try:
        signer = verify_signature(Digest.of(data), bundle, [root]).signer
    except Refusal as refusal:
        what = refusal.what.replace("the artifact was refused: ", "", 1)
        raise _invalid(
            file, f"{what}\n{refusal.why}".rstrip(), "get file and bundle again, both together"
        ) from refusal
    differences = file.rule.differences(signer, "")
    if differences:
        lines = (
            f"{each.field}: expected {clean(each.expected)}, found {clean(each.found)}"
            for each in differences
        )
        raise _invalid(
            file,
            "\n".join(["it is signed by somebody else than its entry names", *lines]),
            "do not use it before whoever was to sign it has explained it",
        )
    return signer


def _digest_of(entry: dict[str, object], *parts: bytes) -> str:
    """One digest of everything that a verification depends on."""
    digests = [Digest.of(part).hex for part in parts]
    return Digest.of(json.dumps([entry, *digests], sort_keys=True).encode()).hex


# ── memory ────────────────────────────────────────────────────────────────────────────────────────


def _recall(request: PublisherFileRequest) -> _Remembered | None:
    found = _memory(request).get(_place(request))
    try:
        return None if found is None else _Remembered.from_json(found)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(request, clean(error)) from error


def _place(request: PublisherFileRequest) -> str:
    """What a file is remembered under: where it is, however its entry spells that."""
    return str(request.file.path.resolve())


def _memory(request: PublisherFileRequest) -> dict[str, Any]:
    try:
        document = json.loads(reading.read_capped(request.memory, _MAX_MEMORY_BYTES))
    except FileNotFoundError:
        return {}
    except (AperioError, OSError, ValueError, RecursionError) as error:
        raise _damaged(request, clean(error)) from error
    remembered = document.get("files") if isinstance(document, dict) else None
    if not isinstance(remembered, dict) or document.get("schema") != _SCHEMA:
        raise _damaged(request, f"expected schema {_SCHEMA}")
    return remembered


def _remember(request: PublisherFileRequest, known: _Remembered, serial: int) -> None:
    """Note the file, unless a newer one was seen by now.

    Raises:
        PublisherFileInvalid: one with a higher serial was seen, or another with the same.
    """
    memory, entry = request.memory, _place(request)
    try:
        if not memory.parent.exists():
            writing.make_private(memory.parent)
        lock = memory.with_suffix(".lock")
        with locking.FileLock(lock, what=f"`{request.file.path}` was not accepted"):
            before = _recall(request)
            if before:
                _refuse_older(request, before, known.sha256, serial)
            current = _Remembered(
                serial, known.sha256, known.evidence, known.verified_at, known.signer
            )
            remembered = _memory(request) | {entry: current.to_json()}
            document = {"schema": _SCHEMA, "files": remembered}
            writing.write_atomic(memory, json.dumps(document).encode(), mode=0o600)
    except (DiskFull, LockHeld, PublisherFileInvalid):
        raise
    except (AperioError, OSError) as error:
        # What cannot be remembered could be taken back without anybody noticing.
        raise _invalid(
            request.file, f"its serial cannot be remembered: {error}", "look at the home's mode"
        ) from error


def _refuse_older(
    request: PublisherFileRequest, before: _Remembered, sha256: str, serial: int
) -> None:
    if serial < before.serial:
        raise _invalid(
            request.file,
            f"expected serial {before.serial} or higher, as seen before\nfound    serial {serial}",
            "get the current file from its signer; an older one may have been put in its place",
        )
    if serial == before.serial and sha256 != before.sha256:
        raise _invalid(
            request.file,
            f"another file with serial {serial} was seen before",
            "ask its signer to raise the serial with every change",
        )


def _damaged(request: PublisherFileRequest, why: str) -> PublisherFileInvalid:
    return PublisherFileInvalid(
        f"`{request.file.path}` was not accepted: what is remembered of it cannot be read",
        why=f"{request.memory}: {why}",
        next=["bring that file back from a copy", "move it away: older files then pass again"],
    )


def _invalid(file: PublisherFile, why: str, step: str) -> PublisherFileInvalid:
    return PublisherFileInvalid(
        f"`{file.path}` was not accepted, so nobody may sign for anyone that it names",
        why=f"stated in {file.rule.source}\n{why}",
        next=[step],
    )
