"""The tiers of docs/explanation/architecture.md, enforced over the syntax tree."""

from __future__ import annotations

import ast
import functools
import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "aperio_cli"
SDK = ROOT / "sdk" / "python" / "aperio_plugin"
TIERS: dict[int, str] = {
    0: "text clock",
    5: "errors",
    10: "models",
    20: "files",
    22: "paths",
    25: "config archive net machine",
    27: "proving",
    28: "trust",
    30: "registry store data verifying",
    40: "scaffolding building signing publishing installing reverting removing host",
    45: "accepting comparing examining running",
    47: "serving",
    50: "output",
    55: "context",
    60: "commands",
    65: "quick",
    70: "__main__",
}
LAYERS = {module: tier for tier, names in TIERS.items() for module in names.split()}
PURE = [
    "verifying/clearing.py",
    "verifying/decide.py",
    "verifying/judgement.py",
    "verifying/policy_refusals.py",
    "installing/succession.py",
    "host/wire/handshake.py",
    "host/lifecycle.py",
    "host/egress/addresses.py",
    "host/egress/decisions.py",
    "host/egress/hello.py",
    "host/egress/opening.py",
    "host/egress/plan.py",
    "host/egress/requests.py",
    "host/egress/rules.py",
    "host/egress/targets.py",
    "host/supervising/breaker.py",
    "host/supervising/changeover.py",
    "host/supervising/instances.py",
    "host/supervising/life.py",
    "host/supervising/pulse.py",
    "host/supervising/reach.py",
    "host/supervising/rules.py",
]
IMPURE = {"os", "socket", "subprocess", "threading", "time", "httpx", "grpc"}
OWNERS = {
    "typer": ("commands/", "__main__.py"),
    "rich": ("output.py",),
    "sigstore": ("signing/", "proving/signature.py"),
    "httpx": ("net/",),
    "httpcore": ("net/",),
    "tuf": ("trust/refresh.py",),
    "grpc": ("host/",),
    "cookiecutter": ("scaffolding/",),
    "pathspec": ("building/ignoring.py",),
    "prometheus_client": (),
    "opentelemetry": (),
}
HEAVY = {
    "typer",
    "sigstore",
    "tuf",
    "grpc",
    "cookiecutter",
    "pathspec",
    "httpx",
    "httpcore",
    "yaml",
    "cryptography",
}
# These run only when their package is needed at all, so they import it at the top.
EAGER = ("commands/", "signing/local/", "host/", "net/transport.py")


@functools.cache
def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if "_bundled" not in p.parts)


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imports(tree: ast.AST) -> list[tuple[str, int]]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [
                (name if node.module == "aperio_cli" else node.module, node.lineno)
                for name in names
            ]
    return found


@functools.cache  # parsing is what these tests take their time for
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@functools.cache
def imports_of(path: Path) -> list[tuple[str, int]]:
    return imports(parsed(path))


@functools.cache
def called_in(path: Path) -> set[str]:
    """The last names of all that a module calls."""
    calls = (node.func for node in ast.walk(parsed(path)) if isinstance(node, ast.Call))
    named = {ast.Attribute: "attr", ast.Name: "id"}
    return {getattr(func, named[type(func)]) for func in calls if type(func) in named}


def own_part(name: str) -> str:
    return name.partition("/")[0].removesuffix(".py")


def each_import(of: Callable[[str], bool] = bool) -> Iterator[tuple[str, str, str]]:
    """Yield of each module meant by its name: the name, what it imports, and that as a line."""
    for path in modules():
        name = name_of(path)
        if of(name):
            for imported, line in imports_of(path):
                yield name, imported, f"{name}:{line} imports {imported}"


def test_module_imports_own_package_and_lower_layers_only() -> None:
    faults = []
    for name, imported, told in each_import(lambda name: name != "__init__.py"):
        own, parts = own_part(name), imported.split(".")
        if parts[0] != "aperio_cli" or len(parts) == 1 or parts[1] in {own, "__version__"}:
            continue
        if parts[1] not in LAYERS:
            faults.append(f"{told}, an unknown module")
        elif LAYERS[parts[1]] >= LAYERS[own]:
            faults.append(f"{told}, not a lower layer")
    assert faults == []


def test_pure_module_imports_no_effects() -> None:
    pure = each_import(lambda name: name.startswith("models/") or name in PURE)
    assert [told for _, imported, told in pure if imported.split(".")[0] in IMPURE] == []


def test_package_is_imported_by_its_owner_only() -> None:
    faults = []
    for name, imported, told in each_import():
        owners = OWNERS.get(imported.split(".")[0])
        if owners is not None and not name.startswith(owners):
            faults.append(told)
    assert faults == []


def test_heavy_package_is_imported_inside_functions() -> None:
    faults = []
    for path in modules():
        name = name_of(path)
        if name.startswith(EAGER):
            continue
        body = parsed(path).body
        top = ast.Module([n for n in body if isinstance(n, ast.Import | ast.ImportFrom)], [])
        faults += [
            f"{name}:{line} imports {imported} at the top"
            for imported, line in imports(top)
            if imported.split(".")[0] in HEAVY
        ]
    assert faults == []


def test_every_module_has_a_layer() -> None:
    unknown = {own_part(name_of(p)) for p in modules()} - set(LAYERS) - {"__init__"}
    assert not unknown


def test_every_named_place_is_there() -> None:
    """A name that matches nothing would let its rule pass for ever."""
    names = [name_of(path) for path in modules()]
    stated = [*PURE, *EAGER, *itertools.chain(*OWNERS.values())]
    assert [place for place in stated if not any(n.startswith(place) for n in names)] == []
    assert set(LAYERS) <= {own_part(name) for name in names}


def test_every_owner_imports_its_package_and_somebody_each_heavy_one() -> None:
    found = {
        (name_of(path), imported.split(".")[0])
        for path in modules()
        for imported, _ in imports_of(path)
    }
    owned = [(package, owner) for package, owners in OWNERS.items() for owner in owners]
    unused = [
        (package, owner)
        for package, owner in owned
        if not any(p == package and name.startswith(owner) for name, p in found)
    ]
    assert unused == []
    assert {package for _, package in found} >= HEAVY


def test_the_page_says_who_may_import_whom() -> None:
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| ([`\w ]+) \|", page, re.MULTILINE)
    stated = {int(tier): rooms.replace("`", "") for tier, rooms in rows}
    assert stated == TIERS


def callers(name: str) -> set[str]:
    """The modules with a call of something of this name, whatever it is called on."""
    return {name_of(path) for path in modules() if name in called_in(path)}


MAKERS = {
    "AdmittedArtifact": "verifying/decide.py",
    "Cleared": "verifying/clearing.py",
    "DevelopmentBuild": "building/development.py",
}


@pytest.mark.parametrize("noun", MAKERS)
def test_one_module_makes_what_carries_the_security_argument(noun: str) -> None:
    assert callers(noun) == {MAKERS[noun]}


@pytest.mark.parametrize("step", ["spend", "check_program", "Run"])
def test_one_module_takes_the_steps_from_a_clearance_to_a_process(step: str) -> None:
    assert callers(step) == {"host/launch.py"}


def test_a_process_of_a_plugin_is_made_in_two_places() -> None:
    assert callers("spawn") == {
        "host/run.py",  # asks `Start` for it
        "host/starting.py",
        "accepting/starting.py",  # by hand, from a clearance of its own
    }


# ── circles ───────────────────────────────────────────────────────────────────────────────────────

SERVED: Final = {f"aperio_plugin.{kind}" for kind in ("connector", "remediation", "destination")}
"""Their `serve` imports the serving modules, which build on them: the SDK's one circle."""


class _Imports(ast.NodeVisitor):
    """Collects imports at any depth, but for those of types and of functions that are left out."""

    def __init__(self, left_out: str = "") -> None:
        self.found: set[str] = set()
        self._left_out = left_out

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) != "TYPE_CHECKING":
            self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name != self._left_out:
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self.found |= {alias.name for alias in node.names}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.found |= {f"{node.module}.{alias.name}" for alias in node.names}


def graph(root: Path, *, left_out: str = "") -> dict[str, set[str]]:
    """Return which modules each module below a package's folder imports."""
    files = {
        ".".join((root.name, *path.relative_to(root).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): path
        for path in root.rglob("*.py")
        if not {"_bundled", "_generated"} & set(path.parts)
    }
    edges = {}
    for name, path in files.items():
        visitor = _Imports(left_out if name in SERVED else "")
        visitor.visit(parsed(path))
        named = {found if found in files else found.rpartition(".")[0] for found in visitor.found}
        edges[name] = (named & set(files)) - {name}
    return edges


def reached(edges: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(edges[start])
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += edges[name]
    return seen


def in_circles(edges: dict[str, set[str]]) -> set[str]:
    return {name for name in edges if name in reached(edges, name)}


def test_no_module_of_the_tool_imports_itself_by_way_of_others() -> None:
    assert in_circles(graph(PACKAGE)) == set()


def test_no_module_of_the_sdk_imports_itself_but_by_serve() -> None:
    assert in_circles(graph(SDK, left_out="serve")) == set()
    assert in_circles(graph(SDK)) >= SERVED, "the exception is not needed any more"


def test_the_tool_uses_public_modules_of_the_sdk_only() -> None:
    faults = []
    for _, imported, told in each_import():
        parts = imported.split(".")
        if imported == "aperio_plugin":
            faults.append(f"{told}, which is no module")
        elif parts[0] == "aperio_plugin" and any(part.startswith("_") for part in parts):
            faults.append(told)
    assert faults == []


def test_the_tool_uses_the_sdk_at_all() -> None:
    used = {
        imported
        for path in modules()
        for imported, _ in imports_of(path)
        if imported.startswith("aperio_plugin")
    }
    assert "aperio_plugin.wire" in used
