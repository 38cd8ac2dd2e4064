from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path

import pytest

from tests.rows import each_row, for_each, for_rows


def test_every_row_that_fails_is_told_by_its_name() -> None:
    seen = []

    @for_each(["one", "two", "three", "four", "five"])
    def test_of(row: str) -> None:
        """Say what for."""
        seen.append(row)
        assert row != "two"
        if row == "three":
            with pytest.raises(ValueError, match="anything"):
                pass
        if row == "four":
            raise KeyError(row)
        if row == "five":
            pytest.skip("not here")

    assert (test_of.__name__, test_of.__doc__) == ("test_of", "Say what for.")
    with pytest.raises(AssertionError) as told:
        test_of()
    assert seen == ["one", "two", "three", "four", "five"]
    said = str(told.value)
    assert said.startswith("two: AssertionError (line ")
    assert "three: Failed (line " in said
    assert "DID NOT RAISE" in said
    assert "four: KeyError (line " in said
    assert "five: a row that skips hides" in said
    assert "one: " not in said


def test_values_of_a_row_are_the_arguments_of_its_check() -> None:
    @for_rows([(1, 1), (2, 3)])
    def test_of(one: int, other: int) -> None:
        assert one == other

    with pytest.raises(AssertionError, match=r"^2, 3: AssertionError"):
        test_of()


def test_nothing_to_check_is_an_error() -> None:
    with pytest.raises(AssertionError):
        for_each([])


def test_row_shares_no_folder_home_patch_or_output_with_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []

    @each_row(("name", "number"), [("one", 1), ("two", 2), ("three", 3)])
    def test_of(
        name: str,
        tmp_path: Path,
        number: int,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        assert not list(tmp_path.iterdir())
        assert "CHANGED" not in os.environ
        assert Path(os.environ["APERIO_HOME"]).parent == tmp_path
        (tmp_path / "left").touch()
        monkeypatch.setenv("CHANGED", name)
        sys.stdout.write(f"{name} {number}\n")
        seen.append((tmp_path, capsys.readouterr().out))
        sys.stdout.write(f"{name} {number}\n")
        assert number != 2

    with pytest.raises(AssertionError, match=r"^'two', 2: AssertionError") as told:
        test_of(tmp_path=tmp_path, monkeypatch=monkeypatch, capsys=capsys)
    assert [printed for _, printed in seen] == ["one 1\n", "two 2\n", "three 3\n"]
    assert [folder.exists() for folder, _ in seen] == [False, True, False]  # what failed is kept
    assert "CHANGED" not in os.environ
    assert "three" not in str(told.value)


def test_fixtures_of_a_check_are_those_that_no_row_has() -> None:
    @each_row("one", [1, 2])
    @each_row("other", [1, 3], ids=["same", "another"])
    @pytest.mark.durable
    def test_of(one: int, other: int, shared: list[int]) -> None:
        shared.append(other)
        assert one == other

    shared: list[int] = []
    assert list(inspect.signature(test_of).parameters) == ["shared"]
    assert [mark.name for mark in test_of.pytestmark] == ["durable"]  # type: ignore[attr-defined]
    with pytest.raises(AssertionError) as told:
        test_of(shared=shared)
    assert shared == [1, 3, 1, 3]
    said = str(told.value)
    assert said.count("another: AssertionError") == 2
    assert said.count("same: AssertionError") == 1


def test_row_without_its_argument_is_an_error() -> None:
    with pytest.raises(AssertionError, match="no such argument"):

        @each_row("one", [1])
        def test_of(other: int) -> None:
            """Ask for something else."""
