"""Nothing that a project names is executed: seen in system calls, on folders made for that."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.go_projects import COMPILED, make_go_project, require_go
from tests.lifecycle.cli import Aperio, operator
from tests.lifecycle.plugins import artifact_of, sdk_program
from tests.projects import make_project, make_wheel, write
from tests.security.tracing import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEADLINE_S = 60
EXECUTING = "execve,execveat"
_EXECUTED = re.compile(r'^\d+ +execve(?:at)?\([^"]*"(?P<program>[^"]*)"', re.MULTILINE)
_OWN_CONFIGURATION = re.compile(r'"[^"]*\.git/config"')
_INTERPRETERS = re.compile(r"python3?(?:\.\d+)?")

pytestmark = pytest.mark.sandbox

# ── what stands in a hostile folder ───────────────────────────────────────────────────────────────

_CONFIGURATION = """\
[core]
	repositoryformatversion = 1
	bare = {bare}
	fsmonitor = {trap}
	sshCommand = {trap}
	askPass = {trap}
	gitProxy = {trap}
	hooksPath = {hooks}
	pager = {trap}
	editor = {trap}
[extensions]
	partialClone = origin
[remote "origin"]
	url = .
	promisor = true
	uploadpack = "{trap}; true "
[protocol]
	allow = always
[credential]
	helper = !{trap}
[gpg]
	program = {trap}
[log]
	showSignature = true
[diff]
	external = {trap}
[alias]
	log = !{trap}
	ls-remote = !{trap}
"""
_HOOKS = ("post-checkout", "pre-commit", "post-index-change", "reference-transaction")
_PROGRAMS = ("git", "go", "gcc", "pip", "python", "python3", "ssh", "strace")
_IMPORTED = ("sitecustomize", "usercustomize", "pip", "setup", "conftest", "compileall", "yaml")


@dataclass(frozen=True, slots=True)
class Trap:
    """A program that says that it was executed."""

    program: Path
    sprung: Path

    @classmethod
    def below(cls, folder: Path) -> Trap:
        """Make one."""
        sprung = folder / "sprung"
        program = write(folder, "trap", f"#!/bin/sh\necho $0 $@ >>{sprung}\nexit 1\n")
        program.chmod(0o755)
        return cls(program, sprung)


def bare(folder: Path, trap: Trap) -> None:
    """Have tracked files make a folder a bare repository to git."""
    _repository(folder, trap, is_bare=True)


def checkout(folder: Path, trap: Trap) -> None:
    """Have a folder bring a `.git`, as an archive can that was unpacked."""
    _repository(folder / ".git", trap, is_bare=False)


def _repository(folder: Path, trap: Trap, *, is_bare: bool) -> None:
    settings = _CONFIGURATION.format(
        bare=str(is_bare).lower(), trap=trap.program, hooks=folder / "hooks"
    )
    write(folder, "config", settings)
    write(folder, "HEAD", "ref: refs/heads/main\n")
    write(folder, "refs/heads/main", f"{'1' * 40}\n")  # a commit that is missing is fetched
    write(folder, "objects/info/keep", "")
    for hook in _HOOKS:
        place = write(folder, f"hooks/{hook}", "")
        shutil.copy(trap.program, place)


def litter(folder: Path, trap: Trap) -> None:
    """Add what other tools would execute or import, and settings that name it."""
    for name in _PROGRAMS:
        shutil.copy(trap.program, folder / name)
    for name in _IMPORTED:
        write(folder, f"{name}.py", f"import os\nos.system({str(trap.program)!r})\n")
    write(folder, "trap.pth", f"import os; os.system({str(trap.program)!r})\n")
    write(folder, "pip.conf", "[global]\nno-binary = :all:\n")
    write(folder, "hooks/pre_gen_project.py", f"import os\nos.system({str(trap.program)!r})\n")
    write(folder, "go.work", "go 1.99\n\nuse .\n")


SHAPES = [bare, checkout]


def repository(folder: Path, trap: Trap) -> None:
    """Make a folder both: whoever looks for either finds it, and nothing may execute git."""
    bare(folder, trap)
    checkout(folder, trap)


# ── what was executed ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def aperio(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Aperio]:
    """Somebody who stands in a hostile folder, with PATH as careless as it can be."""
    monkeypatch.setenv("LOGNAME", "alice")
    monkeypatch.setenv("PATH", f":.:{os.environ['PATH']}:")
    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # as the installed `aperio` starts
    with operator(tmp_path, capsys, monkeypatch) as made:
        (made.home / "cache").mkdir(parents=True)
        COMPILED.mkdir(parents=True, exist_ok=True)
        (made.home / "cache" / "go-build").symlink_to(COMPILED)
        yield made


@pytest.fixture
def trap(tmp_path: Path) -> Trap:
    return Trap.below(tmp_path / "traps")


@dataclass(frozen=True)
class Watch:
    """Runs commands under strace.

    Attributes:
        aperio: who types them.
        tracer: what a command is put behind.
        log: what was called by the last one.
    """

    aperio: Aperio
    tracer: list[str]
    log: Path

    def run(self, folder: Path, *words: object, statuses: tuple[int, ...] = (0,)) -> set[str]:
        """Run a command in a folder: the programs that it executed, sorted out by what they are."""
        done = replace(self.aperio, folder=folder).run(*words, prefix=self.tracer)
        assert done.status in statuses, done
        return {self._kind(program) for program in executed(self.log)}

    def _kind(self, program: str) -> str:
        path = Path(program)
        if path.is_relative_to(self.aperio.home / "cache" / "development") or not path.name:
            return "the plugin"
        if path.is_relative_to(self.aperio.sandbox) or not path.is_absolute():
            return program
        if _INTERPRETERS.fullmatch(path.name):
            return "python"
        if path.name == "go" or "/pkg/tool/" in program:
            return "go"
        return program


def executed(log: Path) -> list[str]:
    """The programs that were executed, in their order."""
    return [found["program"] for found in _EXECUTED.finditer(log.read_text())]


@pytest.fixture
def watch(aperio: Aperio, tmp_path: Path) -> Watch:
    """Sees what is executed."""
    return watching(aperio, tmp_path / "calls", EXECUTING)


@pytest.fixture
def watch_files(aperio: Aperio, tmp_path: Path) -> Watch:
    """Sees what is opened, too, of which Python has thousands."""
    return watching(aperio, tmp_path / "calls", f"{EXECUTING},openat")


def watching(aperio: Aperio, log: Path, calls: str) -> Watch:
    shell = shutil.which("sh") or "/bin/sh"
    options = ("-z", "--seccomp-bpf", "-s", "4096")
    tracer = tracing(log, calls, [shell, "-c", "true"], *options)
    assert executed(log) == [shell]
    return Watch(aperio, [shutil.which("strace") or "strace", *tracer[1:]], log)


@pytest.mark.parametrize("shape", SHAPES)
def test_git_is_seen_when_it_runs_and_runs_what_the_folder_names(
    shape: Callable[[Path, Trap], None], watch: Watch, trap: Trap, tmp_path: Path
) -> None:
    """The benign twin: a script that asks git for the commit's time, under the same harness."""
    folder = tmp_path / "hostile"
    shape(folder, trap)
    git = shutil.which("git", path=os.defpath)
    assert git, "git is not installed"
    script = f"exec {git} -C {folder} rev-list --timestamp --max-count=1 HEAD"

    subprocess.run([*watch.tracer, "/bin/sh", "-c", script], timeout=DEADLINE_S, check=False)

    assert git in executed(watch.log)
    assert str(trap.program) in executed(watch.log)
    assert trap.sprung.exists()


# ── Python ────────────────────────────────────────────────────────────────────────────────────────


def python_project(folder: Path) -> Path:
    """A remediation that works, with a locked dependency."""
    project = make_project(folder)
    manifest = (project / "manifest.yaml").read_text().replace("provider: BOX", "provider: STUB")
    manifest = manifest.replace("kind: connector", "kind: remediation")
    write(project, "manifest.yaml", manifest)
    write(project, "plugin.py", sdk_program("remediation"))
    write(project, "requirements.lock", make_wheel(project / "vendor", "one"))
    return project


def test_build_executes_pip_and_nothing_else(watch: Watch, trap: Trap) -> None:
    project = python_project(watch.aperio.folder / "project")
    repository(project, trap)
    litter(project, trap)

    assert watch.run(project, "plugin", "build", ".", "--check") == {"python"}

    assert not trap.sprung.exists()


def test_a_folder_that_is_run_or_tested_executes_only_its_plugin(watch: Watch, trap: Trap) -> None:
    project = python_project(watch.aperio.folder / "project")
    repository(project, trap)
    for name in _PROGRAMS:
        shutil.copy(trap.program, project / name)

    assert watch.run(project, "plugin", "run", ".", "capabilities") == {"python"}
    assert watch.run(project, "plugin", "test", ".", statuses=(0, 1)) == {"python"}

    assert not trap.sprung.exists()


@pytest.mark.parametrize("language", ["python", "go"])
def test_init_executes_nothing(language: str, watch: Watch, trap: Trap) -> None:
    folder = watch.aperio.folder / "hostile"
    repository(folder, trap)
    litter(folder, trap)

    made = watch.run(folder, "plugin", "init", "github.com/acme/x", "--lang", language)

    assert made == {"python"}
    assert not trap.sprung.exists()


def test_a_registry_executes_nothing(watch: Watch, trap: Trap) -> None:
    artifact = artifact_of(watch.aperio.folder, "print(1)\n")
    watch.aperio("trust", "local", "init")
    watch.aperio("plugin", "sign", artifact, "--trust", "local")
    folder = watch.aperio.folder / "hostile"
    repository(folder, trap)
    litter(folder, trap)

    steps = [("init", "registry"), ("add", artifact, "--dir", "registry")]
    for words in [*steps, ("build", "--dir", "registry")]:
        assert watch.run(folder, "registry", *words) == {"python"}
        repository(folder / "registry", trap)
        litter(folder / "registry", trap)

    assert not trap.sprung.exists()


# ── Go ────────────────────────────────────────────────────────────────────────────────────────────

_LINKED_BY_A_C_COMPILER = """\
package main

import "runtime/cgo"

func main() { println(cgo.NewHandle(1)) }
"""


def object_file() -> bytes:
    """An ELF object of 16 bytes of code: what go would have a C compiler link."""
    names, code = b"\0.text\0.shstrtab\0", b"\xc3" * 16
    kind = struct.pack("<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, 112, 0, 64, 0, 0, 64, 3, 2)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + kind
    sections = (
        (0,) * 10,
        (1, 1, 6, 0, 64, len(code), 0, 0, 16, 0),
        (7, 3, 0, 0, 64 + len(code), len(names), 0, 0, 1, 0),
    )
    table = b"".join(struct.pack("<IIQQQQIIQQ", *section) for section in sections)
    return (header + code + names).ljust(112, b"\0") + table


@pytest.mark.go
def test_a_go_project_executes_go_and_its_plugin_only(watch: Watch, trap: Trap) -> None:
    require_go()
    project = make_go_project(watch.aperio.folder / "project")
    repository(project, trap)
    litter(project, trap)

    assert watch.run(project, "plugin", "build", ".") == {"python", "go"}
    # It makes no handshake.
    ran = watch.run(project, "plugin", "run", ".", "schema", statuses=(5,))
    assert ran == {"python", "go", "the plugin"}
    assert watch.run(project, "plugin", "test", ".", statuses=(1,)) >= {"python", "the plugin"}

    assert not trap.sprung.exists()


@pytest.mark.go
def test_object_files_of_a_project_start_no_c_compiler(watch: Watch, trap: Trap) -> None:
    require_go()
    project = make_go_project(watch.aperio.folder / "project", _LINKED_BY_A_C_COMPILER)
    (project / "x_linux_amd64.syso").write_bytes(object_file())
    litter(project, trap)

    ran = watch.run(project, "plugin", "build", ".", "--platform", "linux/amd64", statuses=(1,))

    assert ran == {"python", "go"}


@pytest.mark.go
def test_fetching_a_module_reads_no_repository_of_the_project(
    watch_files: Watch, trap: Trap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module cache stands below a hostile folder, too, as with `--home` in a project."""
    require_go()
    module = "127.0.0.1/acme/box.git"
    project = make_go_project(
        watch_files.aperio.folder / "project",
        f'package main\n\nimport _ "{module}"\n\nfunc main() {{}}\n',
    )
    with (project / "go.mod").open("a") as file:
        file.write(f"\nrequire {module} v1.0.0\n")
    digest = f"h1:{'A' * 43}="
    write(project, "go.sum", f"{module} v1.0.0 {digest}\n{module} v1.0.0/go.mod {digest}\n")
    for folder in (project, tmp_path, watch_files.aperio.home):
        checkout(folder, trap)
    monkeypatch.setenv("GOPROXY", "direct")
    monkeypatch.delenv("GOMODCACHE", raising=False)

    ran = watch_files.run(project, "plugin", "build", ".", statuses=(1, 4))

    assert "git" in {Path(program).name for program in ran}, "it was to fetch"
    assert str(trap.program) not in executed(watch_files.log)
    assert not trap.sprung.exists()
    assert not _OWN_CONFIGURATION.findall(watch_files.log.read_text())
