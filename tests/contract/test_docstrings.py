"""A function's docstring begins with what it does, as an order; a property's says what it is."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "aperio_cli"
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if "_bundled" not in p.parts)

# Words that begin a description. No list of verbs could be complete; this one need not be.
NOT_AN_ORDER = frozenset(
    {
        "a",
        "all",
        "an",
        "any",
        "each",
        "every",
        "how",
        "if",
        "its",
        "no",
        "nothing",
        "one",
        "that",
        "the",
        "this",
        "what",
        "when",
        "where",
        "whether",
        "which",
        "who",
        "whom",
        "whose",
        "why",
    }
)
ORDERS_IN_S = frozenset({"compress", "discuss", "pass", "press", "process"})


def _is_description(word: str) -> bool:
    word = word.lower().rstrip(",.:;")
    return word in NOT_AN_ORDER or (word.endswith("s") and word not in ORDERS_IN_S)


def descriptions(source: str) -> list[str]:
    """Return `line: first line` of each docstring of a function that does not begin as an order."""
    return [
        f"{node.lineno}: {docstring.splitlines()[0]}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not any("property" in ast.unparse(decorator) for decorator in node.decorator_list)
        and (docstring := ast.get_docstring(node))
        and _is_description(docstring.split()[0])
    ]


def test_docstrings_of_functions_begin_with_an_order() -> None:
    found = {
        str(module.relative_to(PACKAGE)): descriptions(module.read_text()) for module in MODULES
    }
    assert {module: lines for module, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("first_line", "found"),
    [
        ("Return the path.", []),
        ("Pass it on.", []),
        ("The path.", ["1: The path."]),
        ("Returns the path.", ["1: Returns the path."]),
        ("Whether it is there.", ["1: Whether it is there."]),
    ],
)
def test_the_search_tells_orders_from_descriptions(first_line: str, found: list[str]) -> None:
    assert descriptions(f'def f():\n    """{first_line}"""') == found


def test_a_property_says_what_it_is() -> None:
    assert descriptions('class C:\n    @property\n    def f(self):\n        """The path."""') == []


def _begins(node: ast.expr) -> str:
    """Return the text that an element of a list begins with."""
    while isinstance(node, ast.JoinedStr) and node.values:
        node = node.values[0]
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _is_note(node: ast.expr) -> bool:
    return _begins(node).startswith("next: ")


def test_no_step_of_an_error_begins_with_the_word_that_is_shown_before_it() -> None:
    """What follows the first step is shown behind `or`."""
    found = [
        f"{module.relative_to(PACKAGE)}:{element.lineno}"
        for module in MODULES
        for each in ast.walk(ast.parse(module.read_text()))
        if isinstance(each, ast.List) and not any(map(_is_note, each.elts))
        for element in each.elts
        if _begins(element).startswith("or ")
    ]
    assert found == []
