"""Plugins that crash at random under load: a minute of `make soak`, and a taste of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def soaked(*arguments: str, within_s: float) -> str:
    """What a soak says; it fails when anything has piled up."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=within_s,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_nothing_piles_up_while_plugins_crash_at_random() -> None:
    said = soaked("--seconds", "6", "--plugins", "2", "--sandbox", "none", within_s=100)

    assert "answered" in said


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_piles_up_in_a_minute_of_thirty_plugins() -> None:
    said = soaked("--seconds", "60", within_s=280)

    for code in ("plugin-crashed", "plugin-hung", "plugin-exited-early", "answered"):
        assert code in said
