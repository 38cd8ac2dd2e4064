from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from aperio_cli.errors.files import DiskFull, LockHeld
from aperio_cli.errors.trust import TrustRefreshFailed, TrustRefreshRefused
from aperio_cli.files import locking
from aperio_cli.paths import Paths, find_paths
from aperio_cli.trust import refresh
from aperio_cli.trust.refresh import RefreshRequest, refresh_root
from aperio_cli.trust.refreshed import RefreshedRoot, Versions
from aperio_cli.trust.roots import RootRepository
from tests.rows import each_row
from tests.trust import new_domain
from tests.tuf_repository import TufRepository, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

DEADLINE_S = 60


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return new_domain(tmp_path_factory.mktemp("trust")).trusted_root_json().encode()


@pytest.fixture
def repository(document: bytes) -> TufRepository:
    made = TufRepository()
    made.targets = {"trusted_root.json": document}
    made.publish()
    return made


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return find_paths({}, home=str(tmp_path / "home"))


@pytest.fixture
def request_for_acme(repository: TufRepository, paths: Paths) -> Iterator[RefreshRequest]:
    with serving(repository) as url:
        yield RefreshRequest(RootRepository("acme", url, repository.first_root, "key"), paths)


def with_timeout(request: RefreshRequest, timeout_s: float) -> RefreshRequest:
    return RefreshRequest(request.repository, request.paths, timeout_s)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ── what is kept ──────────────────────────────────────────────────────────────────────────────────


def test_copy_holds_the_documents_byte_for_byte(
    request_for_acme: RefreshRequest, paths: Paths, document: bytes
) -> None:
    report = refresh_root(request_for_acme)

    copy = RefreshedRoot.read(paths.refreshed_root("acme"))
    assert copy is not None
    assert (copy.trusted_root, copy.signing_config) == (document, b"")
    assert copy.sighting == report.sighting


def test_what_is_kept_is_private(request_for_acme: RefreshRequest, paths: Paths) -> None:
    refresh_root(request_for_acme)

    kept = paths.refreshed_root("acme")
    folders = [paths.trust, kept.parent, paths.tuf_state("acme")]
    assert kept.stat().st_mode & 0o777 == 0o600
    assert [path.stat().st_mode & 0o777 for path in folders] == [0o700, 0o700, 0o700]


def test_refresh_mends_a_damaged_copy(request_for_acme: RefreshRequest, paths: Paths) -> None:
    before = refresh_root(request_for_acme)
    paths.refreshed_root("acme").write_bytes(b"{")

    report = refresh_root(request_for_acme)

    assert (report.before, report.changes) == ("", before.changes)
    assert RefreshedRoot.read(paths.refreshed_root("acme"))


def test_record_of_versions_that_an_earlier_aperio_kept_is_swept(
    request_for_acme: RefreshRequest, paths: Paths
) -> None:
    refresh_root(request_for_acme)
    record = paths.refreshed_root("acme").with_name("acme.seen.json")
    other = record.with_name("umbrella.seen.json")
    for path in (record, other):
        path.write_bytes(b"{")

    refresh_root(request_for_acme)

    assert (record.exists(), other.exists()) == (False, True)


def test_half_written_files_of_a_crash_are_swept(
    request_for_acme: RefreshRequest, paths: Paths
) -> None:
    refresh_root(request_for_acme)
    [state] = [path for path in paths.tuf_state("acme").iterdir() if path.is_dir()]
    leftovers = [state / "tmpabc123", paths.refreshed_root("acme").with_name(".aside-0")]
    for path in leftovers:
        path.write_bytes(b"half")

    refresh_root(request_for_acme)

    assert not [path for path in leftovers if path.exists()]


# ── limits ────────────────────────────────────────────────────────────────────────────────────────


def trickle(handler: BaseHTTPRequestHandler) -> None:
    """An answer that comes byte by byte, and never stays away long."""
    handler.send_response(200)
    handler.send_header("Content-Length", "10000")
    handler.end_headers()
    for _ in range(10_000):
        handler.wfile.write(b" ")
        time.sleep(0.02)


def test_whole_refresh_has_one_deadline(
    request_for_acme: RefreshRequest, repository: TufRepository, paths: Paths
) -> None:
    repository.answers["/timestamp.json"] = trickle
    started_s = time.monotonic()

    with pytest.raises(TrustRefreshFailed, match="`acme` was not refreshed"):
        refresh_root(with_timeout(request_for_acme, 0.5))

    assert time.monotonic() - started_s < 60
    assert not paths.refreshed_root("acme").exists()


def test_no_time_left_is_told_without_asking(
    request_for_acme: RefreshRequest, repository: TufRepository
) -> None:
    with pytest.raises(TrustRefreshFailed) as failure:
        refresh_root(with_timeout(request_for_acme, 0.0))

    assert "0 s were over" in failure.value.why
    assert repository.asked == []


def test_refresh_waits_for_another_one_no_longer_than_its_time(
    request_for_acme: RefreshRequest, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh_root(request_for_acme)
    monkeypatch.setattr(refresh, "_LOCK_TIMEOUT_S", 0.1)

    with (
        locking.FileLock(paths.trust / "refresh.lock", what="test"),
        pytest.raises(LockHeld, match="`acme` was not refreshed"),
    ):
        refresh_root(request_for_acme)


def test_full_disk_leaves_the_root_in_use(
    request_for_acme: RefreshRequest,
    repository: TufRepository,
    paths: Paths,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refresh_root(request_for_acme)
    before = tree(paths.refreshed_root("acme").parent)
    repository.targets["trusted_root.json"] += b"\n"
    repository.publish()

    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_space)
        with pytest.raises(DiskFull, match="`acme` was not refreshed: the disk is full"):
            refresh_root(request_for_acme)

    assert tree(paths.refreshed_root("acme").parent) == before


def test_unforeseen_error_of_the_client_is_a_refusal(
    request_for_acme: RefreshRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise ZeroDivisionError("unforeseen")

    monkeypatch.setattr("tuf.ngclient.updater.Updater.refresh", crash)

    with pytest.raises(TrustRefreshRefused) as refusal:
        refresh_root(request_for_acme)

    assert refusal.value.why == "ZeroDivisionError: unforeseen"


# ── versions ──────────────────────────────────────────────────────────────────────────────────────

SEEN = Versions(5, 50, 40, 30)


@each_row(
    ("versions", "is_rollback"),
    [
        (SEEN, False),
        (Versions(5, 51, 40, 30), False),
        (Versions(6, 51, 41, 31), False),
        (Versions(6, 1, 1, 1), False),  # the recovery of TUF specification 5.3.11
        (Versions(4, 60, 60, 60), True),
        (Versions(5, 49, 40, 30), True),
        (Versions(5, 60, 39, 30), True),
        (Versions(5, 60, 41, 29), True),
    ],
)
def test_rollback_is_told_by_the_versions(versions: Versions, *, is_rollback: bool) -> None:
    assert versions.is_rollback_of(SEEN) is is_rollback


def test_repository_recovers_from_a_version_that_was_far_too_high(
    request_for_acme: RefreshRequest, repository: TufRepository
) -> None:
    repository.versions |= {"timestamp": 10**9, "snapshot": 10**9}
    repository.publish()
    refresh_root(request_for_acme)
    repository.versions |= {"timestamp": 0, "snapshot": 0, "targets": 0}
    repository.publish_root(new_keys=("timestamp", "snapshot"))
    repository.publish()

    report = refresh_root(request_for_acme)

    assert report.sighting.versions == Versions(2, 1, 1, 1)


# ── lazy imports ──────────────────────────────────────────────────────────────────────────────────


def test_commands_import_neither_sigstore_nor_tuf() -> None:
    """One after the other in one process, as what one has imported stays."""
    commands: list[tuple[list[str], int]] = [
        (["--help"], 0),
        (["doctor"], 0),
        (["plugin", "list", "--check"], 0),
        (["plugin", "run", "--help"], 0),
        (["plugin", "run", "acme/none", "test"], 1),
        (["trust", "refresh", "--offline"], 4),
    ]
    code = (
        "import json, sys\n"
        "from aperio_cli.__main__ import main\n"
        "for arguments, status in json.loads(sys.argv[1]):\n"
        "    assert main(arguments) == status, arguments\n"
        "    found = [m for m in ('sigstore', 'tuf', 'securesystemslib') if m in sys.modules]\n"
        "    assert not found, (arguments, found)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(commands)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
