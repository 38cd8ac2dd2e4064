"""Paths that decide about trust: who may change them, from the root of the file system down."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.errors.files import PathShared
from aperio_cli.errors.usage import PlaceUnusable
from aperio_cli.files import owning
from tests.rows import each_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STRANGER = 54_321
NOBODY = 65_534

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root may give files to another user"
)


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    """A file below two folders, all of them this user's alone."""
    folder = tmp_path / "above" / "folder"
    folder.mkdir(parents=True)
    for each in (folder.parent, folder):
        each.chmod(0o755)
    (folder / "file").write_text("trusted")
    (folder / "file").chmod(0o644)
    return folder / "file"


def refusal(path: Path) -> PathShared:
    """Return how a path is refused."""
    with pytest.raises(PathShared) as caught:
        owning.require_own(path)
    assert caught.value.exit_status == 3
    return caught.value


def at(file: Path, level: str) -> Path:
    """Return the file, the folder that it is in, or the one above."""
    return {"file": file, "folder": file.parent, "above": file.parent.parent}[level]


LEVELS = ("file", "folder", "above")


def test_file_of_ones_own_is_taken(file: Path) -> None:
    owning.require_own(file)


@pytest.mark.parametrize("level", LEVELS)
def test_what_everybody_may_write_is_refused_with_the_chmod(file: Path, level: str) -> None:
    at(file, level).chmod(0o757)

    refused = refusal(file)

    assert f"`{file}` was not used" in refused.what
    assert f"{at(file, level)}: everybody may write to it\nmode 0757" in refused.why
    assert f"`chmod o-w {at(file, level)}`" in refused.next[0]


@pytest.mark.parametrize("level", LEVELS)
def test_the_chmod_that_is_printed_helps(file: Path, level: str) -> None:
    at(file, level).chmod(0o777)
    command = refusal(file).next[0].split("`")[1]

    subprocess.run(command, shell=True, check=True, timeout=30)  # noqa: S602 - as people paste it
    owning.forget()

    owning.require_own(file)


@pytest.mark.parametrize("mode", [0o1666, 0o1646])
def test_sticky_bit_of_a_file_protects_nothing(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert "everybody may write" in refusal(file).why


def test_sticky_folder_on_the_way_protects_what_is_ones_own(file: Path) -> None:
    file.parent.chmod(0o1777)
    owning.require_own(file)


def test_sticky_folder_at_the_end_protects_nothing_that_comes_into_it(file: Path) -> None:
    file.parent.chmod(0o1777)
    assert "everybody may write" in refusal(file.parent).why


@pytest.mark.sandbox
@needs_root
@pytest.mark.parametrize("owner", [STRANGER, NOBODY])
@pytest.mark.parametrize("level", LEVELS)
def test_what_belongs_to_another_user_is_refused_with_the_chown(
    file: Path, level: str, owner: int
) -> None:
    """`nobody` is no root: a file of his, read by root, would be everybody's who becomes him."""
    os.chown(at(file, level), owner, -1)

    refused = refusal(file)

    assert f"{at(file, level)}: it belongs to " in refused.why
    assert f"uid {owner}" in refused.why
    assert f"`chown -h 0 {at(file, level)}`" in refused.next[0]


@pytest.mark.sandbox
@needs_root
def test_what_another_user_made_first_in_a_sticky_folder_is_refused(file: Path) -> None:
    file.parent.chmod(0o1777)
    os.chown(file, STRANGER, STRANGER)
    assert "belongs to" in refusal(file).why


@pytest.mark.sandbox
@needs_root
def test_link_of_another_user_in_a_sticky_folder_is_refused(file: Path) -> None:
    """He may lead it elsewhere tomorrow."""
    file.parent.chmod(0o1777)
    link = file.with_name("link")
    link.symlink_to(file)
    owning.require_own(link)
    os.lchown(link, STRANGER, STRANGER)

    assert f"{link}: it belongs to" in refusal(link).why


# ── links ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("is_absolute", [True, False], ids=["absolute", "relative"])
def test_folders_of_a_links_target_count(file: Path, tmp_path: Path, *, is_absolute: bool) -> None:
    link = tmp_path / "link"
    link.symlink_to(file if is_absolute else file.relative_to(tmp_path))
    owning.require_own(link)
    file.parent.parent.chmod(0o777)
    owning.forget()

    assert f"{file.parent.parent}: everybody" in refusal(link).why


def test_folder_of_the_link_itself_counts(file: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "link").symlink_to(file)
    owning.require_own(shared / "link")
    shared.chmod(0o777)
    owning.forget()

    assert f"{shared}: everybody" in refusal(shared / "link").why


def test_folder_left_by_two_dots_behind_a_link_counts(file: Path, tmp_path: Path) -> None:
    """`link/../file` is beside the link's target, not beside the link."""
    (file.parent / "inner").mkdir()
    (tmp_path / "link").symlink_to(file.parent / "inner")
    file.parent.chmod(0o777)

    assert f"{file.parent}: everybody" in refusal(tmp_path / "link" / ".." / "file").why


def test_links_without_end_are_an_error_not_an_endless_walk(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        owning.require_own(tmp_path / "a")


def test_relative_path_starts_in_the_working_folder(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    owning.require_own(Path("file"))
    file.chmod(0o666)
    assert str(file) in refusal(Path("file")).why


# ── what is not there ─────────────────────────────────────────────────────────────────────────────


@each_row("place", ["/dev/null", "/dev/null/plugins", "pipe", "pipe/config.toml"])
def test_a_device_or_a_pipe_is_none_to_close_to_others(tmp_path: Path, place: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PlaceUnusable, match="cannot be used") as caught:
        owning.require_own(tmp_path / place)
    assert caught.value.next == ()


def test_what_is_missing_is_nobodys(file: Path) -> None:
    owning.require_own(file.parent / "none")
    owning.require_own(file.parent / "none" / "below")
    owning.require_own(file / "below a file")


def test_what_is_missing_in_a_folder_of_everybodys_is_refused(file: Path) -> None:
    """Somebody may have taken it away, and can put another one there."""
    file.parent.chmod(0o777)
    refusal(file.parent / "none")


# ── groups ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(name="accounts")
def _accounts(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Play the machine's users and groups: this user `me` has the group `group`."""

    def play(group: str = "me", members: tuple[str, ...] = (), other_gid: int = -1) -> None:
        mine = SimpleNamespace(pw_name="me", pw_uid=os.geteuid(), pw_gid=os.getegid())
        other = SimpleNamespace(pw_name="other", pw_uid=STRANGER, pw_gid=other_gid)
        found = SimpleNamespace(gr_name=group, gr_mem=list(members))
        monkeypatch.setattr("pwd.getpwuid", lambda _uid: mine)
        monkeypatch.setattr("pwd.getpwall", lambda: [mine, other])
        monkeypatch.setattr("grp.getgrgid", lambda _gid: found)
        owning.forget()

    return play


@pytest.mark.parametrize("level", LEVELS)
def test_private_group_may_write(file: Path, level: str, accounts: Callable[..., None]) -> None:
    """As umask 002 leaves it where each user has a group."""
    accounts()
    at(file, level).chmod(0o775)
    owning.require_own(file)
    accounts(members=("me",))
    owning.require_own(file)


@pytest.mark.parametrize(
    "group",
    [
        {"group": "staff"},
        {"members": ("me", "other")},
        {"other_gid": os.getegid()},
    ],
    ids=["another name", "another member", "somebody's first group"],
)
@pytest.mark.parametrize("level", LEVELS)
def test_group_that_others_are_in_may_not_write(
    file: Path, level: str, group: dict[str, object], accounts: Callable[..., None]
) -> None:
    accounts(**group)
    at(file, level).chmod(0o775)

    refused = refusal(file)

    assert f"group {os.getegid()} may write to it" in refused.why
    assert f"`chmod g-w {at(file, level)}`" in refused.next[0]


@pytest.mark.sandbox
@needs_root
def test_group_without_a_name_may_not_write(file: Path) -> None:
    os.chown(file, -1, STRANGER)
    owning.require_own(file)
    file.chmod(0o664)
    assert f"group {STRANGER} may write" in refusal(file).why


def test_access_list_that_lets_another_user_write_is_seen(
    file: Path, accounts: Callable[..., None]
) -> None:
    """Its mask stands in the place of the group's bits, so a private group says nothing."""
    accounts()
    file.chmod(0o664)
    owning.require_own(file)
    if not (setfacl := shutil.which("setfacl")):
        entries = [(1, 6, 0xFFFFFFFF), (2, 6, STRANGER), (4, 4, 0xFFFFFFFF), (16, 6, 0xFFFFFFFF)]
        entries.append((32, 4, 0xFFFFFFFF))  # acl(5): tag, permissions, id
        packed = b"".join(
            tag.to_bytes(2, "little") + bits.to_bytes(2, "little") + who.to_bytes(4, "little")
            for tag, bits, who in entries
        )
        try:
            os.setxattr(file, "system.posix_acl_access", b"\2\0\0\0" + packed)
        except OSError as error:
            pytest.skip(f"no access control lists here: {error}")
    else:
        subprocess.run([setfacl, "-m", f"u:{STRANGER}:rw", file], check=True, timeout=30)

    assert "may write to it" in refusal(file).why


# ── user namespaces ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture(name="outside")
def _outside() -> Iterator[Path]:
    """A folder that seems to be of the overflow user, as root's do in a user namespace."""
    folder = Path(tempfile.mkdtemp())
    os.chown(folder, STRANGER, STRANGER)
    (folder / "file").touch()
    os.chown(folder / "file", STRANGER, STRANGER)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.sandbox
@needs_root
def test_root_outside_of_a_namespace_is_root(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in (file, file.parent):
        os.chown(each, STRANGER, STRANGER)
    refusal(file)
    monkeypatch.setattr(owning, "_root_outside", lambda: STRANGER)
    owning.require_own(file)


@pytest.mark.sandbox
@needs_root
def test_in_a_sticky_folder_a_namespace_does_not_tell_root_from_others(
    outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owning, "_root_outside", lambda: STRANGER)
    assert f"{outside}: it belongs to" in refusal(outside / "file").why


def test_without_a_namespace_nobody_is_no_root() -> None:
    if Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]:
        pytest.skip("this is a user namespace")
    assert owning._root_outside() is None


# ── how often ─────────────────────────────────────────────────────────────────────────────────────


def test_folders_are_looked_at_once_and_the_file_every_time(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    lstat = os.lstat

    def counted(path: str, **more: Any) -> os.stat_result:
        looked.append(path)
        return lstat(path, **more)

    monkeypatch.setattr(os, "lstat", counted)
    for _ in range(3):
        owning.require_own(file)

    assert looked.count(str(file.parent)) == 1
    assert looked.count(str(file)) == 3
