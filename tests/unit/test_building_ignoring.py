"""`.aperioignore`: patterns as git reads them, waivers, and what is neither."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from aperio_cli.building.contents import select
from aperio_cli.building.ignoring import FILE_NAME, Waiver, read_ignore
from aperio_cli.errors import NOT_DONE
from aperio_cli.errors.building import IgnoreInvalid
from aperio_cli.errors.files import FileNotRegular
from tests.projects import write
from tests.rows import each_row

if TYPE_CHECKING:
    from pathlib import Path

TREE = ["a.txt", "b.log", "docs/api.md", "docs/deep/x.md", "docs/deep/keep.md", "logs/1.log", "x#y"]


def packed(root: Path, ignore: str) -> list[str]:
    for name in TREE:
        write(root, name, "")
    write(root, FILE_NAME, ignore)
    return list(select(root, "python").names)


PATTERNS = {
    "": TREE,
    "# docs/\n\n   \n": TREE,
    "docs/": ["a.txt", "b.log", "logs/1.log", "x#y"],
    "docs": ["a.txt", "b.log", "logs/1.log", "x#y"],
    "/docs/deep/": ["a.txt", "b.log", "docs/api.md", "logs/1.log", "x#y"],
    "deep": ["a.txt", "b.log", "docs/api.md", "logs/1.log", "x#y"],
    "*.log": ["a.txt", "docs/api.md", "docs/deep/keep.md", "docs/deep/x.md", "x#y"],
    "/*.log": [name for name in TREE if name != "b.log"],
    "docs/*.md": [name for name in TREE if name != "docs/api.md"],
    "docs/**/x.md": [name for name in TREE if name != "docs/deep/x.md"],
    "**/x.md": [name for name in TREE if name != "docs/deep/x.md"],
    "*.md\n!keep.md": [name for name in TREE if name not in {"docs/api.md", "docs/deep/x.md"}],
    "!keep.md\n*.md": ["a.txt", "b.log", "logs/1.log", "x#y"],
    "docs/\n!docs/api.md": ["a.txt", "b.log", "logs/1.log", "x#y"],
    "docs/*\n!docs/api.md": ["a.txt", "b.log", "docs/api.md", "logs/1.log", "x#y"],
    "docs/**\n!docs/api.md": ["a.txt", "b.log", "docs/api.md", "logs/1.log", "x#y"],
    "[ab].*": [name for name in TREE if name not in {"a.txt", "b.log"}],
    "?.txt\r\nb.log\r\n": [name for name in TREE if name not in {"a.txt", "b.log"}],
    "x\\#y": [name for name in TREE if name != "x#y"],
    "a.txt   ": [name for name in TREE if name != "a.txt"],
    "\ufeffa.txt": [name for name in TREE if name != "a.txt"],
}


@each_row("ignore", PATTERNS)
def test_patterns_mean_what_they_mean_to_git(tmp_path: Path, ignore: str) -> None:
    assert packed(tmp_path / "project", ignore) == sorted(PATTERNS[ignore])
    write(tmp_path / "project", ".gitignore", ignore)
    command = ["git", "-C", str(tmp_path / "project")]
    subprocess.run([*command, "init", "-q"], check=True, timeout=30)
    listed = subprocess.run(
        [*command, "ls-files", "-z", "--others", "--exclude-standard"],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert {name for name in listed.stdout.split("\0") if name and name[0] != "."} == set(
        PATTERNS[ignore]
    )


@each_row(
    ("ignore", "name"),
    [
        ("!test_box.py", "test_box.py"),
        ("!.config.json", ".config.json"),
        ("!tests/", "tests/sample.json"),
        ("!/tests", "tests/deep/sample.json"),
        ("!/build/", "build/data.json"),
        ("!/dist", "dist/data.json"),
        ("!README.md", "README.md"),
        ("!*.tar.gz", "box_1.0.0_linux_amd64.tar.gz"),
        ("!/python/", "python/pyvenv.cfg"),
    ],
)
def test_an_author_packs_what_would_be_left_out(tmp_path: Path, ignore: str, name: str) -> None:
    write(tmp_path, name, "")
    assert select(tmp_path, "python").names == ()
    write(tmp_path, FILE_NAME, ignore)
    assert select(tmp_path, "python").names == (name,)


def test_what_is_left_out_in_a_wanted_folder_stays_out(tmp_path: Path) -> None:
    for name in ("tests/test_box.py", "tests/sample.json", "tests/.hidden"):
        write(tmp_path, name, "")
    write(tmp_path, FILE_NAME, "!tests/")
    assert select(tmp_path, "python").names == ("tests/sample.json",)


def test_only_the_file_at_the_top_counts(tmp_path: Path) -> None:
    write(tmp_path, "docs/.aperioignore", "*")
    write(tmp_path, "docs/a.md", "")
    assert select(tmp_path, "python").names == ("docs/a.md",)


# ── waivers ───────────────────────────────────────────────────────────────────────────────────────


def test_waivers_are_read_and_change_no_pattern(tmp_path: Path) -> None:
    write(
        tmp_path,
        FILE_NAME,
        "# notes\n# waive 0123456789abcdef docs/the api.md: a sample: of RFC 7519\n"
        "# waive fedcba9876543210 example.env: made up \r\n",
    )
    assert read_ignore(tmp_path, ()).waivers == (
        Waiver("0123456789abcdef", "docs/the api.md", "a sample: of RFC 7519"),
        Waiver("fedcba9876543210", "example.env", "made up"),
    )


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_a_file_of_utf_16_is_told_as_that(tmp_path: Path, encoding: str) -> None:
    (tmp_path / FILE_NAME).write_bytes("*.bak\n".encode(encoding))
    with pytest.raises(IgnoreInvalid) as caught:
        read_ignore(tmp_path, ())
    assert "it looks like UTF-16" in caught.value.why


INVALID = [
    "# waive",
    "# waive docs/api.md: a sample",
    "# waive 0123456789abcdef docs/api.md",
    "# waive 0123456789abcdef docs/api.md:",
    "# waive 0123456789abcdef docs/api.md:   ",
    "# waive 0123456789ABCDEF docs/api.md: a sample",
    "# waive 0123456789abcde docs/api.md: a sample",
    "#waive 0123456789abcdef docs/api.md: a sample",
    "# Waive 0123456789abcdef docs/api.md: a sample",
    "#  waive 0123456789abcdef docs/api.md: a sample",
    "!",
    "/",
    "a[b",
    "[z-a]",
    "[[:alpha:]]",
    "end\\",
    "a" * 256,
    "a\x00b",
    "a\x1b[2Jb",
    "*a*a*a*b",
    "a/**/b/**/c/**/d",
    "****",
]


@each_row("line", INVALID)
def test_a_line_that_is_neither_pattern_nor_waiver_is_refused(tmp_path: Path, line: str) -> None:
    write(tmp_path, FILE_NAME, f"docs/\n{line}\n")
    with pytest.raises(IgnoreInvalid, match=r"\.aperioignore` cannot be used") as caught:
        select(tmp_path, "python")
    assert (caught.value.code, caught.value.exit_status) == ("ignore-invalid", NOT_DONE)
    assert "line 2: " in caught.value.why
    assert "\x1b" not in caught.value.why


@each_row("data", [b"\xff\xfe", b"a\n" * 40_000, b"a\n" * 501])
def test_a_file_that_is_no_list_of_patterns_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(data)
    with pytest.raises(IgnoreInvalid):
        select(tmp_path, "python")


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).symlink_to("/etc/hostname")
    with pytest.raises(FileNotRegular):
        select(tmp_path, "python")


def test_whatever_stands_in_it_is_taken_or_refused(tmp_path: Path) -> None:
    """No line is an unforeseen error, nor a warning."""
    write(tmp_path, "a.txt", "")
    chance = random.Random(20)  # noqa: S311 - the same lines in each run
    taken = 0
    for _ in range(500):
        line = "".join(chance.choices("a*?[]!-^\\/# .{}$()|+:\t\x00é", k=chance.randint(1, 8)))
        write(tmp_path, FILE_NAME, line)
        try:
            select(tmp_path, "python")
        except IgnoreInvalid:
            continue
        taken += 1
    assert 50 < taken < 450


SLOWEST = """
import sys
from pathlib import Path
from aperio_cli.building.contents import select
print(len(select(Path(sys.argv[1]), "go").names))
"""


def test_the_slowest_patterns_are_quick_enough(tmp_path: Path) -> None:
    """Each may take the cube of a name's length; a star more would take minutes."""
    names = ["a" * 240, "a/" * 50 + "b", "/".join(["a" * 40] * 5)]
    for name in names:
        write(tmp_path, name, "")
    lines = ["*a*a*b", "**/*a*a*b", "**/a/**/*a*a*b", "*a*a*b/c", "**/a*/**/a*a*b"]
    write(tmp_path, FILE_NAME, "\n".join(lines))
    ran = subprocess.run(
        [sys.executable, "-c", SLOWEST, tmp_path],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert ran.stdout == f"{len(names) + 1}\n"
