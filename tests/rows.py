"""Cheap checks of many rows, as one test that tells every row that fails.

A test for each row is collected by every worker, and has a home, folders and three reports, which
takes milliseconds. That is right where a row takes longer than that, or changes something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_LONGEST: Final = 200
"""So much is shown of what a row is called."""


def for_each(
    rows: Iterable[Any], name: Callable[[Any], str] = str
) -> Callable[[Callable[[Any], None]], Callable[[], None]]:
    """Make of the check of one row a test of all of them.

    Args:
        rows: what is checked; one at least.
        name: what a row is called where it fails.
    """
    known = list(rows)
    assert known

    def decorate(check: Callable[[Any], None]) -> Callable[[], None]:
        def test() -> None:
            wrong = []
            for row in known:
                try:
                    check(row)
                except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - told below
                    wrong.append(f"{name(row)[:_LONGEST]}: {type(error).__name__}: {error}")
            assert not wrong, "\n\n".join(wrong)

        test.__name__, test.__doc__ = check.__name__, check.__doc__
        test.__module__ = check.__module__
        return test

    return decorate


def for_rows(
    rows: Iterable[tuple[Any, ...]],
) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """Do the same with rows of several values, which are the arguments of the check."""

    def decorate(check: Callable[..., None]) -> Callable[[], None]:
        def check_row(row: tuple[Any, ...]) -> None:
            check(*row)

        check_row.__name__, check_row.__doc__ = check.__name__, check.__doc__
        check_row.__module__ = check.__module__
        return for_each(rows, repr)(check_row)

    return decorate
