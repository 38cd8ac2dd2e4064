"""What a project reaches: its checkout, and the variables of the author that lead there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aperio_cli.building import BuildRequest, check_reproducible, checks, load_project, pip
from aperio_cli.building.go_environment import (
    counted,
    go_environment,
    module_cache,
    not_counted,
)
from aperio_cli.building.go_tool import GoRun, Toolchain, find_toolchain, run_go
from aperio_cli.building.pip import PipRun, run_pip
from aperio_cli.errors.building import GoToolchainMissing
from aperio_cli.machine import reach as reaching
from aperio_cli.machine.reach import reach_of, say_not_counted
from tests.go_projects import (
    COMPILED,
    OFFLINE,
    make_go_project,
    make_module,
    make_tool,
    require_go,
    use_module,
)
from tests.projects import HERE, make_project, write
from tests.rows import each_row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aperio_cli.models.artifact import Artifact


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository of several plugins, one of which is `plugins/box`."""
    write(tmp_path / "mono", ".git/HEAD", "ref: refs/heads/main\n")
    write(tmp_path / "mono/plugins/box", "manifest.yaml", "")
    return tmp_path / "mono"


def a_run(project: Path, tmp_path: Path, **environment: str) -> GoRun:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    return GoRun(
        toolchain=Toolchain(Path(shutil.which("go") or "/usr/local/go/bin/go"), "go1.26"),
        project=project,
        source=project,
        scratch=scratch,
        modules=module_cache(environment, project, tmp_path / "modules"),
        compiled=COMPILED,
        environment=environment,
        platform=HERE,
    )


# ── how far ───────────────────────────────────────────────────────────────────────────────────────


@each_row("mark", [".git", ".hg", ".svn", ".jj", ".gitignore", ".github", "go.work"])
def test_a_project_reaches_the_top_of_its_checkout(tmp_path: Path, mark: str) -> None:
    project = tmp_path / "mono/plugins/box"
    project.mkdir(parents=True)
    assert reach_of(project) == (project,)
    write(tmp_path / "mono", mark, "")
    assert reach_of(project) == (tmp_path / "mono",)
    assert reach_of(project / ".." / "box") == (tmp_path / "mono",)


def test_a_mark_in_a_project_does_not_hide_the_checkout(checkout: Path) -> None:
    for folder in ("plugins", "plugins/box"):
        write(checkout / folder, ".git/HEAD", "ref: refs/heads/main\n")
    assert reach_of(checkout / "plugins/box") == (checkout,)


def test_a_repository_without_a_work_tree_is_a_top(tmp_path: Path) -> None:
    project = tmp_path / "mono/plugins/box"
    project.mkdir(parents=True)
    for name in ("HEAD", "objects/x", "refs/x"):
        assert reach_of(project) == (project,)
        write(tmp_path / "mono", name, "")
    assert reach_of(project) == (tmp_path / "mono",)


def test_a_project_behind_a_link_reaches_both_checkouts(checkout: Path, tmp_path: Path) -> None:
    write(tmp_path / "other", ".git/HEAD", "")
    (tmp_path / "other/box").symlink_to(checkout / "plugins/box")
    assert reach_of(tmp_path / "other/box") == (tmp_path / "other", checkout)


def test_a_home_and_what_everybody_may_write_are_no_checkouts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who keeps a home in git has written all of it; in /tmp anybody makes a `.git`."""
    home = tmp_path / "home/ada"
    project = home / "src/box"
    project.mkdir(parents=True)
    for folder in (tmp_path, home.parent, home):
        write(folder, ".git/HEAD", "")
    assert reach_of(project) == (tmp_path,)
    monkeypatch.setattr(reaching, "_home", lambda: home)
    assert reach_of(project) == (project,)
    monkeypatch.undo()
    (home / "src").chmod(0o1777)
    assert reach_of(project) == (project,)


# ── go ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOME", "TOP"), ("HOME", "TOP/home"), ("XDG_CONFIG_HOME", "TOP/.config"),
        ("GIT_CONFIG_GLOBAL", "TOP/.gitconfig"), ("GIT_CONFIG_SYSTEM", "LINK/.gitconfig"),
        ("GIT_CONFIG_GLOBAL", "TOP/plugins/box/../../.gitconfig"), ("NETRC", "TOP/.netrc"),
        ("GIT_ASKPASS", "LINK/ask"), ("SSH_ASKPASS", "TOP/ask"), ("GIT_SSH", "TOP/ssh"),
        ("GIT_SSH_COMMAND", "ssh -F TOP/config"), ("GOAUTH", "git TOP"), ("GOAUTH", "git LINK"),
        ("GOAUTH", "TOP/bin/who x"), ("GOAUTH", "netrc;git TOP/plugins"),
        ("GIT_CONFIG_PARAMETERS", "'core.sshcommand'='TOP/ssh'"),
        ("GIT_CONFIG_VALUE_0", "TOP/ssh"), ("GOMODCACHE", "TOP/.go/pkg/mod"),
    ],
)  # fmt: skip
def test_what_leads_to_the_checkout_does_not_count_and_is_said(
    checkout: Path, tmp_path: Path, name: str, value: str
) -> None:
    (tmp_path / "link").symlink_to(checkout)
    stated = value.replace("TOP", str(checkout)).replace("LINK", str(tmp_path / "link"))
    given = {name: stated, "GIT_CONFIG_COUNT": "1", "GOPROXY": "off"}
    made = go_environment(a_run(checkout / "plugins/box", tmp_path, **given))
    assert stated not in made.values()
    assert not_counted(given, checkout / "plugins/box") == (name,)
    assert name in say_not_counted((name,))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOME", "ABOVE"), ("XDG_CONFIG_HOME", "ABOVE/.config"), ("NETRC", "ABOVE/.netrc"),
        ("GIT_CONFIG_GLOBAL", "ABOVE/.gitconfig"), ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_ASKPASS", "ABOVE/mono-tools/ask"), ("GIT_ASKPASS", ""), ("GIT_SSH", "ssh"),
        ("GIT_SSH_COMMAND", "ssh -F ABOVE/config"), ("GOAUTH", "git ABOVE"), ("GOAUTH", "off"),
        ("GOAUTH", "ABOVE/who x;netrc"), ("GIT_CONFIG_VALUE_0", "ABOVE/ssh"),
        ("GOMODCACHE", "ABOVE/go/pkg/mod"),
    ],
)  # fmt: skip
def test_what_leads_beside_or_above_the_checkout_counts(
    checkout: Path, tmp_path: Path, name: str, value: str
) -> None:
    stated = value.replace("ABOVE", str(tmp_path))
    given = {name: stated, "GIT_CONFIG_COUNT": "1", "GOPROXY": "off"}
    made = go_environment(a_run(checkout / "plugins/box", tmp_path, **given))
    assert made.items() >= given.items()
    assert not not_counted(given, checkout / "plugins/box")


def test_no_go_of_the_checkout_is_started(checkout: Path, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    script = f"echo $0 >>{sprung}\necho go version go1.26.0 linux/amd64\n"
    inside, beside = make_tool(checkout / "bin", script), make_tool(tmp_path / "bin", script)
    project = checkout / "plugins/box"
    both = {"PATH": f"{inside}{os.pathsep}{beside}"}
    assert find_toolchain(both, project, "it").executable == beside / "go"
    assert sprung.read_text().split() == [f"{beside}/go"]
    assert not_counted(both, project) == (f"PATH: {inside}",)
    made = go_environment(a_run(project, tmp_path, **both))
    assert str(inside) not in made["PATH"].split(os.pathsep)
    assert str(beside) in made["PATH"].split(os.pathsep)


def test_a_go_that_does_not_count_is_named_where_there_is_no_other(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aperio_cli.building.go_tool._USUAL_PLACE", "/nowhere")
    inside = make_tool(checkout / "bin", "exit 1\n")
    with pytest.raises(GoToolchainMissing) as caught:
        find_toolchain({"PATH": str(inside)}, checkout / "plugins/box", "it")
    assert f"{inside}/go does not count" in caught.value.why


@pytest.mark.go
def test_a_module_cache_of_the_checkout_is_held_to_go_sum(checkout: Path, tmp_path: Path) -> None:
    """What stands there unpacked is not compiled, and git runs in no repository there."""
    require_go()
    project = make_go_project(checkout / "plugins/box")
    cache = checkout / ".go/pkg/mod"
    use_module(project, make_module(cache / "cache/download", 'package dep\n\nconst Name = "x"\n'))
    write(cache / "example.com/dep@v1.0.0", "dep.go", "this is not what was locked\n")
    given = {**OFFLINE, "GOMODCACHE": str(cache)}
    run = a_run(project, tmp_path, **given)
    assert run.modules == tmp_path / "modules"
    program = tmp_path / "program"
    run_go(run, ["build", "-o", str(program), "."])
    shown = subprocess.run([program], capture_output=True, text=True, timeout=30, check=True)
    assert shown.stderr == "x\n"
    assert not_counted(given, project) == ("GOMODCACHE",)


# ── pip ───────────────────────────────────────────────────────────────────────────────────────────


def configured(folder: Path, sprung: Path) -> str:
    """A configuration that names the interpreter for pip to run by."""
    script = f'#!/bin/sh\necho ran >>{sprung}\nexec {sys.executable} "$@"\n'
    program = write(folder, "python", script)
    program.chmod(0o755)
    return str(write(folder, "pip.conf", f"[global]\npython = {program}\n"))


@pytest.mark.parametrize(
    ("place", "counts"),
    [("beside", True), ("mono", False), ("mono/plugins/box", False), ("link", False), (".", False)],
)
def test_pip_runs_no_interpreter_that_the_checkout_names(
    checkout: Path, tmp_path: Path, place: str, *, counts: bool
) -> None:
    (tmp_path / "link").symlink_to(checkout)
    sprung = tmp_path / "sprung"
    stated = configured(tmp_path / place, sprung)
    if place == ".":
        stated = os.path.relpath(stated, tmp_path / "scratch")
    (tmp_path / "scratch").mkdir()
    given = {"PIP_CONFIG_FILE": stated}
    project = checkout / "plugins/box"
    run_pip(PipRun(["--version"], tmp_path / "scratch", given, project, "cp311 on linux/amd64"))
    assert sprung.exists() is counts
    assert pip.not_counted(given, project) == (() if counts else ("PIP_CONFIG_FILE",))


def test_a_second_build_elsewhere_counts_no_more(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--check` builds a copy, to which nothing of the author's leads."""
    project = make_project(checkout / "plugins/python")
    sprung = tmp_path / "sprung"
    given = {"PIP_CONFIG_FILE": configured(checkout, sprung), "PIP_NO_INDEX": "1"}
    request = BuildRequest(load_project(project), (HERE,), tmp_path / "out", environment=given)
    seen: list[Mapping[str, str]] = []

    def build(again: BuildRequest) -> list[Artifact]:
        seen.append(again.environment)
        return []

    monkeypatch.setattr(checks, "build", build)
    check_reproducible(request, [])
    assert seen == [{"PIP_NO_INDEX": "1"}]


def test_what_counts_for_a_copy_is_what_counted(checkout: Path, tmp_path: Path) -> None:
    tools = make_tool(checkout / "bin", "exit 1\n")
    kept = {"NETRC": f"{tmp_path}/netrc", "GOPRIVATE": "acme.test", "GIT_SSH": "ssh", "LANG": "C"}
    given = {
        **kept,
        "HOME": str(checkout),
        "GIT_CONFIG_GLOBAL": f"{checkout}/.gitconfig",
        "GOAUTH": f"netrc;git {checkout}",
        "GOMODCACHE": f"{checkout}/go",
        "PATH": f"{tools}{os.pathsep}/usr/bin",
    }
    assert counted(given, checkout / "plugins/box") == {
        **kept,
        "GOAUTH": "netrc",
        "GOPROXY": f"file://{checkout}/go/cache/download,direct",
        "PATH": "/usr/bin",
    }


# ── Python ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("stated", "is_imported"),
    [
        (".", False), (":", False), ("HERE:", False), ("../here", False), ("TOP", False),
        ("LINK", False), ("NAMED", False), ("BESIDE", True),
    ],
)  # fmt: skip
def test_nothing_is_imported_from_a_project_that_is_here_or_named(
    tmp_path: Path, stated: str, *, is_imported: bool
) -> None:
    """With `PYTHONPATH=.` in a shell, say; other folders of it are the user's choice."""
    folders = {"TOP": "mono", "HERE": "mono/here", "NAMED": "named", "BESIDE": "beside"}
    for folder in folders.values():
        for name in ("ctypes", "typer", "yaml", "pathlib"):
            trap = f"open({str(tmp_path / 'sprung')!r}, 'w')\nraise ImportError('trap')\n"
            write(tmp_path / folder, f"{name}.py", trap)
    write(tmp_path / "mono", ".git/HEAD", "")
    (tmp_path / "link").symlink_to(tmp_path / "mono/here")
    for word, folder in {**folders, "LINK": "link"}.items():
        stated = stated.replace(word, str(tmp_path / folder))
    ran = subprocess.run(
        [Path(sys.executable).with_name("aperio"), "plugin", "build", tmp_path / "named", "--help"],
        cwd=tmp_path / "mono/here",
        env={**os.environ, "PYTHONPATH": stated},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (tmp_path / "sprung").exists() is is_imported
    assert (ran.returncode == 0) is not is_imported, ran.stderr


def test_a_pythonpath_that_leads_to_the_checkout_is_said(checkout: Path, tmp_path: Path) -> None:
    project = checkout / "plugins/box"
    for stated, said in ((f"{checkout}/lib:", ("PYTHONPATH",)), (f"{tmp_path}/lib", ())):
        assert pip.not_counted({"PYTHONPATH": stated}, project) == said
        assert not_counted({"PYTHONPATH": stated}, project) == said
