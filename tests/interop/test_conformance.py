"""The page about go-plugin says what the tests came to, for every item, without a gap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.interop.conformance import ITEMS, Item, covering_tests, read_results, reasons, verdict

HERE = Path(__file__).resolve().parent
SIDES = [(item, direction) for item in ITEMS for direction in item.directions]


def test_the_list_has_48_items_in_order() -> None:
    assert [item.number for item in ITEMS] == list(range(1, 49))


@pytest.mark.parametrize(
    ("item", "direction"), SIDES, ids=[f"{item.number}{direction}" for item, direction in SIDES]
)
def test_every_item_passes_or_differs_for_a_reason(item: Item, direction: str) -> None:
    assert verdict(item, direction, read_results()) == (
        "differs" if direction in item.differs else "passes"
    )


def test_a_reason_is_given_only_where_the_item_applies() -> None:
    for item in ITEMS:
        assert set(item.differs) <= set(item.directions)
        assert all(len(text) > 30 for text, _ in reasons(item))


def test_the_record_is_of_the_tests_that_there_are() -> None:
    covering = covering_tests(HERE)
    marked = {
        f"{number}{direction}": {
            name for name, marks in covering.items() if (number, direction) in marks
        }
        for marks in covering.values()
        for number, direction in marks
    }
    recorded = {key: set(tests) for key, tests in read_results()["outcomes"].items()}

    assert recorded == marked


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ({}, "**not tested**"),
        ({"1H": {"a": "passed", "b": "failed"}}, "**failed, passed**"),
        ({"1H": {"a": "skipped"}}, "**skipped**"),
        ({"1H": {"a": "passed"}}, "passes"),
    ],
)
def test_a_gap_shows(outcomes: dict[str, Any], expected: str) -> None:
    item = Item(1, "H", "something", {})

    assert verdict(item, "H", {"outcomes": outcomes}) == expected
