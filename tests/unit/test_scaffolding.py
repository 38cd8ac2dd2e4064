from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from aperio_cli import scaffolding
from aperio_cli.building import load_project
from aperio_cli.building.lock import read_lock
from aperio_cli.errors import NOT_DONE, USAGE
from aperio_cli.errors.building import FolderNotEmpty, ModuleInvalid
from aperio_cli.errors.files import DiskFull
from aperio_cli.errors.usage import PluginIdInvalid, UsageError
from aperio_cli.models.digest import Digest
from aperio_cli.scaffolding import ScaffoldRequest, derive_names, scaffold
from tests.projects import SDK, TAG, snapshot, write
from tests.rows import each_row, for_rows

MODULE = "github.com/acme/aperio-plugin-box"
FILES = {
    ".github/aperio/aperio.lock",
    ".github/aperio/aperio_plugin_sdk-0.1.0-py3-none-any.whl",
    ".github/workflows/release.yml",
    ".gitignore",
    "LICENSE",
    "README.md",
    "connector.py",
    "manifest.yaml",
    "plugin.py",
    "pyproject.toml",
    "requirements.lock",
    "test_connector.py",
    "vendor/aperio_plugin_sdk-0.1.0-py3-none-any.whl",
}
HOSTILE = [
    "",
    ".",
    "..",
    "../x",
    "/etc/passwd",
    "/github.com/acme/aperio-plugin-box",
    "box",
    "acme/box",
    "github.com/acme",
    "github.com/acme/",
    "github.com/acme/..",
    "github.com/acme/../x",
    "github.com/../aperio-plugin-box",
    "github.com/acme/aperio-plugin-box/..",
    "github.com/acme/aperio-plugin-box/v2",
    "github.com//aperio-plugin-box",
    "github.com/acme/aperio-plugin-",
    "github.com/acme/aperio-plugin",
    "github.com/acme/aperio-plugin-aperio-plugin-box",
    "github.com/acme/aperio-plugin--box",
    "github.com/acme/aperio-plugin-box-",
    "github.com/acme/aperio-plugin-1password",
    "github.com/acme/Aperio-Plugin-Box",
    "github.com/acme/aperio_plugin_box",
    "github.com/acme/aperio-plugin-box.py",
    "github.com/acme/aperio-plugin-box.git.git",
    "gitlab.com/acme/-/aperio-plugin-box",
    "gitlab.com/acme/../aperio-plugin-box",
    "gitlab.com/" + "x/" * 30 + "aperio-plugin-box",
    "github.com/acme/.git",
    "github.com/acme/aperio-plugin-" + "x" * 41,
    "github.com/-acme/aperio-plugin-box",
    "github.com/acme-/aperio-plugin-box",
    "github/acme/aperio-plugin-box",
    "github.com/acme/aperio-plugin-box\n",
    "github.com/acme/aperio-plugin-b\x00x",
    "github.com/acme/aperio-plugin-b\x1b[2Jx",
    "github.com/acme/aperio-plugin-b\N{LATIN SMALL LETTER O WITH DIAERESIS}x",
    "github.com/acme/aperio-plugin-b\N{CYRILLIC SMALL LETTER O}x",
    "github.com/acme/aperio-plugin-\N{RIGHT-TO-LEFT OVERRIDE}box",
    "github.com/acme/aperio-plugin-{% raw %}",
    "github.com/acme/{{ cookiecutter }}",
    "github.com\\acme\\aperio-plugin-box",
    "github.com/acme/aperio-plugin-box ",
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_scaffold_makes_exactly_the_documented_files(here: Path) -> None:
    project = scaffold(ScaffoldRequest(MODULE))
    assert project.path == here / "aperio-plugin-box"
    assert set(snapshot(project.path)) == FILES
    assert [path.name for path in here.iterdir()] == ["aperio-plugin-box"]


def test_scaffold_gives_a_project_that_can_be_loaded(here: Path) -> None:
    project = scaffold(ScaffoldRequest(MODULE, output=here / "box"))
    assert load_project(here / "box") == project
    assert str(project.manifest.id) == "acme/box-connector"
    assert project.manifest.provider == "BOX"
    assert project.manifest.runtime.tags == (TAG,)


def test_scaffold_locks_the_vendored_sdk_by_its_hash(here: Path) -> None:
    folder = scaffold(ScaffoldRequest(MODULE, output=here / "box")).path
    (wheel,) = (folder / "vendor").iterdir()
    (pin,) = (pin for pin in read_lock(folder).pins if pin.name == "aperio-plugin-sdk")
    assert pin.digests == (Digest.of(wheel.read_bytes()),)


def test_scaffold_gives_the_same_bytes_every_time(here: Path) -> None:
    first = scaffold(ScaffoldRequest(MODULE, output=here / "one"))
    second = scaffold(ScaffoldRequest(MODULE, output=here / "two"))
    assert snapshot(first.path) == snapshot(second.path)


def test_scaffold_touches_no_home_and_reads_no_configuration(here: Path) -> None:
    home = Path(os.environ["HOME"])
    trap = write(home, "templates/evil/hooks/post_gen_project.sh", f"touch {here}/sprung\n")
    write(home, ".cookiecutterrc", f"cookiecutters_dir: {home}/templates\ndefault_context: [\n")
    before = snapshot(home)
    scaffold(ScaffoldRequest(MODULE))
    assert snapshot(home) == before
    assert trap.is_file()
    assert not (here / "sprung").exists()


def test_scaffold_takes_another_publisher(here: Path) -> None:
    project = scaffold(ScaffoldRequest(MODULE, publisher="globex", output=here / "box"))
    assert str(project.manifest.id) == "globex/box-connector"


@pytest.mark.parametrize("publisher", ["../x", "Globex", "a/b", "a\nb", "-a", "x" * 40, "{{ 1 }}"])
def test_scaffold_refuses_a_publisher_that_is_no_namespace(here: Path, publisher: str) -> None:
    with pytest.raises(PluginIdInvalid) as caught:
        scaffold(ScaffoldRequest(MODULE, publisher=publisher))
    assert caught.value.exit_status == USAGE
    assert list(here.iterdir()) == []


@each_row("module", HOSTILE)
def test_scaffold_refuses_a_name_that_is_no_module_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(ModuleInvalid) as caught:
        scaffold(ScaffoldRequest(module))
    assert (caught.value.code, caught.value.exit_status) == ("module-invalid", USAGE)
    assert "\x1b" not in caught.value.what
    assert "`aperio plugin init github.com/acme/aperio-plugin-box`" in caught.value.next[0]
    assert list(here.iterdir()) == []
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("language", ["python", "go"])
@pytest.mark.parametrize("kind", ["connector", "remediation", "destination"])
def test_scaffold_makes_every_kind_in_every_language(here: Path, kind: str, language: str) -> None:
    project = scaffold(ScaffoldRequest(MODULE, kind=kind, language=language, output=here / "box"))
    assert load_project(here / "box") == project
    assert str(project.manifest.id) == f"acme/box-{kind}"
    assert (project.manifest.kind, project.manifest.runtime.language) == (kind, language)
    suffix = {"python": "py", "go": "go"}[language]
    others = {"connector", "remediation", "destination"} - {kind}
    assert (here / "box" / f"{kind}.{suffix}").is_file()
    assert not [name for name in snapshot(here / "box") if name.startswith(tuple(others))]
    # Its README says where to begin, in names that are there.
    [begin] = re.findall(
        r"paths and names of your service, in (.*)\.", (here / "box/README.md").read_text()
    )
    source = (here / "box" / f"{kind}.{suffix}").read_text()
    assert len(named := re.findall(r"`(\w+)`", begin)) >= 2
    assert [
        name
        for name in named
        if not re.search(rf"^ *(def|func)\b.* ?{name}\(", source, re.MULTILINE)
    ] == []


@pytest.mark.parametrize(
    ("kind", "language", "named"),
    [
        ("conector", "python", "connector, remediation, destination"),
        ("../connector", "python", "connector, remediation, destination"),
        ("", "python", "connector, remediation, destination"),
        ("connector", "rust", "python, go"),
        ("connector", "../python", "python, go"),
    ],
)
def test_scaffold_refuses_what_it_has_no_template_for(
    here: Path, kind: str, language: str, named: str
) -> None:
    with pytest.raises(UsageError) as caught:
        scaffold(ScaffoldRequest(MODULE, kind=kind, language=language))
    assert caught.value.why.endswith(named)
    assert list(here.iterdir()) == []


def test_scaffold_refuses_a_folder_that_is_not_empty(here: Path) -> None:
    write(here, "aperio-plugin-box/notes.txt", "mine")
    with pytest.raises(FolderNotEmpty) as caught:
        scaffold(ScaffoldRequest(MODULE))
    assert (caught.value.code, caught.value.exit_status) == ("folder-not-empty", NOT_DONE)
    assert "notes.txt" in caught.value.why
    assert snapshot(here) == {"aperio-plugin-box/notes.txt": b"mine"}


def test_scaffold_refuses_a_file_in_place_of_the_folder(here: Path) -> None:
    write(here, "aperio-plugin-box", "mine")
    with pytest.raises(FolderNotEmpty, match="not an empty folder"):
        scaffold(ScaffoldRequest(MODULE))
    assert snapshot(here) == {"aperio-plugin-box": b"mine"}


def test_scaffold_refuses_a_link_in_place_of_the_folder(here: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (here / "aperio-plugin-box").symlink_to(target)
    with pytest.raises(FolderNotEmpty) as caught:
        scaffold(ScaffoldRequest(MODULE))
    assert caught.value.why == "it is a symbolic link"
    assert list(target.iterdir()) == []


def test_scaffold_fills_an_empty_folder_without_replacing_it(here: Path) -> None:
    before = here.stat().st_ino
    project = scaffold(ScaffoldRequest(MODULE, output=Path()))
    assert project.path.stat().st_ino == here.stat().st_ino == before
    assert set(snapshot(here)) == FILES


@pytest.mark.parametrize("is_there", ["new", "empty"])
def test_scaffold_leaves_nothing_when_it_fails_midway(
    here: Path, monkeypatch: pytest.MonkeyPatch, is_there: str
) -> None:
    output = here / "box"
    if is_there == "empty":
        output.mkdir()
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name in {"manifest.yaml", "aperio-plugin-box"}:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(DiskFull, match="was not made"):
        scaffold(ScaffoldRequest(MODULE, output=output))
    assert snapshot(here) == {}
    assert [path.name for path in here.iterdir()] == (["box"] if is_there == "empty" else [])


def test_scaffold_follows_the_umask(here: Path) -> None:
    before = os.umask(0o027)
    try:
        folder = scaffold(ScaffoldRequest(MODULE)).path
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o750
    assert list(here.iterdir()) == [folder]


@each_row(
    ("module", "name", "provider", "class_name", "title"),
    [
        (MODULE, "box-connector", "BOX", "BoxConnector", "Box"),
        (
            "git.example.org/Acme/aperio-plugin-google-workspace",
            "google-workspace-connector",
            "GOOGLE_WORKSPACE",
            "GoogleWorkspaceConnector",
            "Google Workspace",
        ),
        ("github.com/acme/box", "box-connector", "BOX", "BoxConnector", "Box"),
        ("github.com/acme/box-connector", "box-connector", "BOX", "BoxConnector", "Box"),
        ("github.com/acme/office-365", "office-365-connector", "OFFICE_365",
         "Office365Connector", "Office 365"),
    ],
)  # fmt: skip
def test_names_are_derived_from_the_module_path(
    module: str, name: str, provider: str, class_name: str, title: str
) -> None:
    names = derive_names(module)
    assert names.namespace == "acme"
    assert (names.plugin_name, names.provider) == (name, provider)
    assert (names.class_name, names.title) == (class_name, title)


@each_row(
    ("typed", "module"),
    [
        ("https://github.com/acme/aperio-plugin-box", MODULE),
        ("https://GitHub.com/acme/aperio-plugin-box/", MODULE),
        ("HTTP://github.com/acme/aperio-plugin-box.git", MODULE),
        ("github.com/acme/aperio-plugin-box.git", MODULE),
        ("github.com/acme/aperio-plugin-box/", MODULE),
        ("git@github.com:acme/aperio-plugin-box.git", MODULE),
        ("ssh://git@github.com/acme/aperio-plugin-box.git", MODULE),
        ("git+https://github.com/acme/aperio-plugin-box", MODULE),
        ("gitlab.com/acme/security/aperio-plugin-box", ""),
        ("https://gitlab.com/acme/security/audit/aperio-plugin-box.git",
         "gitlab.com/acme/security/audit/aperio-plugin-box"),
        ("git.example.org/acme/sub_group/team.x/aperio-plugin-box", ""),
    ],
)  # fmt: skip
def test_a_repository_is_taken_as_code_hosts_show_it(typed: str, module: str) -> None:
    names = derive_names(typed)
    assert names.module == (module or typed)
    assert (names.namespace, names.repository) == ("acme", "aperio-plugin-box")


@for_rows(
    [
        ("https://user:hunter2@github.com/acme/box", "a user or a password"),
        ("https://git.example.org:8443/acme/box", "no port"),
        ("git.example.org:8443/acme/box", "no port"),
        ("https://github.com/acme/box?tab=readme", "nothing behind `?`"),
        ("https://github.com/acme/box#readme", "nothing behind `#`"),
        ("https://github.com/acme/box/tree/main", "owner/repository behind github.com, found 4"),
        ("https://gitlab.com/acme/box/-/tree/main", "`-` is no name"),
        ("ftp://github.com/acme/box", "expected an https address"),
        ("acme/box", "`acme` is not the name of a host"),
        ("https://localhost/acme/box", "`localhost` is not the name of a host"),
        ("github.com/acme", "found 1 part"),
        ("github.com/acme/Box", "`Box` is no name for a plugin's repository"),
        ("github.com/acme/1password", "beginning with a letter"),
        ("git@github.com:acme", "found 1 part"),
    ]
)
def test_a_repository_is_refused_for_its_true_reason(typed: str, why: str) -> None:
    with pytest.raises(ModuleInvalid) as caught:
        derive_names(typed)
    assert why in caught.value.why
    assert "hunter2" not in str(caught.value.to_json())


def test_an_owner_that_is_no_namespace_needs_one_to_be_named() -> None:
    module = "gitlab.com/acme_sec/audit/aperio-plugin-box"
    with pytest.raises(PluginIdInvalid) as caught:
        derive_names(module)
    assert "--publisher" in caught.value.next[0]
    assert derive_names(module, "acme").namespace == "acme"


@each_row(
    ("module", "kind", "name", "class_name"),
    [
        (MODULE, "remediation", "box-remediation", "BoxRemediation"),
        ("github.com/acme/box-destination", "destination", "box-destination", "BoxDestination"),
        ("github.com/acme/box-connector", "destination", "box-connector-destination",
         "BoxConnectorDestination"),
    ],
)  # fmt: skip
def test_names_follow_the_kind(module: str, kind: str, name: str, class_name: str) -> None:
    names = derive_names(module, kind=kind)
    assert (names.kind, names.plugin_name, names.class_name) == (kind, name, class_name)
    assert names.title in names.description


def test_cookiecutter_is_imported_only_when_it_is_used() -> None:
    code = "import sys, aperio_cli.scaffolding\nprint('cookiecutter' in sys.modules)"
    root = Path(scaffolding.__file__).parents[1]
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=True, timeout=30,
        env={"PYTHONPATH": f"{root}:{SDK}"},
    )  # fmt: skip
    assert ran.stdout == "False\n"
