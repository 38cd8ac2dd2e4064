"""Newer trusted roots over TUF: the only importer of python-tuf's client.

The Update Framework's client workflow (TUF specification, 5.3 to 5.7) keeps out old, expired,
mixed and unsigned metadata. Around it: one deadline and caps for everything that is fetched, one
refresh of a domain at a time, and a document that is looked at by sigstore before it replaces the
one in use.
"""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from aperio_cli import clock
from aperio_cli.errors import AperioError, Refusal
from aperio_cli.errors.files import (
    CertificatesUnusable,
    CertificateUntrusted,
    InsecureUrl,
    NetworkUnavailable,
    ProxyUnavailable,
    ResponseNotFound,
    ResponseTooLarge,
)
from aperio_cli.errors.trust import TrustRefreshFailed, TrustRefreshRefused, TrustRootInvalid
from aperio_cli.files import locking, owning, reading, removing, writing
from aperio_cli.net.fetch import FetchRequest, fetch_bytes
from aperio_cli.proving.signature import require_usable
from aperio_cli.proving.trusted_root import TrustedRootSource
from aperio_cli.text import clean
from aperio_cli.trust.refreshed import (
    MAX_DOCUMENT_BYTES,
    Damaged,
    RefreshedRoot,
    Sighting,
    Versions,
)
from aperio_cli.trust.root_changes import Change, compare_roots
from aperio_cli.trust.roots import refreshed_copy, root_in_use

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tuf.ngclient import Updater, UpdaterConfig

    from aperio_cli.paths import Paths
    from aperio_cli.trust.roots import RootRepository

TRUSTED_ROOT_TARGET = "trusted_root.json"
SIGNING_CONFIG_TARGET = "signing_config.v0.2.json"

_TIMEOUT_S = 60.0
_LOCK_TIMEOUT_S = 90.0  # longer than a refresh may take
_MAX_METADATA_BYTES = 1024 * 1024
_MAX_TIMESTAMP_BYTES = 16 * 1024
_MAX_DELEGATIONS = 8
_HTTP_MISSING = frozenset({403, 404})  # some object stores answer 403 for what is not there
_ROLLBACK = "it served an older version than it did before (rollback)"
_LASTING = (CertificateUntrusted, CertificatesUnusable, ProxyUnavailable)
_TEMPORARY = "tmp"  # how python-tuf's half-written files begin


@dataclass(frozen=True, slots=True)
class RefreshRequest:
    """What to refresh, and how long it may take.

    Attributes:
        repository: where from.
        paths: where to.
        timeout_s: for everything that is fetched, together.
    """

    repository: RootRepository
    paths: Paths
    timeout_s: float = _TIMEOUT_S


@dataclass(frozen=True, slots=True)
class RefreshReport:
    """What a refresh brought.

    Attributes:
        name: the trust domain's name.
        url: the repository's.
        before: when the root in use until now was known to be current; empty: there was none.
        sighting: of the root in use from now on.
        changes: what differs between the two.
    """

    name: str
    url: str
    before: str
    sighting: Sighting
    changes: tuple[Change, ...]

    def to_json(self) -> dict[str, object]:
        """Return the report as `--json` shows it."""
        return {
            "name": self.name,
            "url": self.url,
            "before": self.before,
            "as_of": self.sighting.as_of,
            "versions": self.sighting.versions.to_json(),
            "changes": [change.to_json() for change in self.changes],
        }


def refresh_root(request: RefreshRequest) -> RefreshReport:
    """Get the newest trusted root of a repository and put it to use, all of it or nothing.

    Raises:
        TrustRefreshFailed: the repository cannot be reached, or lacks something.
        TrustRefreshRefused: it served what it must not.
        LockHeld: another refresh of the domain did not end in time.
        DiskFull: there is no space.
        RecordNewer: a newer aperio refreshed it.
        FolderNotPrivate, PathShared: others may write where the copies are kept.
    """
    paths, repository = request.paths, request.repository
    copies = paths.refreshed_root(repository.name).parent
    state = paths.tuf_state(repository.name) / repository.folder
    what = f"`{repository.name}` was not refreshed"
    with contextlib.suppress(Damaged):  # what a newer aperio got is left alone, all of it
        refreshed_copy(repository, paths)
    with _explained(repository), writing.disk_full_guard(what):
        for folder in (paths.home, paths.trust, copies, state.parent, state):
            writing.ensure_own(folder)
        owning.require_own(state)
        with locking.FileLock(paths.trust / "refresh.lock", what=what, timeout_s=_LOCK_TIMEOUT_S):
            removing.sweep(copies)
            # Earlier versions kept a second record of versions there.
            (copies / f"{repository.name}.seen.json").unlink(missing_ok=True)
            removing.sweep(state, _TEMPORARY)
            fetched = _Client(request, state).fetch()
            _require_newer(fetched, request)
            _require_usable(fetched, repository)
            return _put_to_use(fetched, request)


def require_first_root(contents: bytes) -> None:
    """Check that these bytes are a TUF root that its own keys have signed.

    It may have expired: the way to the newest one starts there all the same.

    Raises:
        TrustRootInvalid: they are something else.
    """
    from tuf.api.metadata import Metadata, Root

    try:
        root = Metadata[Root].from_bytes(contents)
        root.verify_delegate(Root.type, root)
    except Exception as error:  # python-tuf's, securesystemslib's and those of their parsers
        raise TrustRootInvalid(
            "it is not the first root of a TUF repository",
            why=f"{type(error).__name__}: {clean(error, limit=300)}",
        ) from error


# ── the TUF client ────────────────────────────────────────────────────────────────────────────────


class _Client:
    """python-tuf's client for one repository, with our own way of fetching."""

    def __init__(self, request: RefreshRequest, state: Path) -> None:
        self._request = request
        self._state = state

    def fetch(self) -> RefreshedRoot:
        """Return the newest documents that the repository vouches for."""
        from tuf.ngclient import Updater

        repository = self._request.repository
        targets = self._state / "targets"
        targets.mkdir(mode=0o700, exist_ok=True)
        updater = Updater(
            metadata_dir=str(self._state),
            metadata_base_url=repository.url,
            target_dir=str(targets),
            target_base_url=f"{repository.url}targets/",
            fetcher=_make_fetcher(self._request.timeout_s),
            config=_limits(),
            bootstrap=repository.first_root,
        )
        updater.refresh()
        trusted_root = self._target(updater, TRUSTED_ROOT_TARGET)
        if not trusted_root:
            raise TrustRefreshFailed(
                f"`{repository.name}` was not refreshed: its repository has no trusted root",
                why=f"expected the target {TRUSTED_ROOT_TARGET} at {clean(repository.url)}",
                next=["check that this is the TUF repository of a Sigstore instance"],
            )
        signing_config = self._target(updater, SIGNING_CONFIG_TARGET)
        sighting = Sighting(repository.key, clock.timestamp(), self._versions())
        return RefreshedRoot(sighting, trusted_root, signing_config)

    def _target(self, updater: Updater, name: str) -> bytes:
        """Return a target's bytes; empty when the repository has none of this name."""
        from pathlib import Path

        information = updater.get_targetinfo(name)
        if information is None:
            return b""
        if information.length > MAX_DOCUMENT_BYTES:
            raise ResponseTooLarge(
                f"the target `{name}` was not fetched: it is too long",
                why=f"expected at most {MAX_DOCUMENT_BYTES} bytes\nstated   {information.length}",
            )
        place = updater.find_cached_target(information) or updater.download_target(information)
        return reading.read_capped(Path(place), MAX_DOCUMENT_BYTES)

    def _versions(self) -> Versions:
        """Return the versions of the metadata that the client has just accepted."""

        def version(role: str) -> int:
            text = reading.read_capped(self._state / f"{role}.json", _MAX_METADATA_BYTES)
            return int(json.loads(text)["signed"]["version"])

        return Versions(*(version(role) for role in ("root", "timestamp", "snapshot", "targets")))


def _limits() -> UpdaterConfig:
    from tuf.ngclient import UpdaterConfig

    return UpdaterConfig(
        max_delegations=_MAX_DELEGATIONS,
        root_max_length=_MAX_METADATA_BYTES,
        timestamp_max_length=_MAX_TIMESTAMP_BYTES,
        snapshot_max_length=_MAX_METADATA_BYTES,
        targets_max_length=_MAX_METADATA_BYTES,
    )


def _make_fetcher(timeout_s: float) -> Any:
    """Return a fetcher for python-tuf with our schemes, redirects, proxies, caps and deadline."""
    from tuf.api.exceptions import DownloadHTTPError
    from tuf.ngclient import FetcherInterface

    deadline_s = clock.monotonic_s() + timeout_s

    class Fetcher(FetcherInterface):
        """Fetches through `aperio_cli.net.fetch`."""

        def _fetch(self, url: str) -> Iterator[bytes]:
            yield self._body(url, _MAX_METADATA_BYTES)

        @contextlib.contextmanager
        def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
            yield io.BytesIO(self._body(url, max_length))

        def _body(self, url: str, limit_bytes: int) -> bytes:
            left_s = deadline_s - clock.monotonic_s()
            if left_s <= 0:
                raise NetworkUnavailable(
                    f"`{clean(url)}` was not fetched", why=f"{timeout_s:g} s were over"
                )
            try:
                return fetch_bytes(FetchRequest(url, limit_bytes, timeout_s=left_s))[0]
            except ResponseNotFound as error:
                raise DownloadHTTPError(f"{error.what}: {error.why}", 404) from error
            except NetworkUnavailable as error:
                if error.status not in _HTTP_MISSING:
                    raise
                raise DownloadHTTPError(f"{error.what}: {error.why}", error.status) from error

    return Fetcher()


# ── errors ────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def _explained(repository: RootRepository) -> Iterator[None]:
    """Turn whatever ends a refresh into an error that names the repository and its own words."""
    from tuf.api.exceptions import DownloadError

    try:
        yield
    except (NetworkUnavailable, DownloadError) as error:
        raise _failed(repository, error) from error
    except ResponseTooLarge as error:
        raise _refused(repository, "it served more than it may", error.why) from error
    except InsecureUrl as error:
        meaning = "its address, or where it leads, is not secure"
        raise _refused(repository, meaning, error.why) from error
    except AperioError:
        raise
    except OSError as error:
        raise TrustRefreshFailed(
            f"`{repository.name}` was not refreshed: its files cannot be written",
            why=str(error),
            next=["see who owns the folder, then run the same command again"],
        ) from error
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise _refused(repository, _meaning(error), why) from error


def _meaning(error: Exception) -> str:
    """Return what an error of python-tuf says about the repository."""
    from tuf.api import exceptions as tuf

    meanings = (
        (tuf.BadVersionNumberError, _ROLLBACK),
        (tuf.ExpiredMetadataError, "what it served has expired: held back, or no longer renewed"),
        (tuf.UnsignedMetadataError, "too few of its keys have signed what it served"),
        (tuf.LengthOrHashMismatchError, "it served files that do not belong together"),
    )
    found = (meaning for kind, meaning in meanings if isinstance(error, kind))
    return next(found, "what it served cannot be read")


def _failed(repository: RootRepository, error: Exception) -> TrustRefreshFailed:
    why = f"{error.what}: {error.why}" if isinstance(error, AperioError) else str(error)
    # Of another class where trying again is of no use: a certificate, say, or a proxy.
    lasting = error.next if isinstance(error, _LASTING) else ()
    return TrustRefreshFailed(
        f"`{repository.name}` was not refreshed: its repository cannot be read; "
        "the trusted root is the one it was",
        why=clean(why),
        next=lasting
        or [
            "check the connection, then try again; verification goes on without",
            f"check that {clean(repository.url)} is the right address",
        ],
    )


def _refused(repository: RootRepository, meaning: str, why: str) -> TrustRefreshRefused:
    return TrustRefreshRefused(
        f"`{repository.name}` was not refreshed: {meaning}; the trusted root is the one it was",
        why=clean(why),
        next=[
            "try again, in case the answer came from a cache on the way",
            "see that this machine's clock is right",
            f"if it repeats, tell whoever runs {clean(repository.url)}",
        ],
    )


# ── putting to use ────────────────────────────────────────────────────────────────────────────────


def _require_newer(fetched: RefreshedRoot, request: RefreshRequest) -> None:
    """Refuse older versions than those of the copy.

    The client sees to that too, as long as it has its own files.

    Raises:
        TrustRefreshRefused: one of them is older.
    """
    copy = None
    with contextlib.suppress(Damaged):  # a refresh is what mends it
        copy = refreshed_copy(request.repository, request.paths)
    versions = fetched.sighting.versions
    if copy and versions.is_rollback_of(copy.sighting.versions):
        why = f"seen     {copy.sighting.versions}\nreceived {versions}"
        raise _refused(request.repository, _ROLLBACK, why)


def _require_usable(fetched: RefreshedRoot, repository: RootRepository) -> None:
    source = TrustedRootSource(repository.name, fetched.trusted_root, "refreshed")
    try:
        require_usable(source, clock.now(), signing_config=fetched.signing_config)
    except Refusal as error:
        raise _refused(repository, "what it vouches for cannot be used", error.why) from error


def _put_to_use(fetched: RefreshedRoot, request: RefreshRequest) -> RefreshReport:
    repository, paths = request.repository, request.paths
    current = root_in_use(repository, paths).source
    changes = compare_roots(current.document, fetched.trusted_root)
    fetched.write(paths.refreshed_root(repository.name))
    return RefreshReport(repository.name, repository.url, current.as_of, fetched.sighting, changes)
