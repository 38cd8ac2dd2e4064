from __future__ import annotations

import errno
import io
import multiprocessing
import os
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from aperio_cli import text as aperio_cli_text
from aperio_cli.errors import NOT_DONE, REFUSED
from aperio_cli.errors.files import (
    DiskFull,
    FileNotRegular,
    FilesChanged,
    FileSizeLimited,
    FileTooLarge,
    FolderNotPrivate,
    LockHeld,
    TreeNotPlain,
)
from aperio_cli.errors.usage import PlaceUnusable
from aperio_cli.files import locking, reading, removing, writing
from aperio_cli.files import tree as files_tree
from aperio_cli.models.digest import Digest
from tests.builders import nest
from tests.descriptors import open_descriptors
from tests.rows import each_row, for_each

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.synchronize import Event
    from pathlib import Path

SUBJECT = "`acme/box-connector` 1.2.0"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """An empty folder: nothing but what the test puts there."""
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ── writing ───────────────────────────────────────────────────────────────────────────────────────


@each_row("umask", [0o000, 0o077, 0o777])
def test_write_atomic_gives_the_mode_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        writing.write_atomic(tmp_path / "a", b"new", mode=0o640)
    finally:
        os.umask(before)

    assert (tmp_path / "a").read_bytes() == b"new"
    assert mode_of(tmp_path / "a") == 0o640
    assert names_in(tmp_path) == ["a"]


def test_write_atomic_replaces_the_link_when_a_link_is_there(here: Path) -> None:
    (here / "target").write_bytes(b"kept")
    (here / "a").symlink_to(here / "target")

    writing.write_atomic(here / "a", b"new")

    assert not (here / "a").is_symlink()
    assert (here / "target").read_bytes() == b"kept"


@pytest.mark.durable
def test_write_atomic_syncs_bytes_before_the_name_and_the_name_after(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    real_fsync = os.fsync

    def record(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        steps.append(("folder" if is_folder else "file", (here / "a").exists()))
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    writing.write_atomic(here / "a", b"new")

    assert steps == [("file", False), ("folder", True)]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_write_atomic_keeps_the_old_file_when_the_disk_is_full(
    here: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    (here / "a").write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull) as caught:
        writing.write_atomic(here / "a", b"new")

    assert caught.value.exit_status == NOT_DONE
    assert names_in(here) == ["a"]
    assert (here / "a").read_bytes() == b"old"


def test_write_atomic_reports_a_full_disk_when_the_file_cannot_even_be_made(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **_more: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(DiskFull, match="was not written"):
        writing.write_atomic(here / "a", b"new")


def interrupted_write(path: Path) -> None:
    with writing.AsideFile(path) as aside:
        aside.file.write(b"half")
        raise KeyboardInterrupt


def test_aside_file_leaves_nothing_when_the_block_is_interrupted(here: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted_write(here / "a")

    assert names_in(here) == []


def test_aside_file_leaves_nothing_when_it_is_not_committed(here: Path) -> None:
    with writing.AsideFile(here / "a") as aside:
        aside.file.write(b"half")
        (half_written,) = here.iterdir()
        assert half_written.name.startswith(writing.ASIDE_PREFIX)
        assert mode_of(half_written) == 0o600

    assert names_in(here) == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_what_cannot_be_written_beside_a_file_names_the_file(
    here: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    opened = os.open

    def refuse(path: str, flags: int, *rest: int, **options: int) -> int:
        if flags & os.O_CREAT:
            raise OSError(number, os.strerror(number), path)
        return opened(path, flags, *rest, **options)

    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        writing.write_atomic(here / "x", b"x")
    assert caught.value.filename == str(here / "x")
    monkeypatch.undo()
    writing.write_atomic(here / "x", b"x")
    assert (here / "x").read_bytes() == b"x"


def test_disk_full_guard_lets_other_errors_through() -> None:
    with pytest.raises(PermissionError), writing.disk_full_guard("`x` was not written"):
        raise PermissionError(errno.EACCES, "no")


def test_disk_full_guard_tells_a_file_that_is_too_long_from_a_full_disk() -> None:
    with pytest.raises(FileSizeLimited) as caught, writing.disk_full_guard("`x` was not written"):
        raise OSError(errno.EFBIG, "too large", "/some/file")

    assert caught.value.what == "`x` was not written: a file would become longer than it may"
    assert caught.value.next == ("name a place on a file system that takes files of that length",)


def test_disk_full_guard_names_the_file_when_it_is_known() -> None:
    with pytest.raises(DiskFull) as caught, writing.disk_full_guard("`x` was not written"):
        raise OSError(errno.ENOSPC, "full", "/some/file")

    assert caught.value.what == "`x` was not written: the disk is full"
    assert "/some/file" in caught.value.why


def test_ensure_own_makes_private_folders_and_leaves_the_mode_of_what_is_there(here: Path) -> None:
    folder = here / "a"
    folder.mkdir(mode=0o755)

    writing.ensure_own(folder)
    writing.ensure_own(here / "b/c")

    assert mode_of(folder) == 0o755
    assert mode_of(here / "b") == mode_of(here / "b/c") == 0o700


def test_ensure_own_refuses_what_is_no_folder(here: Path) -> None:
    (here / "a").touch()

    with pytest.raises(PlaceUnusable, match="it is a regular file"):
        writing.ensure_own(here / "a")


def test_ensure_own_refuses_when_a_link_is_there(here: Path) -> None:
    (here / "target").mkdir(mode=0o755)
    (here / "a").symlink_to(here / "target")

    with pytest.raises(FolderNotPrivate):
        writing.ensure_own(here / "a")

    assert mode_of(here / "target") == 0o755


def test_ensure_own_refuses_when_the_folder_is_somebody_elses(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "a").mkdir(mode=0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)

    with pytest.raises(FolderNotPrivate, match="not a folder of your own"):
        writing.ensure_own(here / "a")

    assert mode_of(here / "a") == 0o755


def test_remove_tree_removes_links_and_leaves_what_they_lead_to(here: Path) -> None:
    (here / "kept").mkdir()
    (here / "kept/file").touch()
    (here / "tree/sub").mkdir(parents=True)
    (here / "tree/sub/link").symlink_to(here / "kept")
    (here / "link").symlink_to(here / "kept")

    removing.remove_tree(here / "tree")
    removing.remove_tree(here / "link")
    removing.remove_tree(here / "missing")

    assert names_in(here) == ["kept"]
    assert names_in(here / "kept") == ["file"]


def test_remove_tree_is_not_ended_by_depth(apart: Path) -> None:
    (apart / "tree").mkdir()
    (apart / "kept").mkdir()
    nest(apart / "tree", 3000)

    removing.remove_tree(apart / "tree")

    assert names_in(apart) == ["kept"]


def test_remove_tree_is_not_ended_by_breadth(here: Path) -> None:
    for number in range(300):
        (here / f"tree/{number}/a/b").mkdir(parents=True)
        (here / f"tree/{number}/file").touch()

    removing.remove_tree(here / "tree")

    assert names_in(here) == []


@each_row("mode", [0o000, 0o500, 0o300])
def test_remove_tree_opens_folders_that_are_closed(tmp_path: Path, mode: int) -> None:
    """As a plugin can leave its home; run as root this proves less."""
    (tmp_path / "tree/sub/deeper").mkdir(parents=True)
    (tmp_path / "tree/sub/file").touch()
    (tmp_path / "tree/sub/deeper").chmod(mode)
    (tmp_path / "tree/sub").chmod(mode)

    removing.remove_tree(tmp_path / "tree")

    assert names_in(tmp_path) == []


def test_remove_tree_does_not_climb_out_of_a_folder_that_was_moved_away(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "elsewhere").mkdir()
    (here / "elsewhere/precious").touch()
    (here / "tree/sub").mkdir(parents=True)
    (here / "tree/sub/file").touch()
    unlink = os.unlink

    def moving(name: str, *, dir_fd: int) -> None:
        unlink(name, dir_fd=dir_fd)
        (here / "tree/sub").rename(here / "elsewhere/sub")

    monkeypatch.setattr(os, "unlink", moving)
    with pytest.raises(OSError, match="moved away") as caught:
        removing.remove_tree(here / "tree")

    assert caught.value.filename == f"{here}/tree/sub/.."
    assert names_in(here / "elsewhere") == ["precious", "sub"]


def test_remove_tree_does_not_enter_a_folder_that_became_a_link(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "elsewhere").mkdir()
    (here / "elsewhere/precious").touch()
    (here / "tree/sub").mkdir(parents=True)
    (here / "tree/file").touch()
    unlink = os.unlink

    def swapping(name: str, *, dir_fd: int) -> None:
        unlink(name, dir_fd=dir_fd)
        (here / "tree/sub").rmdir()
        (here / "tree/sub").symlink_to(here / "elsewhere")

    monkeypatch.setattr(os, "unlink", swapping)
    with pytest.raises(NotADirectoryError):
        removing.remove_tree(here / "tree")

    assert names_in(here / "elsewhere") == ["precious"]


def test_sweep_removes_only_what_has_the_prefix(here: Path) -> None:
    (here / ".aside-1/lib").mkdir(parents=True)
    (here / ".aside-2").touch()
    (here / ".aside-3").symlink_to(here / "kept")
    (here / "kept").mkdir()
    (here / "kept/.aside-4").touch()

    assert removing.sweep(here) == 3
    assert removing.sweep(here) == 0

    assert names_in(here) == ["kept"]
    assert names_in(here / "kept") == [".aside-4"]
    assert removing.sweep(here / "missing") == 0


def test_sweep_refuses_when_the_prefix_is_empty(here: Path) -> None:
    (here / "kept").touch()

    with pytest.raises(ValueError, match="empty prefix"):
        removing.sweep(here, "")

    assert names_in(here) == ["kept"]


# ── reading ───────────────────────────────────────────────────────────────────────────────────────


def test_read_capped_reads_up_to_the_limit_and_no_further(here: Path) -> None:
    (here / "a").write_bytes(b"12345")
    (here / "link").symlink_to(here / "a")

    assert reading.read_capped(here / "a", 5) == b"12345"
    assert reading.read_capped(here / "link", 5) == b"12345"
    with pytest.raises(FileTooLarge) as caught:
        reading.read_capped(here / "a", 4)
    assert caught.value.why == "expected at most 4 bytes"


def make_odd(path: Path, kind: str) -> None:
    match kind:
        case "a folder":
            path.mkdir()
        case "a fifo":
            os.mkfifo(path)
        case "a symbolic link":
            path.symlink_to("/dev/zero")
        case _:
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(str(path))


@each_row("kind", ["a folder", "a fifo", "a socket", "a symbolic link"])
def test_hash_file_refuses_when_it_is_not_a_regular_file(tmp_path: Path, kind: str) -> None:
    make_odd(tmp_path / "a", kind)

    with pytest.raises(FileNotRegular, match="not a regular file") as caught:
        reading.hash_file(tmp_path / "a")

    assert caught.value.why.endswith(kind)


def test_read_capped_refuses_when_a_link_leads_to_a_device(here: Path) -> None:
    (here / "a").symlink_to("/dev/zero")

    with pytest.raises(FileNotRegular, match="not a regular file") as caught:
        reading.read_capped(here / "a", 10)

    assert caught.value.why.endswith("a character device")


def test_hash_file_gives_the_same_for_path_and_open_file(here: Path) -> None:
    data = b"x" * 3_000_001
    (here / "a").write_bytes(data)

    assert reading.hash_file(here / "a") == reading.hash_file(io.BytesIO(data)) == Digest.of(data)


def test_show_path_keeps_to_one_line_when_a_name_has_controls() -> None:
    assert aperio_cli_text.show_path(b"a\nb\x1b[2J\tc\xff") == "a\ufffdb\ufffd[2J c\ufffd"


# ── locking ───────────────────────────────────────────────────────────────────────────────────────


def hold(path: Path, taken: Event, release: Event) -> None:
    with locking.FileLock(path, what="the holder did nothing"):
        taken.set()
        release.wait(30)


def test_lock_names_the_holder_when_the_deadline_passes(here: Path) -> None:
    context = multiprocessing.get_context("spawn")
    taken, release = context.Event(), context.Event()
    holder = context.Process(target=hold, args=(here / "lock", taken, release))
    holder.start()
    try:
        assert taken.wait(30)
        with (
            pytest.raises(LockHeld) as caught,
            locking.FileLock(here / "lock", what="`acme/box` was not installed", timeout_s=0.1),
        ):
            pytest.fail("two processes hold one lock")
    finally:
        release.set()
        holder.join(30)

    assert caught.value.exit_status == NOT_DONE
    assert f"process {holder.pid} is at work" in caught.value.what
    with locking.FileLock(here / "lock", what="x", timeout_s=0):
        assert (here / "lock").read_text().split() == [str(os.getpid())]


@each_row("before", ["", "7\n", "4194304\n", "4194304".ljust(19) + "\n"])
def test_lock_names_one_process_whatever_stood_there_and_costs_no_write_to_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    """A file that is cut and written is written back when it is closed, on ext4."""
    monkeypatch.setattr(os, "ftruncate", lambda *_: pytest.fail("the lock's file was cut"))
    (tmp_path / "lock").write_text(before)
    with locking.FileLock(tmp_path / "lock", what="x", timeout_s=0):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}".ljust(19) + "\n"


def test_lock_is_free_when_its_holder_was_killed(here: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from aperio_cli.files.locking import FileLock\n"
        "with FileLock(Path(sys.argv[1]), what='x'): print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(here / "lock")],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"\n"
        holder.kill()
        holder.wait(30)

    with locking.FileLock(here / "lock", what="x", timeout_s=0):
        pass


def test_lock_does_not_follow_when_a_link_is_there(here: Path) -> None:
    (here / "precious").write_text("kept")
    (here / "lock").symlink_to(here / "precious")

    with (
        pytest.raises(FileNotRegular, match="lock"),
        locking.FileLock(here / "lock", what="x"),
    ):
        pytest.fail("a link was followed")

    assert (here / "precious").read_text() == "kept"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["fifo", "folder"])
def test_lock_refuses_what_is_no_file_without_waiting(
    here: Path, make: Callable[[Path], None]
) -> None:
    make(here / "lock")
    with pytest.raises(FileNotRegular), locking.FileLock(here / "lock", what="x"):
        pytest.fail("something else than a file was locked")


# ── the list of a tree ────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def tree(here: Path) -> Path:
    root = here / "files"
    contents = {"manifest.yaml": b"id: a\n", "bin/tool": b"#!", "lib/a.py": b"a", "lib.py": b""}
    for path, data in contents.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
        (root / path).chmod(0o755 if path.startswith("bin/") else 0o644)
    return root


def listed(root: Path) -> bytes:
    return files_tree.format_tree(files_tree.list_tree(root))


def test_format_tree_writes_the_documented_bytes(tree: Path) -> None:
    assert listed(tree) == (
        Digest.of(b"#!").hex.encode()
        + b"  0755  bin/tool\n"
        + Digest.of(b"").hex.encode()
        + b"  0644  lib.py\n"
        + Digest.of(b"a").hex.encode()
        + b"  0644  lib/a.py\n"
        + Digest.of(b"id: a\n").hex.encode()
        + b"  0644  manifest.yaml\n"
    )


def test_tree_digest_is_the_sha256_of_the_list() -> None:
    assert files_tree.tree_digest(b"") == (
        "t1:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


def test_list_tree_sorts_by_bytes_when_names_are_not_ascii(here: Path) -> None:
    names = ["z", "é", "Z", "a", "\U00010000", "\uffee"]
    for name in names:
        (here / name).touch(mode=0o644)

    found = [record.path for record in files_tree.list_tree(here)]

    assert found == ["Z", "a", "z", "é", "\uffee", "\U00010000"]


def test_parse_tree_gives_back_what_was_formatted(tree: Path) -> None:
    assert files_tree.parse_tree(listed(tree)) == files_tree.list_tree(tree)
    assert files_tree.parse_tree(b"") == []


@for_each(
    [
        b"0" * 64 + b"  0644  a",
        b"0" * 64 + b"  0644  a\r\n",
        b"0" * 64 + b" 0644 a\n",
        b"0" * 64 + b"  0600  a\n",
        b"A" * 64 + b"  0644  a\n",
        b"0" * 63 + b"  0644  a\n",
        b"0" * 64 + b"  0644  \n",
        b"0" * 64 + b"  0644  ../a\n",
        b"0" * 64 + b"  0644  /a\n",
        b"0" * 64 + b"  0644  a//b\n",
        b"0" * 64 + b"  0644  a\xff\n",
        b"0" * 64 + b"  0644  a\x1b\n",
        b"0" * 64 + b"  0644  b\n" + b"0" * 64 + b"  0644  a\n",
        b"0" * 64 + b"  0644  a\n" + b"0" * 64 + b"  0644  a\n",
        b"\n",
    ]
)
def test_parse_tree_refuses_when_the_text_is_not_as_written(text: bytes) -> None:
    with pytest.raises(FilesChanged, match="damaged"):
        files_tree.parse_tree(text)


def test_format_tree_rejects_a_mode_that_cannot_be_listed() -> None:
    with pytest.raises(ValueError, match="mode 0600"):
        files_tree.format_tree([files_tree.FileRecord("a", 0o600, "0" * 64)])


def test_compare_tree_accepts_when_nothing_changed(tree: Path) -> None:
    files_tree.compare_tree(tree, listed(tree), subject=SUBJECT)


def assert_changed(root: Path, expected: bytes, why: str) -> None:
    with pytest.raises(FilesChanged) as caught:
        files_tree.compare_tree(root, expected, subject=SUBJECT)
    assert caught.value.why == why
    assert caught.value.what.startswith(SUBJECT)
    assert (caught.value.code, caught.value.exit_status) == ("files-changed", REFUSED)


def test_compare_tree_refuses_when_one_byte_differs_at_equal_length_and_time(tree: Path) -> None:
    expected = listed(tree)
    before = (tree / "lib/a.py").stat()
    (tree / "lib/a.py").write_bytes(b"b")
    os.utime(tree / "lib/a.py", ns=(before.st_atime_ns, before.st_mtime_ns))

    assert_changed(tree, expected, "lib/a.py  has other contents")


@pytest.mark.parametrize("mode", [0o755, 0o600, 0o666, 0o4644])
def test_compare_tree_refuses_when_only_a_mode_changed(tree: Path, mode: int) -> None:
    expected = listed(tree)
    (tree / "lib/a.py").chmod(mode)

    assert_changed(tree, expected, f"lib/a.py  has mode {mode:04o}, expected 0644")


def test_compare_tree_refuses_when_files_are_missing_and_new(tree: Path) -> None:
    expected = listed(tree)
    (tree / "lib/a.py").rename(tree / "lib/b.py")

    assert_changed(tree, expected, "lib/a.py  is missing\nlib/b.py  is new")


@pytest.mark.parametrize("kind", ["a fifo", "a socket", "a symbolic link"])
def test_compare_tree_refuses_when_something_special_appears(tree: Path, kind: str) -> None:
    expected = listed(tree)
    make_odd(tree / "odd", kind)

    assert_changed(tree, expected, f"odd  is {kind}")
    with pytest.raises(TreeNotPlain, match="not a plain file"):
        files_tree.list_tree(tree)


def test_compare_tree_refuses_when_a_file_became_a_link_to_the_same_bytes(tree: Path) -> None:
    expected = listed(tree)
    (tree / "lib/a.py").rename(tree.parent / "a.py")
    (tree / "lib/a.py").symlink_to(tree.parent / "a.py")

    assert_changed(tree, expected, "lib/a.py  is a symbolic link\nlib/a.py  is missing")


def test_compare_tree_refuses_when_the_whole_folder_is_a_link(tree: Path) -> None:
    expected = listed(tree)
    moved = tree.rename(tree.parent / "moved")
    tree.symlink_to(moved)

    with pytest.raises(FilesChanged, match="is not as it was installed"):
        files_tree.compare_tree(tree, expected, subject=SUBJECT)


def test_compare_tree_refuses_when_the_folder_is_gone(tree: Path) -> None:
    with pytest.raises(FilesChanged) as caught:
        files_tree.compare_tree(tree.parent / "gone", listed(tree), subject=SUBJECT)

    assert "4 files changed" in caught.value.what


def test_compare_tree_names_five_and_counts_the_rest_when_many_changed(tree: Path) -> None:
    expected = listed(tree)
    for number in range(8):
        (tree / f"new{number}").touch()

    names = [f"new{number}  is new" for number in range(5)]
    assert_changed(tree, expected, "\n".join([*names, "and 3 more"]))


@pytest.mark.parametrize("name", [b"a\nb", b"a\xff", b"a\x7f"])
def test_compare_tree_refuses_when_a_new_name_cannot_be_listed(tree: Path, name: bytes) -> None:
    expected = listed(tree)
    with open(os.fsencode(tree) + b"/" + name, "wb"):  # noqa: PTH123 - a name that is no text
        pass

    with pytest.raises(FilesChanged) as caught:
        files_tree.compare_tree(tree, expected, subject=SUBJECT)

    assert caught.value.why == "a\ufffd" + name[2:].decode() + "  has a name that cannot be listed"


def test_compare_tree_ignores_when_a_folder_is_empty(tree: Path) -> None:
    (tree / "empty").mkdir()

    files_tree.compare_tree(tree, listed(tree), subject=SUBJECT)


def test_compare_tree_finds_one_changed_file_when_there_are_many(here: Path) -> None:
    root = here / "files"
    for number in range(1000):
        path = root / f"p{number % 20}/f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number * (number % 50))
        path.chmod(0o644)
    expected = listed(root)
    files_tree.compare_tree(root, expected, subject=SUBJECT)
    (root / "p19/f999").write_bytes(b"")

    assert_changed(root, expected, "p19/f999  has other contents")


def test_list_tree_never_gives_a_shorter_list_when_a_file_cannot_be_read(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "readv", fail)

    with pytest.raises(OSError, match="Input/output error"):
        files_tree.list_tree(tree)


def test_list_tree_leaves_no_descriptor_open(tree: Path) -> None:
    before = open_descriptors()

    files_tree.list_tree(tree)

    assert not open_descriptors() - before


def test_compare_tree_takes_the_word_for_a_digest_and_for_nothing_else(tree: Path) -> None:
    expected = listed(tree)
    known = {record.path: record.sha256 for record in files_tree.parse_tree(expected)}
    (tree / "lib/a.py").write_bytes(b"another")

    files_tree.compare_tree(tree, expected, subject=SUBJECT, digests=known)

    (tree / "lib/a.py").chmod(0o755)
    with pytest.raises(FilesChanged, match="1 file changed") as caught:
        files_tree.compare_tree(tree, expected, subject=SUBJECT, digests=known)
    assert caught.value.why == "lib/a.py  has mode 0755, expected 0644"


@pytest.mark.parametrize("gone", [True, False], ids=["missing", "link"])
def test_compare_tree_refuses_when_a_file_of_known_digest_is_none(
    tree: Path, *, gone: bool
) -> None:
    expected = listed(tree)
    known = {record.path: record.sha256 for record in files_tree.parse_tree(expected)}
    moved = (tree / "lib/a.py").rename(tree.parent / "a.py")
    if not gone:
        (tree / "lib/a.py").symlink_to(moved)

    with pytest.raises(FilesChanged, match="changed") as caught:
        files_tree.compare_tree(tree, expected, subject=SUBJECT, digests=known)

    assert "lib/a.py  is missing" in caught.value.why


def test_compare_tree_refuses_when_a_known_digest_is_another(tree: Path) -> None:
    with pytest.raises(FilesChanged) as caught:
        files_tree.compare_tree(tree, listed(tree), subject=SUBJECT, digests={"lib/a.py": "0" * 64})

    assert caught.value.why == "lib/a.py  has other contents"
