"""Cheap checks of many rows, as one test that tells every row that fails.

A test for each row is collected by every worker, and has a home, folders and three reports, which
takes milliseconds. That is right where a row takes longer than that, or changes something that
another one would see.
"""

from __future__ import annotations

import functools
import inspect
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from aperio_cli.files import owning
from aperio_cli.files.removing import remove_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_LONGEST: Final = 200
"""So much is shown of what a row is called."""


def each_row(
    names: str | tuple[str, ...],
    rows: Iterable[Any],
    ids: Sequence[object] | Callable[[Any], object] | None = None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Do as `pytest.mark.parametrize`, but make one test of all rows.

    Fixtures are made once for all of them. But each row has `tmp_path`, and there a home of aperio,
    and `monkeypatch` for itself, and `capsys` and `caplog` have what it alone has told.

    Args:
        names: the arguments that rows are the values of.
        rows: what is checked; one at least.
        ids: what each row is called where it fails, or how each of its values is.
    """
    named = (names,) if isinstance(names, str) else names
    known = [(row,) if isinstance(names, str) else tuple(row) for row in rows]
    assert known

    def decorate(check: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(check)
        def test(**fixtures: Any) -> None:
            wrong = []
            for number, row in enumerate(known):
                with _own(fixtures, number) as own:
                    told = _failure_of(check, own | dict(zip(named, row, strict=True)))
                if told:
                    wrong.append(f"{_title(number, row, ids)}: {told}")
                elif "tmp_path" in own:
                    remove_tree(own["tmp_path"])
            assert not wrong, "\n\n".join(wrong)

        asked = inspect.signature(check)
        fixtures = [each for name, each in asked.parameters.items() if name not in named]
        assert len(fixtures) + len(named) == len(asked.parameters), "a row has no such argument"
        test.__signature__ = asked.replace(parameters=fixtures)  # type: ignore[attr-defined]
        return test

    return decorate


def _title(
    number: int, row: tuple[Any, ...], ids: Sequence[object] | Callable[[Any], object] | None
) -> str:
    """Return what a row is called."""
    if ids is not None and not callable(ids):
        return str(ids[number])
    try:
        return ", ".join(str((ids or repr)(value)) for value in row)[:_LONGEST]
    except Exception:  # noqa: BLE001 - some have values that nobody can show
        return f"row {number}"


@contextmanager
def _own(fixtures: dict[str, Any], number: int) -> Iterator[dict[str, Any]]:
    """Give a row what it must not share with others."""
    own = dict(fixtures)
    with pytest.MonkeyPatch.context() as patch:
        if "monkeypatch" in own:
            own["monkeypatch"] = patch
        if "capsys" in own:
            own["capsys"].readouterr()
        if "caplog" in own:
            own["caplog"].clear()
        if "tmp_path" in own:
            own["tmp_path"] = folder = Path(own["tmp_path"], f"row{number}")
            folder.mkdir()
            patch.setenv("APERIO_HOME", str(folder / "aperio-home"))
            owning.forget()
        yield own


def _failure_of(check: Callable[..., None], values: dict[str, Any]) -> str:
    """Return what a check finds wrong, and in which of its lines; nothing when all is right."""
    try:
        check(**values)
    except pytest.skip.Exception as skip:
        return f"a row that skips hides those after it, so give it a test of its own: {skip}"
    except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - the caller tells it
        lines = "".join(
            f" (line {each.lineno})" for each in traceback.extract_tb(error.__traceback__)[1:2]
        )
        return f"{type(error).__name__}{lines}: {error}"
    return ""


def for_each(
    rows: Iterable[Any], name: Callable[[Any], str] = str
) -> Callable[[Callable[[Any], None]], Callable[[], None]]:
    """Make one test of a check whose only argument is a row.

    Args:
        rows: what is checked; one at least.
        name: what a row is called where it fails.
    """
    known = list(rows)
    assert known

    def decorate(check: Callable[[Any], None]) -> Callable[[], None]:
        (argument,) = inspect.signature(check).parameters
        return each_row(argument, known, name)(check)

    return decorate


def for_rows(
    rows: Iterable[tuple[Any, ...]],
) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """Do the same with rows of several values, which are the arguments of the check."""
    known = list(rows)
    assert known

    def decorate(check: Callable[..., None]) -> Callable[[], None]:
        return each_row(tuple(inspect.signature(check).parameters), known)(check)

    return decorate
