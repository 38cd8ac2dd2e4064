"""The walk through the code in docs/explanation/architecture.md, held to an installation."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.builders import python_members, write_artifact
from tests.lifecycle.cli import ROOT

if TYPE_CHECKING:
    from tests.lifecycle.cli import Aperio

PAGE = ROOT / "docs" / "explanation" / "architecture.md"
TRACER = Path(__file__).with_name("tracer.py")
LONGEST_WALK = 14
_NAMED = re.compile(r"`([a-z_/]+(?:\.py|/))`")


def section(begin: str, end: str) -> str:
    """The part of the page between two headings."""
    return PAGE.read_text(encoding="utf-8").partition(begin)[2].partition(end)[0]


def walk() -> list[str]:
    """The files that the walk names, in its order."""
    named = _NAMED.findall(section("## One command through the code", "### Tools below"))
    return list(dict.fromkeys(name for name in named if name.endswith(".py")))


def tools() -> list[str]:
    """The files and rooms of the table of tools."""
    rows = re.findall(r"^\| (.*?) \|", section("### Tools below", "\n## "), re.MULTILINE)
    return [name for row in rows for name in _NAMED.findall(row)]


def strays(entered: list[str], named: list[str], rooms: list[str]) -> list[str]:
    """Entered files that the page neither names nor has among its tools."""
    return [file for file in entered if file not in named and not file.startswith(tuple(rooms))]


@pytest.fixture
def entered(stranger: Aperio) -> list[str]:
    """The files that an installation from a registry enters, by the first call in each."""
    stranger("trust", "local", "init")
    artifact = write_artifact(stranger.folder / "dist", python_members())
    stranger("plugin", "sign", artifact, "--trust", "local")
    stranger("registry", "init", "registry")
    stranger("registry", "add", "dist", "--dir", "registry")
    stranger("registry", "build", "--dir", "registry")
    trace = stranger.sandbox / "trace"
    prefix = [sys.executable, str(TRACER), str(trace)]
    words = ["plugin", "install", "-y", "acme/box-connector", "--registry", "registry/public"]
    done = stranger.run(*words, prefix=prefix)
    assert done.status == 0, done
    assert "`acme/box-connector` 1.2.3 installed" in done.out
    return trace.read_text().splitlines()


def test_the_walk_names_what_is_entered_in_its_order_and_the_rest_is_every_tool(
    entered: list[str],
) -> None:
    named, rooms = walk(), tools()
    assert [file for file in entered if file in named] == named
    assert "installing/succession.py" in named
    assert len(named) <= LONGEST_WALK
    assert strays(entered, named, rooms) == []
    others = [file for file in entered if file not in named]
    assert [room for room in rooms if not any(file.startswith(room) for file in others)] == []


def test_a_file_that_the_page_does_not_know_is_a_stray() -> None:
    assert strays(["installing/later.py", *walk()], walk(), tools()) == ["installing/later.py"]
    assert strays([], [], tools()) == []
