from __future__ import annotations

import pytest

from tests.rows import for_each, for_rows


def test_every_row_that_fails_is_told_by_its_name() -> None:
    seen = []

    @for_each(["one", "two", "three", "four"])
    def test_of(row: str) -> None:
        """Say what for."""
        seen.append(row)
        assert row != "two"
        if row == "three":
            with pytest.raises(ValueError, match="anything"):
                pass
        if row == "four":
            raise KeyError(row)

    assert (test_of.__name__, test_of.__doc__) == ("test_of", "Say what for.")
    with pytest.raises(AssertionError) as told:
        test_of()
    assert seen == ["one", "two", "three", "four"]
    said = str(told.value)
    assert said.startswith("two: AssertionError: ")
    assert "three: Failed: DID NOT RAISE" in said
    assert "four: KeyError: 'four'" in said
    assert "one: " not in said


def test_values_of_a_row_are_the_arguments_of_its_check() -> None:
    @for_rows([(1, 1), (2, 3)])
    def test_of(one: int, other: int) -> None:
        assert one == other

    with pytest.raises(AssertionError, match=r"\(2, 3\): AssertionError"):
        test_of()


def test_nothing_to_check_is_an_error() -> None:
    with pytest.raises(AssertionError):
        for_each([])
