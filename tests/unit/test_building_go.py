from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.archive import reading, unpacking
from aperio_cli.building import (
    BuildRequest,
    build,
    build_and_tell,
    check_reproducible,
    checks,
    develop,
    go,
    load_project,
)
from aperio_cli.building import go_tool as tool
from aperio_cli.errors import NOT_DONE, REFUSED, UNAVAILABLE, AperioError
from aperio_cli.errors.building import (
    DependencyDigestMismatch,
    GoBuildFailed,
    GoModuleMissing,
    GoModulesUnpinned,
    GoToolchainMissing,
    GoTransportRefused,
    ProjectInvalid,
    SecretInProject,
)
from aperio_cli.errors.files import DiskFull, FileSizeLimited, NetworkUnavailable, TreeNotPlain
from aperio_cli.errors.usage import UsageError
from aperio_cli.files.writing import ASIDE_PREFIX
from aperio_cli.models.platform import Platform
from tests.go_projects import (
    COMPILED,
    OFFLINE,
    make_go_project,
    make_module,
    make_tool,
    require_go,
    use_module,
)
from tests.projects import HERE, snapshot, write
from tests.rows import each_row

if TYPE_CHECKING:
    from aperio_cli.models.artifact import Artifact

pytestmark = pytest.mark.go
LINUX, WINDOWS, *OTHERS = map(
    Platform.parse, ("linux/amd64", "windows/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64")
)
# The first bytes of a program and its machine: ELF e_machine at 18, Mach-O cputype at 4, PE.
ELF, MACH_O, PE = b"\x7fELF", b"\xcf\xfa\xed\xfe", b"MZ"
X86_64, AARCH64, PT_INTERP = 62, 183, 3
CPU_X86_64, CPU_ARM64 = 0x01000007, 0x0100000C


@pytest.fixture(autouse=True)
def _needs_go() -> None:
    require_go()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_go_project(tmp_path / "project")


def request_for(project: Path, out: Path, **environment: str) -> BuildRequest:
    return BuildRequest(
        load_project(project),
        (HERE,),
        out,
        environment={**OFFLINE, **environment},
        compile_cache=COMPILED,
    )


def unpacked(artifact: Artifact, folder: Path) -> Path:
    with artifact.path.open("rb") as file:
        unpacking.unpack(file, folder)
    return folder


def bill(artifact: Artifact, folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        (unpacked(artifact, folder) / "sbom.cdx.json").read_text()
    )
    return document


# ── build ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Built:
    """What came of a build that several tests look at; none of them changes it.

    Attributes:
        root: all of it is below here.
        before: the project's files, before it was built.
        artifact: what was made of it.
        program: what was unpacked from that.
    """

    root: Path
    before: dict[str, bytes]
    artifact: Artifact
    program: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    require_go()  # which tests ask for after this
    root = tmp_path_factory.mktemp("built")
    project = make_go_project(root / "project")
    before = snapshot(project)
    (artifact,) = build(request_for(project, root / "out"))
    return Built(root, before, artifact, unpacked(artifact, root / "tree") / "bin/box-connector")


def test_build_packs_the_documented_members_and_no_others(built: Built) -> None:
    with built.artifact.path.open("rb") as file:
        members = [(record.path, record.mode) for record in reading.walk(file)]
    assert members == [
        ("LICENSE", 0o644),
        ("README.md", 0o644),
        ("bin/box-connector", 0o755),
        ("manifest.yaml", 0o644),
        ("sbom.cdx.json", 0o644),
    ]


def test_a_built_program_runs(built: Built) -> None:
    ran = subprocess.run(
        [built.program], capture_output=True, text=True, timeout=30, check=True, env={}
    )
    assert ran.stderr == "started\n"


def test_build_makes_more_platforms_in_one_request(project: Path, tmp_path: Path) -> None:
    programs = programs_for([LINUX, WINDOWS], project, tmp_path)
    assert programs["linux/amd64"].startswith(ELF)
    assert struct.unpack_from("<H", programs["linux/amd64"], 18) == (X86_64,)
    assert programs["windows/amd64"].startswith(PE)


@pytest.mark.slow  # Go compiles its own library for each of them first
def test_build_makes_programs_for_every_platform(project: Path, tmp_path: Path) -> None:
    programs = programs_for(OTHERS, project, tmp_path)
    assert struct.unpack_from("<H", programs["linux/arm64"], 18) == (AARCH64,)
    assert programs["darwin/amd64"].startswith(MACH_O)
    assert struct.unpack_from("<I", programs["darwin/amd64"], 4) == (CPU_X86_64,)
    assert struct.unpack_from("<I", programs["darwin/arm64"], 4) == (CPU_ARM64,)


def programs_for(platforms: list[Platform], project: Path, tmp_path: Path) -> dict[str, bytes]:
    """The first bytes of the program in each artifact of one request, by its platform."""
    request = replace(request_for(project, tmp_path / "out"), platforms=tuple(platforms))
    programs = {}
    for artifact in build(request):
        platform = str(artifact.platform)
        tree = unpacked(artifact, tmp_path / artifact.platform.slug)
        (program,) = (tree / "bin").iterdir()
        assert program.name == f"box-connector{'.exe' if platform == 'windows/amd64' else ''}"
        programs[platform] = program.read_bytes()[:64]
    assert list(programs) == [str(platform) for platform in platforms]
    return programs


def test_a_built_program_is_static_and_says_nothing_of_the_machine(built: Built) -> None:
    data = built.program.read_bytes()
    offset, size, count = (
        struct.unpack_from("<Q", data, 32)[0],
        *struct.unpack_from("<HH", data, 54),
    )
    kinds = [struct.unpack_from("<I", data, offset + size * number)[0] for number in range(count)]
    assert PT_INTERP not in kinds
    assert os.fsencode(built.root) not in data
    identity = ["go", "tool", "buildid", str(built.program)]
    ran = subprocess.run(identity, capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout.strip() == ""


def test_build_gives_the_same_bytes_from_another_folder_and_other_circumstances(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = build(request_for(project, tmp_path / "out"))
    moved = tmp_path / "another place" / "project"
    moved.parent.mkdir()
    project.rename(moved)
    subprocess.run(["git", "-C", str(moved.parent), "init", "-q"], check=True, timeout=30)
    write(moved.parent, "go.work", "go 1.21\n\nuse ./nothing\n")
    home = tmp_path / "user-home"
    write(home, ".config/go/env", "GOFLAGS=-tags=other\nGOAMD64=v3\n")
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    before = os.umask(0o077)
    try:
        hostile = {"GOFLAGS": "-tags=other -race", "GOOS": "plan9", "GOAMD64": "v4", "CC": "false"}
        request = request_for(moved, tmp_path / "other out", HOME=str(home), **hostile)
        (second,) = build(request)
    finally:
        os.umask(before)
    assert first.path.read_bytes() == second.path.read_bytes()


def test_build_leaves_the_project_as_it_was(built: Built) -> None:
    assert snapshot(built.root / "project") == built.before


def test_build_keeps_earlier_artifacts_when_the_source_is_broken(
    project: Path, tmp_path: Path
) -> None:
    (artifact,) = build(request_for(project, tmp_path / "out"))
    before = artifact.path.read_bytes()
    write(project, "plugin.go", "package main\n\nfunc main() { broken }\n")
    with pytest.raises(GoBuildFailed):
        build(request_for(project, tmp_path / "out"))
    assert snapshot(tmp_path / "out") == {artifact.path.name: before}


# ── what the author is told ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("package main\n\nfunc main() { missing() }\n", "./plugin.go:3:15: undefined: missing"),
        ("package main\n\nfunc main() { x := 1 }\n", "plugin.go:3:15: declared and not used: x"),
        ("package main\n\nfunc main() {\n", "plugin.go:4:1: syntax error"),
        ("package box\n", "expected `package main` beside go.mod"),
    ],
)
def test_build_shows_what_the_compiler_says(
    project: Path, tmp_path: Path, source: str, shown: str
) -> None:
    write(project, "plugin.go", source)
    with pytest.raises(GoBuildFailed) as caught:
        build(request_for(project, tmp_path / "out"))
    assert (caught.value.code, caught.value.exit_status) == ("go-build-failed", NOT_DONE)
    assert shown in caught.value.why
    assert not (tmp_path / "out").exists()


def test_build_says_that_there_is_no_go(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "_USUAL_PLACE", str(tmp_path / "nowhere"))
    with pytest.raises(GoToolchainMissing) as caught:
        build(request_for(project, tmp_path / "out", PATH=str(tmp_path / "empty")))
    assert (caught.value.code, caught.value.exit_status) == (
        "go-toolchain-missing",
        NOT_DONE,
    )
    assert "install Go" in caught.value.next[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo go version go1.19.8 linux/amd64", "received go1.19.8"),
        ("echo go version go1.2rc1 linux/amd64", "received go1.2rc1"),
        ("echo hello", "answered: hello"),
        ("exit 3", "answered: nothing"),
    ],
)
def test_build_refuses_a_go_that_is_too_old_or_none(
    project: Path, tmp_path: Path, script: str, why: str
) -> None:
    path = make_tool(tmp_path / "bin", f"{script}\n")
    with pytest.raises(GoToolchainMissing) as caught:
        build(request_for(project, tmp_path / "out", PATH=str(path)))
    assert why in caught.value.why
    assert not (tmp_path / "out").exists()


def test_build_refuses_a_go_that_does_not_start(project: Path, tmp_path: Path) -> None:
    path = make_tool(tmp_path / "bin", "")
    (path / "go").write_bytes(b"\x7fELF not a program")
    with pytest.raises(GoToolchainMissing, match="no usable Go"):
        build(request_for(project, tmp_path / "out", PATH=str(path)))


def test_build_says_that_go_mod_asks_for_a_newer_go(project: Path, tmp_path: Path) -> None:
    write(project, "go.mod", "module example.com/acme/box\n\ngo 1.999\n")
    with pytest.raises(GoToolchainMissing) as caught:
        build(request_for(project, tmp_path / "out"))
    assert "expected Go 1.999 or newer" in caught.value.why
    assert not (tmp_path / "out").exists()


def test_build_refuses_an_import_that_go_mod_does_not_name(project: Path, tmp_path: Path) -> None:
    write(project, "plugin.go", 'package main\n\nimport _ "example.com/dep"\n\nfunc main() {}\n')
    with pytest.raises(GoModulesUnpinned) as caught:
        build(request_for(project, tmp_path / "out"))
    assert "example.com/dep" in caught.value.why
    assert "`go mod tidy`" in caught.value.next[0]
    assert not (tmp_path / "out").exists()


def test_build_refuses_a_version_of_python_for_a_go_plugin(project: Path, tmp_path: Path) -> None:
    request = replace(request_for(project, tmp_path / "out"), pythons=("3.11",))
    with pytest.raises(UsageError, match="carries no Python"):
        build(request)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("missing", ["go.mod", "LICENSE", "README.md"])
def test_load_refuses_a_go_project_without(project: Path, missing: str) -> None:
    (project / missing).unlink()
    with pytest.raises(ProjectInvalid, match=missing):
        load_project(project)


# ── modules ───────────────────────────────────────────────────────────────────────────────────────

DEP = 'package dep\n\nconst Name = "dep"\n'


def served(proxy: Path) -> dict[str, str]:
    return {"GOPROXY": f"file://{proxy}"}


def test_build_takes_modules_that_go_sum_pins_and_lists_them(project: Path, tmp_path: Path) -> None:
    sums = make_module(tmp_path / "proxy", DEP)
    use_module(project, sums)
    (artifact,) = build(request_for(project, tmp_path / "out", **served(tmp_path / "proxy")))
    document = bill(artifact, tmp_path / "tree")
    dep, std = document["components"]
    assert (dep["name"], dep["version"]) == ("example.com/dep", "v1.0.0")
    assert dep["purl"] == "pkg:golang/example.com/dep@v1.0.0"
    assert dep["properties"] == [{"name": "aperio:go:sum", "value": sums.split()[2]}]
    assert std["purl"].startswith("pkg:golang/std@1.")
    assert document["dependencies"][0]["dependsOn"] == [dep["purl"], std["purl"]]


def test_build_refuses_a_module_that_is_not_the_pinned_one(project: Path, tmp_path: Path) -> None:
    use_module(project, make_module(tmp_path / "proxy", DEP))
    make_module(tmp_path / "proxy", DEP.replace('"dep"', '"changed"'))
    with pytest.raises(DependencyDigestMismatch) as caught:
        build(request_for(project, tmp_path / "out", **served(tmp_path / "proxy")))
    assert caught.value.exit_status == REFUSED
    assert "example.com/dep@v1.0.0" in caught.value.what
    assert caught.value.why.startswith("expected h1:")
    assert not (tmp_path / "out").exists()


def test_build_refuses_a_module_without_a_sum(project: Path, tmp_path: Path) -> None:
    make_module(tmp_path / "proxy", DEP)
    use_module(project, "")
    with pytest.raises(GoModulesUnpinned, match="do not pin"):
        build(request_for(project, tmp_path / "out", **served(tmp_path / "proxy")))


@pytest.mark.parametrize(
    ("proxy", "expected", "status", "step"),
    [
        ("off", NetworkUnavailable, UNAVAILABLE, "unset GOPROXY"),
        ("http://127.0.0.1:9", NetworkUnavailable, UNAVAILABLE, "check the network"),
        ("file:///nowhere", GoModuleMissing, NOT_DONE, "check path and version"),
    ],
)
def test_build_says_why_a_module_cannot_be_downloaded(
    project: Path,
    tmp_path: Path,
    proxy: str,
    expected: type[AperioError],
    status: int,
    step: str,
) -> None:
    use_module(project, make_module(tmp_path / "proxy", DEP))
    with pytest.raises(expected) as caught:
        build(request_for(project, tmp_path / "out", GOPROXY=proxy))
    assert caught.value.exit_status == status
    assert step in caught.value.next[0]
    assert not (tmp_path / "out").exists()


def test_build_keeps_modules_between_builds(project: Path, tmp_path: Path) -> None:
    use_module(project, make_module(tmp_path / "proxy", DEP))
    request = request_for(project, tmp_path / "out", **served(tmp_path / "proxy"))
    (first,) = build(replace(request, download_cache=tmp_path / "downloads"))
    before = first.digest
    again = replace(request, download_cache=tmp_path / "downloads", environment=OFFLINE)
    assert build(again)[0].digest == before


@pytest.fixture
def replaced(project: Path) -> Path:
    """A project with a module in a folder of its own."""
    use_module(project, "")
    add_replaced(project, "./third_party/dep")
    write(project, "third_party/dep/go.mod", "module example.com/dep\n\ngo 1.21\n")
    write(project, "third_party/dep/dep.go", DEP)
    return project


def test_check_passes_a_project_with_a_module_in_a_folder(
    replaced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks for nothing that was compiled before; the slow test below gives it that."""
    asked: list[BuildRequest] = []

    def build_again(request: BuildRequest) -> list[Artifact]:
        asked.append(request)
        return build(replace(request, compile_cache=COMPILED))

    monkeypatch.setattr(checks, "build", build_again)
    request = request_for(replaced, replaced / "dist")
    artifacts = build(request)
    check_reproducible(request, artifacts)
    (again,) = asked
    assert again.compile_cache is None
    assert not again.project.path.is_relative_to(replaced)
    dep = bill(artifacts[0], tmp_path / "tree")["components"][0]
    assert dep["properties"] == [{"name": "aperio:go:replaced-by", "value": "./third_party/dep"}]


@pytest.mark.slow
def test_check_compiles_everything_anew_elsewhere(replaced: Path) -> None:
    request = request_for(replaced, replaced / "dist")
    check_reproducible(request, build(request))


def test_build_refuses_a_replace_that_leads_out_of_the_project(
    project: Path, tmp_path: Path
) -> None:
    use_module(project, "")
    add_replaced(project, "../dep")
    write(tmp_path, "dep/go.mod", "module example.com/dep\n\ngo 1.21\n")
    write(tmp_path, "dep/dep.go", DEP)
    with pytest.raises(ProjectInvalid) as caught:
        build(request_for(project, tmp_path / "out"))
    assert caught.value.why == "example.com/dep => ../dep"
    assert not (tmp_path / "out").exists()


def add_replaced(project: Path, folder: str) -> None:
    with (project / "go.mod").open("a") as file:
        file.write(f"\nreplace example.com/dep => {folder}\n")


# ── secrets and links ─────────────────────────────────────────────────────────────────────────────

KEY = "-----BEGIN PRIVATE KEY-----\nmade up\n"
EMBEDDING = """\
package main

import _ "embed"

//go:embed NAME
var secret string

func main() { println(secret) }
"""


def test_build_does_not_judge_what_is_not_compiled_in(project: Path, tmp_path: Path) -> None:
    secret = {"key.txt", "internal/key.txt", ".env"}
    for name in (*secret, "third_party/x/key.go"):
        write(project, name, KEY)
    (project / "notes").symlink_to("/etc")
    with (project / "dump.sql").open("wb") as dump:
        dump.truncate(200_000_000)
    built = build_and_tell(request_for(project, tmp_path / "out"))
    told = {each.path for each in built.left_out}
    assert told == {"notes", "dump.sql", *secret}  # a package that nothing imports is no part


def test_build_judges_the_documents(project: Path, tmp_path: Path) -> None:
    write(project, "README.md", KEY)
    with pytest.raises(SecretInProject, match="looks like a secret") as caught:
        build(request_for(project, tmp_path / "out"))
    assert "README.md" in caught.value.why
    assert "made up" not in caught.value.why
    assert not (tmp_path / "out").exists()


def test_build_tells_what_is_waived_in_a_program(project: Path, tmp_path: Path) -> None:
    write(project, "key.txt", KEY)
    write(project, "map.json", "{}")
    write(project, "plugin.go", EMBEDDING.replace("NAME", "key.txt"))
    with pytest.raises(SecretInProject) as caught:
        build(request_for(project, tmp_path / "out"))
    fingerprint = caught.value.why[-17:-1]
    write(project, ".aperioignore", f"# waive {fingerprint} key.txt: made up\n")
    request = replace(request_for(project, tmp_path / "out"), platforms=(LINUX, WINDOWS))
    built = build_and_tell(request)
    assert [(each.path, each.line, each.reason) for each in built.waived] == [
        ("key.txt", 1, "made up")
    ]
    assert [each.path for each in built.left_out] == [".aperioignore", "map.json"]


def test_build_and_run_see_the_same_folder(project: Path, tmp_path: Path) -> None:
    write(project, "data/map.json", "{}")
    write(project, "plugin.go", EMBEDDING.replace("NAME", "data/map.json"))
    write(project, ".aperioignore", "data/\n")
    with pytest.raises(GoBuildFailed, match="was not built") as at_build:
        build(request_for(project, tmp_path / "out"))
    with pytest.raises(GoBuildFailed, match="was not built") as at_run:
        develop(project, tmp_path / "cache", None, OFFLINE)
    assert "no matching files found" in at_build.value.why
    assert str(project) in at_build.value.what
    assert at_build.value.why == at_run.value.why


@pytest.mark.parametrize("name", ["build/key.txt", "dist/key.txt", "testdata/key.txt", ".k/key"])
def test_build_refuses_a_secret_that_is_embedded_from_anywhere(
    project: Path, tmp_path: Path, name: str
) -> None:
    write(project, name, KEY)
    write(project, "plugin.go", EMBEDDING.replace("NAME", name))
    with pytest.raises(SecretInProject) as caught:
        build(request_for(project, tmp_path / "out"))
    assert name in caught.value.why
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["plugin_test.go", "testdata/key.txt"])
def test_build_lets_tests_have_made_up_secrets(project: Path, tmp_path: Path, name: str) -> None:
    write(project, name, f"package main\n\n/*\n{KEY}*/\n")
    assert build(request_for(project, tmp_path / "out"))


def test_build_refuses_a_link(project: Path, tmp_path: Path) -> None:
    (project / "other.go").symlink_to(write(tmp_path, "other.go", "package main\n"))
    with pytest.raises(TreeNotPlain):
        build(request_for(project, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_folder_under_development_has_no_links_to_sources(project: Path, tmp_path: Path) -> None:
    """go would follow one, and quote what it leads to where it does not compile."""
    (project / "other.go").symlink_to("/etc/passwd")
    with pytest.raises(TreeNotPlain, match="neither a file nor a folder") as caught:
        develop(project, tmp_path / "cache", None, OFFLINE)
    assert "other.go  is a symbolic link" in caught.value.why


def test_a_linked_folder_is_not_compiled_in(project: Path, tmp_path: Path) -> None:
    write(tmp_path, "elsewhere/inner.go", "package inner\n\nvar Name = 1\n")
    (project / "inner").symlink_to(tmp_path / "elsewhere")
    imports = 'import "example.com/acme/box/inner"\n\nfunc main() { println(inner.Name) }\n'
    write(project, "plugin.go", f"package main\n\n{imports}")
    with pytest.raises(AperioError, match="was not built"):
        build(request_for(project, tmp_path / "out"))
    (project / "inner").unlink()
    (tmp_path / "elsewhere").rename(project / "inner")
    assert build(request_for(project, tmp_path / "out"))


# ── go as a child process ─────────────────────────────────────────────────────────────────────────


def run_with(path: Path, tmp_path: Path, **environment: str) -> tool.GoRun:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return tool.GoRun(
        toolchain=tool.Toolchain(path / "go", "go1.26.0"),
        project=tmp_path,
        source=tmp_path,
        scratch=scratch,
        modules=tmp_path / "modules",
        compiled=tmp_path / "compiled",
        environment=environment,
        platform=Platform("linux", "arm64"),
    )


def test_go_gets_an_environment_built_from_nothing(tmp_path: Path) -> None:
    path = make_tool(tmp_path / "bin", "env\n")
    hostile = {"AWS_SECRET_ACCESS_KEY": "hunter2", "GOFLAGS": "-race", "GOTOOLCHAIN": "go1.99"}
    hostile |= {"GIT_DIR": "/elsewhere", "GIT_CONFIG": "/elsewhere", "GOENV": "/elsewhere"}
    run = run_with(path, tmp_path, GOPROXY="off", GOPRIVATE="example.com", **hostile)
    lines = tool.run_go(run, ["env"]).splitlines()
    found = dict(line.split("=", 1) for line in lines)
    assert "hunter2" not in str(found)
    assert {name: found[name] for name in ("GOPROXY", "GOPRIVATE", "GOFLAGS", "GOTOOLCHAIN")} == {
        "GOPROXY": "off",
        "GOPRIVATE": "example.com",
        "GOFLAGS": "-modcacherw -buildvcs=false",
        "GOTOOLCHAIN": "local",
    }
    assert (found["GOVCS"], found["GIT_ALLOW_PROTOCOL"]) == ("*:git", "https:ssh")
    assert (found["GOOS"], found["GOARCH"], found["CGO_ENABLED"]) == ("linux", "arm64", "0")
    assert found["TMPDIR"] == str(run.scratch)
    assert "/elsewhere" not in str(found)


def test_go_counts_nothing_and_leaves_no_process_that_does(project: Path, tmp_path: Path) -> None:
    found = shutil.which("go", path=f"{os.environ['PATH']}:/usr/local/go/bin")
    assert found
    run = replace(
        run_with(Path(found).parent, tmp_path),
        source=project,
        environment={"PATH": os.environ["PATH"]},
    )
    tool.run_go(run, ["list", "std"])
    assert [path.name for path in (run.scratch / "telemetry").rglob("*")] == ["mode"]


@pytest.mark.parametrize(
    ("stated", "suffix", "refused"),
    [
        ("", "hg", "hg"),
        ("", "fossil", "fossil"),
        ("*:all", "bzr", "bzr"),
        ("private:hg|git", "hg", "hg"),
        ("code.example: hg | svn ,*:all", "svn", "svn"),
        ("code.example:off", "git", "git"),
        ("private:off,public:all", "git", "git"),
        ("*:hg", "git", "git"),
    ],
)
def test_modules_are_fetched_with_git_at_most(
    project: Path, tmp_path: Path, stated: str, suffix: str, refused: str
) -> None:
    module = f"code.example/acme/box.{suffix}"
    need_module(project, module)
    hostile = {"GOPROXY": "direct", "GOPRIVATE": "code.example", "GOVCS": stated}
    with pytest.raises(GoTransportRefused) as caught:
        build(request_for(project, tmp_path / "out", **hostile))
    assert f"GOVCS disallows using {refused} for private {module}" in caught.value.why


def need_module(project: Path, module: str) -> None:
    digest = f"h1:{'A' * 43}="
    with (project / "go.mod").open("a") as file:
        file.write(f"\nrequire {module} v1.0.0\n")
    write(project, "go.sum", f"{module} v1.0.0 {digest}\n{module} v1.0.0/go.mod {digest}\n")
    write(project, "plugin.go", f'package main\n\nimport _ "{module}"\n\nfunc main() {{}}\n')


def test_go_is_stopped_at_its_deadline_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    path = make_tool(tmp_path / "bin", f"sleep 60 &\necho $! >{pids}\necho working\nwait\n")
    with pytest.raises(GoBuildFailed) as caught:
        tool.run_go(run_with(path, tmp_path), ["build"], deadline_s=3)
    assert "go build was stopped after 3 s\nworking" in caught.value.why
    assert is_gone(int(pids.read_text()))


def is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


@each_row(
    ("output", "expected"),
    [
        ("write /x: no space left on device", DiskFull),
        ("write /x: file too large", FileSizeLimited),
        ("x@v1: dial tcp: lookup proxy: no such host", NetworkUnavailable),
        ("go: updates to go.mod needed", GoModulesUnpinned),
        ("anything else\x1b[2J", GoBuildFailed),
    ],
)
def test_failure_of_go_gets_its_cause(
    tmp_path: Path, output: str, expected: type[AperioError]
) -> None:
    path = make_tool(tmp_path / "bin", f"printf '%s' '{output}'\nexit 1\n")
    with pytest.raises(expected) as caught:
        tool.run_go(run_with(path, tmp_path), ["build"])
    assert "\x1b" not in caught.value.why


# ── develop ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache whose compiled packages are shared between tests."""
    folder = tmp_path / "cache"
    folder.mkdir()
    COMPILED.mkdir(parents=True, exist_ok=True)
    (folder / "go-build").symlink_to(COMPILED)
    return folder


def started(project: Path, cache: Path) -> str:
    program = develop(project, cache, None, OFFLINE).script
    ran = subprocess.run([program], capture_output=True, text=True, timeout=30, check=True)
    return ran.stderr


def test_develop_compiles_the_folder(project: Path, cache: Path) -> None:
    built = develop(project, cache, None, OFFLINE)
    assert (built.interpreter, built.dependencies) == (None, None)
    assert built.script.is_relative_to(cache / "development")
    assert started(project, cache) == "started\n"


def test_develop_follows_every_change(project: Path, cache: Path) -> None:
    assert started(project, cache) == "started\n"
    write(project, "plugin.go", 'package main\n\nfunc main() { println("changed") }\n')
    assert started(project, cache) == "changed\n"


def test_develop_follows_a_change_in_what_is_embedded(project: Path, cache: Path) -> None:
    write(project, "plugin.go", EMBEDDING.replace("NAME", "build/text"))
    write(project, "build/text", "one")
    assert started(project, cache) == "one\n"
    write(project, "build/text", "two")
    assert started(project, cache) == "two\n"


def test_develop_compiles_the_same_contents_once(
    project: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = develop(project, cache, None, OFFLINE)
    monkeypatch.setattr(go, "compile_program", lambda *_: pytest.fail("compiled again"))
    assert develop(project, cache, None, OFFLINE) == first


def test_develop_keeps_only_the_latest_programs(project: Path, cache: Path) -> None:
    for number in range(go._KEPT + 1):
        write(project, "plugin.go", f"package main\n\nfunc main() {{ println({number}) }}\n")
        assert started(project, cache) == f"{number}\n"
    (place,) = (cache / "development").iterdir()
    assert len(list(place.iterdir())) == go._KEPT


def test_develop_run_twice_at_once_gives_one_program(project: Path, cache: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(develop, project, cache, None, OFFLINE) for _ in range(2)]
        programs = {run.result(timeout=100).script for run in runs}
    (program,) = programs
    assert [path.name for path in program.parent.parent.iterdir()] == [program.parent.name]


def test_develop_leaves_nothing_when_the_source_is_broken(project: Path, cache: Path) -> None:
    write(project, "plugin.go", "package main\n\nfunc main() { broken }\n")
    with pytest.raises(GoBuildFailed):
        develop(project, cache, None, OFFLINE)
    assert snapshot(cache / "development") == {}
    assert not list((cache / "development").rglob(f"{ASIDE_PREFIX}*"))


def test_develop_leaves_the_project_clean(project: Path, cache: Path) -> None:
    before = snapshot(project)
    develop(project, cache, None, OFFLINE)
    assert snapshot(project) == before
