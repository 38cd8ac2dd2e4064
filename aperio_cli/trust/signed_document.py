"""Documents that somebody signed, with a serial and an end, and one memory of the highest serial.

A document is bytes with a Sigstore bundle. It counts when the signer who is required signed it,
before its end, and unless a newer one was seen. What it says is up to its `Schema`; a file of
publishers is the first, a registry's root (`registry_root`) the second, with its bytes from the
network in place of `read_document`.

The memory is keyed by what a document is, never by where it lay: kind, required signer and the name
that the document gives itself. Paths are links that somebody moves, addresses have mirrors, and an
older copy is as well signed as the newer one. A signer who keeps several documents of one kind
names each; whoever requires one says which. Documents without a name are one succession.

Format of the memory: `{"schema": 1, "documents": {KEY: {...}}}`. KEY is a JSON list: kind, trust
domain, issuer, identity, repository id of a CI build, name. Each has `epoch` (0 where a kind has
none), `serial`, `sha256`, `evidence` (sha256 of everything that the verification depended on),
`verified_at` and `signer`, and `log`, the checkpoint of a log that such a document states, which
later ones have to continue. As long as the evidence is the same, a command reads the document
without importing sigstore; what it states always comes from the document itself.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Generic, NoReturn, Protocol, TypeVar

from aperio_cli import clock
from aperio_cli.errors import AperioError, Refusal
from aperio_cli.errors.files import DiskFull, FolderNotPrivate, LockHeld, PathShared
from aperio_cli.errors.trust import ClockSuspect
from aperio_cli.files import locking, owning, reading, writing
from aperio_cli.models.artifact import BUNDLE_SUFFIX, MAX_BUNDLE_BYTES
from aperio_cli.models.digest import Digest
from aperio_cli.models.newer import NEXT, is_newer, is_ours
from aperio_cli.models.newer import evidence as newer_evidence
from aperio_cli.models.publisher import Signer
from aperio_cli.models.publisher_table import who_signs
from aperio_cli.models.reading import Bounds, Table, described, parse_json
from aperio_cli.models.tlog.note import Checkpoint, NoteInvalid
from aperio_cli.proving.moments import TOLERANCE, see_clock
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from aperio_cli.models.publisher import PublisherRule
    from aperio_cli.proving.signature import TrustedRootSource

_SCHEMA = 1
_MEMORY_BOUNDS = Bounds(4 * 1024 * 1024)


class Stated(Protocol):
    """What every kind of document states.

    Attributes:
        name: which of its signer's documents of this kind it is; empty: the only one.
        serial: a whole number, not negative; rises whenever the document says something else.
        expires: its last moment, RFC 3339 in UTC.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - above
    @property
    def serial(self) -> int: ...  # noqa: D102
    @property
    def expires(self) -> str: ...  # noqa: D102


T = TypeVar("T", bound=Stated)


@dataclass(frozen=True, slots=True)
class Schema(Generic[T]):
    """A kind of document.

    Attributes:
        kind: its name in the memory; never changes.
        subject: what messages call this document.
        parse: what its bytes state; raises the kind's own error.
        refused: makes the kind's own error of evidence and steps to take.
        outdated: the same for an edition that is older than one seen before, or another one with
            the same number; None: `refused`.
        ended: makes the error of one that has ended, at the moment given; None: `refused`.
        epoch: what counts before the serial: a document of a higher epoch may start its serials
            anew.
        log: the checkpoint of the log that a document states; None for one without a log.
    """

    kind: str
    subject: str
    parse: Callable[[bytes], T]
    refused: Callable[[str, Sequence[str]], Refusal]
    outdated: Callable[[str, Sequence[str]], Refusal] | None = None
    ended: Callable[[T, datetime], Refusal] | None = None
    epoch: Callable[[T], int] = lambda _: 0
    log: Callable[[T], Checkpoint | None] = lambda _: None


@dataclass(frozen=True, slots=True)
class DocumentRequest(Generic[T]):
    """A document, and what to hold it against.

    Attributes:
        schema: its kind.
        data: its bytes; whoever read them capped them.
        bundle: the Sigstore bundle that came with it.
        signer: who has to have signed it.
        name: which of the signer's documents it has to be.
        roots: the trusted roots of this machine.
        memory: where the highest serials are remembered; made when missing.
        now: the current moment, aware.
        follow: refuses a log that does not continue the one that is remembered, given first;
            without it no log is remembered, and what is remembered stays.
        judge: refuses what is stated for reasons of whoever asks, with errors of his own; asked
            before anything is remembered.
    """

    schema: Schema[T]
    data: bytes
    bundle: bytes
    signer: PublisherRule
    name: str
    roots: Sequence[TrustedRootSource]
    memory: Path
    now: datetime = field(default_factory=clock.now)
    follow: Callable[[Checkpoint, Checkpoint | None], None] | None = None
    judge: Callable[[T], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class SignedDocument(Generic[T]):
    """A document that counts.

    Attributes:
        stated: what it states.
        signer: who signed it.
        verified_at: when its signature was verified here, RFC 3339 in UTC.
    """

    stated: T
    signer: Signer
    verified_at: str


@dataclass(frozen=True, slots=True)
class _Remembered:
    """The newest document of one key; fields as in the memory."""

    epoch: int
    serial: int
    sha256: str
    evidence: str
    verified_at: str
    signer: Signer
    log: Checkpoint | None = None

    @property
    def edition(self) -> tuple[int, int]:
        """What never goes back."""
        return self.epoch, self.serial

    def to_json(self) -> dict[str, object]:
        document = asdict(replace(self, log=None)) | {"signer": self.signer.to_json()}
        del document["log"]  # one without a log is as it always was
        return document | ({"log": self.log.to_json()} if self.log else {})

    @classmethod
    def from_json(cls, table: Table) -> _Remembered:
        """Return what a memory holds; `table.fail` raises what is wrong with it."""
        return cls(
            epoch=table.integer("epoch") if "epoch" in table else 0,
            serial=table.integer("serial"),
            sha256=table.converted("sha256", Digest).hex,
            evidence=table.recorded("evidence"),
            verified_at=table.recorded("verified_at"),
            signer=Signer.from_json(table.table("signer")),
            log=_log(table.table("log")) if "log" in table else None,
        )


def _log(table: Table) -> Checkpoint:
    root = table.converted("root", Digest).raw
    try:
        return Checkpoint(table.recorded("origin"), table.integer("size"), root)
    except NoteInvalid as error:
        table.fail("origin", str(error))


def read_document(schema: Schema[T], path: Path, limit_bytes: int) -> tuple[bytes, bytes]:
    """Return the bytes of a document in a file, and of the bundle beside it.

    Raises:
        Refusal: the schema's own: one of them is missing, too long or no file, or somebody else
            may change it.
    """
    beside = path.with_name(path.name + BUNDLE_SUFFIX)
    return _read(schema, path, limit_bytes), _read(schema, beside, MAX_BUNDLE_BYTES)


def verify_document(request: DocumentRequest[T]) -> SignedDocument[T]:
    """Return what a document states, as the signer who is required has signed it.

    Remembering is the last step: whatever a document is refused for, it leaves nothing behind, or
    one that never counted would stand in the way of those that do.

    Raises:
        Refusal: the schema's own: the signature is none, or somebody else's, the contents are not
            as they have to be, it is another document than is wanted, it has ended, it is older
            than one seen before, or the memory cannot be read or written.
        DiskFull: there is no space to remember it.
        LockHeld: another process is remembering one.
        AperioError: those of `judge` and of `follow`.
    """
    schema, root = request.schema, _root(request)
    evidence = _evidence(request, root)
    before = known = _recall(request)
    if known is None or known.evidence != evidence or _is_of_later(request, known):
        signer = _verified_signer(request, root)
        moment = clock.format_timestamp(request.now)
        known = _Remembered(-1, -1, Digest.of(request.data).hex, evidence, moment, signer)
    stated = schema.parse(request.data)
    _check_wanted(request, stated)
    current = replace(known, epoch=schema.epoch(stated), serial=stated.serial)
    if before:
        _refuse_older(request, before, current)
    log = schema.log(stated)
    current = _follow(request, before, current, log)
    request.judge(stated)
    if before != current:
        _remember(request, current, before, log)
    return SignedDocument(stated, known.signer, known.verified_at)


def check_memory(path: Path, refused: Callable[[str, Sequence[str]], Refusal]) -> None:
    """Check that what is remembered of signed documents can be read, as whoever verifies one does.

    Args:
        path: where it is; one that is not there is no fault.
        refused: makes the error, of evidence and steps to take.

    Raises:
        Refusal: what `refused` makes.
    """
    _memory(path, refused)


def _read(schema: Schema[T], path: Path, limit_bytes: int) -> bytes:
    try:
        owning.require_own(path)
        return reading.read_capped(path, limit_bytes)
    except PathShared as shared:
        raise schema.refused(f"{shared.what}\n{shared.why}", shared.next) from shared
    except FileNotFoundError as error:
        step = "bring file and bundle back, or take the entry out"
        raise schema.refused(f"`{path}` is not there", [step]) from error
    except (AperioError, OSError) as error:
        raise schema.refused(str(error), ["look at the file and its mode"]) from error


def _root(request: DocumentRequest[T]) -> TrustedRootSource:
    wanted = request.signer.domain
    root = next((root for root in request.roots if root.name == wanted), None)
    if root is None or root.problem:
        why = root.problem if root else "there is none"
        known = "`aperio trust show` says what is known of each trust domain"
        raise request.schema.refused(
            f"the trusted root `{wanted}` cannot be used: {why}",
            (root and root.remedies) or [known],
        )
    return root


def _verified_signer(request: DocumentRequest[T], root: TrustedRootSource) -> Signer:
    """Return who signed the document, when that is who is required; else refuse."""
    from aperio_cli.proving.signature import verify_signature

    schema = request.schema
    try:
        signer = verify_signature(
            Digest.of(request.data), request.bundle, [root], subject=schema.subject
        ).signer
    except Refusal as refusal:
        again = ["get file and bundle again, both together"]
        steps = refusal.next if isinstance(refusal, ClockSuspect) else again
        raise schema.refused(f"{refusal.what}\n{refusal.why}".rstrip(), steps) from refusal
    differences = request.signer.differences(signer, "")
    if differences:
        lines = (
            f"{each.field}: expected {clean(each.expected)}, found {clean(each.found)}"
            for each in differences
        )
        raise schema.refused(
            "\n".join(["it is signed by somebody else than is required", *lines]),
            ["do not use it before whoever was to sign it has explained it"],
        )
    return signer


def _evidence(request: DocumentRequest[T], root: TrustedRootSource) -> str:
    """Return one digest of everything that a verification depends on."""
    parts = (request.data, request.bundle, root.document)
    digests = [Digest.of(part).hex for part in parts]
    return Digest.of(json.dumps([request.signer.to_json(), *digests], sort_keys=True).encode()).hex


def _is_of_later(request: DocumentRequest[T], known: _Remembered) -> bool:
    """Return whether it was verified at a time that is yet to come.

    Then the clock was wrong, or is now, and one that is behind never sees a document end. What was
    remembered is no proof: the signature is asked once more, which says when it was made.
    """
    return known.verified_at > clock.format_timestamp(request.now + TOLERANCE)


def _check_wanted(request: DocumentRequest[T], stated: T) -> None:
    """Refuse a document of another name, and one that has ended."""
    if stated.name != request.name:
        expected, found = (f"`{name}`" if name else "none" for name in (request.name, stated.name))
        raise request.schema.refused(
            f"it is another document of its signer's\nexpected name {expected}\n"
            f"found    name {found}",
            ["get the one that is meant", "state the name of this one in its entry"],
        )
    if clock.format_timestamp(request.now) > stated.expires:
        if request.schema.ended:
            raise request.schema.ended(stated, request.now)
        steps = ["get a newer one from its signer", see_clock(request.now)]
        raise request.schema.refused(f"it ended on {stated.expires}", steps)


# ── memory ────────────────────────────────────────────────────────────────────────────────────────


def _key(request: DocumentRequest[T]) -> str:
    """Return what a document is remembered under: what it is, wherever it lies."""
    signer = request.signer
    # Several repositories sign with one reusable workflow, which is all that their identity says.
    repository = signer.ci.repository_id if signer.ci else ""
    parts = (signer.domain, signer.issuer, who_signs(signer), repository, request.name)
    return json.dumps([request.schema.kind, *parts])


def _recall(request: DocumentRequest[T]) -> _Remembered | None:
    documents, key = _memory(request.memory, request.schema.refused), _key(request)
    return _Remembered.from_json(documents.table(key)) if key in documents else None


def _memory(path: Path, refused: Callable[[str, Sequence[str]], Refusal]) -> Table:
    def fail(key: str, why: str) -> NoReturn:
        raise _damaged(path, refused, described(key, why))

    try:
        owning.require_own(path)
        data = reading.read_capped(path, _MEMORY_BOUNDS.size_bytes)
    except PathShared as shared:
        why = f"what is remembered of signed documents is not used\n{shared.what}\n{shared.why}"
        raise refused(why, shared.next) from shared
    except FileNotFoundError:
        return Table({}, fail)
    except (AperioError, OSError) as error:
        raise _damaged(path, refused, clean(error)) from error
    table = parse_json(data, _MEMORY_BOUNDS, fail)
    schema = table.values.get("schema")
    if is_newer(schema, _SCHEMA):
        why = f"what is remembered of signed documents cannot be read: `{path}`"
        raise refused(f"{why}\n{newer_evidence(schema, _SCHEMA)}", NEXT)
    if not is_ours(schema, _SCHEMA):
        table.fail("schema", f"expected schema {_SCHEMA}")
    return table.table("documents")


def _follow(
    request: DocumentRequest[T],
    before: _Remembered | None,
    current: _Remembered,
    log: Checkpoint | None,
) -> _Remembered:
    """Return what to remember, with its log, which has to continue the one that was seen before."""
    known = before.log if before else None
    if known == log or request.follow is None:
        return replace(current, log=known)
    if known:
        request.follow(known, log)
    return replace(current, log=log)


def _remember(
    request: DocumentRequest[T],
    current: _Remembered,
    before: _Remembered | None,
    log: Checkpoint | None,
) -> None:
    """Note the document; refuse when one with a higher serial, or another with the same, was seen.

    It is looked up once more under the lock: another process may have seen a newer one by now.
    """
    memory = request.memory
    try:
        if not memory.parent.exists():
            writing.ensure_own(memory.parent)
        lock = memory.with_suffix(".lock")
        with locking.FileLock(lock, what=f"{request.schema.subject} was not accepted"):
            now = _recall(request)
            if now and now != before:
                _refuse_older(request, now, current)
                current = _follow(request, now, current, log)
            known = _memory(memory, request.schema.refused).values
            documents = {**known, _key(request): current.to_json()}
            contents = json.dumps({"schema": _SCHEMA, "documents": documents})
            writing.write_atomic(memory, contents.encode(), mode=0o600)
    except FolderNotPrivate as shared:
        why = f"its serial cannot be remembered: {shared.what}\n{shared.why}"
        raise request.schema.refused(why, shared.next) from shared
    except (DiskFull, LockHeld, Refusal):
        raise
    except (AperioError, OSError) as error:
        # A serial that cannot be remembered could be taken back without anybody noticing.
        why = f"its serial cannot be remembered: {error}"
        raise request.schema.refused(why, ["look at the home's mode"]) from error


def _refuse_older(request: DocumentRequest[T], before: _Remembered, current: _Remembered) -> None:
    outdated = request.schema.outdated or request.schema.refused
    if current.edition < before.edition:
        raise outdated(
            f"expected {_edition(before)} or higher, as seen before of its signer\n"
            f"found    {_edition(current)}",
            [
                "get the current file from its signer; an older one may have been put in its place",
                "a signer of several files gives each a `name`, and its entry states that name",
            ],
        )
    if current.edition == before.edition and current.sha256 != before.sha256:
        raise outdated(
            f"another file with {_edition(current)} was seen before of its signer",
            ["ask its signer to raise the serial with every change"],
        )


def _edition(document: _Remembered) -> str:
    epoch = f"epoch {document.epoch}, " if document.epoch else ""
    return f"{epoch}serial {document.serial}"


def _damaged(path: Path, refused: Callable[[str, Sequence[str]], Refusal], why: str) -> Refusal:
    return refused(
        f"what is remembered of signed documents cannot be read\n{path}: {why}",
        ["bring that file back from a copy", "move it away: older documents then pass again"],
    )
