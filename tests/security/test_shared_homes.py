"""Homes and rules that somebody else could have a hand in."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest
from platformdirs.macos import MacOS

from aperio_cli import config
from aperio_cli.__main__ import main
from aperio_cli.errors.files import FolderNotPrivate
from aperio_cli.errors.usage import ConfigurationInvalid
from aperio_cli.files import writing
from aperio_cli.paths import find_paths
from tests.builders import snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RULE = '[[publishers]]\nnamespace = "*"\ndomain = "local"\nidentity = "mallory@local"\n'


@pytest.fixture
def no_umask() -> Iterator[None]:
    """A process that closes nothing by itself, as some services are started."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("no_umask")
def test_folders_above_a_private_one_are_private_whatever_the_umask(tmp_path: Path) -> None:
    writing.make_private(tmp_path / "a/b/c")

    for made in ("a", "a/b", "a/b/c"):
        assert stat.S_IMODE((tmp_path / made).stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
def test_folder_that_everybody_may_write_in_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home").chmod(mode)

    with pytest.raises(FolderNotPrivate, match="not a folder of your own"):
        writing.make_private(tmp_path / "home")

    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == mode


@pytest.mark.usefixtures("no_umask")
def test_trust_is_private_from_the_first_folder_on_whatever_the_umask(aperio_home: Path) -> None:
    assert main(["trust", "local", "init"]) == 0

    assert stat.S_IMODE(aperio_home.stat().st_mode) == 0o700


def test_trust_is_refused_when_everybody_may_write_in_the_home(
    aperio_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    aperio_home.mkdir()
    aperio_home.chmod(0o777)
    before = snapshot(aperio_home)

    assert main(["trust", "local", "init"]) == 3

    assert "folder-not-private" in capsys.readouterr().err
    assert snapshot(aperio_home) == before


@pytest.mark.parametrize("shared", ["file", "folder"])
def test_rules_are_refused_when_everybody_may_change_them(aperio_home: Path, shared: str) -> None:
    aperio_home.mkdir(mode=0o700)
    rules = aperio_home / "config.toml"
    rules.write_text(RULE)
    (rules if shared == "file" else aperio_home).chmod(0o777)

    with pytest.raises(ConfigurationInvalid, match="everybody may change it") as caught:
        config.load_config(find_paths(os.environ), site_file=aperio_home / "none")

    assert "0777" in caught.value.why


def test_the_sites_floor_is_not_moved_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    stated = config.site_config_file()
    monkeypatch.setenv("XDG_CONFIG_DIRS", "/nonexistent:/etc/xdg")

    assert config.site_config_file() == stated


def test_the_sites_floor_is_not_moved_by_the_environment_on_macos(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setattr("platformdirs.PlatformDirs", MacOS)
    monkeypatch.setenv("XDG_CONFIG_DIRS", "/tmp/mine")

    assert str(config.site_config_file()) == "/Library/Application Support/aperio/config.toml"


def test_a_site_link_that_leads_nowhere_is_not_a_site_without_rules(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.symlink_to(tmp_path / "not-mounted" / "config.toml")

    with pytest.raises(ConfigurationInvalid, match=r"site\.toml` was not read"):
        config.load_config(find_paths({}, home=str(tmp_path)), site_file=site)


def test_an_empty_home_variable_does_not_mean_the_working_folder(tmp_path: Path) -> None:
    assert not find_paths({"HOME": ""}).home.is_relative_to(tmp_path.cwd())
