"""CONTRIBUTING.md names the places of a change: they exist, and one left out is found."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from aperio_cli import errors
from aperio_cli.commands.words import MODULES
from tests.conftest import LONG

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "aperio_cli"
_BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
GUIDE = _BLOCK.sub("", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
_SPAN = re.compile(r"`([^`]+)`")
_PATH = re.compile(r"[\w.-]+/(?:[\w.-]+/?)*|[\w-]+\.(?:md|py)")
_NAME = re.compile(r"[a-z]*_\w+|[A-Z]\w+")
_STEP = re.compile(r"^\d\. .*(?:\n   .*)*", re.MULTILINE)


def place(path: str) -> Path:
    """Where a path of the guide leads: it begins at the repository, or at the package."""
    return next((p for base in (ROOT, PACKAGE) if (p := base / path).exists()), ROOT / path)


def paths(text: str) -> list[str]:
    return [span for span in _SPAN.findall(text) if _PATH.fullmatch(span)]


def sources(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.rglob("*.py")):
        yield path, path.read_text(encoding="utf-8")


def test_every_place_that_the_guide_names_is_there() -> None:
    linked = re.findall(r"\]\(([^)#\s]+)", GUIDE)
    made = ".cache/"  # below it stands what a target makes, in a fresh clone nothing
    named = [path for path in paths(GUIDE) if not path.startswith(made)]
    assert len(named) > 20
    assert [path for path in (*linked, *named) if not place(path).exists()] == []


def test_every_name_of_a_step_stands_in_a_file_of_that_step() -> None:
    missing = []
    for step in _STEP.findall(GUIDE):
        found = [place(path) for path in paths(step)]
        files = [*found, *(each for path in found if path.is_dir() for each in path.rglob("*.py"))]
        text = "\n".join(file.read_text(encoding="utf-8") for file in files if file.is_file())
        names = [span for span in _SPAN.findall(step) if _NAME.fullmatch(span)]
        missing += [name for name in names if not re.search(rf"\b{name}\b", text)]
    assert missing == []


def test_every_module_with_a_command_has_its_row() -> None:
    commands = PACKAGE / "commands"
    registering = {
        ".".join(path.relative_to(commands).with_suffix("").parts)
        for path, text in sources(commands)
        if re.search(r"^@command\(", text, re.MULTILINE)
    }
    assert registering == set(MODULES.values())


def test_every_command_is_in_the_changelog() -> None:
    text = " ".join((ROOT / "CHANGELOG.md").read_text(encoding="utf-8").split())
    assert [words for words in MODULES if not re.search(rf"`(?:aperio )?{words}\b", text)] == []


def test_every_error_is_raised_and_its_text_or_code_is_tested() -> None:
    defining = PACKAGE / "errors"
    raising = "\n".join(text for path, text in sources(PACKAGE) if defining not in path.parents)
    testing = "\n".join(text for _, text in sources(ROOT / "tests"))
    known, tested = set(re.findall(r"\w+", raising)), set(re.findall(r"[\w-]+", testing))
    classes = list(errors.catalogue())
    assert [error.code for error in classes if error.__name__ not in known] == []
    assert [e.code for e in classes if not tested & {e.__name__, e.code}] == []


def test_every_module_of_errors_is_in_the_catalogue() -> None:
    modules = {path.stem for path in (PACKAGE / "errors").glob("[!_]*.py")}
    assert modules == {error.__module__.rpartition(".")[2] for error in errors.catalogue()}
    assert modules == set(errors._DOMAINS)


def test_setup_leaves_no_program_beside_its_source() -> None:
    """The guide says what `make setup` touches; `go build` of one program writes it there."""
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    building = [line for line in lines if "$(GO) build" in line]
    assert building
    assert [line for line in building if " -o /dev/null " not in line] == []


def test_every_file_that_is_said_to_take_long_is_there() -> None:
    assert [name for name in LONG if not (ROOT / name).is_file()] == []
