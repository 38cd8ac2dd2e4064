"""A build refuses source that does not compile, and a project that says two things at once."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from aperio_cli.building import BuildRequest, build, load_project
from aperio_cli.building.agreement import check_go, check_python, placeholders
from aperio_cli.building.contents import ProjectFile, select
from aperio_cli.errors.building import DeclarationsDiffer, EgressPlaceholder, SourceInvalid
from aperio_cli.models.manifest import Manifest
from tests.projects import HERE, MANIFEST, NO_INDEX, make_project, write
from tests.rows import each_row

if TYPE_CHECKING:
    from pathlib import Path

SERVED = "from aperio_plugin import connector\nconnector.serve(Box())\n"


def a_manifest(*tags: str, egress: str = "", **changes: str) -> Manifest:
    text = MANIFEST.replace("TAGS", ", ".join(tags or ("cp311",)))
    for key, value in changes.items():
        line = next(line for line in text.splitlines() if line.startswith(f"{key}:"))
        text = text.replace(line, f"{key}: {value}")
    return Manifest.parse((text + egress).encode())


def egress(*rules: str) -> str:
    return f"permissions:\n  egress: {list(rules)!r}\n"


def files_of(folder: Path, language: str) -> list[ProjectFile]:
    return [ProjectFile(name, folder / name) for name in select(folder, language).names]


def check(folder: Path, manifest: Manifest, **files: str) -> None:
    for name, text in files.items():
        write(folder, f"{name}.py", text)
    check_python(folder, manifest, files_of(folder, "python"))


# ── it compiles ───────────────────────────────────────────────────────────────────────────────────


@each_row(
    ("source", "seen"),
    [
        ("def def\n", "client.py:1: invalid syntax\n    def def"),
        ("x = 1\n\nreturn x\n", "client.py:3: 'return' outside function"),
        ("if x:\n\ty = 1\n        z = 2\n", "client.py:3: inconsistent use of tabs"),
        ("x = (\n", "client.py:1: '(' was never closed"),
        ("# coding: nonsense\n", "client.py:1: "),
        ("x = '\x00'\n", "client.py:1: source code string cannot contain null bytes"),
        ("(" * 5000, "client.py:1: "),
        ("-" * 200_000 + "1", "client.py:1: "),
        (f"x = {'9' * 5000}\n", "client.py:1: Exceeds the limit"),
    ],
)
def test_source_that_does_not_compile_is_named_with_its_line(
    source: str, seen: str, tmp_path: Path
) -> None:
    with pytest.raises(SourceInvalid) as caught:
        check(tmp_path, a_manifest(), client=source, plugin="import client\n")
    assert seen in caught.value.why
    assert caught.value.code == "source-invalid"


def test_every_file_that_does_not_compile_is_named(tmp_path: Path) -> None:
    broken = {f"part{number}": "def def\n" for number in range(7)}
    with pytest.raises(SourceInvalid) as caught:
        check(tmp_path, a_manifest(), **broken)
    assert caught.value.why.count("invalid syntax") == 5
    assert caught.value.why.endswith("and 2 more")


@each_row(
    "source",
    ["", "x = 1\n", "\ufeffx = 1\n", "# coding: latin-1\nx = '\u00e9'\n", "x = '\\d'\n",
     "match x:\n    case 1: pass\n"],
)  # fmt: skip
def test_source_that_compiles_passes(source: str, tmp_path: Path) -> None:
    write(tmp_path, "client.py", "")
    (tmp_path / "client.py").write_bytes(source.encode("latin-1" if "latin" in source else "utf-8"))
    write(tmp_path, "test_client.py", "def def\n")
    write(tmp_path, "tests/data.py", "def def\n")
    write(tmp_path, "dist/old.py", "def def\n")
    check(tmp_path, a_manifest())


def test_syntax_of_a_newer_python_than_declared_is_refused(tmp_path: Path) -> None:
    """By this interpreter or a newer one; where all are newer than this one, it cannot tell."""
    newer = "type Name = str\n"
    with pytest.raises(SourceInvalid):
        check(tmp_path, a_manifest("cp311"), client=newer)
    with pytest.raises(SourceInvalid):
        check(tmp_path, a_manifest("cp311", "cp399"), client=newer)
    check(tmp_path, a_manifest("cp399"), client=newer)


def test_build_does_not_execute_what_it_compiles(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    project = make_project(tmp_path / "project")
    write(project, "plugin.py", f"open({str(sprung)!r}, 'w')\n")
    build(BuildRequest(load_project(project), (HERE,), tmp_path / "out", environment=NO_INDEX))
    assert not sprung.exists()


def test_build_refuses_and_writes_nothing(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    write(project, "client.py", "def def\n")
    with pytest.raises(SourceInvalid, match="does not compile"):
        build(BuildRequest(load_project(project), (HERE,), tmp_path / "out", environment=NO_INDEX))
    assert not (tmp_path / "out").exists()


# ── it says one thing ─────────────────────────────────────────────────────────────────────────────


@each_row(
    ("source", "seen"),
    [
        ("from aperio_plugin import destination\ndestination.serve(Box())\n",
         "kind: manifest.yaml says connector, plugin.py:2 says destination"),
        ("from aperio_plugin.remediation import serve as run\n\nrun(Box())\n",
         "kind: manifest.yaml says connector, plugin.py:3 says remediation"),
        ("import aperio_plugin.destination\naperio_plugin.destination.serve(Box())\n",
         "plugin.py:2 says destination"),
        (SERVED + "S = connector.Schema(provider='DROPBOX', name='x')\n",
         "provider: manifest.yaml says BOX, plugin.py:3 says DROPBOX"),
        ("P = 'DROPBOX'\n" + SERVED + "def f():\n    return connector.Schema(provider=P)\n",
         "plugin.py:5 says DROPBOX"),
        ("from aperio_plugin.connector import Schema\nSchema(provider='OKTA')\n", "says OKTA"),
        (SERVED + "__version__ = '1.2.4'\n",
         "version: manifest.yaml says 1.2.3, plugin.py says 1.2.4"),
    ],
)  # fmt: skip
def test_what_the_source_says_otherwise_is_refused(source: str, seen: str, tmp_path: Path) -> None:
    with pytest.raises(DeclarationsDiffer) as caught:
        check(tmp_path, a_manifest(), plugin=source)
    assert seen in caught.value.why


@each_row(
    "source",
    [
        SERVED,
        SERVED + "S = connector.Schema(provider='BOX', name='x')\n__version__ = '1.2.3'\n",
        SERVED + "S = connector.Schema(provider=name(), name='x')\n",
        SERVED + "S = connector.Schema(**stated)\n",
        SERVED + "a = connector.Schema(provider='OLD')\nb = connector.Schema(provider='BOX')\n",
        "from other import connector\nconnector.Schema(provider='OKTA')\n",
        "from .connector import Schema\nSchema(provider='OKTA')\n",
        "class connector:\n    pass\nconnector.serve(1)\n__version__ = '9'\n",
        "# destination.serve(Box())\n",
        "a = " + ".".join(["b"] * 400) + "(1)\n",
    ],
)
def test_what_the_source_says_alike_or_not_at_all_passes(source: str, tmp_path: Path) -> None:
    check(tmp_path, a_manifest(), plugin=source)


@each_row(
    ("stated", "seen"),
    [
        ("version = '1.2.4'", "version: manifest.yaml says 1.2.3, pyproject.toml says 1.2.4"),
        ("version = '1.2.3.dev0'", "says 1.2.3.dev0"),
        ("license = 'Apache-2.0'", "license: manifest.yaml says MIT"),
        ("requires-python = '>=3.12'", "says cp311, pyproject.toml says requires-python >=3.12"),
    ],
)
def test_what_pyproject_says_otherwise_is_refused(stated: str, seen: str, tmp_path: Path) -> None:
    write(tmp_path, "pyproject.toml", f"[project]\nname = 'box'\n{stated}\n")
    with pytest.raises(DeclarationsDiffer) as caught:
        check(tmp_path, a_manifest(), plugin=SERVED)
    assert seen in caught.value.why


@each_row(
    "stated",
    ["version = '1.2.3'", "version = '1.2.3.0'", "dynamic = ['version']", "license = 'mit'",
     "license = {text = 'something'}", "requires-python = '>=3.11'",
     "requires-python = '>=3.11.4,<3.12'", ""],
)  # fmt: skip
def test_what_pyproject_says_alike_passes(stated: str, tmp_path: Path) -> None:
    write(tmp_path, "pyproject.toml", f"[project]\nname = 'box'\n{stated}\n")
    check(tmp_path, a_manifest(), plugin=SERVED)


@pytest.mark.parametrize(("version", "stated"), [("2.0.0-rc.1", "2.0.0rc1"), ("2.0.0-x.y", "2.0")])
def test_versions_before_a_release_are_the_same_in_both_forms(
    version: str, stated: str, tmp_path: Path
) -> None:
    write(tmp_path, "pyproject.toml", f"[project]\nname = 'box'\nversion = '{stated}'\n")
    check(tmp_path, a_manifest(version=version), plugin=SERVED)


# ── in Go ─────────────────────────────────────────────────────────────────────────────────────────

GO = """\
package main

// Provider: "COMMENT", destination.Serve(x)
import (
\t"fmt"

\tsdk "github.com/writer/aperio-plugin-go/connector"
)

const provider = "BOX"

func schema() sdk.Schema {
\treturn sdk.Schema{
\t\tProvider: provider,
\t\tName: "https://api.acme.io/ `", /* Provider: "OTHER" */
\t}
}

func main() { sdk.Serve(&Box{}) }
"""


def check_source_of_go(folder: Path, manifest: Manifest, source: str) -> None:
    write(folder, "go.mod", "module example.com/box\n")
    write(folder, "plugin.go", source)
    write(folder, "third_party/sdk/go.mod", "module example.com/sdk\n")
    write(folder, "third_party/sdk/sdk.go", 'package sdk\n\nvar x = T{Provider: "SDK"}\n')
    check_go(folder, manifest, files_of(folder, "go"))


@each_row(
    ("one", "other", "seen"),
    [
        ('"BOX"', '"DROPBOX"', "provider: manifest.yaml says BOX, plugin.go:14 says DROPBOX"),
        ("Provider: provider", 'Provider: "OKTA"', "says OKTA"),
        ("go/connector", "go/destination", "manifest.yaml says connector, plugin.go:19 says"),
    ],
)
def test_what_source_in_go_says_otherwise_is_refused(
    one: str, other: str, seen: str, tmp_path: Path
) -> None:
    with pytest.raises(DeclarationsDiffer) as caught:
        check_source_of_go(tmp_path, a_manifest(), GO.replace(one, other))
    assert seen in caught.value.why


@each_row(
    ("one", "other"),
    [("", ""), ("Provider: provider", "Provider: named()"), ('sdk "github', 'x "github')],
)
def test_what_source_in_go_says_alike_passes(one: str, other: str, tmp_path: Path) -> None:
    check_source_of_go(tmp_path, a_manifest(), GO.replace(one, other))


# ── hosts for examples ────────────────────────────────────────────────────────────────────────────

LEADS = SERVED + "URL = '{}'\n"


@each_row(
    "rule",
    ["api.example.com:443", "*.example.com:443", "hooks.example.org:8443", "example.net:443",
     "api.acme.test:443", "api.acme.example:443", "intake.example.com:443"],
)  # fmt: skip
@each_row(
    "source",
    ["", LEADS.format("https://api.box.com"), "# https://api.example.com\n",
     '"""Reads https://api.example.com"""\n', "mail = 'ada@example.com'\n"],
)  # fmt: skip
def test_a_host_for_examples_is_refused_when_the_source_leads_elsewhere(
    rule: str, source: str, tmp_path: Path
) -> None:
    with pytest.raises(EgressPlaceholder) as caught:
        check(tmp_path, a_manifest(egress=egress("api.box.com:443", rule)), plugin=source)
    assert caught.value.why == f"permissions.egress: {rule}"


def test_a_suffix_for_examples_is_refused(tmp_path: Path) -> None:
    stated = """\
permissions:
  egress_from_config:
    - {field: site, suffix: .example.com, port: 443}
"""
    with pytest.raises(EgressPlaceholder) as caught:
        check(tmp_path, a_manifest(egress=stated), plugin=SERVED)
    assert ".example.com" in caught.value.why


@pytest.mark.parametrize("rule", ["api.example.com:443", "*.example.com:443"])
def test_a_new_project_whose_source_leads_there_too_is_built(rule: str, tmp_path: Path) -> None:
    """It is told, not refused."""
    manifest = a_manifest(egress=egress(rule))
    check(tmp_path, manifest, plugin=LEADS.format("https://api.example.com/v1"))
    assert placeholders(manifest) == (rule,)


def test_other_hosts_are_no_examples(tmp_path: Path) -> None:
    manifest = a_manifest(egress=egress("api.box.com:443", "api.box.com:8080"))
    check(tmp_path, manifest, plugin=SERVED)
    assert placeholders(manifest) == ()


def test_a_host_for_examples_is_refused_in_go(tmp_path: Path) -> None:
    manifest = a_manifest(egress=egress("api.example.com:443"))
    with pytest.raises(EgressPlaceholder):
        check_source_of_go(tmp_path, manifest, GO + "\n// https://api.example.com\n")
    source = GO.replace("api.acme.io", "api.example.com")
    check_source_of_go(tmp_path, manifest, source)


REPEATED = [
    "\n", " ", "x", "x ", "x\n", "/*", "`", '"', '"\\', "'", "'\\", "//", "import ", 'import x "',
    "const ", 'const x = "', "a.Serve ", "Provider: ", "https://", "https://a@",
]  # fmt: skip


def test_go_source_that_repeats_something_is_read_in_a_few_passes(tmp_path: Path) -> None:
    """A megabyte of blank lines is valid Go, and took hours; each of these now takes a moment."""
    manifest = a_manifest(egress=egress("api.acme.io:443"))
    for unit in REPEATED:
        for source in (unit * (200_000 // len(unit)), GO + unit * (200_000 // len(unit))):
            with contextlib.suppress(DeclarationsDiffer):
                check_source_of_go(tmp_path, manifest, source)


@each_row(
    ("source", "seen"),
    [
        (GO.replace('sdk "github', '. "github').replace("sdk.Serve", "connector.Serve"), ""),
        (GO.replace('const provider = "BOX"', '  provider\t string = "DROPBOX"'), "DROPBOX"),
        (GO.replace('const provider = "BOX"', 'var x = `/*`\nconst provider = "AWS"'), "AWS"),
        (GO.replace('const provider = "BOX"', 'var x = `/*`\nconst provider = "BOX" // */'), ""),
    ],
)  # fmt: skip
def test_go_source_is_understood_as_before(source: str, seen: str, tmp_path: Path) -> None:
    manifest = a_manifest(egress=egress("api.acme.io:443"))
    if not seen:
        check_source_of_go(tmp_path, manifest, source)
        return
    with pytest.raises(DeclarationsDiffer) as caught:
        check_source_of_go(tmp_path, manifest, source)
    assert seen in caught.value.why
