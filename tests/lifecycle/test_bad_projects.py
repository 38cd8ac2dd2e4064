"""Projects, manifests and names that are not what they should be: told, and nothing changed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.builders import registry_folder
from tests.lifecycle.plugins import project_of
from tests.projects import write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.lifecycle.cli import Aperio
    from tests.lifecycle.conftest import Workshop

CLIMBING = (
    "acme/../x",
    "acme/..",
    "acme%2f../x",
    "acme/x/../../y",
    "acme/box@../../y",
    "acme/box@..",
)


def with_manifest(folder: Path, change: Callable[[str], str]) -> Path:
    project = project_of(folder / "project", "print('never run')\n")
    manifest = project / "manifest.yaml"
    manifest.write_text(change(manifest.read_text()))
    return project


# ── folders ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("command", ["build", "run"])
@pytest.mark.parametrize("kind", ["empty folder", "missing", "file"])
def test_a_command_on_projects_refuses_what_is_none(
    stranger: Aperio, command: str, kind: str
) -> None:
    place = stranger.folder / "place"
    if kind == "empty folder":
        place.mkdir()
    elif kind == "file":
        place.write_text("#!/bin/sh\n")
    if (command, kind) == ("run", "file"):
        told = stranger.refuses("plugin", "run", "./place", code="usage", status=2)
        assert "an artifact has to be installed first" in told.what
        return
    told = stranger.refuses("plugin", command, "./place", code="project-invalid", status=1)
    assert told.what.startswith("`place` is not a plugin project")
    assert any("aperio plugin init" in step for step in told.next)


def test_sign_refuses_a_folder_without_artifacts(aperio: Aperio) -> None:
    (aperio.folder / "dist").mkdir()
    told = aperio.refuses("plugin", "sign", "dist", "--trust", "local", code="not-found", status=1)
    assert told.what.startswith("`dist` has no artifact")
    assert told.next == ("`aperio plugin build`",)


def test_sign_leads_from_a_project_to_its_artifacts(aperio: Aperio) -> None:
    (aperio.folder / "box" / "dist").mkdir(parents=True)
    (aperio.folder / "box" / "manifest.yaml").touch()
    sign = ("plugin", "sign", "box", "--trust", "local")
    told = aperio.refuses(*sign, code="not-found", status=1)
    assert told.next == ("`aperio plugin build box`",)
    (aperio.folder / "box" / "dist" / "box_1.0.0_linux_amd64.tar.gz").touch()
    told = aperio.refuses(*sign, code="not-found", status=1)
    assert told.next == ("those that were built of it: box/dist",)


def test_sign_refuses_without_a_trust_domain_and_names_the_command(
    stranger: Aperio, workshop: Workshop
) -> None:
    told = stranger.refuses(
        "plugin", "sign", workshop.box, "--trust", "local", code="trust-domain-missing", status=1
    )
    assert "`aperio trust local init`" in told.next


def test_a_second_trust_domain_is_refused_and_the_first_left_alone(aperio: Aperio) -> None:
    aperio.refuses("trust", "local", "init", code="trust-domain-exists", status=1)


def test_init_refuses_a_folder_that_holds_something(stranger: Aperio) -> None:
    (stranger.folder / "aperio-plugin-box").mkdir()
    (stranger.folder / "aperio-plugin-box" / "mine.txt").write_text("mine")
    told = stranger.refuses(
        "plugin", "init", "github.com/acme/aperio-plugin-box", code="folder-not-empty", status=1
    )
    assert "mine.txt" in told.why
    assert "--output" in told.next[0]


def test_build_names_the_file_that_looks_like_a_secret(aperio: Aperio) -> None:
    project = project_of(aperio.folder / "project", "print()\n")
    (project / "box.env").write_text("BOX_CLIENT_SECRET=hunter2hunter2hunter2\n")
    told = aperio.refuses("plugin", "build", project, code="secret-in-project", status=3)
    assert "box.env" in told.what + told.why
    assert "hunter2" not in told.shown


def test_build_tells_what_it_leaves_out_and_what_is_waived(aperio: Aperio) -> None:
    project = project_of(aperio.folder / "project", "print()\n")
    for name in (".env", "tests/sample.json", "example.env", "map.json"):
        write(project, name, "BOX_CLIENT_SECRET=hunter2hunter2hunter2\n")
    told = aperio.refuses("plugin", "build", project, code="secret-in-project", status=3)
    (line,) = re.findall("# waive .*: REASON", told.next[-1])
    write(project, ".aperioignore", line.replace("REASON", "made up"))
    done = aperio("plugin", "build", project)
    assert "left out: .aperioignore, .env, tests/" in done.err
    assert "waived: example.env, an environment file: made up" in done.err
    write(project, ".aperioignore", "# waive example.env: made up")
    aperio.refuses("plugin", "build", project, code="ignore-invalid", status=1)


# ── manifests ─────────────────────────────────────────────────────────────────────────────────────

MANIFESTS: dict[str, tuple[Callable[[str], str], str, str]] = {
    "not yaml": (lambda _text: "id: [", "manifest-invalid", "not YAML"),
    "not a mapping": (lambda _text: "- id\n", "manifest-invalid", "not a mapping"),
    "empty": (lambda _text: "", "manifest-invalid", "not a mapping"),
    "key twice": (lambda text: text + "kind: connector\n", "manifest-invalid", "'kind'"),
    "alias": (lambda text: text + "a: &x 1\nb: *x\n", "manifest-invalid", "alias"),
    "unknown key": (lambda text: text + "colour: red\n", "manifest-invalid", "unknown: colour"),
    "no version": (
        lambda text: text.replace("version: 1.2.3\n", ""),
        "manifest-invalid",
        "`version` is missing",
    ),
    "version of two parts": (
        lambda text: text.replace("1.2.3", "1.2"),
        "manifest-invalid",
        "`version` is wrong",
    ),
    "unknown schema": (
        lambda text: text.replace("manifest/v1", "manifest/v2"),
        "manifest-invalid",
        "`schema` is wrong",
    ),
    "unknown kind": (
        lambda text: text.replace("kind: connector", "kind: connecter"),
        "manifest-kind-unknown",
        "connecter",
    ),
    "id climbs out": (
        lambda text: text.replace("acme/box-connector", "../x"),
        "manifest-invalid",
        "`id` is wrong",
    ),
    "entrypoint climbs out": (
        lambda text: text.replace("entrypoint: box", "entrypoint: ../../box"),
        "manifest-invalid",
        "`entrypoint` is wrong",
    ),
    "too large": (lambda text: text + "#" * 65536, "manifest-invalid", "too large"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_build_refuses_a_manifest_that_is(stranger: Aperio, name: str) -> None:
    change, code, said = MANIFESTS[name]
    project = with_manifest(stranger.folder, change)
    told = stranger.refuses("plugin", "build", project, code=code, status=1)
    assert told.what.startswith(f"`{project}/manifest.yaml` was not ")
    assert said in told.what + told.why
    assert told.next


def test_an_unknown_kind_is_answered_with_the_closest(stranger: Aperio) -> None:
    project = with_manifest(
        stranger.folder, lambda text: text.replace("connector\nprov", "conector\nprov")
    )
    told = stranger.refuses("plugin", "run", project, code="manifest-kind-unknown", status=1)
    assert "expected connector, remediation or destination" in told.why
    assert told.next[0] == "did you mean `connector`?"


@pytest.mark.parametrize(
    ("option", "value"), [("--kind", "connecter"), ("--lang", "rust"), ("--kind", "../x")]
)
def test_init_refuses_a_template_that_it_does_not_have(
    stranger: Aperio, option: str, value: str
) -> None:
    words = ("plugin", "init", "github.com/acme/aperio-plugin-box", option, value)
    told = stranger.refuses(*words, code="usage", status=2)
    assert f"`{value}`" in told.what
    assert "nothing was made" in told.what
    assert not list(stranger.folder.iterdir())


# ── names that climb out ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "module",
    [
        "../x",
        "github.com/../x",
        "github.com/acme/..",
        "github.com/acme/../../x",
        "/etc/x",
        "a/b/c/d",
    ],
)
def test_init_refuses_a_module_path_that_climbs_out(stranger: Aperio, module: str) -> None:
    told = stranger.refuses("plugin", "init", module, code="module-invalid", status=2)
    assert told.what.startswith(f"`{module}` is not a module path")
    assert not list(stranger.sandbox.glob("x*"))


@pytest.mark.parametrize("publisher", ["../x", "..", "a/b", "A", "/etc"])
def test_init_refuses_a_publisher_that_climbs_out(stranger: Aperio, publisher: str) -> None:
    words = ("plugin", "init", "github.com/acme/aperio-plugin-x", "--publisher", publisher)
    told = stranger.refuses(*words, code="plugin-id-invalid", status=2)
    assert told.what.startswith(f"`{publisher}` is not a namespace")


@pytest.mark.parametrize("command", ["install", "verify", "run", "remove"])
def test_an_id_that_climbs_out_is_refused(aperio: Aperio, command: str) -> None:
    registry = registry_folder(aperio.folder / "public")
    for name in CLIMBING:
        code = "version-invalid" if "@" in name else "plugin-id-invalid"
        words = ("plugin", command, name, "--registry", registry)
        told = aperio.refuses(*words, code=code, status=2)
        assert f"`{name.partition('@')[2] or name}`" in told.what
        assert "such as 1.2.3" in told.why or "acme/box-connector" in told.next[0]


@pytest.mark.parametrize("command", ["install", "verify", "run"])
def test_a_name_that_begins_like_a_path_is_taken_as_one(aperio: Aperio, command: str) -> None:
    status, code = (1, "project-invalid") if command == "run" else (1, "not-found")
    told = aperio.refuses("plugin", command, "../x", code=code, status=status)
    assert told.what.startswith("`../x` ")


@pytest.mark.parametrize("version", ["../../y", "1.0", "latest", "1.2.3+build", "1.2.3/.."])
def test_a_version_that_is_none_is_refused_before_anything_is_looked_up(
    aperio: Aperio, version: str
) -> None:
    told = aperio.refuses("plugin", "run", f"acme/box@{version}", code="version-invalid", status=2)
    assert f"`{version}`" in told.what


@pytest.mark.parametrize("command", ["run", "remove"])
def test_a_plugin_that_is_not_installed_is_named(aperio: Aperio, command: str) -> None:
    told = aperio.refuses("plugin", command, "acme/box", code="not-installed", status=1)
    assert told.what == "`acme/box` is not installed"
    assert told.next
