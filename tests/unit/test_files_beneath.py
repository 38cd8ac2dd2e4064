from __future__ import annotations

import os
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from aperio_cli.errors.files import FileNotRegular, FileTooLarge, LockHeld
from aperio_cli.files import locking
from aperio_cli.files.beneath import Beneath, OpenFolders
from tests.builders import nest
from tests.descriptors import open_descriptors
from tests.rows import each_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SECRET = b"secret"


def made(tmp_path: Path) -> Path:
    """A folder `root/a/b/file`, and beside it what no link may lead to."""
    (tmp_path / "outside/b").mkdir(parents=True)
    (tmp_path / "outside/b/file").write_bytes(SECRET)
    (tmp_path / "root/a/b").mkdir(parents=True)
    (tmp_path / "root/a/b/file").write_bytes(b"plain")
    return tmp_path / "root"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return made(tmp_path)


@pytest.fixture
def beneath(root: Path) -> Iterator[Beneath]:
    with Beneath(root) as opened:
        yield opened


def link(place: Path, target: Path | str) -> None:
    """A link in the place of what stands there, which stays beside it."""
    if place.exists():
        place.rename(place.with_name("moved"))
    place.symlink_to(target)


USES: dict[str, Callable[[Beneath], object]] = {
    "mode": lambda beneath: beneath.mode("a", "b", "file"),
    "has_file": lambda beneath: beneath.has_file("a", "b", "file"),
    "open_file": lambda beneath: beneath.open_file("a", "b", "file").close(),
    "read": lambda beneath: beneath.read("a", "b", "file", limit_bytes=100),
}
CHANGES: dict[str, Callable[[Beneath], object]] = {
    "names": lambda beneath: beneath.names("a", "b"),
    "make_folders": lambda beneath: beneath.make_folders("a", "b"),
    "make_folders below": lambda beneath: beneath.make_folders("a", "b", "c", "d"),
    "change_mode": lambda beneath: beneath.change_mode("a", "b", mode=0o700),
    "write_atomic": lambda beneath: beneath.write_atomic("a", "b", "file", data=b"new"),
    "remove_tree": lambda beneath: beneath.remove_tree("a", "b", "file"),
}


@pytest.mark.parametrize("use", [*USES.values(), *CHANGES.values()], ids=[*USES, *CHANGES])
def test_plain_files_and_folders_are_used(
    beneath: Beneath, use: Callable[[Beneath], object]
) -> None:
    use(beneath)


@each_row("place", ["a", "a/b"])
@each_row("way", ["absolute", "relative", "dangling", "to a file", "within"])
@each_row("use", [*USES.values(), *CHANGES.values()], ids=[*USES, *CHANGES])
def test_link_above_is_refused_and_named(
    tmp_path: Path, use: Callable[[Beneath], object], place: str, way: str
) -> None:
    root = made(tmp_path)
    outside = root.parent / "outside"
    target = outside if place == "a" else outside / "b"
    targets: dict[str, Path | str] = {
        "absolute": target,
        "relative": os.path.relpath(target, (root / place).parent),
        "dangling": outside / "none",
        "to a file": outside / "b/file",
        "within": "moved",
    }
    with Beneath(root) as beneath:
        link(root / place, targets[way])
        with pytest.raises(FileNotRegular) as caught:
            use(beneath)
    assert (caught.value.code, caught.value.exit_status) == ("file-not-regular", 3)
    assert caught.value.what == f"`{root / place}` was not used: it is a symbolic link"
    assert (outside / "b/file").read_bytes() == SECRET
    assert sorted(path.name for path in outside.rglob("*")) == ["b", "file"]


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_link_in_a_files_place_is_refused(
    beneath: Beneath, root: Path, use: Callable[[Beneath], object]
) -> None:
    link(root / "a/b/file", root.parent / "outside/b/file")
    with pytest.raises(FileNotRegular, match="a symbolic link"):
        use(beneath)


def test_link_in_a_files_place_is_replaced_or_removed_not_followed(
    beneath: Beneath, root: Path
) -> None:
    secret = root.parent / "outside/b/file"
    link(root / "a/b/file", secret)
    beneath.write_atomic("a", "b", "file", data=b"new")
    assert (root / "a/b/file").read_bytes() == b"new"
    link(root / "a/b/other", secret)
    beneath.remove_tree("a", "b", "other")
    assert secret.read_bytes() == SECRET


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def make_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")


ODDITIES = {
    "a fifo": os.mkfifo,
    "a socket": make_socket,
    "a character device": make_device,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("kind", ODDITIES)
def test_what_is_no_file_is_refused_without_waiting(
    beneath: Beneath, root: Path, kind: str, use: Callable[[Beneath], object]
) -> None:
    (root / "a/b/file").unlink()
    ODDITIES[kind](root / "a/b/file")
    with pytest.raises(FileNotRegular, match=kind):
        use(beneath)


@pytest.mark.parametrize("kind", ODDITIES)
def test_what_is_no_folder_is_refused_without_waiting(
    beneath: Beneath, root: Path, kind: str
) -> None:
    ODDITIES[kind](root / "odd")
    with pytest.raises(FileNotRegular, match=kind):
        beneath.read("odd", "file", limit_bytes=1)


def test_folder_is_no_file_and_file_no_folder(beneath: Beneath) -> None:
    assert not beneath.has_file("a")
    with pytest.raises(FileNotRegular, match="a folder"):
        beneath.open_file("a", "b")
    with pytest.raises(FileNotRegular, match="a regular file"):
        beneath.names("a", "b", "file")


@pytest.mark.parametrize(
    "parts",
    [
        ("..", "outside", "b", "file"),
        ("a", "..", "..", "outside"),
        ("a", "."),
        ("a", ""),
        ("",),
        (),
        ("/etc/passwd",),
        ("a/b", "file"),
        ("a", "b/../file"),
        ("a\0b",),
        ("\ud800",),
    ],
)
def test_parts_that_are_no_names_are_refused(beneath: Beneath, parts: tuple[str, ...]) -> None:
    uses: list[Callable[[], object]] = [
        lambda: beneath.mode(*parts),
        lambda: beneath.open_file(*parts),
        lambda: beneath.write_atomic(*parts, data=b""),
        lambda: beneath.remove_tree(*parts),
    ]
    for use in uses:
        with pytest.raises(FileNotRegular, match="leads out of"):
            use()


@pytest.mark.parametrize("name", ["..a", "...", "a b", "\N{SNOWMAN}", "\udcff", "a\\b", "\n"])
def test_odd_names_are_names(beneath: Beneath, name: str) -> None:
    beneath.write_atomic("a", name, data=b"x")
    assert beneath.read("a", name, limit_bytes=1) == b"x"
    assert name in beneath.names("a")


def test_root_may_be_a_link(root: Path) -> None:
    (root.parent / "link").symlink_to(root)
    with Beneath(root.parent / "link") as beneath:
        assert beneath.read("a", "b", "file", limit_bytes=100) == b"plain"


def test_root_that_is_exchanged_is_still_the_one_that_was_opened(
    beneath: Beneath, root: Path
) -> None:
    root.rename(root.with_name("elsewhere"))
    root.symlink_to(root.parent / "outside")
    assert beneath.names("a", "b") == ["file"]


def test_folder_swapped_for_a_link_between_look_and_use_is_refused(
    beneath: Beneath, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look says a folder; whoever opens it next must not be led elsewhere."""
    assert beneath.mode("a", "b", "file")
    opened = os.open

    def swapping(path: str, flags: int, *rest: int, dir_fd: int | None = None) -> int:
        if path == "b":
            monkeypatch.setattr(os, "open", opened)
            link(root / "a/b", root.parent / "outside/b")
        return opened(path, flags, *rest, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", swapping)
    with pytest.raises(FileNotRegular):
        beneath.write_atomic("a", "b", "file", data=b"evil")
    assert (root.parent / "outside/b/file").read_bytes() == SECRET


def test_folder_swapped_after_it_was_opened_leads_nowhere(beneath: Beneath, root: Path) -> None:
    with beneath.aside_file("a", "b", "file") as aside:
        aside.file.write(b"ours")
        link(root / "a/b", root.parent / "outside/b")
        aside.commit()
    assert (root / "a/moved/file").read_bytes() == b"ours"
    assert (root.parent / "outside/b/file").read_bytes() == SECRET


def test_missing_is_missing(beneath: Beneath, root: Path) -> None:
    assert beneath.mode("a", "none") is None
    assert beneath.mode("none", "none") is None
    with pytest.raises(FileNotFoundError) as caught:
        beneath.open_file("a", "none", "file")
    assert caught.value.filename == f"{root}/a/none"


def test_read_is_bounded(beneath: Beneath) -> None:
    with pytest.raises(FileTooLarge):
        beneath.read("a", "b", "file", limit_bytes=4)


def test_read_takes_a_file_that_has_grown_since_it_was_opened(
    beneath: Beneath, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = os.fstat

    def grown(descriptor: int) -> os.stat_result:
        found = status(descriptor)
        with (root / "a/b/file").open("ab") as file:
            file.write(b" and more" * 3)
        return found

    with monkeypatch.context() as patch:  # pytest removes the folder while others still hold
        patch.setattr(os, "fstat", grown)
        assert beneath.read("a", "b", "file", limit_bytes=100) == b"plain" + b" and more" * 3
        with pytest.raises(FileTooLarge):
            beneath.read("a", "b", "file", limit_bytes=40)


def test_new_file_is_whole_and_never_replaces_one(beneath: Beneath, root: Path) -> None:
    data = os.urandom(3_000_000)
    status = beneath.add_file("a", "new", data=data, mode=0o640)
    assert (root / "a/new").read_bytes() == data
    found = (root / "a/new").stat()
    assert (status.st_ino, status.st_size, status.st_mtime_ns) == (
        found.st_ino,
        found.st_size,
        found.st_mtime_ns,
    )
    assert stat.S_IMODE(found.st_mode) == 0o640
    with pytest.raises(FileExistsError):
        beneath.add_file("a", "new", data=b"other")


# ── folders held open ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def folders(beneath: Beneath) -> Iterator[OpenFolders]:
    opened = OpenFolders(beneath, 2)
    yield opened
    opened.close()


def test_folders_are_opened_once_and_closed_in_turn(folders: OpenFolders, root: Path) -> None:
    before = open_descriptors()
    first = folders.get(("a", "b"))
    assert folders.get(("a", "b")) is first
    for name in "uvwxyz":
        folders.get(("made", name), is_made=True)
    assert len(open_descriptors() - before) == 2
    assert sorted(path.name for path in (root / "made").iterdir()) == list("uvwxyz")
    assert folders.read("a", "b", "file", limit_bytes=100) == b"plain"
    with pytest.raises(FileNotFoundError):
        folders.get(("a", "none"))


@pytest.mark.parametrize("place", ["a", "a/b", "a/b/file", ""])
def test_folders_held_open_refuse_as_the_root_does(
    beneath: Beneath, folders: OpenFolders, root: Path, place: str
) -> None:
    if place:
        link(root / place, root.parent / "outside" / place.removeprefix("a").lstrip("/"))
    else:
        (root / "a/b/file").unlink()

    def refusal(read: Callable[..., bytes]) -> tuple[type, str, str]:
        with pytest.raises((FileNotRegular, FileNotFoundError)) as caught:
            read("a", "b", "file", limit_bytes=100)
        return caught.type, str(caught.value), getattr(caught.value, "why", "")

    assert refusal(folders.read) == refusal(beneath.read)


def test_modes_are_set_not_inherited(beneath: Beneath, root: Path) -> None:
    before = os.umask(0o077)
    try:
        beneath.make_folders("x", "y", mode=0o755)
        beneath.write_atomic("x", "y", "z", data=b"", mode=0o644)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((root / path).stat().st_mode) for path in ("x", "x/y", "x/y/z")]
    assert modes == [0o755, 0o755, 0o644]


def test_make_folders_leaves_those_that_are_there(beneath: Beneath, root: Path) -> None:
    (root / "a").chmod(0o700)
    beneath.make_folders("a", "new")
    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o700


def test_no_depth_is_too_deep(apart: Path) -> None:
    (apart / "a").mkdir()
    nest(apart / "a", 3000)
    parts = ["a", *["d"] * 3000]
    with Beneath(apart) as beneath:
        assert beneath.names(*parts) == ["file"]
        beneath.remove_tree("a")
        assert beneath.names() == []


def test_walk_gives_files_and_empty_folders_and_ends(apart: Path) -> None:
    for path in ("a/b/file", "a/file", "a/z/file"):
        (apart / path).parent.mkdir(parents=True, exist_ok=True)
        (apart / path).touch()
    (apart / "a/empty").mkdir()
    with Beneath(apart) as beneath:
        found = ["/".join(path) for path, _ in beneath.walk("a")]
        assert found == ["a/b/file", "a/empty", "a/file", "a/z/file"]
        nest(apart / "a/z", 40)
        with pytest.raises(FileNotRegular, match="too many folders"):
            list(beneath.walk("a"))
        (apart / "a/empty/link").symlink_to(apart)
        with pytest.raises(FileNotRegular, match="link"):
            list(beneath.walk("a"))


def test_rename_replaces_an_empty_folder_only(beneath: Beneath, root: Path) -> None:
    beneath.make_folders("empty")
    beneath.rename("a", "empty")
    assert beneath.names("empty", "b") == ["file"]
    (root / "full").mkdir()
    with pytest.raises(OSError, match="not empty"):
        beneath.rename("full", "empty")


def test_lock_is_a_lock(beneath: Beneath, root: Path) -> None:
    with (
        beneath.lock("lock", what="x"),
        pytest.raises(LockHeld),
        files_lock(root / "lock"),
    ):
        pytest.fail("two hold one lock")


def files_lock(path: Path) -> locking.FileLock:
    return locking.FileLock(path, what="x", timeout_s=0)


def test_lock_follows_no_link(beneath: Beneath, root: Path) -> None:
    (root / "lock").symlink_to(root.parent / "outside/b/file")
    with pytest.raises(FileNotRegular), beneath.lock("lock", what="x"):
        pytest.fail("a link was followed")
    assert (root.parent / "outside/b/file").read_bytes() == SECRET


def test_nothing_is_left_open(root: Path) -> None:
    before = open_descriptors()
    with Beneath(root) as beneath:
        for use in (*USES.values(), *CHANGES.values()):
            use(beneath)
        for parts in (("none", "x"), ("..",), ("a", "b", "file", "x")):
            with pytest.raises((OSError, FileNotRegular)):
                beneath.open_file(*parts)
    assert not open_descriptors() - before
