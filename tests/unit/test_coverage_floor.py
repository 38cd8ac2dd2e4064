from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests import coverage_floor
from tests.rows import each_row

if TYPE_CHECKING:
    import pytest


def measured(lines: int, of: int, branches: int = 0, of_branches: int = 0) -> dict[str, Any]:
    return {
        "summary": {
            "covered_lines": lines,
            "num_statements": of,
            "covered_branches": branches,
            "num_branches": of_branches,
        }
    }


FILES = {
    "aperio_cli/proving/a.py": measured(90, 90, 10, 10),
    "aperio_cli/proving/b.py": measured(0, 0),
    "aperio_cli/store/a.py": measured(96, 100, 0, 0),
    "aperio_cli/text.py": measured(1, 2),
} | {f"aperio_cli/{room}/a.py": measured(1, 1) for room in ("verifying", "installing", "archive")}


def test_rooms_are_added_up_with_their_branches() -> None:
    rooms = coverage_floor.by_room(FILES | {"aperio_cli/proving/c.py": measured(0, 60, 0, 40)})
    assert (rooms["proving"], rooms["store"], rooms["text"]) == (50.0, 96.0, 50.0)


@each_row(
    ("changed", "status"),
    [
        ({}, 0),
        ({"aperio_cli/store/b.py": measured(0, 100)}, 1),
        ({"aperio_cli/text.py": measured(0, 9)}, 0),
    ],
)
def test_a_room_below_the_floor_fails(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], status: int
) -> None:
    monkeypatch.setattr(coverage_floor, "report", lambda: FILES | changed)
    assert coverage_floor.main() == status


def test_a_room_that_was_not_measured_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    left = {name: found for name, found in FILES.items() if "store" not in name}
    monkeypatch.setattr(coverage_floor, "report", lambda: left)
    assert coverage_floor.main() == 1
