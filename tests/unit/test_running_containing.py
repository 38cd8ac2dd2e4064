"""What of the machine a plugin is given, by its manifest and the operator's settings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from aperio_cli.config import Config, ConfigFile
from aperio_cli.errors.usage import UsageError
from aperio_cli.host.sandbox.bubblewrap import Bubblewrap, Tools
from aperio_cli.host.sandbox.unconfined import Unconfined
from aperio_cli.models.artifact import Interpreter
from aperio_cli.running.containing import closed_part, given_folders, mode_of
from tests.process.conftest import manifest
from tests.rows import each_row

if TYPE_CHECKING:
    from pathlib import Path

WRITER = manifest(kind="destination", egress=(), folders_from_config=("folder", "other"))
MINE = Bubblewrap(Tools("/usr/bin/bwrap"))
NOBODYS = Bubblewrap(Tools("/usr/bin/bwrap"), 61001)


def test_a_folder_that_is_missing_is_made_for_whoever_runs_the_plugin(tmp_path: Path) -> None:
    wanted = tmp_path / "a" / "b"
    assert given_folders(WRITER, {"folder": str(wanted)}, MINE) == (wanted,)
    assert wanted.stat().st_mode & 0o777 == 0o700
    assert given_folders(WRITER, {"folder": str(wanted)}, MINE) == (wanted,)


def test_what_of_an_interpreter_is_closed_to_the_plugins_user(tmp_path: Path) -> None:
    library = tmp_path / "lib" / "python3.11"
    library.mkdir(parents=True)
    for name in ("python", "lib/python3.11/os.py"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    for folder in (library, library.parent):
        folder.chmod(0o755)
    tmp_path.chmod(0o700)  # is no hindrance: bubblewrap opens what is below
    found = Interpreter(str(tmp_path / "python"), "3.11.7", "cp311", str(tmp_path))
    assert closed_part(found, NOBODYS) is None
    library.chmod(0o700)
    assert closed_part(found, NOBODYS) == library
    assert closed_part(found, MINE) is closed_part(found, Unconfined()) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_roots_plugins_write_to_their_own_users_folders_only(tmp_path: Path) -> None:
    made, others = tmp_path / "made", tmp_path / "others"
    others.mkdir()
    assert given_folders(WRITER, {"folder": str(made)}, NOBODYS) == (made,)
    assert made.stat().st_uid == 61001
    assert given_folders(WRITER, {"folder": str(made)}, NOBODYS) == (made,)
    with pytest.raises(UsageError, match="could not write") as caught:
        given_folders(WRITER, {"folder": str(others)}, NOBODYS)
    assert caught.value.next[0] == f"`chown -R 61001:61001 {others}`"
    others.chmod(0o777)
    assert given_folders(WRITER, {"folder": str(others)}, NOBODYS) == (others,)


@each_row("value", ["relative", "~/out", 5, "", "/a\0b"])
def test_what_is_no_absolute_path_is_the_plugins_to_complain_about(value: object) -> None:
    assert given_folders(WRITER, {"folder": value}, MINE) == ()


def test_only_settings_that_the_manifest_names_are_folders(tmp_path: Path) -> None:
    settings = {"url": str(tmp_path / "x"), "other": str(tmp_path / "y")}
    assert given_folders(WRITER, settings, MINE) == (tmp_path / "y",)
    assert not (tmp_path / "x").exists()


def test_everything_is_not_given(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/")
    for path in ("/", "//", str(tmp_path / "link")):
        with pytest.raises(UsageError, match="is not given"):
            given_folders(WRITER, {"folder": path}, MINE)


def test_without_a_sandbox_nothing_has_to_be_given(tmp_path: Path) -> None:
    assert given_folders(WRITER, {"folder": str(tmp_path / "x")}, Unconfined()) == ()
    assert not (tmp_path / "x").exists()


@each_row(
    ("site", "user", "shell", "mode"),
    [
        ("", "", "", "auto"),
        ("", "none", "", "none"),
        ("", "", "none", "none"),
        ("", "none", "auto", "auto"),
        ("auto", "auto", "none", "auto"),
        ("none", "none", "", "none"),
    ],
)
def test_a_site_that_demands_a_sandbox_has_one(site: str, user: str, shell: str, mode: str) -> None:
    config = Config(sandbox_mode=user, site=ConfigFile(sandbox_mode=site))
    assert mode_of(config, {"APERIO_SANDBOX": shell}) == mode


def test_a_mode_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="names no mode") as caught:
        mode_of(Config(), {"APERIO_SANDBOX": "off"})
    assert caught.value.why == "expected auto or none"
