"""Homes and rules that somebody else could have a hand in."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

import pytest
from platformdirs.macos import MacOS

from aperio_cli import config
from aperio_cli.__main__ import main
from aperio_cli.data.state import StateDatabase
from aperio_cli.errors import AperioError, Refusal
from aperio_cli.errors.files import FolderNotPrivate, PathShared
from aperio_cli.errors.usage import ConfigurationInvalid
from aperio_cli.files import owning, writing
from aperio_cli.models.plugin_id import PluginId, PluginRef
from aperio_cli.paths import Paths, find_paths
from aperio_cli.signing.local.domain import create_domain, open_domain
from aperio_cli.store.installed import Store
from aperio_cli.trust.roots import domain_roots
from aperio_cli.trust.signed_document import Schema, read_document
from tests.builders import snapshot
from tests.rows import each_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
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
    writing.ensure_own(tmp_path / "a/b/c")

    for made in ("a", "a/b", "a/b/c"):
        assert stat.S_IMODE((tmp_path / made).stat().st_mode) == 0o700


@each_row("mode", [0o777, 0o1777, 0o702])
def test_folder_that_everybody_may_write_in_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home").chmod(mode)

    with pytest.raises(FolderNotPrivate, match="not a folder of your own"):
        writing.ensure_own(tmp_path / "home")

    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == mode


@pytest.mark.parametrize("is_private", [True, False])
def test_folder_that_a_group_may_write_in_is_refused_unless_it_is_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_private: bool
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home").chmod(0o770)
    monkeypatch.setattr(owning, "is_owners_alone", lambda *_: is_private)

    if is_private:
        writing.ensure_own(tmp_path / "home")
    else:
        with pytest.raises(FolderNotPrivate) as caught:
            writing.ensure_own(tmp_path / "home")
        assert "group" in caught.value.why

    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o770


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

    with pytest.raises(PathShared, match="somebody else may change it") as caught:
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


# ── everything that decides about trust ───────────────────────────────────────────────────────────

BOX = PluginId.parse("acme/box")
STRANGER = 54_321


def _configuration(file: Path, paths: Paths) -> None:
    file.write_text(RULE)
    config.load_config(Paths(paths.home, file, paths.cache), site_file=paths.home / "none")


def _site(file: Path, paths: Paths) -> None:
    file.write_text(RULE)
    config.load_config(paths, site_file=file)


def _root_of_a_domain(file: Path, paths: Paths) -> None:
    file.write_text("{}")
    _use_domain(config.DomainRule("acme", file, "", None, "config.toml"), paths)


def _first_root_of_a_domain(file: Path, paths: Paths) -> None:
    file.write_text("{}")
    tuf = "https://tuf.acme.example/"
    _use_domain(config.DomainRule("acme", None, tuf, file, "config.toml"), paths)


def _use_domain(rule: config.DomainRule, paths: Paths) -> None:
    source = domain_roots(config.Config(domains=(rule,)), paths)[0].source
    if "somebody else may change" in source.problem:
        raise Refusal(rule.name, why=source.problem, next=source.remedies)


def _publisher_file(file: Path, _paths: Paths) -> None:
    beside = file.with_name(f"{file.name}.sigstore.json")
    file.write_text("{}")
    beside.write_text("{}")
    read_document(_schema(), file, 100)


def _bundle_of_a_publisher_file(file: Path, _paths: Paths) -> None:
    data = file.with_name("publishers")
    named = file.with_name("publishers.sigstore.json")
    data.write_text("{}")
    file.write_text("{}")
    named.symlink_to(file)
    try:
        read_document(_schema(), data, 100)
    finally:
        named.unlink()


def _schema() -> Schema[Any]:
    return Schema(
        kind="publishers",
        subject="it",
        parse=lambda data: data,
        refused=lambda why, steps: Refusal("it", why=why, next=steps),
    )


def _record(file: Path, paths: Paths) -> None:
    """An installed version's receipt; a link, so that the folders above are those of the test."""
    folder = paths.plugin(BOX) / "1.0.0"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "receipt.json").unlink(missing_ok=True)
    (folder / "receipt.json").symlink_to(file)
    file.write_text("{}")
    try:
        Store(paths).get(PluginRef(BOX, "1.0.0"))
    except AperioError as error:
        if error.code != "receipt-invalid":
            raise


def _home(file: Path, _paths: Paths) -> None:
    file.mkdir(exist_ok=True)
    Store(find_paths({}, home=str(file)))


def _state(file: Path, _paths: Paths) -> None:
    StateDatabase(file).close()


def _local_domain(file: Path, _paths: Paths) -> None:
    if not file.exists():
        create_domain(file, "alice@local")
        file.chmod(0o700)
    open_domain(file).services()


USES: dict[str, Callable[[Path, Paths], None]] = {
    "configuration": _configuration,
    "site configuration": _site,
    "trusted root": _root_of_a_domain,
    "first TUF root": _first_root_of_a_domain,
    "publisher file": _publisher_file,
    "its bundle": _bundle_of_a_publisher_file,
    "receipt": _record,
    "home": _home,
    "state": _state,
    "local trust domain": _local_domain,
}


def placed(tmp_path: Path) -> Path:
    folder = tmp_path / "above" / "folder"
    folder.mkdir(parents=True)
    return folder / "used"


@each_row("level", ["itself", "folder", "above"])
@each_row("use", USES)
def test_what_others_may_write_is_not_used(use: str, level: str, tmp_path: Path) -> None:
    place = placed(tmp_path)
    paths = find_paths({}, home=str(tmp_path / "home"))
    USES[use](place, paths)  # the twin: as it is made, it is used
    opened = {"itself": place, "folder": place.parent, "above": place.parent.parent}[level]
    opened.chmod(opened.stat().st_mode | 0o002)
    owning.forget()

    with pytest.raises(Refusal) as caught:
        USES[use](place, paths)

    assert "somebody else may change it" in f"{caught.value.what}\n{caught.value.why}"
    assert f"{opened}: everybody may write to it" in caught.value.why
    assert f"`chmod o-w {opened}`" in caught.value.next[0]


@pytest.mark.sandbox
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to another user")
@each_row("use", USES)
def test_what_another_user_made_is_not_used(use: str, tmp_path: Path) -> None:
    place = placed(tmp_path)
    paths = find_paths({}, home=str(tmp_path / "home"))
    USES[use](place, paths)
    place.parent.chmod(0o1777)
    os.chown(place, STRANGER, STRANGER)
    owning.forget()

    with pytest.raises(Refusal) as caught:
        USES[use](place, paths)

    assert f"{place}: it belongs to" in caught.value.why


@pytest.mark.parametrize("shared", ["", "plugins"])
def test_plugins_are_not_listed_from_a_home_that_everybody_may_write(
    shared: str, aperio_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (aperio_home / "plugins").mkdir(parents=True)
    assert main(["plugin", "list"]) == 0
    (aperio_home / shared).chmod(0o777)
    owning.forget()
    capsys.readouterr()

    assert main(["plugin", "list"]) == 3

    printed = capsys.readouterr()
    assert "path-shared" in printed.err
    assert not printed.out


def test_root_that_is_open_to_others_is_not_added(
    tmp_path: Path, aperio_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "root.json"
    root.write_text('{"certificateAuthorities": []}')
    command = ["trust", "domain", "add", "acme", "--file", str(root), "--yes"]
    root.chmod(0o666)
    assert main(command) == 3
    assert not (aperio_home / "config.toml").exists()
    root.chmod(0o644)

    assert main(command) == 0

    assert "path-shared" in capsys.readouterr().err
