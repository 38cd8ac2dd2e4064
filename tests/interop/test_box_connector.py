"""The connector `plugins/box`, as its authors test it: by its own settings, in its own folder."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.projects import ROOT

if TYPE_CHECKING:
    from pathlib import Path

_DEADLINE_S = 110.0


def test_its_own_tests_pass(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    words = ["-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'box'}"]
    ran = subprocess.run(
        # Other tests build what is in this folder: nothing may come and go in it.
        [sys.executable, "-B", "-m", "pytest", *words],
        cwd=ROOT / "plugins" / "box", env=kept, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=_DEADLINE_S, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " passed" in ran.stdout
