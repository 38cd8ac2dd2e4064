from __future__ import annotations

import pytest

from aperio_cli.building.go_modules import Linked, Module, parse_build_info
from tests.rows import each_row

# As `go version -m` prints it.
BUILD_INFO = """\
/tmp/box: go1.26.8
\tpath\texample.com/box
\tmod\texample.com/box\t(devel)\t
\tdep\texample.com/z\tv1.2.3\th1:zz=
\tdep\texample.com/folder\tv0.1.0
\t=>\t./third_party/folder\t(devel)\t
\tdep\texample.com/forked\tv1.0.0
\t=>\texample.com/fork\tv1.0.1\th1:ff=
\tdep\texample.com/a\tv0.0.0-20260101000000-abcdefabcdef\th1:aa=
\tbuild\t-trimpath=true
\tbuild\tCGO_ENABLED=0
"""


def test_build_info_gives_what_was_linked_in_order() -> None:
    assert parse_build_info(BUILD_INFO) == Linked(
        "go1.26.8",
        (
            Module("example.com/a", "v0.0.0-20260101000000-abcdefabcdef", "h1:aa="),
            Module("example.com/folder", "v0.1.0", folder="./third_party/folder"),
            Module("example.com/fork", "v1.0.1", "h1:ff="),
            Module("example.com/z", "v1.2.3", "h1:zz="),
        ),
    )


def test_build_info_of_a_program_without_modules_has_none() -> None:
    assert parse_build_info("box: go1.26.8\n\tpath\tbox\n") == Linked("go1.26.8", ())


@each_row("text", ["", "box: not executable file\n", "go1.26.8\n", "\tdep\ta\tv1\n"])
def test_build_info_refuses_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="no version of Go"):
        parse_build_info(text)
