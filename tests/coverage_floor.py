"""Hold the rooms that decide about trust to the share of their branches that tests execute.

    python tests/coverage_floor.py      after `pytest --cov`

Lines and branches together, as coverage.py counts them with `branch = true`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FLOOR_PERCENT = 95.0
ROOMS = ("proving", "verifying", "installing", "store", "archive")


def report() -> dict[str, Any]:
    """What coverage.py measured, by file."""
    with tempfile.TemporaryDirectory(prefix="aperio-coverage-") as folder:
        path = Path(folder, "coverage.json")
        command = [sys.executable, "-m", "coverage", "json", "-q", "-o", str(path)]
        subprocess.run(command, cwd=ROOT, check=True, timeout=300)
        found: dict[str, Any] = json.loads(path.read_bytes())["files"]
        return found


def by_room(files: dict[str, Any]) -> dict[str, float]:
    """The percentage of each room of the package."""
    covered: Counter[str] = Counter()
    of: Counter[str] = Counter()
    for name, measured in files.items():
        parts = Path(name).parts
        room = parts[parts.index("aperio_cli") + 1].removesuffix(".py")
        summary = measured["summary"]
        covered[room] += summary["covered_lines"] + summary["covered_branches"]
        of[room] += summary["num_statements"] + summary["num_branches"]
    return {room: 100 * covered[room] / of[room] for room in sorted(of) if of[room]}


def main() -> int:
    """Print each room, and say with the exit status whether one is below the floor."""
    rooms = by_room(report())
    low = [room for room in ROOMS if rooms.get(room, 0.0) < FLOOR_PERCENT]
    for room, percent in rooms.items():
        mark = "  below the floor" if room in low else ""
        sys.stdout.write(f"{room:12} {percent:6.1f} %{mark}\n")
    return 1 if low else 0


if __name__ == "__main__":
    raise SystemExit(main())
