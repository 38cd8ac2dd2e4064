"""Whoever typed something wrong is told what to type instead: a next step with each such error."""

from __future__ import annotations

import ast
import functools
from pathlib import Path
from typing import TYPE_CHECKING

import aperio_cli
from aperio_cli.errors import USAGE, catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator

_SOURCE = Path(aperio_cli.__file__).parent
_FEWEST = 100  # as many are raised at least: a scan that found none would pass, too


def _names() -> set[str]:
    return {error.__name__ for error in catalogue() if error.exit_status == USAGE}


def _called(node: ast.AST) -> str:
    if not isinstance(node, ast.Call):
        return ""
    function = node.func
    if isinstance(function, ast.Name):
        return function.id
    return function.attr if isinstance(function, ast.Attribute) else ""


@functools.cache
def _trees() -> dict[Path, ast.Module]:
    paths = sorted(_SOURCE.rglob("*.py"))
    return {path: ast.parse(path.read_text("utf-8")) for path in paths}


@functools.cache
def _giving_steps() -> frozenset[str]:
    """Return the names of functions all of whose returned lists have something in them."""
    return frozenset(
        node.name
        for tree in _trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and (returned := [each.value for each in ast.walk(node) if isinstance(each, ast.Return)])
        and all(value is not None and _is_never_empty(value) for value in returned)
    )


def _is_never_empty(value: ast.expr) -> bool:
    """Return whether steps are some whatever happens; those of another error are its own."""
    if isinstance(value, ast.List | ast.Tuple):
        return any(not isinstance(each, ast.Starred) for each in value.elts)
    if isinstance(value, ast.BoolOp):
        return isinstance(value.op, ast.Or) and _is_never_empty(value.values[-1])
    if isinstance(value, ast.IfExp):
        return _is_never_empty(value.body) and _is_never_empty(value.orelse)
    return isinstance(value, ast.Attribute) and value.attr == "next"


def _without_steps(tree: ast.AST, names: set[str]) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called(node) in names:
            steps = next((each.value for each in node.keywords if each.arg == "next"), None)
            is_told = steps is not None and (
                _is_never_empty(steps) or _called(steps) in _giving_steps()
            )
            if not is_told:
                yield node


def test_usage_errors_name_a_next_step_each() -> None:
    names = _names()
    raised = [
        node for tree in _trees().values() for node in ast.walk(tree) if _called(node) in names
    ]
    missing = [
        f"{path.relative_to(_SOURCE)}:{node.lineno}"
        for path, tree in _trees().items()
        for node in _without_steps(tree, names)
    ]

    assert len(raised) > _FEWEST
    assert missing == []


def test_the_scan_tells_steps_that_may_be_none_from_those_that_are_some() -> None:
    names = {"UsageError"}
    wrong = (
        "UsageError('a')",
        "UsageError('a', why='b', next=[])",
        "UsageError('a', next=nearest(b, c))",
        "errors.UsageError('a', next=[*steps])",
        "UsageError('a', next=['b'] if c else [])",
    )
    right = (
        "UsageError('a', next=['b'])",
        "UsageError('a', next=nearest(b, c) or ['d'])",
        "UsageError('a', next=[*steps, 'b'])",
        "UsageError('a', next=meant_id(b))",
        "UsageError('a', next=['b'] if c else ['d'])",
        "UsageError('a', next=error.next)",
        "NotFound('a')",
    )

    assert all(list(_without_steps(ast.parse(line), names)) for line in wrong)
    assert not any(list(_without_steps(ast.parse(line), names)) for line in right)
