from __future__ import annotations

from pathlib import Path

import pytest

from aperio_cli.errors.registries import PluginNotFound
from aperio_cli.errors.usage import PluginIdInvalid, UsageError, VersionInvalid
from aperio_cli.files.naming import as_path, is_path, names_path, parse_ref, require_plain
from aperio_cli.models.address import is_address
from aperio_cli.models.platform import Platform
from aperio_cli.models.plugin_id import PluginRef
from aperio_cli.paths import find_paths
from aperio_cli.registry import Registry
from aperio_cli.store.installed import Store
from tests.rows import each_row, for_each


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a few things in it."""
    (tmp_path / "acme" / "box").mkdir(parents=True)
    (tmp_path / "artifact").write_bytes(b"")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "Acme" / "Box").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@for_each([
        ".", "./x", "../x", "/x", "~/x", "~nobody/x", "x.tar.gz", "dist/x.tar.gz",
        "file:///x", "FILE:///x", "artifact", "acme", "dangling", "Acme/Box", "acme/box/",
    ])  # fmt: skip
def test_a_path_is_what_looks_like_one_or_is_there(text: str) -> None:
    assert is_path(text)


@each_row("text", ["acme/box", "acme/box@1.0.0", "acme/other", "nothing", ""])
def test_an_id_is_no_path_whatever_stands_in_the_folder(text: str) -> None:
    assert not is_path(text)


@each_row(
    ("text", "is_installed", "is_path"),
    [
        ("acme/box", False, True),  # a folder of that name is here
        ("acme/box", True, False),  # and a plugin whose name it does not take over
        ("acme/box@1.0.0", False, False),
        ("acme/other", False, False),
        ("./acme/box", True, True),
        ("artifact", True, True),
        ("nothing", False, False),
    ],
)
def test_what_reads_as_an_id_and_is_here_is_the_path_unless_it_is_installed(
    text: str, *, is_installed: bool, is_path: bool
) -> None:
    assert names_path(text, lambda _plugin: is_installed) is is_path


def test_a_file_that_reads_as_an_id_has_to_be_named_as_a_path(folder: Path) -> None:
    (folder / "acme" / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="reads as a plugin's id") as caught:
        require_plain("acme/file", lambda _plugin: False, "nothing was installed")
    assert caught.value.next == (
        "for the file: `./acme/file`",
        "for the plugin: `acme/file@VERSION`",
    )
    for text in ("./acme/file", "acme/box", "acme/file@1.0.0", "artifact", "acme/none"):
        require_plain(text, lambda _plugin: False, "nothing was installed")
    require_plain("acme/file", lambda _plugin: True, "nothing was installed")


def test_what_is_neither_is_told_as_such() -> None:
    assert str(parse_ref("acme/box@1.0.0")) == "acme/box@1.0.0"
    with pytest.raises(PluginIdInvalid, match="neither a plugin id nor a path"):
        parse_ref("nothing")
    with pytest.raises(VersionInvalid):
        parse_ref("acme/box@one")


@each_row(
    ("text", "step"),
    [
        ("acme/lamp-connector==0.1.0", "did you mean `acme/lamp-connector@0.1.0`?"),
        ("acme/lamp-connector:v0.1.0", "did you mean `acme/lamp-connector@0.1.0`?"),
        ("ACME/Lamp-Connector", "did you mean `acme/lamp-connector`?"),
        ("acme/lamp-connector@v0.1.0", "did you mean `0.1.0`?"),
        ("acme/lamp-connector@1.2", "did you mean `1.2.0`?"),
        ("acme/lamp-connector@2", "did you mean `2.0.0`?"),
        ("acme/lamp-connector@latest", "leave it out: `acme/lamp-connector`"),
        ("acme/lamp-connector@main", "name it like `1.2.3`"),
        ("lamp-connector", "name it with its namespace, as in `acme/lamp-connector`"),
        ("acme/lamp/connector", "name it like `acme/box-connector`"),
        ("acme/lamp-connector==", "name it like `acme/box-connector`"),
    ],
)
def test_a_reference_as_it_is_written_elsewhere_is_told_as_it_is_written_here(
    text: str, step: str
) -> None:
    with pytest.raises((PluginIdInvalid, VersionInvalid)) as caught:
        parse_ref(text)
    assert caught.value.next[0] == step


def test_plugin_that_was_not_found_leads_to_what_is_here_under_its_name(folder: Path) -> None:
    store = Store(find_paths({"APERIO_HOME": str(folder / "home")}))
    here, nowhere = PluginRef.parse("acme/box"), PluginRef.parse("acme/lantern")
    said = [store.not_installed(ref).next for ref in (here, nowhere)]
    for ref in (here, nowhere):
        with pytest.raises(PluginNotFound) as caught:
            Registry([], lambda _: None).resolve(ref, Platform("linux", "amd64"))
        said.append(caught.value.next)
    step = "for what is here under that name: `./acme/box`"
    assert [each[-1] == step for each in said] == [True, False, True, False]


@each_row(
    ("text", "path"),
    [
        ("x", "x"),
        ("~", "{home}"),
        ("~/x", "{home}/x"),
        ("~nobody-here/x", "~nobody-here/x"),
        ("file:///a%20b", "/a b"),
        ("file://localhost/x", "/x"),
    ],
)
def test_paths_are_read_as_a_shell_reads_them(text: str, path: str) -> None:
    assert as_path(text) == Path(path.format(home=Path.home()))


@each_row("text", ["https://h/x", "HTTP://h/x", "ftp://h/x", "oci://h/x", "http://user:pw@h/x?y#z"])
def test_an_address_is_what_has_a_scheme(text: str) -> None:
    assert is_address(text)


@each_row("text", ["file:///x", "https:/h/x", "./a://b", "1x://h", "://h", "acme/box", "C:/x", ""])
def test_a_path_and_an_id_are_no_addresses(text: str) -> None:
    assert not is_address(text)
